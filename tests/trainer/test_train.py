"""A training run as a whole: what it learns, writes, resumes and refuses."""

import dataclasses
import json
import math
import os
import shutil
import signal
import threading

import numpy as np
import pytest
import tensorflow as tf

from pipeline.cli import RunError, Stopped, UserError
from pipeline.dataset import manifests
from tests.support.stopped_training import make_config
from tests.support.trainer_data import DEVICES, LABELS, tiny_experiment, write_dataset
from tests.support.warm_process import run_module
from trainer import train
from trainer.config import Interval
from trainer.data.input_pipeline import evaluation_batches
from trainer.hardware import devices, storage
from trainer.model import build_model
from trainer.runs import predictions, run_directory
from trainer.runs.run_directory import read_config, read_state
from trainer.runs.state import State
from trainer.training import checkpoints
from trainer.training.evaluation import evaluate
from trainer.training.log import profiled
from trainer.training.steps import make_evaluation_step


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run of three epochs that nothing interrupted."""
    config = make_config(data, tmp_path_factory.mktemp("finished"))
    train.train(config)
    return config


@pytest.fixture(scope="module")
def resumed(data, tmp_path_factory):
    """A run like `finished` that ended after an epoch and was resumed: (configuration, state).

    In a directory whose name looks like a pattern.
    """
    directory = tmp_path_factory.mktemp("resumed") / "run[1]*?\\x"
    config = make_config(data, directory, epochs=1)
    train.train(config)
    config = dataclasses.replace(config, epochs=3)
    return config, train.train(config)


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
    assert config["dataset_fingerprint"] == manifests.read_manifest(data).fingerprint
    assert os.listdir(os.path.join(finished.run_dir, "tensorboard"))


def test_metrics_count_every_step_and_epoch(finished):
    lines = metrics_lines(finished)
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert [(line["epoch"], line["step"]) for line in epochs] == [(1, 7), (2, 14), (3, 21)]
    assert epochs[-1]["val_top3"] == read_state(finished.run_dir).last.evaluation["top3"]
    steps = [line for line in lines if line["kind"] == "step"]
    assert steps[-1]["step"] == 21  # 50 drawings in batches of 8: 7 steps of 7 or 8
    for line in steps:
        assert line["images_per_second"] > 0
        assert 0 <= line["input_wait_share"] <= 1
        assert line["learning_rate"] == 1e-2


def test_only_the_last_and_the_best_checkpoint_stay(finished):
    state = read_state(finished.run_dir)
    files = os.listdir(os.path.join(finished.run_dir, "checkpoints"))
    names = {state.last.name, state.best.name}
    assert {file.partition(".")[0] for file in files} == names | {"state"}


@pytest.mark.parametrize("which", ["last", "best"])
def test_the_answers_to_all_validation_drawings_lie_beside_a_checkpoint(finished, data, which):
    saved = getattr(read_state(finished.run_dir), which)
    directory = os.path.join(finished.run_dir, "checkpoints")
    answers = predictions.load(predictions.path_of(directory, saved.name))
    manifest = manifests.read_manifest(data)
    labels = [example.label for example in manifests.DataSet(data, manifest).examples("validation")]
    assert answers.labels.tolist() == labels
    assert (answers.top_labels[:, 0] == answers.labels).mean() == saved.evaluation["top1"]
    assert -np.log(answers.label_probabilities).mean() == pytest.approx(saved.evaluation["loss"])
    np.testing.assert_allclose(answers.top_probabilities.sum(axis=1), 1, rtol=1e-5)  # 3 classes


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(finished, resumed, tmp_path):
    """It is compared in a copy: TensorFlow's reader of checkpoints takes a name for a pattern."""
    copy = shutil.copytree(resumed[0].run_dir, tmp_path / "copy")
    assert_same_run(finished, dataclasses.replace(resumed[0], run_dir=str(copy)))
    config = read_config(resumed[0].run_dir)
    assert config["epochs"] == 1  # as it began
    assert run_directory.latest(config, "epochs") == 3


def stop_training(data, run_dir, point, number, signal, changes="{}"):
    """Runs until the signal comes; what the process leaves behind."""
    arguments = (data, run_dir, changes, point, number, signal)
    return run_module("tests.support.stopped_training", arguments)


