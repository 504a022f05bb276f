"""Training speed of runs over their epochs: images/s, input wait, learning rate.

python -m analysis.throughput RUN [RUN ...] -o throughput.png
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis import commands
from analysis.reading.runs import (
    Interval,
    Run,
    Speed,
    mean_speed,
    read_intervals,
    read_speeds,
    run_names,
)
from analysis.style import figures, labels, texts
from analysis.style.labels import EndLabel, LineStyle
from pipeline.cli import UserError

MAX_DETAILED_RUNS = len(figures.COLOURS)  # with more only the means of epochs are shown
LOG_RATIO = 10  # of the fastest run to the slowest: more needs a logarithmic axis
MIN_WAIT = 0.05  # upper end of the axis of waiting, at least

# Inches.
PANEL_WIDTH = 5.2
SPEED_HEIGHT = 2.2  # at least; CURVE_HEIGHT for each of many curves
CURVE_HEIGHT = 0.2
OTHER_HEIGHT = 1.2
LEFT = 0.95
LABEL_LEFT = 0.6  # of the middle of the axis labels from the panels
RIGHT = 0.25
TOP = 0.62  # title and key
GAP = 0.2
BOTTOM = 0.5


class SpeedSeries(NamedTuple):
    """A run's speed and its line style."""

    name: str
    run: Run
    intervals: list[Interval]
    epochs: list[Speed]
    style: LineStyle

    @property
    def images_per_second(self) -> float:
        """Return the mean so far."""
        return mean_speed(self.epochs) or float(
            np.mean([each.images_per_second for each in self.intervals])
        )

    def edges(self, speeds: Sequence[Speed]) -> np.ndarray:
        """Return the start of the first and the end of each in epochs, [n + 1]."""
        first = (speeds[0].epoch - 1) * self.run.steps_per_epoch
        return np.array([first, *(each.step for each in speeds)]) / self.run.steps_per_epoch


def plot_throughput(runs: Sequence[Run]) -> Figure:
    """Plot the training speed of one or more runs, which may differ in length or be unfinished.

    Pauses for validation and checkpoints are left out, as in the trainer's output. A run without
    metrics is left out, too, and so is a learning rate that is the same throughout.

    Raises:
      UserError: no run has any yet, or its file is damaged.
    """
    all_series = _read_series(runs)
    if not all_series:
        directories = ", ".join(run.directory for run in runs)
        raise UserError(f"{directories}: no step of training in metrics.jsonl yet")
    is_detailed = len(all_series) <= MAX_DETAILED_RUNS
    names = [(each.name, f"mean {each.images_per_second:,.0f} images/s") for each in all_series]
    columns = labels.label_columns(names)
    heights = [max(SPEED_HEIGHT, len(all_series) * CURVE_HEIGHT), OTHER_HEIGHT]
    has_rates = len(_rates(all_series)) > 1
    if has_rates:
        heights.append(OTHER_HEIGHT)
    width = LEFT + PANEL_WIDTH + labels.labels_width(columns) + RIGHT
    height = TOP + sum(heights) + (len(heights) - 1) * GAP + BOTTOM
    with figures.style():
        figure = Figure(figsize=(width, height))
        _draw_heading(figure, all_series)
        panels: list[Axes] = []
        top = TOP
        for panel_height in heights:
            shared = {"sharex": panels[0]} if panels else {}
            panels.append(figures.add_axes(figure, LEFT, top, PANEL_WIDTH, panel_height, **shared))
            top += panel_height + GAP
        speed, wait, *rate = panels
        for each in all_series:
            speed_steps(each, lambda s: s.images_per_second, is_detailed=is_detailed, ax=speed)
            speed_steps(each, lambda s: s.input_wait_share, is_detailed=is_detailed, ax=wait)
            for axes in rate:
                learning_rate_line(each, axes)
        _scale_speed(speed, wait, all_series)
        for axes in rate:
            _scale_rate(axes, all_series)
        _scale_epochs(panels, all_series)
        ends = [_end_label(each, texts) for each, texts in zip(all_series, names, strict=True)]
        labels.label_ends(speed, ends, columns)
    return figure


