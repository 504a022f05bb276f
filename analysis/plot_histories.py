"""Accuracy and loss over the epochs of runs, or the figures of a group of the study's.

  python -m analysis.plot_histories RUN [RUN ...] -o histories.png,histories.svg
  python -m analysis.plot_histories RUN [RUN ...] --group=depth53 --reference -o depth53.pdf

With --group a picture has four panels: accuracy and loss in training and in validation, of the
group's experiments, in the study's order and colours. --reference draws the study's own histories
beside those of the runs, or alone. --separate writes a picture for each panel, and --group=all
pictures of all four groups: with both, the study's sixteen figures.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import commands
from analysis.comparison import study_histories
from analysis.comparison.run_table import describe_data
from analysis.reading.runs import Details, Run, best_epoch, read_details, run_names
from analysis.style import figures, labels, scales, texts
from analysis.style.labels import EndLabel, LineStyle
from pipeline.cli import UserError
from trainer.models import study

# With more runs training and validation get panels of their own.
MAX_OVERLAID_RUNS = len(figures.COLOURS)

# Inches.
PANEL_WIDTH = 2.5
PANEL_HEIGHT = 2.9  # at least; CURVE_HEIGHT for each of many curves
CURVE_HEIGHT = 0.2
LEFT = 0.65  # of a panel: its ticks and axis label
RIGHT = 0.3  # of the labels
TOP = 0.88  # of the first row: the figure's title and key, the panel's title
BOTTOM = 0.55  # of a row: ticks and axis label
ROW_GAP = 0.35

TITLE_NAMES = 60  # characters of names of runs in the title

MAIN_LINE: dict[str, Any] = {"linewidth": 1.4}
BESIDE_LINE: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.0}
TOP3 = "validation top-3"
TOP3_LINE: dict[str, Any] = {"linestyle": (0, (1, 1.5)), "linewidth": 1.2, "marker": "^", "ms": 3}
WITHIN_LINE: dict[str, Any] = {"linewidth": 0.8, "zorder": 1.5}


class Panel(NamedTuple):
    """Series of a history that one panel shows."""

    title: str
    main: str  # key of the history: its best value is marked and labelled
    beside: str | None = None  # key of the history: dashed

    @property
    def metric(self) -> str:
        """Return accuracy or loss."""
        return self.main.removeprefix("val_")


class Curve(NamedTuple):
    """A run and its line style."""

    name: str
    run: Run
    style: LineStyle


OVERLAID = ((Panel("Accuracy", "val_accuracy", "accuracy"), Panel("Loss", "val_loss", "loss")),)
APART = (
    (Panel("Validation accuracy", "val_accuracy"), Panel("Training accuracy", "accuracy")),
    (Panel("Validation loss", "val_loss"), Panel("Training loss", "loss")),
)


def plot_histories(runs: Sequence[Run], details: Details | None = None) -> Figure:
    """Plot the histories of one or more runs, which may differ in length.

    A run without a finished epoch is named in the title and has no curve.

    Args:
      runs: to plot.
      details: of the only run, to draw with it.

    Raises:
      UserError: no run has a finished epoch.
    """
    begun = [run for run in runs if run.epochs]
    if not begun:
        directories = ", ".join(run.directory for run in runs)
        raise UserError(f"{directories}: no epoch is finished yet")
    short = texts.elide_names(run_names(runs))
    names = dict(zip([run.directory for run in runs], short, strict=True))
    curves = [
        Curve(names[run.directory], run, style)
        for run, style in zip(begun, labels.line_styles(len(begun)), strict=True)
    ]
    waiting = [names[run.directory] for run in runs if not run.epochs]
    rows = OVERLAID if len(begun) <= MAX_OVERLAID_RUNS else APART
    columns = labels.label_columns(
        [
            (curve.name, _best_value(curve, panel))
            for row in rows
            for panel in row
            for curve in curves
        ]
    )
    figure, grid = _lay_out(rows, curves, columns)
    with figures.style():
        for panels, row in zip(rows, grid, strict=True):
            for panel, axes in zip(panels, row, strict=True):
                history_curves(curves, panel, axes, details)
                ends = [_end_label(curve, panel) for curve in curves]
                labels.label_ends(axes, ends, columns)
        _draw_heading(figure, curves, waiting, details)
    return figure


def history_curves(
    curves: Sequence[Curve],
    panel: Panel,
    ax: Axes | None = None,
    details: Details | None = None,
) -> Axes:
    """Draw one panel of the histories of runs, the best epochs marked."""
    axes = figures.new_axes(ax)
    if details:
        _draw_details(axes, curves[0], panel.metric, details)
    for curve in curves:
        if panel.beside:
            # One epoch makes no line: a ring.
            marker = "o" if curve.run.epochs == 1 else None
            _draw_line(axes, curve, panel.beside, BESIDE_LINE, marker=marker, mfc="white", ms=5)
        _draw_line(axes, curve, panel.main, MAIN_LINE, linestyle=curve.style.dashes)
        epoch, value = best_epoch(curve.run.history[panel.main], panel.metric)
        tooltip = figures.tooltip(f"{curve.name}: {panel.title.lower()} {value:.3f}, epoch {epoch}")
        mark = curve.style.mark
        axes.plot(epoch, value, zorder=4, clip_on=False, label="_best", gid=tooltip, **mark)
    scales.scale_epochs(axes, max(curve.run.epochs for curve in curves))
    if details and details.losses and panel.metric == "loss":
        axes.set_xlim(left=0)
    scales.scale_metric(axes, panel.metric)
    axes.set_title(panel.title)
    return axes


def _draw_details(axes: Axes, curve: Curve, metric: str, details: Details) -> None:
    """Draw the loss within epochs faintly, or top-3 dotted: a point where no neighbour is known."""
    if metric == "loss":
        places, losses = [at for at, _ in details.losses], [loss for _, loss in details.losses]
        colour = figures.faint(curve.style.colour)
        axes.plot(places, losses, color=colour, label="_within epochs", **WITHIN_LINE)
    else:
        epochs = range(1, curve.run.epochs + 1)
        values = [details.top3.get(epoch, math.nan) for epoch in epochs]
        gid = figures.tooltip(f"{curve.name}, {TOP3}")
        axes.plot(
            epochs, values, color=curve.style.colour, label=f"{curve.name} top-3", gid=gid,
            clip_on=False, **TOP3_LINE,
        )  # fmt: skip


def _draw_line(axes: Axes, curve: Curve, key: str, line: dict[str, Any], **style: Any) -> None:
    values = curve.run.history[key]
    label = f"{curve.name} {key}"
    epochs = range(1, len(values) + 1)
    gid = figures.tooltip(f"{curve.name}, {study_histories.PANELS[key].lower()}")
    axes.plot(epochs, values, color=curve.style.colour, label=label, gid=gid, **line, **style)


def _end_label(curve: Curve, panel: Panel) -> EndLabel:
    values = curve.run.history[panel.main]
    return EndLabel(len(values), values[-1], curve.style, (curve.name, _best_value(curve, panel)))


def _best_value(curve: Curve, panel: Panel) -> str:
    epoch, value = best_epoch(curve.run.history[panel.main], panel.metric)
    return f"{value:.3f} at epoch {epoch}"


def _lay_out(
    rows: Sequence[Sequence[Panel]], curves: Sequence[Curve], columns: Sequence[float]
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure as large as its labels need, and its empty axes, a list for each row."""
    panel_height = max(PANEL_HEIGHT, len(curves) * CURVE_HEIGHT)
    column_width = LEFT + PANEL_WIDTH + labels.labels_width(columns) + RIGHT
    row_height = panel_height + BOTTOM + ROW_GAP
    height = TOP + len(rows) * row_height - ROW_GAP
    with figures.style():
        figure = Figure(figsize=(len(rows[0]) * column_width, height))
        grid = [
            [
                figures.add_axes(
                    figure, LEFT + j * column_width, TOP + i * row_height, PANEL_WIDTH, panel_height
                )
                for j in range(len(row))
            ]
            for i, row in enumerate(rows)
        ]
    return figure, grid