@pytest.mark.parametrize(
    "kills",
    [
        # Checkpoints are saved every second of 7 steps.
        [("training step", 1), ("training step", 6)],
        [("checkpoint written, not yet on the disk", 5), ("validation batch", 2)],
        [("checkpoint complete, not yet named", 6), ("training step", 10)],  # the 17th of all
        [("predictions", 2), ("validation batch", 1)],  # the 4th of all
        [("epoch logged, not yet committed", 2)],
    ],
)
def test_a_run_killed_anywhere_ends_as_if_it_had_not_been(finished, data, tmp_path, kills):
    """Each start goes on from what the kill before left, and counts from there."""
    config = make_config(data, tmp_path)
    for point, number in kills:
        assert stop_training(data, tmp_path, point, number, "SIGKILL").returncode == -9
        with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"kind": "st')  # a line cut off
    train.train(config)
    assert_same_run(finished, config)
    epochs = [line["epoch"] for line in metrics_lines(config) if line["kind"] == "epoch"]
    assert epochs == [1, 2, 3]
    state = read_state(config.run_dir)
    names = {file.partition(".")[0] for file in os.listdir(tmp_path / "checkpoints")}
    assert names == state.names() | {"state"}


def test_a_run_that_is_asked_to_stop_saves_where_it_is(finished, data, tmp_path):
    """Each start counts from where the one before stopped."""
    for name, point, number, step in (
        ("SIGHUP", "training step", 2, 2),
        ("SIGTERM", "training step", 2, 4),
        ("SIGTERM", "validation batch", 1, 7),
        ("SIGINT", "training step", 6, 13),
    ):
        stopped = stop_training(data, tmp_path, point, number, name)
        assert stopped.returncode == 75
        assert stopped.stderr.splitlines()[-1] == (
            f"stopped by {name} after step {step}, saved in {tmp_path}; rerun the command to resume"
        )
        assert read_state(str(tmp_path)).newest_step == step
    config = make_config(data, tmp_path)
    train.train(config)
    assert_same_run(finished, config)


def test_two_processes_do_not_train_in_one_directory(data, tmp_path):
    with run_directory.locked(str(tmp_path)), pytest.raises(UserError, match="another process"):
        train.train(make_config(data, tmp_path))


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
        ({"experiment": tiny_experiment(0.5)}, "the experiment's architecture"),
        ({"experiment": tiny_experiment(batch_norm=True)}, "the experiment's architecture"),
        ({"ema_decay": 0.9}, "--ema_decay (0.0 there, 0.9 here)"),
        ({"augment": ("shift",)}, "--augment ([] there, ['shift'] here)"),
    ],
)
def test_a_run_directory_of_another_configuration_is_refused(finished, changes, named):
    with pytest.raises(UserError) as error:
        train.train(dataclasses.replace(finished, epochs=4, **changes))
    assert named in str(error.value)
    assert read_config(finished.run_dir)["epochs"] == 3


def test_with_a_cosine_schedule_the_epochs_belong_to_the_run(data, tmp_path):
    config = make_config(data, tmp_path, epochs=1, learning_rate_schedule="cosine")
    train.train(config)
    with pytest.raises(UserError, match=r"--epochs \(1 there, 2 here\); .* --init_from="):
        train.train(dataclasses.replace(config, epochs=2))


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


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_shard_of_another_data_set_is_named_and_no_checkpoint_counts(tmp_path, split):
    """Its length and its checksums are right."""
    manifest = write_dataset(tmp_path / "data")
    write_dataset(tmp_path / "other", seed=1)
    name = manifest.splits[split].shards[1].file
    shutil.copy(tmp_path / "other" / name, tmp_path / "data" / name)
    with pytest.raises(RunError, match=f"{name}: damaged, or of another data set"):
        train.train(make_config(tmp_path / "data", tmp_path / "run"))
    assert read_state(str(tmp_path / "run")).newest is None
    assert run_directory.read_unverified(str(tmp_path / "run")) is None


def stop_while_shards_are_compared(config, monkeypatch, step):
    """SIGTERM after a step, while reading the shards never ends."""
    with monkeypatch.context() as patch:
        patch.setattr(storage, "sha256", lambda _: threading.Event().wait())
        add = train.Meter.add

        def add_and_stop(meter, *args):
            add(meter, *args)
            if meter.step == step:
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(train.Meter, "add", add_and_stop)
        with pytest.raises(Stopped, match=f"after step {step}, .* before all data was compared"):
            train.train(config)
    assert read_state(config.run_dir).newest is None
    assert run_directory.read_unverified(config.run_dir).state.newest_step == step


