"""Sections of the report about the training of a run and its scores."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element

from analysis.comparison import study_histories
from analysis.plot_histories import plot_histories
from analysis.reading.evaluations import Evaluation
from analysis.reading.runs import (
    Details,
    Run,
    read_details,
    read_intervals,
    read_speeds,
    read_training_time,
)
from analysis.reading.scores import Scores, read_validation
from analysis.sections.page import (
    Column,
    TableCell,
    element,
    facts,
    note,
    number_cell,
    picture,
    table,
)
from analysis.style.texts import duration
from analysis.throughput import plot_throughput
from pipeline.cli import UserError, counted
from trainer.models import study
from trainer.models.experiments import EXPERIMENTS
from trainer.runs import run_directory
from trainer.runs.uncertainty import chance, standard_error

# Settings of config.json beside batch, learning rate and seed, with their values in the study's
# recipe: only others are shown.
STUDY_SETTINGS = {
    "warmup_epochs": 0,
    "weight_decay": 0,
    "clip_norm": 0,
    "label_smoothing": 0,
    "ema_decay": 0,
    "augment": [],
    "early_stopping": 0,
    "freeze": None,
}


class RunView(NamedTuple):
    """A run and the evaluation and data sets to show with it."""

    run: Run
    name: str
    evaluation: Evaluation  # whose predictions are shown
    dataset: str | UserError  # its data set, or why there is none
    evaluated: str | UserError  # the data set of the evaluation, or why there is none

    def require_drawings(self) -> str:
        """Return the directory with the drawings of the evaluation.

        Raises:
          UserError: there is none.
        """
        if isinstance(self.evaluated, UserError):
            raise self.evaluated
        return self.evaluated


def setup(view: RunView) -> list[Element]:
    """Return the settings and the data of the run."""
    run, config = view.run, view.run.config
    experiment = EXPERIMENTS.get(run.experiment)
    precision, xla, versions = (
        run_directory.latest(config, name) for name in ("precision", "xla", "versions")
    )
    pairs = {
        "Experiment": run.experiment + (f": {experiment.change}" if experiment else ""),
        "Model": f"{run.parameters:,} parameters, {run.multiply_adds:,} multiply-adds of an image",
        "Recipe": ", ".join(_recipe(run)),
        "Precision": f"{precision}, XLA {xla}",
        "Data": f"{len(run.labels):,} categories, {run.drawings['train']:,} training and "
        f"{run.drawings['validation']:,} validation drawings",
        "Data set": config["dataset"],
        "Run": run.directory,
        "Versions": ", ".join(f"{name} {v}" for name, v in (versions or {}).items()),
    }
    return [facts(pairs.items())]


def scores(view: RunView) -> list[Element]:
    """Return top-1, top-3, MAP@3 and loss of the best and the last epoch, and of guessing.

    The first row is the evaluation of a file, if that is shown.
    """
    validation = read_validation(view.run.directory)
    headers = ("epoch", "top-1", "standard error", "top-3", "MAP@3", "loss")
    columns = [Column("scores of", is_number=False), *map(Column, headers)]
    rows, notes = [], []
    classes = {len(view.run.labels): "chance"}
    if view.evaluation.path:
        found = view.evaluation.read_scores()
        rows.append(_score_row(f"{view.evaluation.name}, the evaluation", found))
        count = len(view.evaluation.labels)
        classes.setdefault(count, f"chance, {count} categories")
        title = view.evaluation.title(found.epoch, found.examples)
        notes = [element("p", f"The evaluation, {view.evaluation.path}: {title}.")]
    rows += [_score_row("best epoch", validation.best), _score_row("last epoch", validation.last)]
    rows += _study_rows(view.run.experiment)
    for count, name in classes.items():
        top1, top3, map3 = chance(count)
        rows.append(_row(name, None, top1, None, top3, map3, math.log(count)))
    text = (
        f"Best and last epoch: on {validation.last.examples:,} {validation.split} drawings. Top-1 "
        "and top-3: the share of drawings whose category is the first prediction, or one of the "
        "first three. MAP@3: the mean of 1, 1/2 or 1/3 for a correct first, second or third "
        "prediction. The best epoch is chosen by top-1 on the same drawings, so its scores are "
        "slightly optimistic."
    )
    return [*notes, table("Scores", columns, rows), element("p", text, class_="note")]


def histories(view: RunView) -> list[Element]:
    """Return accuracy and loss over the epochs, as a picture and a table."""
    run, remarks = view.run, []
    try:
        details = read_details(run)
    except UserError as error:
        details, remarks = None, [note(f"Without top-3 and the loss within epochs: {error}")]
    figure = plot_histories([run], details)
    best = max(run.history["val_accuracy"])
    alt = (
        f"Line charts of accuracy and loss in training and validation of {view.name} over "
        f"{counted(run.epochs, 'epoch')}; the best validation accuracy is {best:.3f}"
    )
    numbers = element("details", element("summary", "Numbers of each epoch"), _epochs(run, details))
    text = (
        "Training: the mean over an epoch, with dropout. Validation: after the epoch. The "
        "axes are logarithmic, in 1 − accuracy and in the loss."
    )
    return [element("p", text), *remarks, picture(figure, alt), numbers]


def _epochs(run: Run, details: Details | None) -> Element:
    """Return the numbers of each epoch; top-3 where it is known of any."""
    panels = study_histories.PANELS
    columns = [Column("epoch"), *(Column(title.lower()) for title in panels.values())]
    series = [run.history[key] for key in panels]
    if details and details.top3:
        columns.insert(3, Column("validation top-3"))
        series.insert(2, [details.top3.get(epoch, math.nan) for epoch in range(1, run.epochs + 1)])
    rows = [
        [number_cell(epoch, "d"), *map(number_cell, values)]
        for epoch, values in enumerate(zip(*series, strict=True), 1)
    ]
    return table("Epochs", columns, rows)


def speed(view: RunView) -> list[Element]:
    """Return images/s, input wait and learning rate."""
    figure = plot_throughput([view.run])
    text = "Pauses for validation and checkpoints are left out."
    rates = {each.learning_rate for each in read_intervals(view.run.directory)}
    if len(rates) == 1:
        text += f" The learning rate is {min(rates):g} throughout."
    if found := read_training_time(view.run):
        seconds, images_per_second = found
        epochs = len(read_speeds(view.run.directory))
        text = (
            f"{duration(seconds)} of training in {counted(epochs, 'epoch')}, "
            f"{images_per_second:,.0f} images/s on average. {text}"
        )
    rate = " and the learning rate" if len(rates) > 1 else ""
    alt = f"Charts of the speed, the input wait{rate} of {view.name}"
    return [element("p", text), picture(figure, alt)]


Sections = dict[str, Callable[[RunView], list[Element]]]

# Before and after the sections about predictions.
FIRST: Sections = {"Scores": scores}
LAST: Sections = {"Histories": histories, "Setup": setup, "Speed": speed}
FOLDED = {"Setup", "Speed"}


def _recipe(run: Run) -> Iterator[str]:
    config = run.config
    yield f"{counted(run.planned_epochs, 'epoch')} of {counted(run.steps_per_epoch, 'step')}"
    yield f"batch {config['batch_size']}"
    yield f"learning rate {config.get('learning_rate')}, {config.get('learning_rate_schedule')}"
    yield f"seed {config.get('seed')}"
    if source := config.get("init_from"):
        yield f"from the weights of {source['path']}"
    for name, plain in STUDY_SETTINGS.items():
        value = config.get(name, plain)
        if value != plain:
            text = " ".join(value) if isinstance(value, list) else value
            yield f"{name.replace('_', ' ')} {text}"


def _score_row(name: str, found: Scores) -> list[TableCell]:
    error = standard_error(found.top1, found.examples)
    return _row(name, found.epoch, found.top1, error, found.top3, found.map3, found.loss)


def _study_rows(name: str) -> list[list[TableCell]]:
    """Return the scores of the study's own run of the experiment, if it has one."""
    experiment = EXPERIMENTS.get(name)
    if experiment is None or experiment.categories is None:
        return []
    history = study.history(name)
    top1, loss = history["val_accuracy"][-1], history["val_loss"][-1]
    error = standard_error(top1, study_histories.STUDY_DRAWINGS[1] * experiment.categories)
    text = f"the study's {name}, on its own {experiment.categories} categories"
    return [_row(text, len(history["val_accuracy"]), top1, error, None, None, loss)]


def _row(name: str, epoch: int | None, *values: float | None) -> list[TableCell]:
    return [TableCell(name), number_cell(epoch, "d"), *map(number_cell, values)]
