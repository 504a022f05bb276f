"""Run directories: what is read from them, and the one line for what cannot be."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from analysis import runs
from pipeline.errors import UserError
from tests.analysis_data import HISTORY, write_evaluation, write_run


def test_a_run_that_is_still_going_on_is_read_as_far_as_it_is(tmp_path):
    history = {key: values[:2] for key, values in HISTORY.items()}
    run = runs.read_run(write_run(tmp_path, history, labels=("cat", "car")))
    assert (run.experiment, run.labels, run.history) == ("E3_8", ["cat", "car"], history)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", None, "no run directory (no config.json)"),
        ("config.json", "{", "config.json: not JSON"),
        ("config.json", '{"experiment": "E1"}', "config.json: damaged: no labels in it"),
        ("history.json", None, "history.json: No such file"),
        ("history.json", '{"accuracy": [0.', "history.json: damaged: not JSON"),
        ("history.json", "[]", "history.json: damaged: not a JSON object"),
        ("history.json", '{"accuracy": [0.1]}', "history.json: damaged: loss is not a list"),
        ("history.json", '{"accuracy": [NaN]}', "history.json: damaged: accuracy is not a list"),
        ("history.json", '{"accuracy": []}', "history.json: no finished epoch in it yet"),
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


def test_an_evaluation_has_the_scores_of_the_last_and_the_best_epoch(tmp_path):
    run_dir = write_run(tmp_path)
    write_evaluation(run_dir, {"cat": 8, "cake": 4}, examples=10)
    evaluation = runs.read_evaluation(run_dir)
    assert (evaluation.split, evaluation.last.epoch, evaluation.best.epoch) == ("validation", 4, 3)
    assert (evaluation.last.top1, evaluation.best.top1) == (0.6, 0.662)
    assert [score.accuracy for score in evaluation.last.per_class] == [0.8, 0.4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"map3": None}, "damaged: a score is not a number"),
        ({"best": {}}, "'per_class' is missing"),
    ],
)
def test_a_damaged_evaluation_is_named(tmp_path, change, message):
    run_dir = write_run(tmp_path)
    write_evaluation(run_dir, {"cat": 8, "cake": 4}, examples=10)
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=f"evaluation.json: .*{message}"):
        runs.read_evaluation(run_dir)


def test_speeds_are_of_whole_epochs_and_a_line_being_written_does_not_count(tmp_path):
    lines = [
        {"kind": "step", "images_per_second": 1.0},
        {"kind": "epoch", "images_per_second": 100.0},
        {"kind": "epoch", "images_per_second": 120.0},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"kind": "epo')
    assert runs.training_speed(str(tmp_path)) == [100.0, 120.0]
    (tmp_path / "metrics.jsonl").write_text("half\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl: damaged"):
        runs.training_speed(str(tmp_path))


def test_runs_are_named_by_experiment_and_by_directory_where_that_is_not_enough():
    def names(*places):
        return runs.run_names(
            [runs.Run(place, {"experiment": name}, HISTORY) for place, name in places]
        )

    assert names(("a/x/", "E1"), ("b/x", "E2")) == ["E1", "E2"]
    assert names(("a/x", "E1"), ("a/y/", "E1"), ("b/x", "E2")) == ["x", "y", "E2"]
    assert names(("a/x", "E1"), ("b/x/", "E1")) == ["a/x", "b/x"]


def test_analysis_imports_neither_tensorflow_nor_beam():
    modules = sorted(path.stem for path in pathlib.Path(runs.__file__).parent.glob("*.py"))
    imports = "; ".join(f"import analysis.{name}" for name in modules if name != "__init__")
    code = f"{imports}; import sys; print({{'tensorflow', 'apache_beam'}} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"
