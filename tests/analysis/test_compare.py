"""Table of runs, and the scatter of accuracy and cost."""

import csv
import dataclasses
import io

import numpy as np
import pytest

from analysis.comparison.cost_scatter import plot_costs
from analysis.comparison.run_table import make_table
from analysis.reading.runs import Run, read_run, read_runs
from analysis.sections import run_sections
from analysis.style import figures
from pipeline.cli import UserError
from tests.support.analysis_data import (
    HISTORY,
    NO_HISTORY,
    check_texts,
    run_command,
    write_evaluation,
    write_metrics,
    write_run,
)
from trainer.models import study
from trainer.models.experiments import EXPERIMENTS

LABELS = ["cat", "cake"]


@pytest.fixture
def sweep(tmp_path):
    """A finished run of the study's E3, and our own small before its first epoch's end."""
    drawings = {"train": 600, "validation": 20}
    settings = {"drawings": drawings, "labels": LABELS, "seed": 0, "augment": ["shift"]}
    finished = write_run(
        tmp_path / "E3",
        experiment="E3",
        learning_rate=0.001,
        architecture={"batch_norm": False},
        **settings,
    )
    write_evaluation(finished, {"cat": 8, "cake": 4}, examples=10)
    write_metrics(finished, [10.0, 10.0], steps_per_epoch=1)
    write_run(
        tmp_path / "small",
        NO_HISTORY,
        experiment="small",
        learning_rate=0.002,
        architecture={"batch_norm": True},
        epochs=12,
        **settings,
    )
    return tmp_path


def test_a_row_holds_what_a_run_costs_and_achieves(sweep):
    (row,) = make_table([read_run(str(sweep / "E3"))], "last").rows
    assert (row["parameters"], row["multiply_adds"], row["categories"]) == (10**6, 6 * 10**8, 2)
    assert (row["epoch"], row["top1"], row["top3"], row["map3"]) == (4, 0.6, 0.9, 0.8)
    assert row["top1_standard_error"] == pytest.approx((0.6 * 0.4 / 20) ** 0.5)
    assert (row["best_top1"], row["best_epoch"]) == (0.662, 3)
    assert (row["images_per_second"], row["training_seconds"]) == (10, 120)
    assert row["study_top1"] == study.history("E3")["val_accuracy"][-1]
    (best,) = make_table([read_run(str(sweep / "E3"))], "best").rows
    assert (best["epoch"], best["top1"]) == (3, 0.662)
    assert best["study_top1"] == max(study.history("E3")["val_accuracy"])


def test_the_table_for_people(sweep):
    table = make_table(read_runs([str(sweep)], pytest.fail), "last")
    text = "top-1 ± s.e."
    assert table.to_text().splitlines() == [
        "2 runs on 2 categories, 600 training and 20 validation drawings; scores of the last epoch",
        "",
        f"run    parameters  mult-adds  epochs   {text}  top-3  MAP@3   loss  best top-1  "
        "images/s    training  the study's  batch_norm  learning_rate",
        "E3*     1,000,000      600 M       4  0.600 ± 0.110  0.900  0.800  0.700   0.662 (3)  "
        "      10  2 min 00 s        0.906       False          0.001",
        "small   1,000,000      600 M    0/12              -      -      -      -           -  "
        "       -           -            -        True          0.002",
        "",
        "the study's: top-1 of its own run, on its drawings of 20 or 53 categories",
        "* stride 2 in the stem's fifth convolution: maps of 17, 8 and 3 instead of 36, 17 and 8, "
        "and 4.4 times fewer multiply-adds",
    ]


def test_only_settings_in_which_runs_differ_are_shown(sweep):
    table = make_table(read_runs([str(sweep)], pytest.fail), "last")
    headers = [column.header for column in table.fields]
    assert "learning_rate" in headers
    assert "batch_norm" in headers
    assert "seed" not in headers
    assert "augment" not in headers
    write_run(sweep / "mirrored", NO_HISTORY, augment=["mirror"])
    fields = make_table(read_runs([str(sweep)], pytest.fail), "last").fields
    kinds = {field.header: field.is_number for field in fields}
    assert kinds["learning_rate"]
    assert not kinds["augment"]


