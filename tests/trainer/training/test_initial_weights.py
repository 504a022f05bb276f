"""Runs that start from trained weights: what is taken over, trained, frozen, resumed, refused."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from pipeline.cli import UserError
from pipeline.dataset import manifests
from tests.support.stopped_training import make_config
from tests.support.trainer_data import LABELS, tiny_experiment, write_dataset
from tests.trainer.hardware.test_hosts import run_hosts
from tests.trainer.test_main import run
from tests.trainer.test_train import assert_same_run, read_json, stop_training
from trainer import train
from trainer.exports.job import export_run
from trainer.hardware.hosts import ONE_HOST
from trainer.model import build_model, freeze
from trainer.models import costs
from trainer.models.experiments import STAGES
from trainer.runs.run_directory import read_config, read_state
from trainer.training import checkpoints, initial_weights
from trainer.training.initial_weights import DESCRIPTION

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

OTHER_LABELS = ("sun", *LABELS, "tree")


def relabel(directory, labels):
    """Gives a data set other categories; those that are new have no drawings."""
    path = os.path.join(directory, "manifest.json")
    with open(path, encoding="utf-8") as file:
        manifest = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(manifest | {"labels": list(labels)}, file)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory)
    return str(directory)


@pytest.fixture(scope="module")
def other_data(tmp_path_factory):
    """Of five categories."""
    directory = tmp_path_factory.mktemp("other")
    write_dataset(directory, seed=1)
    relabel(directory, OTHER_LABELS)
    return str(directory)


@pytest.fixture(scope="module")
def source(data, tmp_path_factory):
    """A run with batch normalisation and an average of its weights, exported too."""
    config = make_config(data, tmp_path_factory.mktemp("source") / "A", epochs=2, ema_decay=0.5)
    config = dataclasses.replace(config, experiment=tiny_experiment(batch_norm=True))
    train.train(config)
    with contextlib.redirect_stdout(io.StringIO()):
        export_run(config.run_dir, "best", ["keras"])
    return config


@pytest.fixture(scope="module")
def plain_source(data, tmp_path_factory):
    """A run of the experiment that `stopped_training` knows."""
    config = make_config(data, tmp_path_factory.mktemp("plain") / "A", epochs=1)
    train.train(config)
    return config


@pytest.fixture(scope="module")
def keras_file(source):
    return os.path.join(source.run_dir, "export", "model.keras")


def tune(source, dataset, run_dir, **changes):
    """A configuration that starts from the source, of its architecture."""
    fields = {"init_from": source.run_dir, "epochs": 1} | changes
    config = make_config(dataset, run_dir, **fields)
    return dataclasses.replace(config, experiment=source.experiment)


@pytest.fixture(scope="module")
def headed(source, data, tmp_path_factory):
    """All is frozen but the head, which a learning rate of 0 leaves as it is.

    Configuration, state in the end, and what was printed.
    """
    run_dir = tmp_path_factory.mktemp("headed") / "B"
    config = tune(source, data, run_dir, learning_rate=0.0, freeze="head")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        state = train.train(config)
    return config, state, printed.getvalue()


@pytest.fixture(scope="module")
def tuned(plain_source, data, tmp_path_factory):
    """Configuration of a run that started from a copy of `plain_source`, which is gone."""
    directory = tmp_path_factory.mktemp("tuned")
    copy = shutil.copytree(plain_source.run_dir, directory / "A")
    config = tune(plain_source, data, directory / "B", init_from=str(copy))
    train.train(config)
    shutil.rmtree(copy)
    return config


def values_of(model):
    return {variable.path: variable.numpy() for variable in model.weights}


def make_train_state(config):
    manifest = manifests.read_manifest(config.dataset)
    _, weights = initial_weights.find_weights(config, manifest.labels, ONE_HOST)
    strategy = tf.distribute.get_strategy()
    return train.make_train_state(config, "float32", manifest.labels, strategy, weights)


def test_on_other_categories_the_body_is_the_source_s_and_the_head_new(
    source, other_data, tmp_path
):
    config = tune(source, other_data, tmp_path / "B", ema_decay=0.9)
    state = make_train_state(config)
    before = values_of(checkpoints.load_run(source.run_dir, "best").model)
    after = values_of(state.model)
    assert after.keys() == before.keys()
    body = [path for path in before if not path.startswith("logits/")]
    for path in body:
        np.testing.assert_array_equal(after[path], before[path], err_msg=path)
    fresh = make_train_state(dataclasses.replace(config, init_from=None))
    np.testing.assert_array_equal(after["logits/kernel"], values_of(fresh.model)["logits/kernel"])
    assert after["logits/kernel"].shape[1] == 5
    for average, variable in zip(state.average.variables, state.model.weights, strict=True):
        np.testing.assert_array_equal(average.numpy(), variable.numpy())


def test_labels_in_another_order_are_other_categories(source, data, tmp_path):
    weights = initial_weights.read_weights(source.run_dir)
    model = build_model(source.experiment, 3)
    head = values_of(model)["logits/kernel"]
    weights.copy_to(model, LABELS[::-1])
    np.testing.assert_array_equal(values_of(model)["logits/kernel"], head)
    weights.copy_to(model, LABELS)
    assert np.any(values_of(model)["logits/kernel"] != head)


def test_on_the_same_categories_it_starts_with_the_source_s_accuracy(source, headed):
    _, state, printed = headed
    best = read_state(source.run_dir).best
    assert state.last.evaluation == best.evaluation
    assert f"starts from {source.run_dir}, epoch {best.epoch}; its head too" in printed


def test_frozen_stages_stay_to_the_bit_and_all_others_are_trained(
    source, other_data, tmp_path, capsys
):
    """Moving statistics of frozen batch normalisation, and the average of the weights, too."""
    recipe = {"ema_decay": 0.5, "weight_decay": 0.1, "clip_norm": 0.1}
    config = tune(source, other_data, tmp_path / "B", freeze="blocks_b", **recipe)
    train.train(config)
    before = initial_weights.read_weights(source.run_dir).values
    after = initial_weights.read_weights(config.run_dir).values  # the average
    for path in before:
        is_frozen = path.startswith(("stem", "a1_", "reduction_a"))
        if not path.startswith("logits/"):
            assert np.array_equal(before[path], after[path]) == is_frozen, path

    described = read_config(config.run_dir)
    total, trained = described["parameters"], described["trained_parameters"]
    assert 0 < trained < total
    printed = capsys.readouterr().out
    assert f"{total:,} parameters, {trained:,} of them trained" in printed
    assert "; new head for 5 categories" in printed
    assert described["freeze"] == "blocks_b"
    assert described["init_from"] == initial_weights.read_weights(source.run_dir).describe()
    assert described["init_from"]["path"] == source.run_dir


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_number_of_trained_parameters_is_that_of_the_model(batch_norm):
    experiment = tiny_experiment(batch_norm=batch_norm)
    for stage in (None, *STAGES):
        model = build_model(experiment, 5)
        if stage:
            freeze(model, stage)
        counted = sum(int(np.prod(each.shape)) for each in model.trainable_variables)
        assert costs.trained_parameters(experiment.architecture, 5, stage) == counted


def test_frozen_batch_normalisation_uses_its_moving_statistics(source):
    model = checkpoints.load_run(source.run_dir, "best").model
    freeze(model, "head")
    images = np.random.default_rng(0).random((4, 85, 85, 1), np.float32)
    body = type(model)(model.input, model.get_layer("average_pool").output)
    np.testing.assert_array_equal(body(images, training=True), body(images, training=False))


def test_the_keras_file_of_a_run_starts_what_the_run_starts(source, keras_file, data, tmp_path):
    weights = [initial_weights.read_weights(path) for path in (source.run_dir, keras_file)]
    one, other = (each.describe() for each in weights)
    assert other == one | {"path": keras_file}
    assert weights[0].labels == weights[1].labels == LABELS
    np.testing.assert_equal(weights[0].values, weights[1].values)


def test_a_killed_run_that_started_elsewhere_ends_as_if_it_had_not_been(
    plain_source, other_data, tmp_path
):
    """Source is gone by then."""
    source = str(shutil.copytree(plain_source.run_dir, tmp_path / "A"))
    changes = {"init_from": source, "freeze": "blocks_b", "epochs": 2}
    whole = make_config(other_data, tmp_path / "whole", **changes)
    train.train(whole)
    resumed = make_config(other_data, tmp_path / "resumed", **changes)
    killed = stop_training(
        other_data, resumed.run_dir, "training step", 4, "SIGKILL", json.dumps(changes)
    )
    assert killed.returncode == -9, killed.stderr
    shutil.rmtree(source)
    train.train(resumed)
    assert_same_run(whole, resumed)
    one, other = (
        read_json(config, "config.json") | {"sessions": []} for config in (whole, resumed)
    )
    assert one == other


def test_of_several_hosts_only_the_first_needs_the_source(plain_source, data, tmp_path):
    """Each evaluates its own shards, with weights that a learning rate of 0 leaves as they were."""
    changes = {"freeze": "head", "learning_rate": 0.0, "epochs": 1}
    config = make_config(data, tmp_path / "B", init_from=plain_source.run_dir, **changes)
    sources = (config.init_from, str(tmp_path / "none"))
    processes = run_hosts(config, changes=[changes | {"init_from": path} for path in sources])
    assert [process.returncode for process in processes] == [0, 0], processes[1].stderr
    evaluation = read_state(config.run_dir).last.evaluation
    expected = read_state(plain_source.run_dir).best.evaluation
    assert evaluation["confusion"] == expected["confusion"]
    assert evaluation["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_a_source_that_changed_before_the_first_checkpoint_is_refused(tuned, tmp_path):
    config = dataclasses.replace(tuned, run_dir=str(tmp_path / "B"))
    shutil.copytree(tuned.run_dir, config.run_dir)
    os.remove(tmp_path / "B" / "checkpoints" / "state.json")
    shutil.copytree(tuned.run_dir, tuned.init_from)  # other weights: they were trained further
    message = r"--init_from=.*/A: its weights have changed since .*/B"
    try:
        with pytest.raises(UserError, match=message):
            train.train(config)
    finally:
        shutil.rmtree(tuned.init_from)


def test_the_source_and_what_is_frozen_belong_to_a_run(headed, keras_file):
    config, *_ = headed
    for changes, named in (
        ({"init_from": None, "freeze": None}, "--init_from"),
        ({"init_from": keras_file}, "--init_from"),
        ({"freeze": "blocks_c"}, "--freeze (head there, blocks_c here)"),
    ):
        with pytest.raises(UserError) as error:
            train.train(dataclasses.replace(config, epochs=2, **changes))
        assert named in str(error.value)


def test_a_source_of_another_architecture_is_refused_and_leaves_no_run(source, data, tmp_path):
    for batch_norm, filters, message in (
        (True, 6, r"b1_1_1/kernel is of shape \(1, 1, 12, 4\) there and .* 12, 6\) here"),
        (False, 4, r"stem_1_1_norm/gamma is of shape \(8,\) there and missing here"),
    ):
        experiment = tiny_experiment(batch_norm=batch_norm)
        block = dataclasses.replace(experiment.architecture.block_b, filters=filters)
        architecture = dataclasses.replace(experiment.architecture, block_b=block)
        config = tune(source, data, tmp_path / "B")
        experiment = dataclasses.replace(experiment, architecture=architecture)
        with pytest.raises(UserError, match=f"of another architecture: {message}"):
            train.train(dataclasses.replace(config, experiment=experiment))
        assert not (tmp_path / "B").exists()


def test_a_run_does_not_start_from_itself(source, keras_file):
    for path in (source.run_dir, f"{source.run_dir}/.", keras_file):
        config = dataclasses.replace(source, init_from=path, epochs=5)
        with pytest.raises(UserError, match=r"the run's own; resume a run with more --epochs"):
            train.train(config)


def test_the_experiment_is_the_source_s(source, plain_source, keras_file, tuned, tmp_path):
    for path in (source.run_dir, keras_file):
        found = initial_weights.find_experiment(path, None)
        assert (found.name, found.architecture) == ("tiny", source.experiment.architecture)
    found = initial_weights.find_experiment(tuned.init_from, tuned.run_dir)
    assert (found.name, found.architecture) == ("tiny", plain_source.experiment.architecture)
    with pytest.raises(UserError, match=r"/A: no such file or directory"):
        initial_weights.find_experiment(tuned.init_from, str(tmp_path / "C"))


def without_description(keras_file, path):
    """Same file as an older trainer.export wrote it."""
    with zipfile.ZipFile(keras_file) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            if entry.filename != DESCRIPTION:
                new.writestr(entry, old.read(entry))
    return str(path)


def test_an_older_keras_file_needs_the_experiment(source, keras_file, data, tmp_path):
    old = without_description(keras_file, tmp_path / "old.keras")
    with pytest.raises(UserError, match="does not contain its architecture"):
        initial_weights.find_experiment(old, None)
    config = tune(source, data, tmp_path / "B", init_from=old, learning_rate=0.0, freeze="head")
    state = train.train(config)
    assert state.last.evaluation == read_state(source.run_dir).best.evaluation
    assert read_config(config.run_dir)["init_from"]["epoch"] is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "no such file or directory"),
        ("empty", "no run directory"),
        ("file.txt", "neither a run directory nor a .keras file"),
        ("bad.keras", "damaged, or not written by trainer.export"),
        ("gs://bucket/A", "it has to be on this machine"),
    ],
)
def test_what_is_no_source_is_refused(name, message, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").touch()
    (tmp_path / "bad.keras").write_bytes(b"PK")
    path = name if "://" in name else str(tmp_path / name)
    for read in (
        lambda path: initial_weights.find_experiment(path, None),
        initial_weights.read_weights,
    ):
        with pytest.raises(UserError, match=message):
            read(path)


def test_the_command_fine_tunes_on_other_categories(plain_source, other_data, tmp_path):
    flags = (f"--init_from={plain_source.run_dir}", "--freeze=head", "--batch_size=10")
    flags = (*flags, f"--dataset={other_data}", f"--run_dir={tmp_path}/B")
    result = run("trainer.main", *flags, "--epochs=1")
    assert (result.returncode, result.stderr) == (0, "")
    epoch = read_state(plain_source.run_dir).best.epoch
    assert f"tiny (the architecture of {plain_source.run_dir}), " in result.stdout
    start = f"starts from {plain_source.run_dir}, epoch {epoch}; new head for 5 categories\n"
    assert start in result.stdout
    again = run("trainer.main", *flags, "--epochs=1")
    assert "finished before, after epoch 1" in again.stdout

    assert "\nhead  " in run("trainer.main", *flags, "--summary").stdout
    other = run("trainer.main", *flags, "--experiment=small", f"--run_dir={tmp_path}/C")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "of another architecture: " in other.stderr
    other = run("trainer.main", "--freeze=head", "--dataset=d", "--run_dir=r")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "--freeze=head freezes untrained weights" in other.stderr
    assert "--init_from" in other.stderr


def test_a_sweep_starts_its_runs_from_a_source_and_finds_them_finished_without_it(data, tmp_path):
    flags = (f"--dataset={data}", "--batch_size=10", "--epochs=1")
    trained = run("trainer.main", *flags, f"--run_dir={tmp_path}/A", "--experiment=small")
    assert (trained.returncode, trained.stderr) == (0, "")
    flags = (*flags, f"--run_dir={tmp_path}/runs", f"--init_from={tmp_path}/A")
    first = run("trainer.sweep", *flags, "--experiments=small", "--freeze=blocks_c")
    assert (first.returncode, first.stderr) == (0, "")
    assert f"starts from {tmp_path}/A, epoch 1; its head too" in first.stdout
    shutil.rmtree(tmp_path / "A")
    again = run("trainer.sweep", *flags, "--experiments=small", "--freeze=blocks_c")
    assert (again.returncode, again.stderr) == (0, "")
    assert "small  finished before" in again.stdout
