"""Worst mistakes and least certain drawings, and the most confused pairs: the right ones."""

import csv
import dataclasses
import io
import json
import pathlib

import numpy as np
import pytest

from analysis.confused_pairs import most_confused, plot_confused_pairs
from analysis.mistakes import least_certain, mistakes_csv, plot_mistakes, worst_mistakes
from analysis.reading.evaluations import validation_of
from analysis.reading.runs import read_run
from analysis.style import image_grid
from analysis.style.texts import wrap_to_width
from pipeline.cli import UserError
from pipeline.dataset import manifests, records
from tests.support.analysis_data import (
    check_texts,
    image_bitmaps,
    run_command,
    write_dataset,
    write_predictions,
    write_run,
)
from trainer.runs import run_directory
from trainer.runs.predictions import Predictions

LABELS = ["cat", "The Great Wall of China", "car", "sun"]
PER_LABEL = 6


def examples(directory):
    manifest = manifests.read_manifest(str(directory))
    return list(manifests.DataSet(str(directory), manifest).examples("validation"))


@pytest.fixture
def made(tmp_path):
    """(run directory, data set): a run whose model takes some cats for cars, a wall for the sun."""
    manifest = write_dataset(tmp_path / "data", dict.fromkeys(LABELS, 2), validation=PER_LABEL)
    truth = np.array([example.label for example in examples(tmp_path / "data")])
    count = len(truth)
    top = np.stack([truth, (truth + 1) % 4, (truth + 2) % 4], axis=1)
    probabilities = np.tile(np.array([0.9, 0.06, 0.02], np.float32), (count, 1))
    probabilities[:, 0] -= np.arange(count) / 1000  # all different
    cats = np.flatnonzero(truth == 0)
    walls = np.flatnonzero(truth == 1)
    for line in (*cats[:3], walls[0]):
        top[line] = [(truth[line] + 2) % 4, truth[line], (truth[line] + 1) % 4]
    top[walls[0]] = [3, 0, 2]  # not even the third guess
    of_truth = np.where(top == truth[:, None], probabilities, 0).sum(axis=1)
    of_truth[walls[0]] = 0.001
    run_dir = write_run(
        tmp_path / "run",
        labels=LABELS,
        drawings={"train": 8, "validation": count},
        dataset=str(tmp_path / "data"),
        dataset_fingerprint=manifest.fingerprint,
    )
    write_predictions(
        run_dir,
        Predictions(
            truth.astype(np.int16),
            of_truth.astype(np.float32),
            top.astype(np.int16),
            probabilities,
        ),
    )
    return run_dir, str(tmp_path / "data")


def shown(figure):
    return image_bitmaps(figure.axes[0].images)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_worst_mistakes_are_wrong_and_the_true_category_has_the_lowest_probability(made):
    predictions = validation_of(read_run(made[0])).read_predictions()
    truth = predictions.arrays.labels
    lines = worst_mistakes(predictions, 10)
    assert lines[0] == np.flatnonzero(truth == 1)[0]
    assert sorted(lines[1:]) == np.flatnonzero(truth == 0)[:3].tolist()
    probabilities = predictions.arrays.label_probabilities[lines]
    assert (np.diff(probabilities) >= 0).all()
    assert worst_mistakes(predictions, 2) == lines[:2]


def test_of_equal_probabilities_the_more_certain_answer_is_the_wronger(made):
    predictions = validation_of(read_run(made[0])).read_predictions()
    cats = np.flatnonzero(predictions.arrays.labels == 0)[:3]
    assert worst_mistakes(predictions, 10)[1:] == cats.tolist()  # all 0.06, confidence falling


def test_the_least_certain_have_the_lowest_probability_of_what_was_predicted(made):
    predictions = validation_of(read_run(made[0])).read_predictions()
    assert least_certain(predictions, 3) == [23, 22, 21]


def test_drawings_are_those_of_the_answers_lines(made):
    run_dir, data = made
    predictions = validation_of(read_run(run_dir)).read_predictions()
    found = predictions.read_drawings(data, [3, 17, 0])
    assert sorted(found) == [0, 3, 17]
    for line, bitmap in found.items():
        np.testing.assert_array_equal(bitmap, records.unpack_bitmap(examples(data)[line].image))
    assert predictions.read_drawings(data, []) == {}


