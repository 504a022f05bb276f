"""Precision by hardware, replicas, and deterministic operations."""

import json

import pytest

from pipeline.cli import UserError
from tests.support.trainer_data import DEVICES, write_dataset
from tests.support.warm_process import run_code, run_module
from trainer.hardware.devices import choose_xla, make_strategy, precision_for, training_devices
from trainer.hardware.hosts import ONE_HOST, Hosts


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


def test_xla_does_not_go_with_deterministic_operations():
    """Its gradient of max-pooling is not."""
    assert not choose_xla("auto", ["/device:GPU:0"], ONE_HOST, is_deterministic=True)
    with pytest.raises(UserError, match="--xla=on: not with --deterministic"):
        choose_xla("on", ["/device:GPU:0"], ONE_HOST, is_deterministic=True)


@pytest.mark.parametrize(("devices", "hosts"), [(["GPU:0", "GPU:1"], 1), (["GPU:0"], 2)])
def test_xla_for_several_replicas_is_refused(devices, hosts):
    with pytest.raises(UserError, match="--xla=on: only with a single GPU or the CPU"):
        choose_xla("on", devices, Hosts(hosts, 0))


def test_a_deterministic_run_trains_with_everything_and_its_directory_says_so(tmp_path):
    """In processes of their own: TensorFlow keeps to it. Rounding aside nothing changes."""
    write_dataset(tmp_path / "data", train=40, validation=12)
    everything = [
        "--augment=mirror,shift,scale,rotate",
        "--batch_norm",
        "--clip_norm=1",
        "--ema_decay=0.9",
        "--label_smoothing=0.1",
        "--learning_rate_schedule=cosine",
        "--warmup_epochs=0.5",
        "--weight_decay=0.1",
    ]
    histories = []
    for name, flags in {"usual": [], "deterministic": ["--deterministic"]}.items():
        run_dir = tmp_path / name
        of_all = ["--experiment=small", "--epochs=1", "--batch_size=16", "--precision=float32"]
        paths = [f"--dataset={tmp_path / 'data'}", f"--run_dir={run_dir}"]
        done = run_module("trainer.main", [*of_all, *paths, *everything, *flags])
        assert (done.returncode, done.stderr) == (0, "")
        histories.append(json.loads((run_dir / "history.json").read_text()))
        config = json.loads((run_dir / "config.json").read_text())
        assert config["sessions"][0]["deterministic"] == bool(flags)
    usual, deterministic = histories
    assert deterministic["loss"] == pytest.approx(usual["loss"], rel=1e-4)


@pytest.mark.parametrize(("deterministic", "outcome"), [(True, "refused"), (False, "drawn")])
def test_deterministic_operations_are_on_before_anything_is_drawn(deterministic, outcome):
    """TensorFlow then refuses random numbers without a seed, which is how one can tell."""
    code = f"""
import tensorflow as tf
from pipeline.cli import UserError
from tests.support.stopped_training import make_config
from trainer.train import train
try:
    train(make_config("nowhere", "nowhere", deterministic={deterministic}))
except UserError:
    pass
try:
    tf.random.normal([1])
except RuntimeError:
    print("refused")
else:
    print("drawn")
"""
    assert run_code(code) == f"{outcome}\n"
