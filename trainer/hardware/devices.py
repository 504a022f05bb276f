"""Devices of this machine: precision, XLA and replicas."""

import platform
from collections.abc import Sequence

import tensorflow as tf

from pipeline.cli import UserError
from trainer.hardware.hosts import Hosts


def choose_precision() -> str:
    """Return the fastest of `config.PRECISIONS` that the hardware computes natively."""
    gpus = tf.config.list_physical_devices("GPU")
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in gpus
    ]
    return precision_for(capabilities, _cpu_flags())


def precision_for(gpu_capabilities: Sequence[tuple[int, int]], cpu_flags: set[str]) -> str:
    """Return the precision for given hardware.

    Args:
      gpu_capabilities: the CUDA compute capability of each GPU, (major, minor); the oldest decides.
      cpu_flags: the CPU's flags as Linux names them.
    """
    if gpu_capabilities:
        major, _ = min(gpu_capabilities)
        if major >= 8:  # Ampere on: bfloat16 tensor cores, no loss scaling needed
            return "mixed_bfloat16"
        return "mixed_float16" if major == 7 else "float32"  # Volta, Turing: float16 ones only
    return "mixed_bfloat16" if cpu_flags & {"amx_bf16", "avx512_bf16"} else "float32"


def training_devices() -> list[str]:
    """Return the names of the GPUs, or of the CPU if there are none."""
    gpus = tf.config.list_logical_devices("GPU")
    return [device.name for device in gpus or tf.config.list_logical_devices("CPU")[:1]]


def choose_xla(
    setting: str, devices: Sequence[str], hosts: Hosts, is_deterministic: bool = False
) -> bool:
    """Decide whether XLA compiles forward and backward pass.

    On a CPU oneDNN's convolutions are three times as fast. With several replicas TensorFlow cannot
    compile what they exchange; Keras' "auto" makes the same choices. XLA has no deterministic
    gradient of max-pooling.

    Args:
      setting: of --xla.
      devices: of the replicas of this host.
      hosts: that train together.
      is_deterministic: whether operations are deterministic.

    Raises:
      UserError: "on" with several replicas, or with deterministic operations.
    """
    if setting == "on" and is_deterministic:
        raise UserError("--xla=on: not with --deterministic: XLA's max-pooling is not")
    is_alone = len(devices) == 1 and hosts.count == 1
    if setting == "on" and not is_alone:
        raise UserError("--xla=on: only with a single GPU or the CPU")
    if setting == "auto":
        return is_alone and not is_deterministic and ":GPU:" in devices[0]
    return setting == "on"


def hardware() -> list[str]:
    """Return the models of the GPUs, or of the CPU if there are none."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return [each.get("device_name", "GPU") for each in details] or [_cpu_name()]


def make_strategy(devices: Sequence[str]) -> tf.distribute.Strategy:
    """Return a strategy of a replica on each device; TensorFlow's default for a single one."""
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.get_strategy()


def _cpu_flags() -> set[str]:
    return {flag for flags in _cpu_info("flags") for flag in flags.split()}


def _cpu_name() -> str:
    return next(iter(_cpu_info("model name")), platform.machine())


def _cpu_info(field: str) -> list[str]:
    """Return a field of /proc/cpuinfo for each core; nothing on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line.partition(":") for line in file]
    except OSError:
        return []
    return [value.strip() for name, _, value in lines if name.strip() == field]