def test_the_picture_shows_the_drawings_with_label_prediction_and_probability(made):
    run_dir, data = made
    figure = plot_mistakes(validation_of(read_run(run_dir)), data, count=4)
    indices = [
        *worst_mistakes(predictions := validation_of(read_run(run_dir)).read_predictions(), 4),
        *least_certain(predictions, 4),
    ]
    expected = [records.unpack_bitmap(examples(data)[index].image) for index in indices]
    for bitmap, image in zip(expected, shown(figure), strict=True):
        np.testing.assert_array_equal(image, bitmap)
    written = " ".join(texts(figure))
    assert "demo" not in written
    assert written.startswith("E3_8 after epoch 3, 24 validation drawings of 4 categories Worst ")
    assert "4 of 4 mistakes" in written
    assert "The Great Wall of China <0.01" in written  # the true category
    assert "sun 0.8" in written  # what it was taken for
    assert "✓" in written  # of the uncertain ones those that are right
    check_texts(figure)


def test_a_model_without_errors_has_the_least_certain_only(made):
    run_dir, data = made
    predictions = validation_of(read_run(run_dir)).read_predictions().arrays
    top = predictions.top_labels.copy()
    top[:, 0] = predictions.labels
    write_predictions(run_dir, dataclasses.replace(predictions, top_labels=top))
    figure = plot_mistakes(validation_of(read_run(run_dir)), data, count=4)
    assert len(shown(figure)) == 4
    with pytest.raises(UserError, match="its best checkpoint makes no mistakes"):
        plot_confused_pairs(validation_of(read_run(run_dir)), data)


def test_the_most_confused_pairs_come_first_and_name_both_ways(made):
    predictions = validation_of(read_run(made[0])).read_predictions()
    (cat, car), (wall, sun) = most_confused(predictions, pairs=5, drawings=4)
    assert (cat.label, cat.predicted, cat.number, cat.examples) == ("cat", "car", 3, 6)
    assert (car.label, car.predicted, car.number) == ("car", "cat", 0)
    assert (wall.label, wall.predicted, wall.number) == ("The Great Wall of China", "sun", 1)
    assert sun.label == "sun"
    assert len(most_confused(predictions, pairs=1, drawings=4)) == 1


def test_pairs_show_mistaken_drawings_and_fill_up_with_recognized_ones(made):
    run_dir, data = made
    predictions = validation_of(read_run(run_dir)).read_predictions()
    truth = predictions.arrays.labels
    figure = plot_confused_pairs(validation_of(read_run(run_dir)), data, pairs=1, per_category=4)
    cats, cars = np.flatnonzero(truth == 0), np.flatnonzero(truth == 2)
    expected = [*cats[:4], *cars[:4]]
    for line, image in zip(expected, shown(figure), strict=True):
        np.testing.assert_array_equal(image, records.unpack_bitmap(examples(data)[line].image))
    cat_inks, car_inks = (
        [int(image.get_array()[:, start : start + 85].min()) for start in range(0, 4 * 96, 96)]
        for image in figure.axes[0].images
    )
    assert cat_inks == [image_grid.INK] * 3 + [image_grid.FAINT_INK]
    assert car_inks == [image_grid.FAINT_INK] * 4
    assert texts(figure)[1:] == [
        *("cat", "taken for car:", "3 of 6"),
        *("car", "taken for cat:", "0 of 6"),
    ]
    check_texts(figure)


def test_long_names_lie_on_nothing(made):
    run_dir, data = made
    check_texts(plot_mistakes(validation_of(read_run(run_dir)), data, count=18))
    check_texts(plot_confused_pairs(validation_of(read_run(run_dir)), data))


def test_a_line_is_broken_where_it_gets_too_wide():
    assert wrap_to_width("The Great Wall of China", 9, 7) == ["The Great Wall of China"]
    lines = wrap_to_width("The Great Wall of China", 0.7, 7)
    assert 1 < len(lines) < 5
    assert " ".join(lines) == "The Great Wall of China"
    assert wrap_to_width("Donaudampfschifffahrt", 0.1, 7) == ["Donaudampfschifffahrt"]
    assert len(wrap_to_width("aa bb", 0.35, 7, "bold")) >= len(wrap_to_width("aa bb", 0.35, 7))


def change_predictions(run_dir, **fields):
    predictions = validation_of(read_run(run_dir)).read_predictions().arrays
    write_predictions(run_dir, dataclasses.replace(predictions, **fields))


