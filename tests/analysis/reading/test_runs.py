"""Run directories: what is read from them, and the one line for what cannot be."""

import json
import math
import os
import re
import subprocess
import sys

import pytest

from analysis.reading import runs, scores
from pipeline.cli import UserError
from tests.support.analysis_data import (
    HISTORY,
    NO_HISTORY,
    write_dataset,
    write_evaluation,
    write_metrics,
    write_run,
)
from tests.support.ndjson import ROOT


def test_a_run_that_is_still_going_on_is_read_as_far_as_it_is(tmp_path):
    history = {key: values[:2] for key, values in HISTORY.items()}
    run = runs.read_run(write_run(tmp_path, history, labels=("cat", "car"), epochs=12))
    assert (run.experiment, run.labels, run.history) == ("E3_8", ["cat", "car"], history)
    assert (run.epochs, run.planned_epochs, run.steps_per_epoch) == (2, 12, 3)
    assert (run.parameters, run.multiply_adds) == (1_000_000, 600_000_000)


def test_a_run_before_its_first_epochs_end_is_read_too(tmp_path):
    run_dir = write_run(tmp_path, NO_HISTORY)
    assert runs.read_run(run_dir).epochs == 0
    assert runs.read_speeds(run_dir) == runs.read_intervals(run_dir) == []
    with pytest.raises(UserError, match=r"evaluation\.json: missing; it is written when an"):
        scores.read_validation(run_dir)


CONFIG = '{"experiment": "E1", "labels": ["a"], "drawings": {}, "parameters": 1, '
CONFIG += '"multiply_adds": 1, "epochs": 1, "batch_size": 1, "dataset": "", '
CONFIG += '"dataset_fingerprint": ""}'


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", None, "no run directory (no config.json)"),
        ("config.json", "{", "config.json: damaged: not JSON"),
        ("config.json", '{"experiment": "E1"}', "config.json: no labels in it; damaged, or"),
        ("config.json", CONFIG, "config.json: damaged: no number of train drawings in it"),
        ("history.json", '{"accuracy": [0.', "history.json: damaged: not JSON"),
        ("history.json", "[]", "history.json: damaged: not a JSON object"),
        ("history.json", '{"accuracy": [0.1]}', "history.json: damaged: loss is not a list"),
        ("history.json", '{"accuracy": [NaN]}', "history.json: damaged: accuracy is not a list"),
        (
            "history.json",
            json.dumps({**HISTORY, "loss": [1]}),
            "history.json: damaged: its lists differ in length",
        ),
    ],
)
def test_a_missing_or_damaged_file_is_named(tmp_path, file, text, message):
    write_run(tmp_path)
    if text is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        runs.read_run(str(tmp_path))


def test_a_run_killed_before_its_first_file_was_written_has_no_epochs(tmp_path):
    run_dir = write_run(tmp_path)
    (tmp_path / "history.json").unlink()
    (tmp_path / "checkpoints").mkdir(exist_ok=True)
    state = tmp_path / "checkpoints" / "state.json"
    state.write_text("{}")
    with pytest.raises(UserError, match=r"history\.json: No such file"):
        runs.read_run(run_dir)
    state.unlink()
    assert runs.read_run(run_dir).epochs == 0


def test_a_directory_of_runs_stands_for_all_of_them_in_the_order_of_their_numbers(tmp_path):
    sweep = tmp_path / "sweep"
    made = [write_run(sweep / name) for name in ("E2_1", "E2_7", "E10")]
    (sweep / "sweep.csv").write_text("")
    (sweep / "notes").mkdir()
    other = write_run(tmp_path / "other")
    assert runs.find_runs([str(sweep), other]) == [*made, other]
    assert runs.find_runs([made[2], str(sweep), made[0]]) == [made[2], made[0], made[1]]


def test_a_directory_without_runs_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no run directory \(no config.json\), and none in it"):
        runs.find_runs([str(tmp_path)])
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/none: no run directory")):
        runs.read_runs([str(tmp_path / "none")], pytest.fail)


