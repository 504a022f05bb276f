"""The sections of the report about how a run was trained, and what came of it as a whole."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element

from analysis.plot_histories import plot_histories
from analysis.reading.evaluations import ShownEvaluation
from analysis.reading.runs import Run, Scores, mean_speed, read_evaluation, read_speeds
from analysis.sections.page import Cell, Column, element, facts, number_cell, picture, table
from analysis.style import study_histories
from analysis.style.cost_scatter import plot_costs
from analysis.style.uncertainty import standard_error
from analysis.summary import chance, duration
from analysis.throughput import plot_throughput
from pipeline.cli import UserError
from trainer.models import study
from trainer.models.experiments import EXPERIMENTS
from trainer.runs import run_directory

# Settings of config.json beside batch, learning rate and seed, and what they are in the study's
# recipe: only others are told.
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


class Subject(NamedTuple):
    """A run and how to look at it."""

    run: Run
    name: str
    evaluation: ShownEvaluation  # of the run: whose answers are shown
    dataset: str | UserError  # the directory that it learned from, or why there is none
    evaluated: str | UserError  # the directory with the drawings of the evaluation, or the same

    def require_drawings(self) -> str:
        """The directory with the drawings of the evaluation.

        Raises:
          UserError: there is none.
        """
        if isinstance(self.evaluated, UserError):
            raise self.evaluated
        return self.evaluated


def setup(subject: Subject) -> list[Element]:
    """What was trained on what, and how."""
    run, config = subject.run, subject.run.config
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


def scores(subject: Subject) -> list[Element]:
    """Top-1, top-3, MAP@3 and loss of the best and the last epoch, and of guessing.

    Where a saved evaluation is shown, its scores are those of the first row.
    """
    evaluation = read_evaluation(subject.run.directory)
    headers = ("epoch", "top-1", "standard error", "top-3", "MAP@3", "loss")
    columns = [Column("scores of", is_number=False), *map(Column, headers)]
    rows, notes = [], []
    classes = {len(subject.run.labels): "chance"}
    if subject.evaluation.path:
        found = subject.evaluation.read_scores()
        rows.append(_score_row(f"{subject.evaluation.name}, the evaluation", found))
        count = len(subject.evaluation.labels)
        classes.setdefault(count, f"chance, {count} categories")
        title = subject.evaluation.title(found.epoch, found.examples)
        notes = [element("p", f"The evaluation, {subject.evaluation.path}: {title}.")]
    rows += [_score_row("best epoch", evaluation.best), _score_row("last epoch", evaluation.last)]
    rows += _study_rows(subject.run.experiment)
    for count, name in classes.items():
        top1, top3, map3 = chance(count)
        rows.append(_row(name, None, top1, None, top3, map3, math.log(count)))
    text = (
        f"Best and last epoch: on {evaluation.last.examples:,} {evaluation.split} drawings. Top-1 "
        "and top-3: the share of drawings whose category is the first answer, or among the first "
        "three. MAP@3: the mean of 1, 1/2 or 1/3 for a right answer in first, second or third "
        "place. The best epoch is the one with the highest top-1 on these very drawings, which "
        "flatters it a little."
    )
    return [*notes, table("Scores", columns, rows), element("p", text, class_="note")]


def histories(subject: Subject) -> list[Element]:
    """Accuracy and loss over the epochs, drawn and as numbers."""
    run = subject.run
    figure = plot_histories([run])
    best = max(run.history["val_accuracy"])
    alt = (
        f"Line charts of accuracy and loss in training and validation of {subject.name} over "
        f"{run.epochs} epochs; the best validation accuracy is {best:.3f}"
    )
    columns = [
        Column("epoch"), Column("training accuracy"), Column("validation accuracy"),
        Column("training loss"), Column("validation loss"),
    ]  # fmt: skip
    series = [run.history[key] for key in ("accuracy", "val_accuracy", "loss", "val_loss")]
    rows = [
        [number_cell(epoch, "d"), *map(number_cell, values)]
        for epoch, values in enumerate(zip(*series, strict=True), 1)
    ]
    numbers = element(
        "details", element("summary", "Numbers of each epoch"), table("Epochs", columns, rows)
    )
    text = (
        "Training: the mean over an epoch, with dropout. Validation: after the epoch. Equal "
        "steps on the axes are equal ratios of the errors and of the losses."
    )
    return [element("p", text), picture(figure, alt), numbers]


def speed(subject: Subject) -> list[Element]:
    """Images a second, waiting for input and learning rate."""
    figure = plot_throughput([subject.run])
    speeds = read_speeds(subject.run.directory)
    mean = mean_speed(speeds)
    text = "Pauses for validation and checkpoints are left out."
    if mean:
        seconds = len(speeds) * subject.run.drawings["train"] / mean
        text = (
            f"{duration(seconds)} of training in {len(speeds)} epochs, {mean:,.0f} images/s on "
            f"average. {text}"
        )
    alt = f"Charts of the speed, the input wait and the learning rate of {subject.name}"
    return [element("p", text), picture(figure, alt)]


def cost(subject: Subject) -> list[Element]:
    """Accuracy against cost, beside the study's runs."""
    figure = plot_costs([subject.run], subject.evaluation.checkpoint)
    alt = f"Accuracy of {subject.name} and of the study's 20 runs against their costs"
    text = (
        "Beside the 20 runs of the study, which had drawings and categories of their own: 20 or 53 "
        "categories, 2,000 training drawings of each."
    )
    return [element("p", text), picture(figure, alt)]


def choose(is_alone: bool) -> dict[str, Callable[[Subject], list[Element]]]:
    """What makes the sections, by title; `is_alone`: on a page without a comparison of runs."""
    sections: dict[str, Callable[[Subject], list[Element]]]
    sections = {"Scores": scores, "Setup": setup, "Histories": histories, "Speed": speed}
    return sections | ({"Accuracy and cost": cost} if is_alone else {})


def _recipe(run: Run) -> Iterator[str]:
    config = run.config
    yield f"{run.planned_epochs} epochs of {run.steps_per_epoch:,} steps"
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


def _score_row(name: str, found: Scores) -> list[Cell]:
    error = standard_error(found.top1, found.examples)
    return _row(name, found.epoch, found.top1, error, found.top3, found.map3, found.loss)


def _study_rows(name: str) -> list[list[Cell]]:
    """What the study's own run of the experiment achieved, if it has one."""
    experiment = EXPERIMENTS.get(name)
    if experiment is None or experiment.categories is None:
        return []
    history = study.history(name)
    top1, loss = history["val_accuracy"][-1], history["val_loss"][-1]
    error = standard_error(top1, study_histories.STUDY_DRAWINGS[1] * experiment.categories)
    text = f"the study's {name}, on its own {experiment.categories} categories"
    return [_row(text, len(history["val_accuracy"]), top1, error, None, None, loss)]


def _row(name: str, epoch: int | None, *values: float | None) -> list[Cell]:
    return [Cell(name), number_cell(epoch, "d"), *map(number_cell, values)]
