"""A training run as a whole: what it learns, writes, resumes and refuses."""

import dataclasses
import json
import math
import os

import numpy as np
import pytest
import tensorflow as tf

from pipeline import dataset
from pipeline.errors import RunError, UserError
from tests.trainer_data import DEVICES, LABELS, tiny_experiment, write_dataset
from trainer import checkpoints, run_directory, train
from trainer.config import TrainConfig
from trainer.run_directory import read_config, read_state


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory, train=50, validation=23)
    return str(directory)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run of three epochs that nothing interrupted."""
    config = make_config(data, tmp_path_factory.mktemp("finished"))
    train.train(config)
    return config


def make_config(data, run_dir, **changes) -> TrainConfig:
    fields = {
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "precision": "float32",
        "seed": 5,
    }
    return TrainConfig(
        dataset=str(data), run_dir=str(run_dir), experiment=tiny_experiment(), **fields | changes
    )


def read_json(config, name):
    with open(os.path.join(config.run_dir, name), encoding="utf-8") as file:
        return json.load(file)


def metrics_lines(config):
    with open(os.path.join(config.run_dir, "metrics.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def weights(config, which="last") -> dict[str, np.ndarray]:
    """Everything in a checkpoint, by name."""
    name = getattr(read_state(config.run_dir), which).name
    path = os.path.join(config.run_dir, "checkpoints", name)
    return {
        name: tf.train.load_variable(path, name)
        for name, _ in tf.train.list_variables(path)
        if "OBJECT_GRAPH" not in name
    }


def assert_same_run(one, other):
    """Bit for bit: weights, optimizer, random state, history, evaluation, best."""
    for which in ("last", "best"):
        a, b = weights(one, which), weights(other, which)
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    for name in ("history.json", "evaluation.json", "checkpoints/state.json"):
        assert read_json(one, name) == read_json(other, name)


def test_a_run_learns_and_writes_its_directory(finished, data):
    history = read_json(finished, "history.json")
    assert set(history) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert all(len(values) == 3 for values in history.values())
    assert history["val_loss"][-1] < 0.8 * math.log(3)
    evaluation = read_json(finished, "evaluation.json")
    assert (evaluation["split"], evaluation["checkpoint"]) == ("validation", "last")
    assert (evaluation["epoch"], evaluation["examples"]) == (3, 23)
    assert evaluation["top1"] == history["val_accuracy"][-1]
    assert evaluation["best"]["top1"] == max(history["val_accuracy"])
    best_epoch = 1 + int(np.argmax(history["val_accuracy"]))
    assert evaluation["best"]["epoch"] == best_epoch
    assert [entry["label"] for entry in evaluation["per_class"]] == list(LABELS)
    config = read_config(finished.run_dir)
    assert config["labels"] == list(LABELS)
    assert config["dataset_fingerprint"] == dataset.read_manifest(data).fingerprint
    assert os.listdir(os.path.join(finished.run_dir, "tensorboard"))


def test_metrics_count_every_step_and_epoch(finished):
    lines = metrics_lines(finished)
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert [(line["epoch"], line["step"]) for line in epochs] == [(1, 7), (2, 14), (3, 21)]
    steps = [line for line in lines if line["kind"] == "step"]
    assert steps[-1]["step"] == 21  # 50 drawings in batches of 8: 7 steps, the last one of 2
    for line in steps:
        assert line["images_per_second"] > 0
        assert 0 <= line["input_wait_share"] <= 1
        assert line["learning_rate"] == 1e-2


def test_only_the_last_and_the_best_checkpoint_stay(finished):
    state = read_state(finished.run_dir)
    files = os.listdir(os.path.join(finished.run_dir, "checkpoints"))
    names = {state.last.name, state.best.name}
    assert {file.partition(".")[0] for file in files} == names | {"state"}


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(finished, data, tmp_path):
    one_epoch = make_config(data, tmp_path, epochs=1)
    train.train(one_epoch)
    resumed = dataclasses.replace(one_epoch, epochs=3)
    train.train(resumed)
    assert_same_run(finished, resumed)
    assert read_config(resumed.run_dir)["epochs"] == 3


@pytest.mark.parametrize("function", ["save", "commit"])
def test_a_run_killed_while_it_saves_resumes_without_duplicates(
    finished, data, tmp_path, monkeypatch, function
):
    """Killed in the second epoch: before its checkpoint, or with it but before it counts."""
    module = {"save": checkpoints, "commit": run_directory}[function]
    original = getattr(module, function)
    calls = []

    def killed_in_epoch_two(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(*args, **kwargs)

    config = make_config(data, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, function, killed_in_epoch_two)
        with pytest.raises(KeyboardInterrupt):
            train.train(config)
    with open(os.path.join(config.run_dir, "metrics.jsonl"), "a", encoding="utf-8") as file:
        file.write('{"kind": "st')  # a line cut off
    leftovers = os.path.join(config.run_dir, "checkpoints", "step-00000011_temp")
    os.mkdir(leftovers)
    train.train(config)
    assert_same_run(finished, config)
    epochs = [line["epoch"] for line in metrics_lines(config) if line["kind"] == "epoch"]
    assert epochs == [1, 2, 3]
    assert not os.path.exists(leftovers)


def test_a_finished_run_says_so_and_stays_as_it_is(finished, capsys):
    before = weights(finished)
    train.train(finished)
    assert "finished before, after epoch 3" in capsys.readouterr().out
    np.testing.assert_equal(weights(finished), before)


def test_another_seed_is_another_run(finished, data, tmp_path):
    other = make_config(data, tmp_path, epochs=1, seed=6)
    train.train(other)
    assert (
        read_json(other, "history.json")["loss"][0]
        != read_json(finished, "history.json")["loss"][0]
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 6}, "--seed (5 there, 6 here)"),
        ({"batch_size": 10}, "--batch_size (8 there, 10 here)"),
        ({"learning_rate": 1e-3}, "--learning_rate (0.01 there, 0.001 here)"),
        ({"precision": "mixed_bfloat16"}, "--precision (float32 there, mixed_bfloat16 here)"),
        ({"experiment": tiny_experiment(0.5)}, "the experiment's architecture"),
    ],
)
def test_a_run_directory_of_another_configuration_is_refused(finished, changes, named):
    with pytest.raises(UserError) as error:
        train.train(dataclasses.replace(finished, epochs=4, **changes))
    assert named in str(error.value)
    assert read_config(finished.run_dir)["epochs"] == 3


def test_a_run_directory_knows_its_data_by_content(finished, tmp_path):
    write_dataset(tmp_path / "copy", train=50, validation=23)
    train.train(dataclasses.replace(finished, dataset=str(tmp_path / "copy")))
    write_dataset(tmp_path / "other", train=50, validation=23, seed=1)
    with pytest.raises(UserError, match="the content of --dataset"):
        train.train(dataclasses.replace(finished, dataset=str(tmp_path / "other")))


def test_a_directory_with_other_files_is_refused(data, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty and no run directory"):
        train.train(make_config(data, tmp_path))
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_data_set_that_cannot_be_trained_on_leaves_no_run_directory(data, tmp_path):
    with pytest.raises(UserError, match="--batch_size=51 is larger"):
        train.train(make_config(data, tmp_path / "run", batch_size=51))
    assert not (tmp_path / "run").exists()


def test_a_shard_damaged_in_the_middle_is_named(tmp_path):
    manifest = write_dataset(tmp_path / "data")
    shard = manifest.splits["train"].shards[1]
    path = tmp_path / "data" / shard.file
    content = bytearray(path.read_bytes())
    content[shard.bytes // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=f"{path}: damaged"):
        train.train(make_config(tmp_path / "data", tmp_path / "run"))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(data, tmp_path):
    with pytest.raises(RunError, match=r"step \d+: the loss is (nan|inf)"):
        train.train(make_config(data, tmp_path, learning_rate=1e30))
    assert read_state(str(tmp_path)).last is None


def test_several_replicas_train_as_one_does(finished, data, tmp_path):
    """Dropout and partial batches included; float32 sums differ in their order only."""
    config = make_config(data, tmp_path)
    train.train(config, DEVICES[:2])
    one, two = read_json(finished, "history.json"), read_json(config, "history.json")
    for key in one:
        np.testing.assert_allclose(one[key], two[key], rtol=1e-3, err_msg=key)
