"""Evaluating a run: mirror images, raw weights, some of the labels, and the files it writes."""

import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.cli import UserError
from pipeline.dataset import manifests, records
from tests.support.stopped_training import make_config
from tests.support.trainer_data import LABELS, write_dataset
from tests.support.warm_process import run_module
from trainer import train
from trainer.runs import evaluation_files, feature_map
from trainer.runs.predictions import Predictions, load
from trainer.training.checkpoints import load_run
from trainer.training.evaluation import evaluate_run

TEST = 17  # drawings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory, train=50, validation=23, test=TEST)
    return str(directory)


@pytest.fixture(scope="module")
def run_dir(data, tmp_path_factory):
    """A run of two epochs whose weights are averaged, slowly, so that they differ."""
    config = make_config(data, tmp_path_factory.mktemp("run"), epochs=2, ema_decay=0.99)
    train.train(config)
    return config.run_dir


def read_split(directory, split="test"):
    """[N, 85, 85, 1] float32 bitmaps and the name of each one's label, in the files' order."""
    manifest = manifests.read_manifest(str(directory))
    examples = list(manifests.DataSet(str(directory), manifest).examples(split))
    bitmaps = np.stack([records.unpack_bitmap(example.image) for example in examples])
    names = [manifest.labels[example.label] for example in examples]
    return bitmaps[..., np.newaxis].astype(np.float32), names


def softmax(logits):
    exponentials = np.exp(np.asarray(logits, np.float64))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def probabilities(model, bitmaps, columns=slice(None)):
    return softmax(model(bitmaps).numpy()[:, columns])


def check(evaluation, predictions, expected, truth, rtol=1e-5):
    """Assert scores and predictions of `expected` probabilities, [N, labels]."""
    count = len(truth)
    rows, order = np.arange(count), np.argsort(-expected, axis=1, kind="stable")
    ranks = 1 + np.argmax(order == truth[:, np.newaxis], axis=1)
    assert evaluation["examples"] == count
    assert evaluation["top1"] == pytest.approx((ranks == 1).mean())
    assert evaluation["top3"] == pytest.approx((ranks <= 3).mean())
    assert evaluation["map3"] == pytest.approx(np.where(ranks <= 3, 1 / ranks, 0).mean())
    assert evaluation["loss"] == pytest.approx(-np.log(expected[rows, truth]).mean(), rel=rtol)
    confusion = np.zeros((expected.shape[1],) * 2, int)
    np.add.at(confusion, (truth, order[:, 0]), 1)
    assert evaluation["confusion"] == confusion.tolist()
    np.testing.assert_array_equal(predictions.labels, truth)
    np.testing.assert_array_equal(predictions.top_labels, order[:, :3])
    np.testing.assert_allclose(predictions.label_probabilities, expected[rows, truth], rtol=rtol)
    top = np.take_along_axis(expected, order[:, :3], axis=1)
    np.testing.assert_allclose(predictions.top_probabilities, top, rtol=rtol)


def classes(names, labels=LABELS):
    return np.array([labels.index(name) for name in names])


@pytest.mark.parametrize("batch_size", [5, 100])
def test_mirroring_is_the_mean_of_the_probabilities_of_a_drawing_and_its_mirror_image(
    run_dir, data, batch_size
):
    model = load_run(run_dir, "best").model
    bitmaps, names = read_split(data)
    plain, mirrored = probabilities(model, bitmaps), probabilities(model, bitmaps[:, :, ::-1])
    assert np.abs(plain - mirrored).max() > 1e-4  # a model that mirroring matters to
    evaluation, predictions, _ = evaluate_run(
        run_dir, data, "test", "best", batch_size, mirror=True
    )
    check(evaluation, predictions, (plain + mirrored) / 2, classes(names))
    assert evaluation["mirror"] is True
    evaluation, predictions, _ = evaluate_run(run_dir, data, "test", "best", batch_size)
    check(evaluation, predictions, plain, classes(names))
    assert evaluation["mirror"] is False