@pytest.mark.parametrize("step", [4, 10])
def test_a_signal_does_not_wait_for_the_shards_to_be_compared(
    finished, data, tmp_path, monkeypatch, capsys, step
):
    """What was saved counts once the next start has compared them."""
    config = make_config(data, tmp_path)
    stop_while_shards_are_compared(config, monkeypatch, step)
    capsys.readouterr()
    train.train(config)
    assert f"resumed after step {step}" in capsys.readouterr().out
    assert_same_run(finished, config)


def test_a_run_that_has_trained_all_waits_for_the_shards_until_a_signal(
    finished, data, tmp_path, monkeypatch
):
    config = make_config(data, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "sha256", lambda _: threading.Event().wait())
        patch.setattr(train.time, "sleep", lambda _: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Stopped, match="after step 21"):
            train.train(config)
    assert read_state(config.run_dir) == State()
    train.train(config)
    assert_same_run(finished, config)


def test_what_was_learned_from_shards_that_changed_unseen_does_not_count(
    finished, tmp_path, monkeypatch, capsys
):
    manifest = write_dataset(tmp_path / "data", train=50, validation=23)
    path = tmp_path / "data" / manifest.splits["train"].shards[1].file
    right = path.read_bytes()
    write_dataset(tmp_path / "other", train=50, validation=23, seed=1)
    shutil.copy(tmp_path / "other" / path.name, path)
    config = make_config(tmp_path / "data", tmp_path / "run")
    stop_while_shards_are_compared(config, monkeypatch, 4)
    path.write_bytes(right)
    train.train(config)
    assert "has changed since step 4, which was saved unverified" in capsys.readouterr().out
    assert_same_run(finished, config)


def test_shards_that_were_compared_are_not_read_again_by_the_next_start(
    data, tmp_path, monkeypatch
):
    config = make_config(data, tmp_path, epochs=1)
    train.train(config)
    monkeypatch.setattr(storage, "sha256", lambda path: pytest.fail(f"{path} is read again"))
    assert train.train(dataclasses.replace(config, epochs=2)).epoch == 2


def test_a_run_goes_on_with_other_hardware_and_says_so(data, tmp_path, capsys, monkeypatch):
    """What changes how sums round is no part of a run's identity."""
    config = make_config(data, tmp_path, epochs=1, precision="mixed_bfloat16")
    train.train(config)
    # "auto" takes what the run has, whatever the hardware would.
    monkeypatch.setattr(devices, "choose_precision", lambda: pytest.fail("asked for"))
    capsys.readouterr()
    train.train(dataclasses.replace(config, epochs=2, precision="auto"))
    assert "changed" not in capsys.readouterr().out
    train.train(dataclasses.replace(config, epochs=3, precision="float32"), DEVICES[:2])
    expected = (
        "changed     precision float32, mixed_bfloat16 before; devices CPU:0, CPU:1, CPU:0 "
        "before: sums may round differently"
    )
    assert expected in capsys.readouterr().out.splitlines()
    sessions = read_config(config.run_dir)["sessions"]
    assert [(each["from_step"], each["to_step"]) for each in sessions] == [
        (0, 7),
        (7, 14),
        (14, 21),
    ]
    assert [each["precision"] for each in sessions] == [*["mixed_bfloat16"] * 2, "float32"]
    assert [each["devices"] for each in sessions][1:] == [["CPU:0"], ["CPU:0", "CPU:1"]]
    assert {"tensorflow", "keras", "numpy"} < sessions[0]["versions"].keys()


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_run_gains_and_loses_the_loss_scale_with_its_precision(data, tmp_path, precision):
    before = {"float32": "mixed_float16", "mixed_float16": "float32"}[precision]
    config = make_config(data, tmp_path, epochs=1, precision=before)
    train.train(config)
    state = train.train(dataclasses.replace(config, epochs=2, precision=precision))
    assert state.epoch == 2


def test_xla_of_a_run_is_left_out_where_several_replicas_go_on(data, tmp_path):
    config = make_config(data, tmp_path, epochs=1, xla="on")
    train.train(config)
    auto = dataclasses.replace(config, epochs=2, xla="auto")
    train.train(auto, DEVICES[:2])
    with pytest.raises(UserError, match="--xla=on: only with a single GPU"):
        train.train(dataclasses.replace(auto, epochs=3, xla="on"), DEVICES[:2])
    assert [each["xla"] for each in read_config(config.run_dir)["sessions"]] == ["on", "off"]


