"""The table of any runs: what they cost, what they achieve, in what their settings differ."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from analysis.reading.runs import Run, mean_speed, read_evaluation, read_speeds, run_names
from analysis.style import figures
from analysis.style.uncertainty import standard_error
from analysis.summary import duration
from trainer.config import IDENTITY
from trainer.models import study
from trainer.models.experiments import EXPERIMENTS

SETTINGS = ("batch_norm", *IDENTITY, "early_stopping")  # shown where the runs differ in them

_SCORE_COLUMNS = (
    *("epoch", "top1", "top1_standard_error", "top3", "map3", "loss"),
    *("best_top1", "best_epoch"),
)

# One run: by column of the CSV. None where there is no value, before the first epoch's end say.
Row = dict[str, Any]


class Column(NamedTuple):
    """A column of the table for people."""

    header: str
    show: Callable[[Row], str]
    is_number: bool = True


def make_rows(runs: Sequence[Run], checkpoint: str = "last") -> list[Row]:
    """A row for each run.

    Args:
      runs: in their order; finished or not.
      checkpoint: the epoch of the scores, "last" or "best".

    Raises:
      UserError: a file of a run is missing or damaged.
    """
    differing = [name for name in SETTINGS if len({_setting(run, name) for run in runs}) > 1]
    return [
        {
            "run": name,
            "directory": run.directory,
            "checkpoint": checkpoint,
            "experiment": run.experiment,
            "categories": len(run.labels),
            "training_drawings": run.drawings["train"],
            "validation_drawings": run.drawings["validation"],
            "parameters": run.parameters,
            "multiply_adds": run.multiply_adds,
            "epochs": run.epochs,
            "planned_epochs": run.planned_epochs,
            **_scores(run, checkpoint),
            **_speed(run),
            "study_top1": _study_accuracy(run, checkpoint),
            **{name: _setting(run, name) for name in differing},
        }
        for run, name in zip(runs, run_names(runs), strict=True)
    ]


def to_text(rows: Sequence[Row]) -> str:
    """The rows as a table in lines of text, with what holds for all of them above."""
    columns = make_columns(rows)
    table = [[column.header for column in columns], *make_cells(rows, columns)]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = [
        "  ".join(
            f"{cell:>{width}}" if column.is_number else f"{cell:<{width}}"
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in table
    ]
    notes = make_notes(rows)
    return "\n".join((make_heading(rows), "", *lines, *([""] if notes else []), *notes))


def to_markdown(rows: Sequence[Row]) -> str:
    """The same as a file of Markdown."""
    columns = make_columns(rows)
    table = [
        [column.header for column in columns],
        ["---:" if column.is_number else "---" for column in columns],
        *make_cells(rows, columns),
    ]
    lines = [f"| {' | '.join(map(_escape, line))} |" for line in table]
    notes = [line for note in make_notes(rows) for line in ("", _escape(note))]
    return "\n".join((make_heading(rows), "", *lines, *notes, ""))


def to_csv(rows: Sequence[Row]) -> str:
    """All values, a line of names first; shares from 0 to 1, nothing where there is no value."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _scores(run: Run, checkpoint: str) -> Row:
    if not run.epochs:
        return dict.fromkeys(_SCORE_COLUMNS)
    evaluation = read_evaluation(run.directory)
    scores, best = evaluation.of(checkpoint), evaluation.best
    error = standard_error(scores.top1, scores.examples)
    values = (scores.epoch, scores.top1, error, scores.top3, scores.map3, scores.loss)
    return dict(zip(_SCORE_COLUMNS, (*values, best.top1, best.epoch), strict=True))


def _speed(run: Run) -> Row:
    """Of training alone, without evaluations."""
    speeds = read_speeds(run.directory)
    mean = mean_speed(speeds)
    seconds = len(speeds) * run.drawings["train"] / mean if mean else None
    return {"images_per_second": mean, "training_seconds": seconds}