def test_missing_or_damaged_answers_are_named(made):
    run_dir, _ = made
    run = read_run(run_dir)
    path = pathlib.Path(run_dir, "checkpoints", "step-00000009.predictions.npz")
    change_predictions(run_dir, top_labels=np.full((24, 3), 7, np.int16))
    with pytest.raises(UserError, match="npz: damaged: a class index that the run does not have"):
        validation_of(run).read_predictions()
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match="npz: cannot be read"):
        validation_of(run).read_predictions()
    path.unlink()
    with pytest.raises(UserError, match=r"npz: cannot be read: No such file"):
        validation_of(run).read_predictions()
    pathlib.Path(run_dir, run_directory.STATE).unlink()
    with pytest.raises(UserError, match="no epoch is finished yet"):
        validation_of(run).read_predictions()


def test_answers_of_another_number_of_drawings_are_damaged(made):
    run_dir, _ = made
    change_predictions(run_dir, label_probabilities=np.zeros(23, np.float32))
    with pytest.raises(UserError, match="damaged: label_probabilities does not fit the run"):
        validation_of(read_run(run_dir)).read_predictions()


def test_another_data_set_is_refused(made, tmp_path):
    run_dir, data = made
    predictions = validation_of(read_run(run_dir)).read_predictions()
    write_dataset(tmp_path / "other", dict.fromkeys(LABELS, 3), validation=PER_LABEL)
    with pytest.raises(UserError, match="trained on a different data set than"):
        predictions.read_drawings(str(tmp_path / "other"), [0])
    change_predictions(run_dir, labels=predictions.arrays.labels[::-1])
    with pytest.raises(UserError, match="not in the order in which it was evaluated"):
        validation_of(read_run(run_dir)).read_predictions().read_drawings(data, range(24))


@pytest.mark.parametrize("command", ["mistakes", "confused_pairs"])
def test_the_command_finds_the_data_set_where_the_run_did(made, tmp_path, command):
    run_dir, data = made
    output = tmp_path / "picture.png"
    result = run_command(f"analysis.{command}", f"--run_dir={run_dir}", f"--output={output}")
    assert (result.returncode, result.stderr) == (0, "")
    assert output.stat().st_size > 5_000
    first = output.read_bytes()
    pathlib.Path(data).rename(tmp_path / "moved")
    flags = (f"--run_dir={run_dir}", f"--output={output}")
    result = run_command(f"analysis.{command}", *flags)
    assert (result.returncode, result.stderr) == (2, f"error: {data}: no such directory\n")
    result = run_command(f"analysis.{command}", *flags, f"--dataset={tmp_path / 'moved'}")
    assert result.returncode == 0
    assert output.read_bytes() == first


def set_inputs(data, *files):
    path = pathlib.Path(data, manifests.MANIFEST)
    fields = json.loads(path.read_text())
    fields["inputs"] = [{"file": file, "bytes": 1} for file in files]
    path.write_text(json.dumps(fields))


def test_the_table_has_every_mistake_with_its_key_and_the_file_of_its_strokes(made):
    run_dir, data = made
    set_inputs(data, "/drawings/cat.ndjson", "/one/sun.ndjson", "/two/sun.ndjson")
    predictions = validation_of(read_run(run_dir)).read_predictions()
    rows = list(csv.DictReader(io.StringIO(mistakes_csv(predictions, data))))
    indices = worst_mistakes(predictions, 24)
    assert len(rows) == len(indices) == 4
    keys = [example.key_id.decode() for example in examples(data)]
    assert [row["key_id"] for row in rows] == [keys[index] for index in indices]
    assert list(rows[0].values())[1:] == ["The Great Wall of China", "sun", "0.0010", "0.9000", ""]
    assert list(rows[1].values())[1:3] == ["cat", "car"]
    assert {row["strokes_file"] for row in rows[1:]} == {"/drawings/cat.ndjson"}


def test_the_command_writes_the_table_alone_or_beside_the_picture(made, tmp_path):
    run_dir, data = made
    table = tmp_path / "new" / "mistakes.csv"
    result = run_command("analysis.mistakes", run_dir, f"--table={table}")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"wrote {table}\n", "")
    predictions = validation_of(read_run(run_dir)).read_predictions()
    assert table.read_text() == mistakes_csv(predictions, data)
    for arguments, error in (
        ((), "--output, --table or --label_errors is needed (--help lists the flags)"),
        (("--label_errors=t.md",), "--label_errors=t.md: the name must end in .csv"),
        (("--table=t.md",), "--table=t.md: the name must end in .csv"),
    ):
        result = run_command("analysis.mistakes", run_dir, *arguments)
        assert (result.returncode, result.stderr) == (2, f"error: {error}\n")
