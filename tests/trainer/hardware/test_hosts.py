"""Training on several machines: here processes on the loopback, each with its own TF_CONFIG."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import time

import numpy as np
import pytest

from pipeline.cli import UserError
from pipeline.dataset import manifests
from tests.support.stopped_training import make_config
from tests.support.trainer_data import write_dataset
from tests.support.warm_process import WarmProcess
from tests.trainer.test_train import assert_same_run, read_json, weights
from trainer import train
from trainer.config import PRECISIONS
from trainer.hardware.cluster import read_cluster
from trainer.hardware.hosts import Hosts
from trainer.runs import predictions
from trainer.runs.run_directory import read_state

# What is drawn for all hosts, and what looks at all of their gradients.
RECIPE = {"augment": ["shift", "rotate"], "clip_norm": 1.0, "ema_decay": 0.5}
# TensorFlow misses a host that has ended after ten seconds, which the tests would wait for.
PROGRAM = """
import functools, runpy
from tensorflow.python.eager.context import Context
Context.configure_coordination_service = functools.partialmethod(
    Context.configure_coordination_service, heartbeat_timeout_in_ms=4000
)
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run of three epochs on two hosts that nothing interrupted."""
    config = make_config(data, tmp_path_factory.mktemp("two") / "run", **RECIPE)
    assert [process.returncode for process in run_hosts(config)] == [0, 0]
    return config


def cluster(index, ports, job="worker"):
    hosts = [f"127.0.0.1:{port}" for port in ports]
    return json.dumps({"cluster": {job: hosts}, "task": {"type": job, "index": index}})


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]


def run_hosts(config, flags=((), ()), data=(), changes=(RECIPE, RECIPE)):
    """Trains on two hosts, or on one, to their end; returns what became of each.

    Args:
      flags: what each is to do besides: see tests.support.stopped_training.
      data: the data set of each, where they have their own.
      changes: fields of the configuration of each.
    """
    ports = free_ports(len(flags))
    processes = []
    try:
        for index, of_host in enumerate(flags):
            # A directory that does not exist and is not made: only the first host has the run's.
            run_dir = config.run_dir if index == 0 else f"{config.run_dir}-of-host-{index + 1}"
            directory = data[index] if data else config.dataset
            arguments = (directory, run_dir, json.dumps(changes[index]), *of_host)
            processes.append(start_host("tests.support.stopped_training", arguments, index, ports))
        done = [process.finish() for process in processes]
        assert not os.path.exists(f"{config.run_dir}-of-host-2")
        return done
    finally:
        for process in processes:
            process.kill()


def start_host(module, arguments, index, ports):
    """Starts a command as one of the hosts at these ports."""
    variables = os.environ | {"TF_CONFIG": cluster(index, ports)}
    return WarmProcess("-c", [PROGRAM.format(module=module), *arguments], variables=variables)


def assert_same_but_for_rounding(one, other):
    """History and last weights; float32 sums differ in their order only."""
    for name, values in read_json(one, "history.json").items():
        np.testing.assert_allclose(values, read_json(other, "history.json")[name], rtol=2e-3)
    ours, others = weights(one), weights(other)
    assert ours.keys() == others.keys()
    for name, value in ours.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, others[name], rtol=1e-2, atol=2e-3, err_msg=name)
        else:
            np.testing.assert_array_equal(value, others[name], err_msg=name)


def test_two_hosts_train_as_one_does(data, finished, tmp_path):
    one = make_config(data, tmp_path, **RECIPE)
    train.train(one)
    assert_same_but_for_rounding(one, finished)


@pytest.mark.parametrize(
    "kills",
    [
        [(2, 5), (1, 6)],
        pytest.param([(1, 10), (2, 3)], marks=pytest.mark.slow),
        pytest.param([(2, 2), (1, 9), (2, 6)], marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_on_two_hosts_goes_on_with_one_and_back(finished, data, tmp_path, kills):
    """`kills`: on how many hosts the run starts, and after how many steps the last is killed."""
    config = make_config(data, tmp_path / "run", **RECIPE)
    for hosts, step in kills:
        flags = [()] * (hosts - 1) + [("training step", str(step), "SIGKILL")]
        processes = run_hosts(config, flags)
        assert processes[-1].returncode == -signal.SIGKILL
    last = kills[-1][0]
    assert {process.returncode for process in run_hosts(config, [()] * (3 - last))} == {0}
    assert read_state(config.run_dir).step == 21
    assert_same_but_for_rounding(config, finished)


def test_the_first_host_writes_what_a_run_on_one_host_does(finished, data):
    state = read_state(finished.run_dir)
    answers = predictions.load(
        predictions.path_of(os.path.join(finished.run_dir, "checkpoints"), state.last.name)
    )
    manifest = manifests.read_manifest(data)
    labels = [example.label for example in manifests.DataSet(data, manifest).examples("validation")]
    assert answers.labels.tolist() == labels
    assert (answers.top_labels[:, 0] == labels).mean() == state.last.evaluation["top1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "point", "number"),
    [
        (1, "training step", 12),
        (0, "checkpoint complete, not yet named", 4),
        (1, "validation batch", 3),
    ],
)
def test_a_host_that_is_killed_ends_all_and_the_next_start_goes_on(
    finished, data, tmp_path, host, point, number
):
    config = make_config(data, tmp_path / "run", **RECIPE)
    flags = [(), ()]
    flags[host] = (point, str(number), "SIGKILL")
    processes = run_hosts(config, flags)
    assert processes[host].returncode == -signal.SIGKILL
    other = processes[1 - host]
    assert other.returncode == 1
    assert other.stderr.endswith(
        "error: another host has failed or cannot be reached; rerun the command on all hosts to "
        "resume from the newest checkpoint\n"
    )
    assert [process.returncode for process in run_hosts(config)] == [0, 0]
    assert_same_run(finished, config)


def test_a_host_that_is_asked_to_stop_stops_all_after_the_same_step(finished, data, tmp_path):
    config = make_config(data, tmp_path / "run", **RECIPE)
    first, second = run_hosts(config, [(), ("training step", "4", "SIGTERM")])
    assert (first.returncode, second.returncode) == (75, 75)
    assert read_state(config.run_dir).newest_step == 4
    assert "stopped with another host after step 4, saved in" in first.stderr
    assert "stopped by SIGTERM after step 4, saved in" in second.stderr
    assert [process.returncode for process in run_hosts(config)] == [0, 0]
    assert_same_run(finished, config)


def test_no_checkpoint_counts_while_a_shard_of_another_host_is_foreign(data, tmp_path):
    shutil.copytree(data, tmp_path / "other")
    write_dataset(tmp_path / "foreign", train=50, validation=23, seed=1)
    name = "quickdraw-train.tfrecord-00001-of-00003"  # the second host's
    shutil.copy(tmp_path / "foreign" / name, tmp_path / "other" / name)
    config = make_config(data, tmp_path / "run")
    first, second = run_hosts(config, data=[data, str(tmp_path / "other")])
    assert (first.returncode, second.returncode) == (1, 1)
    assert f"{name}: damaged, or of another data set" in second.stderr
    assert "another host has failed" in first.stderr
    assert read_state(config.run_dir).newest is None


def test_more_hosts_than_readers_of_the_training_shards_are_refused(data, tmp_path):
    config = make_config(data, tmp_path / "run")
    message = r"4 hosts, but 3 readers of the training shards in .* \(one a shard, at most 16"
    with pytest.raises(UserError, match=message):
        train.train(config, hosts=Hosts(4, 0))
    config = dataclasses.replace(config, batch_size=1)
    with pytest.raises(UserError, match="--batch_size=1: less than the number of hosts, 2"):
        train.train(config, hosts=Hosts(2, 0))


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", ([], 0)),
        ("{}", ([], 0)),
        (cluster(1, (5, 6)), (["127.0.0.1:5", "127.0.0.1:6"], 1)),
        (
            '{"cluster": {"worker": ["b:1", "c:1"], "chief": ["a:1"]}, '
            '"task": {"type": "worker", "index": 1}}',
            (["a:1", "b:1", "c:1"], 2),
        ),
    ],
)
def test_tf_config_says_who_is_there(monkeypatch, text, hosts):
    monkeypatch.setenv("TF_CONFIG", text)
    assert read_cluster() == hosts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not of the form"),
        ('{"cluster": {"worker": ["a:1"]}}', "not of the form"),
        ('{"cluster": ["a:1"], "task": {}}', "not of the form"),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
            "hosts here are chief or worker, not ps",
        ),
        (cluster(2, (5, 6)), "the cluster has no worker 2"),
    ],
)
def test_a_senseless_tf_config_is_one_line(monkeypatch, text, message):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=f"^TF_CONFIG: {message}"):
        read_cluster()


def test_flags_that_differ_between_hosts_are_refused(data, tmp_path):
    """Of the run's identity, and of how a host computes."""
    ports = free_ports(2)
    processes = [
        start_host(
            "trainer.main",
            [
                *(f"--dataset={data}", f"--run_dir={tmp_path}/run-{index}", "--experiment=small"),
                *("--batch_size=8", f"--seed={index}", f"--precision={PRECISIONS[index]}"),
            ],
            index,
            ports,
        )
        for index in range(2)
    ]
    first, second = [process.finish() for process in processes]
    assert (first.returncode, second.returncode) == (1, 2)
    assert second.stderr == (
        "error: host 2 has other settings than host 1: --seed (0 there, 1 here), "
        f"--precision ({PRECISIONS[0]} there, {PRECISIONS[1]} here)\n"
    )


def test_a_sweep_is_for_one_host(data, tmp_path):
    flags = (f"--dataset={data}", "--experiments=small", f"--run_dir={tmp_path}/sweep")
    done = start_host("trainer.sweep", flags, 0, (5, 6)).finish()
    assert done.returncode == 2
    assert done.stderr == "error: TF_CONFIG names several hosts; a sweep trains on one\n"


def test_a_host_alone_waits_until_ctrl_c(data, tmp_path):
    flags = (f"--dataset={data}", f"--run_dir={tmp_path}/run", "--experiment=small")
    process = start_host("trainer.main", flags, 0, free_ports(2))
    process.wait_for_line("host 1 of 2, waiting for the others\n")
    time.sleep(1)
    assert process.returncode is None
    process.send_signal(signal.SIGINT)
    assert process.finish().returncode == -signal.SIGINT
    assert not (tmp_path / "run").exists()