def principal_components(model, bitmaps):
    """[N, 2], each column up to its sign, and the shares of the variance."""
    features = keras.Model(model.inputs, model.layers[-1].input)([bitmaps]).numpy()
    centred = features.astype(np.float64) - features.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :2] * sizes[:2], sizes[:2] ** 2 / (sizes**2).sum()


@pytest.mark.parametrize("settings", [{}, {"mirror": True}, {"labels": ("car", "cat")}])
def test_the_map_shows_the_features_of_each_drawing_in_two_dimensions(run_dir, data, settings):
    bitmaps, names = read_split(data)
    kept = [i for i, name in enumerate(names) if name in settings.get("labels", LABELS)]
    places, variance = principal_components(load_run(run_dir, "best").model, bitmaps[kept])
    *_, found = evaluate_run(run_dir, data, "test", "best", 8, **settings)
    assert found.variance == pytest.approx(variance, rel=1e-3)
    scale = np.abs(places).max()
    np.testing.assert_allclose(np.abs(found.places), np.abs(places), atol=1e-3 * scale)


def test_a_large_split_has_a_map_of_some_drawings(run_dir, data, monkeypatch):
    monkeypatch.setattr(feature_map, "MOST", 7)
    *_, found = evaluate_run(run_dir, data, "test", "best", 4)
    assert np.isfinite(found.places).all(axis=1).sum() == 7
    assert np.isnan(found.places).all(axis=1).sum() == TEST - 7


def test_the_map_is_written_beside_the_predictions_and_read_back(run_dir, data, tmp_path):
    path = str(tmp_path / "test.json")
    fields, predicted, found = evaluate_run(run_dir, data, "test", "best", 8)
    evaluation_files.write(path, fields, predicted, found)
    read = evaluation_files.read_map(path, evaluation_files.read(path))
    np.testing.assert_array_equal(read.places, found.places)
    assert read.variance == found.variance
    evaluation_files.write(path, fields, predicted)  # as an older version did
    assert evaluation_files.read_map(path, evaluation_files.read(path)) is None


def test_the_raw_weights_are_scored_beside_their_average(run_dir, data):
    name = json.loads(pathlib.Path(run_dir, "checkpoints", "state.json").read_text())["last"][
        "name"
    ]
    average, raw = (load_run(run_dir, "last", with_raw=True)[i] for i in (2, 3))
    path = os.path.join(run_dir, "checkpoints", name)
    saved = [tf.train.load_variable(path, key) for key, _ in tf.train.list_variables(path)[1:]]
    for weight in raw.trainable_variables:  # each is in the checkpoint as it is
        assert any(np.array_equal(weight.numpy(), values) for values in saved)
    bitmaps, names = read_split(data)
    truth = classes(names)
    evaluation, predictions, _ = evaluate_run(run_dir, data, "test", "last", 8, raw_weights=True)
    check(evaluation, predictions, probabilities(average, bitmaps), truth)
    expected = probabilities(raw, bitmaps)
    loss = -np.log(expected[np.arange(TEST), truth]).mean()
    assert set(evaluation["raw"]) == {"top1", "top3", "map3", "loss"}
    assert evaluation["raw"]["loss"] == pytest.approx(loss, rel=1e-5)
    assert evaluation["raw"]["top1"] == pytest.approx((expected.argmax(axis=1) == truth).mean())
    assert abs(evaluation["raw"]["loss"] - evaluation["loss"]) > 1e-3


def test_raw_weights_of_a_run_without_an_average_are_refused(run_dir, data, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"ema_decay": 0.0}))
    with pytest.raises(UserError, match=r"^--raw_weights: .* was trained without --ema_decay$"):
        evaluate_run(str(copy), data, "test", "best", 8, raw_weights=True)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("batch_size", [4, 100])