def _study_accuracy(run: Run, checkpoint: str) -> float | None:
    experiment = EXPERIMENTS.get(run.experiment)
    if experiment is None or experiment.categories is None:
        return None
    accuracies = study.history(run.experiment)["val_accuracy"]
    return max(accuracies) if checkpoint == "best" else accuracies[-1]


def _setting(run: Run, name: str) -> Any:
    is_of_model = name == "batch_norm"
    value = (run.config.get("architecture", {}) if is_of_model else run.config).get(name)
    if name == "init_from" and value:
        value = value["path"]
    return " ".join(map(str, value)) if isinstance(value, list) else value


def make_heading(rows: Sequence[Row]) -> str:
    """What holds for all rows."""
    runs = "1 run" if len(rows) == 1 else f"{len(rows)} runs"
    categories, training, validation = (
        figures.number_range([row[name] for row in rows])
        for name in ("categories", "training_drawings", "validation_drawings")
    )
    return (
        f"{runs} on {categories} categories, {training} training and {validation} validation "
        f"drawings; scores of the {rows[0]['checkpoint']} epoch"
    )


def make_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns in which there is something to say."""
    columns = [Column("run", lambda row: row["run"] + _stride_mark(row), is_number=False)]
    if any(row["run"] != row["experiment"] for row in rows):
        columns.append(Column("experiment", lambda row: row["experiment"], is_number=False))
    for name, header in (("categories", "categories"), ("training_drawings", "training")):
        if len({row[name] for row in rows}) > 1:
            columns.append(Column(header, _number(name, "{:,}")))
    columns += [
        Column("parameters", _number("parameters", "{:,}")),
        Column("mult-adds", lambda row: f"{row['multiply_adds'] / 1e6:,.0f} M"),
        Column("epochs", _epochs),
        Column("top-1 ± s.e.", _top1),
        Column("top-3", _number("top3", "{:.3f}")),
        Column("MAP@3", _number("map3", "{:.3f}")),
        Column("loss", _number("loss", "{:.3f}")),
        Column("best top-1", _best),
        Column("images/s", _number("images_per_second", "{:,.0f}")),
        Column("training", _training_time),
    ]
    if any(row["study_top1"] for row in rows):
        columns.append(Column("the study's", _number("study_top1", "{:.3f}")))
    for name in SETTINGS:
        if name in rows[0]:
            columns.append(Column(name, _number(name, "{}")))
    return columns


def make_cells(rows: Sequence[Row], columns: Sequence[Column]) -> list[list[str]]:
    """A list for each row."""
    return [[column.show(row) for column in columns] for row in rows]


def _escape(text: str) -> str:
    """For Markdown, in which | ends a cell and * is emphasis."""
    return text.replace("|", r"\|").replace("*", r"\*")


def _number(name: str, form: str) -> Callable[[Row], str]:
    return lambda row: "-" if row[name] is None else form.format(row[name])


def _epochs(row: Row) -> str:
    epochs, planned = row["epochs"], row["planned_epochs"]
    return str(epochs) if epochs >= planned else f"{epochs}/{planned}"


def _top1(row: Row) -> str:
    return "-" if row["top1"] is None else f"{row['top1']:.3f} ± {row['top1_standard_error']:.3f}"


def _best(row: Row) -> str:
    return "-" if row["best_top1"] is None else f"{row['best_top1']:.3f} ({row['best_epoch']})"


def _training_time(row: Row) -> str:
    return "-" if row["training_seconds"] is None else duration(row["training_seconds"])


def _stride_mark(row: Row) -> str:
    return "*" if row["experiment"] in study.STRIDE_2 else ""


def make_notes(rows: Sequence[Row]) -> list[str]:
    """What one has to know of the columns and marks."""
    notes = []
    if any(row["study_top1"] for row in rows):
        notes.append("the study's: top-1 of its own run, on its drawings of 20 or 53 categories")
    if any(map(_stride_mark, rows)):
        notes.append(f"* {study.STRIDE_NOTE}")
    return notes
