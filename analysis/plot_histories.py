"""Accuracy and loss over the epochs of runs, or the figures of a group of the study's.

  python -m analysis.plot_histories --run_dir=runs/a,runs/b --output=histories.png,histories.svg
  python -m analysis.plot_histories --group=depth53 --run_dir=runs/depth53 --reference \\
    --output=depth53.pdf

With --group a picture has four panels: accuracy and loss in training and in validation, of the
group's experiments, in the study's order and colours. --reference draws the study's own histories
beside those of the runs, or alone. --separate writes a picture for each panel, and --group=all
pictures of all four groups: with both, the study's sixteen figures.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.reading.runs import Run, define_run_dirs_flag, read_runs, run_names
from analysis.style import curves, figures, scales, study_histories
from analysis.style.curves import EndLabel, Look
from pipeline import cli
from pipeline.cli import UserError
from trainer.models import study

# With more runs training and validation get panels of their own.
MAX_OVERLAID_RUNS = len(figures.COLOURS)

# Inches.
PANEL_WIDTH = 3.4
PANEL_HEIGHT = 2.9  # at least; CURVE_HEIGHT for each of many curves
CURVE_HEIGHT = 0.2
LEFT = 0.65  # of a panel: its ticks and axis label
RIGHT = 0.3  # of the labels
TOP = 0.88  # of the first row: the figure's title and key, the panel's title
BOTTOM = 0.55  # of a row: ticks and axis label
ROW_GAP = 0.35

MAIN_LINE: dict[str, Any] = {"linewidth": 1.4}
BESIDE_LINE: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.0}


class Panel(NamedTuple):
    """Which of a history's series a set of axes shows."""

    title: str
    metric: str  # accuracy or loss
    main: str  # key of the history: its best value marked and told
    beside: str | None = None  # key of the history: dashed


class Curve(NamedTuple):
    """A run's series and how to draw it."""

    name: str
    run: Run
    look: Look


OVERLAID = (
    (
        Panel("Accuracy", "accuracy", "val_accuracy", "accuracy"),
        Panel("Loss", "loss", "val_loss", "loss"),
    ),
)
APART = (
    (
        Panel("Validation accuracy", "accuracy", "val_accuracy"),
        Panel("Training accuracy", "accuracy", "accuracy"),
    ),
    (
        Panel("Validation loss", "loss", "val_loss"),
        Panel("Training loss", "loss", "loss"),
    ),
)


def plot_histories(runs: Sequence[Run]) -> Figure:
    """Draws the histories of one or more runs, which may differ in length.

    A run without a finished epoch is named in the title and has no curve.

    Raises:
      UserError: no run has a finished epoch.
    """
    begun = [run for run in runs if run.epochs]
    if not begun:
        directories = ", ".join(run.directory for run in runs)
        raise UserError(f"{directories}: no epoch is finished yet")
    names = dict(zip([run.directory for run in runs], run_names(runs), strict=True))
    curves_ = [
        Curve(names[run.directory], run, look)
        for run, look in zip(begun, curves.looks(len(begun)), strict=True)
    ]
    waiting = [names[run.directory] for run in runs if not run.epochs]
    rows = OVERLAID if len(begun) <= MAX_OVERLAID_RUNS else APART
    columns = curves.label_columns(
        [
            (curve.name, _best_value(curve, panel))
            for row in rows
            for panel in row
            for curve in curves_
        ]
    )
    figure, grid = _lay_out(rows, curves_, columns)
    with figures.style():
        for panels, row in zip(rows, grid, strict=True):
            for panel, axes in zip(panels, row, strict=True):
                _draw_curves(axes, panel, curves_)
                ends = [_end_label(curve, panel) for curve in curves_]
                curves.label_ends(axes, ends, columns)
        _draw_heading(figure, curves_, waiting)
    return figure


def best_epoch(values: Sequence[float], metric: str) -> tuple[int, float]:
    """(epoch from 1, value) of the highest accuracy or the lowest loss, the first of equals."""
    best = max(values) if metric == "accuracy" else min(values)
    return values.index(best) + 1, best


def _draw_curves(axes: Axes, panel: Panel, curves_: Sequence[Curve]) -> None:
    for curve in curves_:
        if panel.beside:
            # One epoch makes no line: a ring.
            marker = "o" if curve.run.epochs == 1 else None
            _draw_line(axes, curve, panel.beside, BESIDE_LINE, marker=marker, mfc="white", ms=5)
        _draw_line(axes, curve, panel.main, MAIN_LINE, linestyle=curve.look.dashes)
        epoch, value = best_epoch(curve.run.history[panel.main], panel.metric)
        axes.plot(epoch, value, zorder=4, clip_on=False, label="_best", **curve.look.mark)
    curves.scale_epochs(axes, max(curve.run.epochs for curve in curves_))
    scales.scale_metric(axes, panel.metric)
    axes.set_title(panel.title)


def _draw_line(axes: Axes, curve: Curve, key: str, line: dict[str, Any], **style: Any) -> None:
    values = curve.run.history[key]
    label = f"{curve.name} {key}"
    epochs = range(1, len(values) + 1)
    axes.plot(epochs, values, color=curve.look.colour, label=label, **line, **style)