def _draw_heading(
    figure: Figure, curves: Sequence[Curve], waiting: Sequence[str], details: Details | None
) -> None:
    """Draw the title, and the key of lines and marks above the panels."""
    name = curves[0].name if len(curves) == 1 else f"{len(curves)} runs"
    title = f"{name} on {describe_data([curve.run for curve in curves])}"
    if waiting:
        title += f"; no finished epoch yet: {texts.elide(', '.join(waiting), TITLE_NAMES)}"
    figures.add_text(figure, LEFT, 0.13, title)
    validation = Line2D([], [], color=figures.TEXT, label="validation", **MAIN_LINE)
    training = Line2D([], [], color=figures.TEXT, label="training", **BESIDE_LINE)
    mark = LineStyle(figures.TEXT, curves[0].style.marker).mark
    best = Line2D([], [], label="best epoch, its value at the right", **mark)
    handles = [validation, training, best] if len(curves) <= MAX_OVERLAID_RUNS else [best]
    if details and details.top3:
        handles.append(Line2D([], [], color=figures.TEXT, label=TOP3, **TOP3_LINE))
    if details and details.losses:
        faint = figures.faint(figures.TEXT)
        handles.append(Line2D([], [], color=faint, label="within epochs", **WITHIN_LINE))
    figures.add_legend(
        figure, LEFT, 0.34, handles, ncols=len(handles), handlelength=2.2, columnspacing=1.6
    )