def _read_series(runs: Sequence[Run]) -> list[SpeedSeries]:
    read = [(run, read_intervals(run.directory), read_speeds(run.directory)) for run in runs]
    read = [(run, intervals, epochs) for run, intervals, epochs in read if intervals]
    names = texts.elide_names(run_names([run for run, _, _ in read]))
    styles = labels.line_styles(len(read))
    return [
        SpeedSeries(name, *each, style)
        for name, each, style in zip(names, read, styles, strict=True)
    ]


def speed_steps(
    series: SpeedSeries,
    value: Callable[[Speed], float],
    *,
    is_detailed: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw a value of single intervals as a faint line, of epochs as a strong one."""
    axes = figures.new_axes(ax)
    if is_detailed or not series.epochs:
        axes.stairs(
            [value(each) for each in series.intervals], series.edges(series.intervals),
            baseline=None, color=figures.faint(series.style.colour), linewidth=0.8,
            label="_intervals",
        )  # fmt: skip
    if series.epochs:
        axes.stairs(
            [value(each) for each in series.epochs], series.edges(series.epochs), baseline=None,
            color=series.style.colour, linewidth=1.5, linestyle=series.style.dashes,
            label=series.name, zorder=3,
        )  # fmt: skip
    return axes


def learning_rate_line(series: SpeedSeries, ax: Axes | None = None) -> Axes:
    """Draw the rate at the end of each interval, constant in the first."""
    axes = figures.new_axes(ax)
    rates = [each.learning_rate for each in series.intervals]
    axes.plot(
        series.edges(series.intervals), [rates[0], *rates], color=series.style.colour,
        linewidth=1.4, linestyle=series.style.dashes, label=series.name,
    )  # fmt: skip
    return axes


def _rates(all_series: Sequence[SpeedSeries]) -> set[float]:
    """Return the learning rates that occur: of one only, there is nothing to draw."""
    return {each.learning_rate for series in all_series for each in series.intervals}


def _scale_speed(speed: Axes, wait: Axes, all_series: Sequence[SpeedSeries]) -> None:
    means = [series.images_per_second for series in all_series]
    if max(means) > LOG_RATIO * min(means):
        speed.set_yscale("log")
        speed.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        speed.yaxis.set_minor_formatter(NullFormatter())
    else:
        speed.set_ylim(bottom=0)
    speed.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    speed.set_ylabel("images/s")
    waits = [each.input_wait_share for series in all_series for each in series.intervals]
    wait.set_ylim(0, max(MIN_WAIT, 1.05 * max(waits)))
    wait.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    wait.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    wait.set_ylabel("input wait\n(% of time)")


def _scale_rate(rate: Axes, all_series: Sequence[SpeedSeries]) -> None:
    rate.set_ylim(0, 1.1 * max(_rates(all_series)))
    rate.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    rate.set_ylabel("learning rate")


def _scale_epochs(panels: Sequence[Axes], all_series: Sequence[SpeedSeries]) -> None:
    """Scale the axis that all panels share, and label it below the last one."""
    lowest = panels[-1]
    lowest.set_xlabel("epoch")
    lowest.set_xlim(0, max(series.edges(series.intervals)[-1] for series in all_series))
    lowest.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
    lowest.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in panels[:-1]:
        axes.tick_params(labelbottom=False)
    for axes in panels:
        axes.yaxis.set_label_coords(-LABEL_LEFT / PANEL_WIDTH, 0.5)


def _end_label(series: SpeedSeries, texts: tuple[str, str]) -> EndLabel:
    last = (series.epochs or series.intervals)[-1]
    x = last.step / series.run.steps_per_epoch
    return EndLabel(x, last.images_per_second, series.style, texts)


def _draw_heading(figure: Figure, all_series: Sequence[SpeedSeries]) -> None:
    name = all_series[0].name if len(all_series) == 1 else f"{len(all_series)} runs"
    figures.add_text(figure, LEFT, 0.13, f"Training of {name}")
    key = [Line2D([], [], color=figures.TEXT, linewidth=1.5, label="mean of an epoch")]
    if len(all_series) <= MAX_DETAILED_RUNS:
        faint = figures.faint(figures.TEXT)
        key.append(Line2D([], [], color=faint, linewidth=0.8, label="about ten seconds"))
    figures.add_legend(figure, LEFT, 0.36, key, ncols=2, handlelength=2, columnspacing=1.6)


COMMAND = commands.PictureCommand(commands.RUNS_WITH_SPEED, plot_throughput)

if __name__ == "__main__":
    COMMAND.run()