def _end_label(curve: Curve, panel: Panel) -> EndLabel:
    values = curve.run.history[panel.main]
    return EndLabel(len(values), values[-1], curve.look, (curve.name, _best_value(curve, panel)))


def _best_value(curve: Curve, panel: Panel) -> str:
    epoch, value = best_epoch(curve.run.history[panel.main], panel.metric)
    return f"{value:.3f} at epoch {epoch}"


def _lay_out(
    rows: Sequence[Sequence[Panel]], curves_: Sequence[Curve], columns: Sequence[float]
) -> tuple[Figure, list[list[Axes]]]:
    """A figure as large as its labels need, and its empty axes, a list for each row."""
    panel_height = max(PANEL_HEIGHT, len(curves_) * CURVE_HEIGHT)
    column_width = LEFT + PANEL_WIDTH + curves.labels_width(columns) + RIGHT
    row_height = panel_height + BOTTOM + ROW_GAP
    width = len(rows[0]) * column_width
    height = TOP + len(rows) * row_height - ROW_GAP
    with figures.style():
        figure = Figure(figsize=(width, height))
        grid = []
        for i, row in enumerate(rows):
            bottom = (height - TOP - panel_height - i * row_height) / height
            lefts = [(LEFT + j * column_width) / width for j in range(len(row))]
            size = (PANEL_WIDTH / width, panel_height / height)
            grid.append([figure.add_axes((left, bottom, *size)) for left in lefts])
    return figure, grid


def _draw_heading(figure: Figure, curves_: Sequence[Curve], waiting: Sequence[str]) -> None:
    """The title and the key of lines and marks above the panels."""
    width, height = figure.get_size_inches()
    subject = curves_[0].name if len(curves_) == 1 else f"{len(curves_)} runs"
    title = f"{subject} on {study_histories.data_of([curve.run for curve in curves_])}"
    if waiting:
        title += f"; no finished epoch yet: {', '.join(waiting)}"
    figure.text(LEFT / width, 1 - 0.13 / height, title, fontsize=10, va="top")
    validation = Line2D([], [], color=figures.TEXT, label="validation", **MAIN_LINE)
    training = Line2D([], [], color=figures.TEXT, label="training", **BESIDE_LINE)
    mark = Look(figures.TEXT, curves_[0].look.marker).mark
    best = Line2D([], [], label="best epoch, its value at the right", **mark)
    is_overlaid = len(curves_) <= MAX_OVERLAID_RUNS
    figure.legend(
        handles=[validation, training, best] if is_overlaid else [best], ncols=3,
        loc="upper left", bbox_to_anchor=(LEFT / width, 1 - 0.34 / height),
        fontsize=curves.LABEL_SIZE, frameon=False, borderpad=0, borderaxespad=0,
        handlelength=2.2, columnspacing=1.6,
    )  # fmt: skip


def define_flags() -> None:
    define_run_dirs_flag(required=False)
    figures.define_output_flag()
    flags.DEFINE_enum(
        "group",
        None,
        [*study.GROUPS, "all"],
        "Experiments that the study compares with each other, as its figures show them.",
    )
    flags.DEFINE_bool("reference", False, "With --group: the study's own histories, too.")
    flags.DEFINE_bool(
        "separate",
        False,
        "With --group: a picture for each panel, NAME-val_accuracy.png and so on.",
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    runs = read_runs(args.run_dir)
    if not args.group:
        for name in ("reference", "separate"):
            if args[name].value:
                raise UserError(f"--{name} needs --group")
        if not runs:
            raise UserError("--run_dir is needed, or --group (--help lists the flags)")
        pictures = {"": plot_histories(runs)}
    else:
        pictures = _group_pictures(args.group, runs, args.reference, args.separate)
    for suffix, figure in pictures.items():
        outputs = [suffix.join(os.path.splitext(path)) for path in args.output]
        figures.write(figure, outputs)
        print("wrote", ", ".join(outputs))


def _group_pictures(
    group: str, runs: Sequence[Run], reference: bool, separate: bool
) -> dict[str, Figure]:
    """By what is added to the name of --output."""
    if not runs and not reference:
        raise UserError(f"--group={group} needs --run_dir or --reference, or both")
    groups = list(study.GROUPS) if group == "all" else [group]
    members = {name for each in groups for name in study.GROUPS[each]}
    named = list(zip(run_names(runs), runs, strict=True))
    for reason, left_out in (
        (f"not in --group={group}", [n for n, run in named if run.experiment not in members]),
        ("no finished epoch yet", [n for n, run in named if not run.epochs]),
    ):
        if left_out:
            print(f"left out, {reason}: {', '.join(left_out)}")
    if group == "all" and not reference:
        groups = [each for each in groups if study_histories.has_runs(each, runs)] or groups
    pictures = {}
    for each in groups:
        for key in study_histories.PANELS if separate else [None]:
            suffix = (f"-{each}" if group == "all" else "") + (f"-{key}" if key else "")
            pictures[suffix] = study_histories.plot_group(each, runs, reference, key)
    return pictures


if __name__ == "__main__":
    define_flags()
    cli.run(main)