def test_a_run_that_started_from_trained_weights_is_shown_with_their_source(sweep):
    source = {"path": "/runs/A", "weights_sha256": "0" * 64, "epoch": 7}
    tuned = write_run(sweep / "tuned", NO_HISTORY, init_from=source, freeze="head")
    table = make_table(read_runs([tuned, str(sweep / "E3")], pytest.fail), "last")
    assert [row["init_from"] for row in table.rows] == ["/runs/A", None]
    assert [row["freeze"] for row in table.rows] == ["head", None]
    assert "/runs/A" in table.to_text()
    assert "from the weights of /runs/A" in list(run_sections._recipe(read_run(tuned)))


def test_markdown_has_a_cell_for_every_column_and_escapes_what_it_must(sweep):
    table = make_table(read_runs([str(sweep)], pytest.fail), "last")
    table.rows[1]["run"] = "a|b"
    lines = [line for line in table.to_markdown().splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1
    assert lines[2].startswith(r"| E3\* | E3 | 1,000,000 |")
    assert lines[3].startswith(r"| a\|b | small |")
    assert lines[1].startswith("| --- | --- | ---: |")


def test_csv_holds_all_values_and_nothing_where_there_is_none(sweep):
    table = make_table(read_runs([str(sweep)], pytest.fail), "last")
    finished, begun = csv.DictReader(io.StringIO(table.to_csv()))
    assert float(finished["top1"]) == 0.6
    assert finished["learning_rate"] == "0.001"
    assert begun["top1"] == begun["images_per_second"] == begun["study_top1"] == ""
    assert begun["planned_epochs"] == "12"


def make_runs(count, name="E{}", accuracy=0.88, categories=53):
    rng = np.random.default_rng(1)
    runs = []
    for i in range(count):
        config = {
            "experiment": "small",
            "labels": list(study.categories(categories)),
            "drawings": {"train": 1, "validation": 5_000},
            "parameters": int(7e6 * (1 + 0.1 * rng.random())),
            "multiply_adds": int(1.8e9 * (1 + 0.1 * rng.random())),
        }
        values = [0.1, accuracy + 0.01 * rng.random(), accuracy]
        runs.append(Run(name.format(i), config, {**HISTORY, "val_accuracy": values}))
    return runs


def points(axes):
    """(cost, accuracy, marker) of every point."""
    return {
        (*(float(values[0]) for values in line.get_data()), line.get_marker())
        for line in axes.lines
        if len(line.get_xdata()) == 1 and line.get_marker() in "osD"
    }


def test_the_studys_20_points_are_in_both_panels_and_its_two_data_sets_look_different():
    runs = [*make_runs(1, "run"), *make_runs(1, "other", categories=20)]
    parameters, multiply_adds = plot_costs(runs).axes
    for axes in (parameters, multiply_adds):
        drawn = {point for point in points(axes) if point[2] != "D"}
        assert len(drawn) == 20
        assert {point[1:] for point in drawn} == {
            (study.history(name)["val_accuracy"][-1], "o" if each.categories == 20 else "s")
            for name, each in EXPERIMENTS.items()
            if each.categories
        }
    assert (7_271_092, study.history("E7")["val_accuracy"][-1], "o") in points(parameters)
    names = [text.get_text() for text in parameters.texts]
    assert len(names) == 22
    assert {"E3*", "E2_4*", "E1"} <= set(names)


def test_the_studys_points_are_drawn_only_where_the_categories_are_the_same():
    def markers(runs):
        return {marker for _, _, marker in points(plot_costs(runs).axes[0])}

    (run,) = make_runs(1)
    assert markers([run]) == {"D", "s"}  # of the 53 categories alone
    shuffled = dataclasses.replace(run, config=run.config | {"labels": run.labels[::-1]})
    assert markers([shuffled]) == {"D", "s"}
    made_up = dataclasses.replace(run, config=run.config | {"labels": ["a", *run.labels[1:]]})
    assert markers([made_up]) == {"D"}
    label = plot_costs([made_up]).legends[0].get_texts()
    assert len(label) == 1


def test_a_run_stands_where_its_costs_and_its_accuracy_are():
    (run,) = make_runs(1)
    for checkpoint, accuracy in (("last", 0.88), ("best", max(run.history["val_accuracy"]))):
        parameters, multiply_adds = plot_costs([run], checkpoint, reference=False).axes
        assert points(parameters) == {(run.parameters, accuracy, "D")}
        assert points(multiply_adds) == {(run.multiply_adds, accuracy, "D")}


@pytest.mark.parametrize(
    ("count", "accuracy", "name"),
    [
        (1, 0.3, "E{}"),
        (20, 0.88, "E{}"),
        (20, 0.3, "a directory with a long name, number {}"),
        (20, 0.88, "a directory with a long name, number {}"),
    ],
)
def test_no_label_lies_on_another(count, accuracy, name):
    check_texts(plot_costs(make_runs(count, name, accuracy)))


def test_runs_without_an_epoch_are_left_out():
    begun, waiting = make_runs(2)
    waiting.history["val_accuracy"].clear()
    assert len(points(plot_costs([begun, waiting], reference=False).axes[0])) == 1
    with pytest.raises(UserError, match="no run has a finished epoch yet"):
        plot_costs([waiting], reference=False)


def test_the_same_runs_give_the_same_bytes():
    pictures = {figures.render(plot_costs(make_runs(3)), "svg") for _ in range(2)}
    assert len(pictures) == 1


def test_the_command_prints_the_table_and_writes_tables_and_picture(sweep):
    outputs = [sweep / "out" / name for name in ("t.md", "t.csv", "t.png")]
    result = run_command(
        "analysis.compare",
        f"--run_dir={sweep}",
        f"--table={outputs[0]},{outputs[1]}",
        f"--output={outputs[2]}",
    )
    assert (result.returncode, result.stderr) == (0, "")
    table = make_table(read_runs([str(sweep)], pytest.fail), "last")
    wrote = f"\nwrote {', '.join(map(str, outputs))}\n"
    assert result.stdout == f"{table.to_text()}\n{wrote}"
    assert outputs[0].read_text() == table.to_markdown()
    assert outputs[1].read_text() == table.to_csv()


@pytest.mark.parametrize("command", ["compare", "plot_histories", "throughput"])
@pytest.mark.parametrize("name", ["config.json", "history.json"])
def test_an_unreadable_run_is_named_and_the_others_are_shown(sweep, command, name):
    settings = {"labels": LABELS, "drawings": {"train": 600, "validation": 20}}
    broken = write_run(sweep / "broken", experiment="E4", **settings)
    (sweep / "broken" / name).write_text("{")
    output = sweep / "picture.svg"
    result = run_command(f"analysis.{command}", sweep, "-o", output)
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(f"warning: 1 of 3 runs skipped: {broken}/{name}: ")
    assert result.stderr.count("\n") == 1
    assert output.exists()


def test_a_run_without_its_scores_or_speed_is_named_and_left_out(sweep):
    (sweep / "E3" / "evaluation.json").unlink()
    result = run_command("analysis.compare", f"--run_dir={sweep}")
    start = f"warning: 1 of 2 runs skipped: {sweep}/E3/evaluation.json: missing"
    assert (result.returncode, result.stderr[: len(start)]) == (0, start)
    assert "1 run on 2 categories" in result.stdout
    (sweep / "small" / "metrics.jsonl").write_text("{\n")
    result = run_command("analysis.compare", f"--run_dir={sweep}")
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {sweep}/E3/evaluation.json: missing")


def test_a_table_of_an_unknown_kind_is_refused_before_the_work(tmp_path):
    result = run_command("analysis.compare", f"--run_dir={tmp_path}", "--table=t.xlsx")
    assert result.returncode == 2
    assert result.stderr == "error: --table=t.xlsx: the name must end in .md or .csv\n"
