"""Precision by hardware, and replicas."""

import pytest

from pipeline.errors import UserError
from tests.trainer_data import DEVICES
from trainer.devices import choose_xla, make_strategy, precision_for, training_devices
from trainer.hosts import ONE_HOST, Hosts


@pytest.mark.parametrize(
    ("gpus", "cpu_flags", "precision"),
    [
        ([(8, 0)], set(), "mixed_bfloat16"),
        ([(9, 0), (8, 6)], set(), "mixed_bfloat16"),
        ([(7, 5)], {"avx512_bf16"}, "mixed_float16"),
        ([(9, 0), (7, 0)], set(), "mixed_float16"),  # the oldest decides
        ([(6, 1)], {"avx512_bf16"}, "float32"),
        ([], {"avx2", "avx512_bf16"}, "mixed_bfloat16"),
        ([], {"amx_bf16"}, "mixed_bfloat16"),
        ([], {"avx2", "avx512f"}, "float32"),
        ([], set(), "float32"),
    ],
)
def test_precision_follows_the_hardware(gpus, cpu_flags, precision):
    assert precision_for(gpus, cpu_flags) == precision


def test_several_devices_are_replicas():
    assert make_strategy(DEVICES[:1]).num_replicas_in_sync == 1
    assert make_strategy(DEVICES[:2]).num_replicas_in_sync == 2


def test_without_gpus_training_is_on_one_cpu():
    assert [device.rpartition("device:")[2] for device in training_devices()] == ["CPU:0"]


@pytest.mark.parametrize(
    ("setting", "devices", "hosts", "compiles"),
    [
        ("auto", ["/device:GPU:0"], ONE_HOST, True),
        ("auto", ["/device:GPU:0"], Hosts(2, 0), False),
        ("auto", ["/device:GPU:0", "/device:GPU:1"], ONE_HOST, False),
        ("auto", ["/device:CPU:0"], ONE_HOST, False),
        ("on", ["/device:CPU:0"], ONE_HOST, True),
        ("off", ["/device:GPU:0"], ONE_HOST, False),
    ],
)
def test_xla_compiles_for_a_single_gpu_of_a_single_host(setting, devices, hosts, compiles):
    assert choose_xla(setting, devices, hosts) == compiles


@pytest.mark.parametrize(("devices", "hosts"), [(["GPU:0", "GPU:1"], 1), (["GPU:0"], 2)])
def test_xla_for_several_replicas_is_refused(devices, hosts):
    with pytest.raises(UserError, match="--xla=on: only with a single GPU or the CPU"):
        choose_xla("on", devices, Hosts(hosts, 0))