def test_only_the_labels_are_drawn_and_answered(run_dir, data, batch_size, mirror):
    labels = ("car", "cat")  # in another order than the run's
    columns = [LABELS.index(label) for label in labels]
    bitmaps, names = read_split(data)
    kept = [i for i, name in enumerate(names) if name in labels]
    model = load_run(run_dir, "best").model
    expected = probabilities(model, bitmaps[kept], columns)
    if mirror:
        expected = (expected + probabilities(model, bitmaps[kept][:, :, ::-1], columns)) / 2
    evaluation, predictions, _ = evaluate_run(
        run_dir, data, "test", "best", batch_size, labels=labels, mirror=mirror
    )
    check(evaluation, predictions, expected, classes([names[i] for i in kept], labels))
    assert evaluation["labels"] == list(labels)
    assert [entry["label"] for entry in evaluation["per_class"]] == list(labels)
    assert 0 < len(kept) < TEST


def test_a_data_set_with_the_labels_in_another_order_gives_the_same(run_dir, data, tmp_path):
    write_dataset(tmp_path, test=TEST, labels=("car", "cat", "cake"))
    bitmaps, names = read_split(tmp_path)
    evaluation, predictions, _ = evaluate_run(run_dir, str(tmp_path), "test", "best", 8)
    model = load_run(run_dir, "best").model
    check(evaluation, predictions, probabilities(model, bitmaps), classes(names))
    assert evaluation["labels"] == list(LABELS)


def test_a_data_set_of_some_of_the_labels_is_answered_with_all_of_the_run(run_dir, tmp_path):
    write_dataset(tmp_path, test=TEST, labels=("car", "cat"))
    bitmaps, names = read_split(tmp_path)
    evaluation, predictions, _ = evaluate_run(run_dir, str(tmp_path), "test", "best", 8)
    model = load_run(run_dir, "best").model
    check(evaluation, predictions, probabilities(model, bitmaps), classes(names))
    assert [entry["examples"] for entry in evaluation["per_class"]] == [8, 0, 9]


def rename(directory, old, new):
    path = pathlib.Path(directory, manifests.MANIFEST)
    path.write_text(path.read_text().replace(f'"{old}"', f'"{new}"'))


def test_labels_that_the_run_does_not_have_are_named_unless_they_are_left_out(run_dir, tmp_path):
    write_dataset(tmp_path, test=TEST)
    rename(tmp_path, "cake", "bird")
    with pytest.raises(UserError, match=r"'bird' are not among the labels of .*; --labels=FILE"):
        evaluate_run(run_dir, str(tmp_path), "test", "best", 8)
    with pytest.raises(UserError, match=r"^--labels: 'bird' is no category of .*run\d+$"):
        evaluate_run(run_dir, str(tmp_path), "test", "best", 8, labels=("cat", "bird", "cake"))
    with pytest.raises(UserError, match=f"^--labels: 'cake' is no category of {tmp_path}$"):
        evaluate_run(run_dir, str(tmp_path), "test", "best", 8, labels=("cat", "cake"))
    evaluation, *_ = evaluate_run(run_dir, str(tmp_path), "test", "best", 8, labels=("cat", "car"))
    assert evaluation["examples"] == 11


def test_a_split_without_drawings_of_the_labels_is_refused(run_dir, tmp_path):
    write_dataset(tmp_path, test=2)  # a cat and a cake
    with pytest.raises(UserError, match="no drawings of these categories in its test split"):
        evaluate_run(run_dir, str(tmp_path), "test", "best", 8, labels=("car",))


def run(*arguments):
    return run_module("trainer.evaluate", arguments)


