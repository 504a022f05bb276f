"""How fast runs train: images a second, waiting for input, learning rate, over their epochs.

python -m analysis.throughput --run_dir=runs/a,runs/b --output=throughput.png
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.reading.runs import (
    Interval,
    Run,
    Speed,
    define_run_dirs_flag,
    mean_speed,
    read_intervals,
    read_runs,
    read_speeds,
    run_names,
)
from analysis.style import curves, figures
from analysis.style.curves import EndLabel, Look
from pipeline import cli
from pipeline.cli import UserError

MAX_DETAILED_RUNS = len(figures.COLOURS)  # with more only the means of epochs are shown
LOG_RATIO = 10  # of the fastest run to the slowest: more needs a logarithmic axis
MIN_WAIT = 0.05  # of the axis of waiting: less is nothing to look into

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

FAINT = 0.6  # how white the lines of single intervals are


class Course(NamedTuple):
    """A run's speed and how to draw it."""

    name: str
    run: Run
    intervals: list[Interval]
    epochs: list[Speed]
    look: Look

    @property
    def images_per_second(self) -> float:
        """The mean so far."""
        return mean_speed(self.epochs) or float(
            np.mean([each.images_per_second for each in self.intervals])
        )

    def edges(self, speeds: Sequence[Speed]) -> np.ndarray:
        """Where each ends, in epochs, after where the first began: [n + 1]."""
        first = (speeds[0].epoch - 1) * self.run.steps_per_epoch
        return np.array([first, *(each.step for each in speeds)]) / self.run.steps_per_epoch


def plot_throughput(runs: Sequence[Run]) -> Figure:
    """The course of training of one or more runs, which may differ in length or be going on.

    Pauses for validation and checkpoints are left out, as in what the trainer prints. A run
    without metrics yet is left out, too.

    Raises:
      UserError: no run has any yet, or its file is damaged.
    """
    courses = _read_courses(runs)
    if not courses:
        directories = ", ".join(run.directory for run in runs)
        raise UserError(f"{directories}: no step of training in metrics.jsonl yet")
    is_detailed = len(courses) <= MAX_DETAILED_RUNS
    labels = [(course.name, f"mean {course.images_per_second:,.0f} images/s") for course in courses]
    columns = curves.label_columns(labels)
    speed_height = max(SPEED_HEIGHT, len(courses) * CURVE_HEIGHT)
    heights = (speed_height, OTHER_HEIGHT, OTHER_HEIGHT)
    width = LEFT + PANEL_WIDTH + curves.labels_width(columns) + RIGHT
    height = TOP + sum(heights) + 2 * GAP + BOTTOM
    with figures.style():
        figure = Figure(figsize=(width, height))
        _draw_heading(figure, courses)
        panels: list[Axes] = []
        top = TOP
        for panel_height in heights:
            box = (
                LEFT / width,
                1 - (top + panel_height) / height,
                PANEL_WIDTH / width,
                panel_height / height,
            )
            panels.append(figure.add_axes(box, sharex=panels[0] if panels else None))
            top += panel_height + GAP
        speed, wait, rate = panels
        for course in courses:
            _draw_course(speed, course, lambda each: each.images_per_second, is_detailed)
            _draw_course(wait, course, lambda each: each.input_wait_share, is_detailed)
            _draw_learning_rate(rate, course)
        _scale(speed, wait, rate, courses)
        ends = [_end_label(course, texts) for course, texts in zip(courses, labels, strict=True)]
        curves.label_ends(speed, ends, columns)
    return figure


def _read_courses(runs: Sequence[Run]) -> list[Course]:
    read = [(run, read_intervals(run.directory), read_speeds(run.directory)) for run in runs]
    read = [(run, intervals, epochs) for run, intervals, epochs in read if intervals]
    names = run_names([run for run, _, _ in read])
    return [
        Course(name, *each, look)
        for name, each, look in zip(names, read, curves.looks(len(read)), strict=True)
    ]