def test_an_evaluation_has_the_scores_of_the_last_and_the_best_epoch(tmp_path):
    run_dir = write_run(tmp_path)
    write_evaluation(run_dir, {"cat": 8, "cake": 4}, examples=10)
    validation = scores.read_validation(run_dir)
    assert (validation.split, validation.last.epoch, validation.best.epoch) == ("validation", 4, 3)
    assert (validation.at("last").top1, validation.at("best").top1) == (0.6, 0.662)
    assert [score.recall for score in validation.last.per_class] == [0.8, 0.4]
    assert [score.precision for score in validation.last.per_class] == [8 / 14, 4 / 6]
    assert validation.last.confusion.tolist() == [[8, 2], [6, 4]]


def test_a_share_of_nothing_is_not_a_number(tmp_path):
    run_dir = write_run(tmp_path)
    write_evaluation(run_dir, {"cat": 0, "cake": 0, "car": 10}, examples=10)
    cat, *_ = scores.read_validation(run_dir).last.per_class
    assert math.isnan(cat.precision)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"map3": None}, "damaged: a score is not a number"),
        ({"best": {}}, "'per_class' is missing"),
        ({"confusion": [[1, 2]]}, "damaged: the confusion matrix does not fit the classes"),
    ],
)
def test_a_damaged_evaluation_is_named(tmp_path, change, message):
    run_dir = write_run(tmp_path)
    write_evaluation(run_dir, {"cat": 8, "cake": 4}, examples=10)
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=f"evaluation.json: .*{message}"):
        scores.read_validation(run_dir)


def test_speeds_are_of_epochs_intervals_of_steps_and_half_a_line_does_not_count(tmp_path):
    write_metrics(str(tmp_path), [100.0, 100.0, 50.0, 200.0])
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "epo')
    (epoch,) = runs.read_speeds(str(tmp_path))
    assert (epoch.epoch, epoch.step, epoch.images_per_second) == (1, 3, pytest.approx(75))
    intervals = runs.read_intervals(str(tmp_path))
    assert [each.images_per_second for each in intervals] == [100, 100, 50, 200]
    assert [each.epoch for each in intervals] == [1, 1, 1, 2]
    assert intervals[3].learning_rate == 0.0005


@pytest.mark.parametrize("text", ["half\n", '{"kind": "epoch"}\n', '{"step": 1}\n', "[1]\n", "3\n"])
def test_damaged_metrics_are_named(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.jsonl: damaged"):
        runs.read_speeds(str(tmp_path))


def test_the_mean_speed_is_that_of_all_the_time():
    speeds = [runs.Speed(1, 10, 100.0, 0.0), runs.Speed(2, 20, 50.0, 0.0)]
    assert runs.mean_speed(speeds) == pytest.approx(2 / (1 / 100 + 1 / 50))
    assert runs.mean_speed([]) is None


def test_a_run_knows_its_data_set_by_its_content(tmp_path):
    manifest = write_dataset(tmp_path / "data", {"cat": 3})
    write_dataset(tmp_path / "other", {"cat": 4})
    run = runs.read_run(write_run(tmp_path / "run", dataset_fingerprint=manifest.fingerprint))
    os.rename(tmp_path / "data", tmp_path / "moved")
    assert run.check_dataset(str(tmp_path / "moved")) == manifest
    with pytest.raises(UserError, match="trained on a different data set than"):
        run.check_dataset(str(tmp_path / "other"))


def test_runs_are_named_by_experiment_and_by_directory_where_that_is_not_enough():
    def names(*places):
        return runs.run_names(
            [runs.Run(place, {"experiment": name}, HISTORY) for place, name in places]
        )

    assert names(("a/x/", "E1"), ("b/x", "E2")) == ["E1", "E2"]
    assert names(("a/x", "E1"), ("a/y/", "E1"), ("b/x", "E2")) == ["x", "y", "E2"]
    assert names(("a/x", "E1"), ("b/x/", "E1")) == ["a/x", "b/x"]


def test_analysis_imports_neither_tensorflow_nor_beam():
    paths = [path.relative_to(ROOT) for path in ROOT.glob("analysis/**/*.py")]
    imports = "; ".join(f"import {'.'.join(path.with_suffix('').parts)}" for path in paths)
    assert len(paths) > 20
    code = f"{imports}; import sys; print({{'tensorflow', 'apache_beam'}} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"