def _plot(
    runs: Sequence[Run], group: str | None, reference: bool, separate: bool
) -> Figure | dict[str, Figure]:
    """Return one figure, or those of groups by what is added to the name of --output."""
    if not group:
        for name, value in (("reference", reference), ("separate", separate)):
            if value:
                raise UserError(f"--{name} needs --group")
        if not runs:
            raise UserError("a run directory or --group is needed (--help lists the flags)")
        return plot_histories(runs, read_details(runs[0]) if len(runs) == 1 else None)
    if not runs and not reference:
        raise UserError(f"--group={group} needs a run directory or --reference, or both")
    groups = list(study.GROUPS) if group == "all" else [group]
    members = {name for each in groups for name in study.GROUPS[each]}
    named = list(zip(run_names(runs), runs, strict=True))
    for reason, skipped in (
        (f"not in --group={group}", [n for n, run in named if run.experiment not in members]),
        ("no finished epoch yet", [n for n, run in named if not run.epochs]),
    ):
        if skipped:
            print(f"skipped, {reason}: {', '.join(skipped)}")
    if group == "all" and not reference:
        begun = {run.experiment for run in runs if run.epochs}
        groups = [each for each in groups if begun & {*study.GROUPS[each]}] or groups
    pictures = {}
    for each in groups:
        for key in study_histories.PANELS if separate else [None]:
            suffix = (f"-{each}" if group == "all" else "") + (f"-{key}" if key else "")
            pictures[suffix] = study_histories.plot_group(each, runs, reference, key)
    return pictures


COMMAND = commands.PictureCommand(
    commands.OPTIONAL_RUNS,
    _plot,
    {
        "group": commands.choice(
            None, [*study.GROUPS, "all"], "Group of experiments that the study compares."
        ),
        "reference": commands.switch(False, "With --group: the study's own histories, too."),
        "separate": commands.switch(
            False, "With --group: a picture for each panel, NAME-val_accuracy.png and so on."
        ),
    },
)

if __name__ == "__main__":
    COMMAND.run()