def test_checkpoints_of_all_epochs_can_be_kept_and_loaded(data, tmp_path):
    config = make_config(data, tmp_path, keep_checkpoints=None)
    state = train.train(config)
    for epoch in range(1, 4):
        assert checkpoints.load_run(config.run_dir, str(epoch)).epoch == epoch
    assert state.find("4") is None
    with pytest.raises(UserError, match="no checkpoint of epoch 4; there are best, last, 1, 2, 3"):
        checkpoints.load_run(config.run_dir, "4")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(data, tmp_path):
    with pytest.raises(RunError, match=r"step \d+: the loss is (nan|inf)"):
        train.train(make_config(data, tmp_path, learning_rate=1e30))
    assert read_state(str(tmp_path)).newest is None


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(data, tmp_path, monkeypatch):
    """One weight becomes NaN after the ninth step, which only the tenth's loss would show."""
    original = train.Meter.add

    def add(meter, *args):
        original(meter, *args)
        if meter.step == 9:
            weight = states[0].model.trainable_variables[-1]
            weight.assign(np.full(weight.shape, np.nan))

    states = []
    make_train_state = train.make_train_state
    monkeypatch.setattr(
        train, "make_train_state", lambda *args: states.append(make_train_state(*args)) or states[0]
    )
    monkeypatch.setattr(train.Meter, "add", add)
    config = make_config(data, tmp_path, checkpoint_every=Interval(steps=1))
    with pytest.raises(RunError, match=r"step-00000009: .*logits.* is not finite"):
        train.train(config)
    assert read_state(config.run_dir).newest.name == "step-00000008"
    assert read_state(config.run_dir).epoch == 1
    assert all(np.isfinite(values).all() for values in weights(config).values())


def test_a_run_stops_early_where_validation_stops_getting_better(data, tmp_path, capsys):
    config = make_config(data, tmp_path, learning_rate=0.0, epochs=9, early_stopping=2)
    state = train.train(config)
    assert (state.epoch, state.best.epoch) == (3, 1)
    train.train(config)
    assert "finished before, after epoch 3" in capsys.readouterr().out


def test_the_average_of_the_weights_is_what_is_validated_and_restored(data, tmp_path):
    config = make_config(data, tmp_path, epochs=2, ema_decay=0.9)
    state = train.train(config)
    model = build_model(config.experiment, len(LABELS))
    checkpoints.restore(config.run_dir, state.last.name, model)
    step = make_evaluation_step(tf.distribute.get_strategy(), model)
    batches = evaluation_batches(train.VerifiedData(data, ["validation"]), "validation", 8)
    evaluation, _ = evaluate(step, batches, LABELS)
    assert evaluation == state.last.evaluation
    kernel = model.trainable_variables[0]
    trained = weights(config)["model/stem_1_1.Skernel/.ATTRIBUTES/VARIABLE_VALUE"]
    assert trained.shape == kernel.shape
    assert np.any(trained != kernel.numpy())


def test_a_profile_is_written_for_tensorboard(data, tmp_path):
    train.train(make_config(data, tmp_path, profile=True))
    assert list(tmp_path.glob("tensorboard/plugins/profile/*/*.xplane.pb"))


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (7, "no profile: it begins after 10 steps, and only 7 were left\n"),
        (13, "profile of 3 steps in {directory}\n"),
        (25, "profile of 10 steps in {directory}\n"),
    ],
)
def test_a_profile_says_how_many_steps_it_has(steps, text, tmp_path, capsys):
    with profiled(str(tmp_path)) as after_step:
        for _ in range(steps):
            after_step()
    assert capsys.readouterr().out == text.format(directory=tmp_path)
    assert bool(list(tmp_path.rglob("*.xplane.pb"))) == (steps > 10)


def test_several_replicas_train_as_one_does(finished, data, tmp_path):
    """Dropout and partial batches included; float32 sums differ in their order only."""
    config = make_config(data, tmp_path)
    train.train(config, DEVICES[:2])
    one, two = read_json(finished, "history.json"), read_json(config, "history.json")
    for key in one:
        np.testing.assert_allclose(one[key], two[key], rtol=1e-3, err_msg=key)


def test_a_run_on_png_images_is_the_run_on_packed_ones(finished, tmp_path):
    write_dataset(tmp_path / "data", train=50, validation=23, encoding="png")
    config = make_config(tmp_path / "data", tmp_path / "run")
    train.train(config)
    assert read_json(config, "history.json") == read_json(finished, "history.json")
    np.testing.assert_equal(weights(config), weights(finished))


def test_a_run_directory_s_name_is_never_a_pattern(finished, resumed):
    config, state = resumed
    assert state.epoch == 3
    assert read_json(config, "history.json") == read_json(finished, "history.json")
    checkpoints.load_run(config.run_dir, "best")
