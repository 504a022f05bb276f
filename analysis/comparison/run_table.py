"""Table of runs: costs, scores, and the settings in which they differ."""

import csv
import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from analysis.reading.runs import Run, read_training_time, run_names
from analysis.reading.scores import read_validation
from analysis.style import texts
from pipeline.cli import align, counted
from trainer.config import IDENTITY
from trainer.models import study
from trainer.models.experiments import EXPERIMENTS
from trainer.runs.uncertainty import standard_error

TOP1 = "top-1 ± s.e."  # header of a column
SETTINGS = ("batch_norm", *IDENTITY, "early_stopping")  # shown where the runs differ in them

_SCORES = (
    *("epoch", "top1", "top1_standard_error", "top3", "map3", "loss"),
    *("best_top1", "best_epoch"),
)

# One run, by column of the CSV. None where there is no value, before the first epoch's end say.
Row = dict[str, Any]


class Field(NamedTuple):
    """A column of the table for people."""

    header: str
    show: Callable[[Row], str]
    is_number: bool = True


@dataclasses.dataclass(frozen=True)
class RunTable:
    """A row for each run, shown as text, Markdown, CSV or in the report."""

    rows: list[Row]

    @property
    def heading(self) -> str:
        """Return what holds for all rows."""
        data = _describe(
            *([row[name] for row in self.rows] for name in ("categories", *_SPLIT_COLUMNS.values()))
        )
        checkpoint = self.rows[0]["checkpoint"]
        runs = counted(len(self.rows), "run")
        return f"{runs} on {data}; scores of the {checkpoint} epoch"

    @property
    def fields(self) -> list[Field]:
        """Return the columns that are not empty."""
        fields = [Field("run", lambda row: row["run"] + _stride_mark(row), is_number=False)]
        if any(row["run"] != row["experiment"] for row in self.rows):
            fields.append(Field("experiment", lambda row: row["experiment"], is_number=False))
        for name, header in (("categories", "categories"), ("training_drawings", "training")):
            if len({row[name] for row in self.rows}) > 1:
                fields.append(Field(header, _number(name, "{:,}")))
        fields += [
            Field("parameters", _number("parameters", "{:,}")),
            Field("mult-adds", lambda row: f"{row['multiply_adds'] / 1e6:,.0f} M"),
            Field("epochs", _epochs),
            Field(TOP1, _number("top1", "{:.3f} ± {top1_standard_error:.3f}")),
            Field("top-3", _number("top3", "{:.3f}")),
            Field("MAP@3", _number("map3", "{:.3f}")),
            Field("loss", _number("loss", "{:.3f}")),
            Field("best top-1", _number("best_top1", "{:.3f} ({best_epoch})")),
            Field("images/s", _number("images_per_second", "{:,.0f}")),
            Field("training", _training_time),
        ]
        if any(row["study_top1"] for row in self.rows):
            fields.append(Field("the study's", _number("study_top1", "{:.3f}")))
        for name in (each for each in SETTINGS if each in self.rows[0]):
            is_number = not any(isinstance(row[name], str) for row in self.rows)
            fields.append(Field(name, _number(name, "{}"), is_number))
        return fields

    @property
    def notes(self) -> list[str]:
        """Return what explains the columns and marks."""
        notes = []
        if any(row["study_top1"] for row in self.rows):
            notes.append(
                "the study's: top-1 of its own run, on its drawings of 20 or 53 categories"
            )
        if any(map(_stride_mark, self.rows)):
            notes.append(f"* {study.STRIDE_NOTE}")
        return notes

    def cells(self) -> list[list[str]]:
        """Return the texts of each row."""
        fields = self.fields
        return [[field.show(row) for field in fields] for row in self.rows]

    def to_text(self) -> str:
        """Return aligned lines below the heading."""
        fields = self.fields
        alignment = "".join(">" if field.is_number else "<" for field in fields)
        lines = align([[field.header for field in fields], *self.cells()], alignment)
        notes = self.notes
        return "\n".join((self.heading, "", *lines, *([""] if notes else []), *notes))

    def to_markdown(self) -> str:
        """Return a file of Markdown."""
        fields = self.fields
        table = [
            [field.header for field in fields],
            ["---:" if field.is_number else "---" for field in fields],
            *self.cells(),
        ]
        lines = [f"| {' | '.join(map(_escape, line))} |" for line in table]
        notes = [line for note in self.notes for line in ("", _escape(note))]
        return "\n".join((self.heading, "", *lines, *notes, ""))

    def to_csv(self) -> str:
        """Return all values below a line of names; shares from 0 to 1, nothing for None."""
        file = io.StringIO()
        writer = csv.DictWriter(file, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return file.getvalue()


def make_table(runs: Sequence[Run], checkpoint: str = "last") -> RunTable:
    """Return the table of some runs.

    Args:
      runs: in their order; finished or not.
      checkpoint: the epoch of the scores, "last" or "best".

    Raises:
      UserError: a file of a run is missing or damaged.
    """
    differing = [name for name in SETTINGS if len({setting(run, name) for run in runs}) > 1]
    return RunTable(
        [
            {
                "run": name,
                "directory": run.directory,
                "checkpoint": checkpoint,
                "experiment": run.experiment,
                "categories": len(run.labels),
                **{column: run.drawings[split] for split, column in _SPLIT_COLUMNS.items()},
                "parameters": run.parameters,
                "multiply_adds": run.multiply_adds,
                "epochs": run.epochs,
                "planned_epochs": run.planned_epochs,
                **_scores(run, checkpoint),
                **_speed(run),
                "study_top1": _study_accuracy(run, checkpoint),
                **{name: setting(run, name) for name in differing},
            }
            for run, name in zip(runs, run_names(runs), strict=True)
        ]
    )


def describe_data(runs: Sequence[Run]) -> str:
    """Return "12 categories, 18,000 training and 4,800 validation drawings"."""
    splits = ([run.drawings[split] for run in runs] for split in _SPLIT_COLUMNS)
    return _describe([len(run.labels) for run in runs], *splits)


_SPLIT_COLUMNS = {"train": "training_drawings", "validation": "validation_drawings"}


def _describe(*numbers: Sequence[int]) -> str:
    categories, training, validation = map(texts.number_range, numbers)
    return f"{categories} categories, {training} training and {validation} validation drawings"


def _speed(run: Run) -> Row:
    """Return the speed of training alone, without evaluations."""
    seconds, images_per_second = read_training_time(run) or (None, None)
    return {"images_per_second": images_per_second, "training_seconds": seconds}


def _scores(run: Run, checkpoint: str) -> Row:
    if not run.epochs:
        return dict.fromkeys(_SCORES)
    validation = read_validation(run.directory)
    scores, best = validation.at(checkpoint), validation.best
    error = standard_error(scores.top1, scores.examples)
    values = (scores.epoch, scores.top1, error, scores.top3, scores.map3, scores.loss)
    return dict(zip(_SCORES, (*values, best.top1, best.epoch), strict=True))


def _study_accuracy(run: Run, checkpoint: str) -> float | None:
    experiment = EXPERIMENTS.get(run.experiment)
    if experiment is None or experiment.categories is None:
        return None
    accuracies = study.history(run.experiment)["val_accuracy"]
    return max(accuracies) if checkpoint == "best" else accuracies[-1]


def setting(run: Run, name: str) -> Any:
    """Return the value of one of SETTINGS, lists as text."""
    is_of_model = name == "batch_norm"
    value = (run.config.get("architecture", {}) if is_of_model else run.config).get(name)
    if name == "init_from" and value:
        value = value["path"]
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _escape(text: str) -> str:
    """Return the text for Markdown, in which | ends a cell and * is emphasis."""
    return text.replace("|", r"\|").replace("*", r"\*")


def _number(name: str, form: str) -> Callable[[Row], str]:
    return lambda row: "-" if row[name] is None else form.format(row[name], **row)


def _epochs(row: Row) -> str:
    epochs, planned = row["epochs"], row["planned_epochs"]
    return str(epochs) if epochs >= planned else f"{epochs}/{planned}"


def _training_time(row: Row) -> str:
    return "-" if row["training_seconds"] is None else texts.duration(row["training_seconds"])


def _stride_mark(row: Row) -> str:
    return "*" if row["experiment"] in study.STRIDE_2 else ""