def _draw_course(
    axes: Axes, course: Course, value: Callable[[Speed], float], is_detailed: bool
) -> None:
    """Single intervals as a faint line, the means of epochs as a strong one."""
    if is_detailed or not course.epochs:
        axes.stairs(
            [value(each) for each in course.intervals], course.edges(course.intervals),
            baseline=None, color=_faint(course.look.colour), linewidth=0.8, label="_intervals",
        )  # fmt: skip
    if course.epochs:
        axes.stairs(
            [value(each) for each in course.epochs], course.edges(course.epochs), baseline=None,
            color=course.look.colour, linewidth=1.5, linestyle=course.look.dashes,
            label=course.name, zorder=3,
        )  # fmt: skip


def _draw_learning_rate(axes: Axes, course: Course) -> None:
    """The rate at the end of each interval, and from the start to the end of the first."""
    rates = [each.learning_rate for each in course.intervals]
    axes.plot(
        course.edges(course.intervals), [rates[0], *rates], color=course.look.colour,
        linewidth=1.4, linestyle=course.look.dashes, label=course.name,
    )  # fmt: skip


def _scale(speed: Axes, wait: Axes, rate: Axes, courses: Sequence[Course]) -> None:
    means = [course.images_per_second for course in courses]
    if max(means) > LOG_RATIO * min(means):
        speed.set_yscale("log")
        speed.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        speed.yaxis.set_minor_formatter(NullFormatter())
    else:
        speed.set_ylim(bottom=0)
    speed.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    speed.set_ylabel("images/s")
    waits = [each.input_wait_share for course in courses for each in course.intervals]
    wait.set_ylim(0, max(MIN_WAIT, 1.05 * max(waits)))
    wait.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    wait.set_ylabel("input wait\n(% of time)")
    rates = [each.learning_rate for course in courses for each in course.intervals]
    rate.set_ylim(0, 1.1 * max(rates) or 1)
    rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    rate.set_ylabel("learning rate")
    rate.set_xlabel("epoch")
    rate.set_xlim(0, max(course.edges(course.intervals)[-1] for course in courses))
    rate.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
    rate.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in (wait, rate):
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    for axes in (speed, wait):
        axes.tick_params(labelbottom=False)
    for axes in (speed, wait, rate):
        axes.yaxis.set_label_coords(-LABEL_LEFT / PANEL_WIDTH, 0.5)


def _end_label(course: Course, texts: tuple[str, str]) -> EndLabel:
    last = (course.epochs or course.intervals)[-1]
    x = last.step / course.run.steps_per_epoch
    return EndLabel(x, last.images_per_second, course.look, texts)


def _draw_heading(figure: Figure, courses: Sequence[Course]) -> None:
    width, height = figure.get_size_inches()
    subject = courses[0].name if len(courses) == 1 else f"{len(courses)} runs"
    figure.text(LEFT / width, 1 - 0.13 / height, f"Training of {subject}", fontsize=10, va="top")
    key = [Line2D([], [], color=figures.TEXT, linewidth=1.5, label="mean of an epoch")]
    if len(courses) <= MAX_DETAILED_RUNS:
        faint = _faint(figures.TEXT)
        key.append(Line2D([], [], color=faint, linewidth=0.8, label="about ten seconds"))
    figure.legend(
        handles=key, ncols=2, loc="upper left", fontsize=8, frameon=False,
        bbox_to_anchor=(LEFT / width, 1 - 0.36 / height), borderpad=0, borderaxespad=0,
        handlelength=2, columnspacing=1.6,
    )  # fmt: skip


def _faint(colour: str) -> str:
    """Mixed with white, as EPS knows no transparency."""
    red, green, blue = (part + FAINT * (1 - part) for part in matplotlib.colors.to_rgb(colour))
    return matplotlib.colors.to_hex((red, green, blue))


def define_flags() -> None:
    define_run_dirs_flag()
    figures.define_output_flag()


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    figures.write(plot_throughput(read_runs(args.run_dir)), args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