def test_the_command_tells_and_writes_what_it_found(run_dir, data, tmp_path):
    output, labels = tmp_path / "new" / "test.json", tmp_path / "labels.txt"
    labels.write_text("car\ncat\n")
    flags = ("--mirror", "--raw_weights", f"--labels={labels}", f"--output={output}")
    done = run(f"--run_dir={run_dir}", "--split=test", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    heading, average, raw, *_ = done.stdout.splitlines()
    written = evaluation_files.read(str(output))
    assert heading == (
        f"test, 11 drawings of 2 of 3 categories, best checkpoint, epoch {written['epoch']}, "
        "mean with mirror images"
    )
    for line, name, scores in (
        (average, "average  ", written),
        (raw, "raw      ", written["raw"]),
    ):
        assert line == (
            f"{name}top-1 {scores['top1']:.4f}  top-3 {scores['top3']:.4f}  "
            f"MAP@3 {scores['map3']:.4f}  loss {scores['loss']:.4f}"
        )
    assert average[9:] != raw[9:]
    assert written["run"] == json.loads(pathlib.Path(run_dir, "config.json").read_text())
    expected = {
        "run_dir": run_dir, "checkpoint": "best", "dataset": data, "split": "test",
        "dataset_fingerprint": manifests.read_manifest(data).fingerprint, "mirror": True,
        "labels": ["car", "cat"], "examples": 11,
    }  # fmt: skip
    assert {key: written[key] for key in expected} == expected
    predictions = evaluation_files.read_predictions(str(output), written)
    assert (predictions.top_labels[:, 0] == predictions.labels).mean() == written["top1"]
    assert sorted(os.listdir(output.parent)) == ["test.json", "test.predictions.npz"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--run_dir={tmp}/other", "other: of another version of the trainer"),
        ("--labels={tmp}/none.txt", "none.txt: No such file or directory"),
        ("--labels={tmp}/labels.txt", "--labels: 'dog' is no category of {run}"),
        ("--output={run}/evaluation.json", "evaluation.json: a file of the run itself"),
        ("--output={tmp}/folder.json", "folder.predictions.npz: a directory; name a file in it"),
    ],
)
def test_wrong_flags_are_one_line_and_status_2(run_dir, tmp_path, flags, message):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    (tmp_path / "folder.predictions.npz").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"architectures": ["BertModel"]}')
    before = pathlib.Path(run_dir, "evaluation.json").read_bytes()
    names = {"tmp": tmp_path, "run": run_dir}
    done = run(f"--run_dir={run_dir}", "--split=test", flags.format(**names))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert message.format(**names) in done.stderr
    assert pathlib.Path(run_dir, "evaluation.json").read_bytes() == before


def some_predictions(seed):
    rng = np.random.default_rng(seed)
    return Predictions.from_logits(rng.normal(size=(7, 3)), rng.integers(3, size=7))


def test_a_kill_between_both_files_is_noticed(tmp_path, monkeypatch):
    path = str(tmp_path / "test.json")
    evaluation_files.write(path, {"top1": 0.5}, some_predictions(0))
    evaluation_files.read_predictions(path, evaluation_files.read(path))

    def killed_at_the_second(old, new, replace=os.replace):
        if new == path:
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr(os, "replace", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        evaluation_files.write(path, {"top1": 0.7}, some_predictions(1))
    fields = evaluation_files.read(path)
    assert fields["top1"] == 0.5
    message = r"test\.predictions\.npz: damaged, or not of .*; run trainer\.evaluate"
    with pytest.raises(UserError, match=message):
        evaluation_files.read_predictions(path, fields)


@pytest.mark.parametrize("fails", ["test.predictions.npz.new", "test.json.new.tmp"])
def test_a_failed_write_leaves_what_was_there(tmp_path, fails):
    path = str(tmp_path / "test.json")
    evaluation_files.write(path, {"top1": 0.5}, some_predictions(0))
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    (tmp_path / fails).mkdir()  # so that it cannot be written
    with pytest.raises(UserError, match=r"cannot be written: Is a directory"):
        evaluation_files.write(path, {"top1": 0.7}, some_predictions(1))
    (tmp_path / fails).rmdir()
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_a_file_that_is_no_evaluation_is_named(tmp_path):
    for text, message in (
        ("{", "damaged: not JSON"),
        ("{}", "not written by this version's trainer.evaluate --output"),
        ('{"format": "evaluation of trainer.evaluate", "format_version": 9}', "format version 9"),
    ):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(UserError, match=message):
            evaluation_files.read(str(tmp_path / "x.json"))
    with pytest.raises(UserError, match="No such file"):
        evaluation_files.read(str(tmp_path / "none.json"))
    evaluation_files.write(str(tmp_path / "x.json"), {}, some_predictions(0))
    assert load(evaluation_files.predictions_path(str(tmp_path / "x.json")))
