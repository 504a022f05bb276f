"""Accuracy against parameters and multiply-adds, of runs and of the study's 20 runs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from analysis.reading.runs import Run, run_names
from analysis.style import figures, labels, scales, texts
from pipeline.cli import UserError
from trainer.models import costs, study
from trainer.models.experiments import EXPERIMENTS
from trainer.runs.uncertainty import standard_error

# Inches.
PANEL_WIDTH = 3.9
PANEL_HEIGHT = 3.9
LEFT = 0.65
RIGHT = 0.2
TOP = 0.82  # title and key
BOTTOM = 0.8  # ticks, axis label, note

LABEL_SIZE = 7  # points
MARGIN = 1.6  # beyond the points, as a ratio
WIDE_RANGE = 30  # the largest to the smallest cost: powers of ten are ticks enough
MAX_NAME = 24  # characters: points stand close together

STUDY_MARKS: dict[int, dict[str, Any]] = {  # by categories
    20: {"marker": "o", "mec": figures.COLOURS[0], "mfc": "white", "ms": 5, "mew": 1.2},
    53: {"marker": "s", "mec": figures.COLOURS[2], "mfc": "white", "ms": 4.6, "mew": 1.2},
}
RUN_MARK: dict[str, Any] = {"marker": "D", "color": figures.COLOURS[1], "ms": 4.6, "mew": 0}


class Point(NamedTuple):
    """A model's costs and accuracy."""

    name: str
    parameters: int
    multiply_adds: int
    accuracy: float
    error: float  # standard error of the accuracy
    mark: dict[str, Any]


def plot_costs(runs: Sequence[Run], checkpoint: str = "last", reference: bool = True) -> Figure:
    """Plot validation accuracy against the costs of predicting an image.

    Args:
      runs: those without a finished epoch are skipped.
      checkpoint: "last", or "best" for the best epoch of runs and study.
      reference: whether to draw the study's runs on the same categories as one of `runs`.

    Raises:
      UserError: there are no points to draw.
    """
    begun = [run for run in runs if run.epochs]
    names = texts.elide_names(run_names(begun), MAX_NAME)
    points = [_run_point(*each, checkpoint) for each in zip(begun, names, strict=True)]
    shown = studied_categories(begun) if reference else ()
    points += _study_points(checkpoint, shown)
    if not points:
        raise UserError("no run has a finished epoch yet")
    width = 2 * (LEFT + PANEL_WIDTH + RIGHT)
    height = TOP + PANEL_HEIGHT + BOTTOM
    with figures.style():
        figure = Figure(figsize=(width, height))
        for i, cost in enumerate(("parameters", "multiply_adds")):
            left = LEFT + i * (LEFT + PANEL_WIDTH + RIGHT)
            axes = figures.add_axes(figure, left, TOP, PANEL_WIDTH, PANEL_HEIGHT)
            accuracy_scatter(points, cost, axes)
        _draw_heading(figure, begun, checkpoint, shown)
        if any(point.name.endswith("*") for point in points):
            note = f"* {study.STRIDE_NOTE}"
            figures.add_text(figure, LEFT, height - 0.12, note, LABEL_SIZE, va="bottom")
    return figure


def _run_point(run: Run, name: str, checkpoint: str) -> Point:
    accuracy = _accuracy(run.history["val_accuracy"], checkpoint)
    error = standard_error(accuracy, run.drawings["validation"])
    return Point(
        _name(name, run.experiment), run.parameters, run.multiply_adds, accuracy, error, RUN_MARK
    )


def studied_categories(runs: Sequence[Run]) -> tuple[int, ...]:
    """Return which of the study's numbers of categories, 20 and 53, some of the runs are on.

    Accuracies on other categories cannot be compared with the study's.
    """
    return tuple(
        count
        for count in STUDY_MARKS
        if any(set(run.labels) == set(study.categories(count)) for run in runs)
    )


def _study_points(checkpoint: str, categories: Sequence[int]) -> list[Point]:
    points = []
    for name, experiment in EXPERIMENTS.items():
        if experiment.categories and experiment.categories in categories:
            cost = costs.total(costs.stages(experiment.architecture, experiment.categories))
            accuracy = _accuracy(study.history(name)["val_accuracy"], checkpoint)
            error = standard_error(accuracy, 1000 * experiment.categories)
            mark = STUDY_MARKS[experiment.categories]
            points.append(Point(_name(name, name), *cost, accuracy, error, mark))
    return points


def _accuracy(val_accuracy: Sequence[float], checkpoint: str) -> float:
    return max(val_accuracy) if checkpoint == "best" else val_accuracy[-1]


def _name(name: str, experiment: str) -> str:
    return name + ("*" if experiment in study.STRIDE_2 else "")


def accuracy_scatter(points: Sequence[Point], cost: str, ax: Axes | None = None) -> Axes:
    """Draw accuracies with standard errors against "parameters" or "multiply_adds"."""
    axes = figures.new_axes(ax)
    places = [(getattr(point, cost), point.accuracy) for point in points]
    for point, place in zip(points, places, strict=True):
        is_run = point.mark is RUN_MARK
        costs_ = f"{point.parameters:,} parameters, {point.multiply_adds:,} multiply-adds"
        score = f"{point.name}: {point.accuracy:.3f} ± {point.error:.3f}"
        axes.errorbar(
            *place, gid=figures.tooltip(f"{score}; {costs_}"),
            yerr=point.error, ecolor=point.mark.get("color", point.mark.get("mec")),
            elinewidth=0.8, linestyle="none", zorder=4 if is_run else 3, **point.mark,
        )  # fmt: skip
    axes.set_xscale("log")
    low, high = min(x for x, _ in places), max(x for x, _ in places)
    axes.set_xlim(low / MARGIN, high * MARGIN)
    is_wide = high / low > WIDE_RANGE
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if is_wide else (1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_minor_formatter(NullFormatter())
    scales.scale_metric(axes, "accuracy")
    axes.set_ylabel("validation accuracy (log scale of 1 − accuracy)")
    axes.set_xlabel("parameters" if cost == "parameters" else "multiply-adds of one image")
    axes.tick_params(labelsize=8)
    bars = [(point.accuracy - point.error, point.accuracy + point.error) for point in points]
    names = [point.name for point in points]
    weights = ["bold" if point.mark is RUN_MARK else "normal" for point in points]
    labels.label_points(axes, places, bars, names, weights, LABEL_SIZE)
    return axes


def _draw_heading(
    figure: Figure, runs: Sequence[Run], checkpoint: str, studied: Sequence[int]
) -> None:
    title = f"Accuracy after the {checkpoint} epoch on n validation drawings, ± standard error"
    figures.add_text(figure, LEFT, 0.13, title)
    handles = []
    if runs:
        categories = texts.number_range([len(run.labels) for run in runs])
        drawings = texts.number_range([run.drawings["validation"] for run in runs])
        label = f"runs on {categories} categories (n = {drawings})"
        handles.append(Line2D([], [], linestyle="none", label=label, **RUN_MARK))
    for count in studied:
        label = f"the study on the same {count} categories (n = {1000 * count:,})"
        mark = STUDY_MARKS[count]
        handles.append(Line2D([], [], linestyle="none", label=label, **mark))
    figures.add_legend(figure, LEFT, 0.4, handles, ncols=3, handlelength=1.2, columnspacing=1.6)
