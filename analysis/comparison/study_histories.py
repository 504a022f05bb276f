"""Figures of the study: histories of a group of its experiments, of runs and its own."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.comparison.run_table import describe_data
from analysis.reading.runs import Run
from analysis.style import figures, scales, texts
from analysis.style.labels import LineStyle
from pipeline.cli import UserError
from trainer.models import study
from trainer.models.costs import widths
from trainer.models.experiments import EXPERIMENTS, Experiment
from trainer.runs.uncertainty import standard_error

# Keys of a history, in the order of the panels.
PANELS = {
    "accuracy": "Training accuracy",
    "val_accuracy": "Validation accuracy",
    "loss": "Training loss",
    "val_loss": "Validation loss",
}
TITLES = {
    "width": "Widths of stages A, B and C",
    "depth": "Numbers of blocks A, B and C",
    "mod": "Modifications of E2_7",
}

# Footnotes on differences that a group does not show, and their marks.
NOTES = {
    **dict.fromkeys(study.STRIDE_2, ("*", study.STRIDE_NOTE)),
    "E2_8": ("†", "half the filters also inside of blocks B and C and in the stem's third layer"),
    "E4_7": ("‡", "the stem also makes larger maps: 43, 21 and 10 instead of 36, 17 and 8"),
}
STUDY_DRAWINGS = (2000, 1000)  # training and validation, of each category

# In the order of a group. The star is for NOTES' "*".
MARKERS = ("o", "s", "^", "D", "v")

# Inches.
WIDTH = 7.2  # two columns of a paper
SEPARATE_WIDTH = 3.5  # one column
PANEL_HEIGHT = 2.25
LEFT = 0.62
RIGHT = 0.1
TITLE_HEIGHT = 0.26
PANEL_TOP = 0.32  # its title
PANEL_BOTTOM = 0.48  # ticks and axis label
KEY_LINE = 0.155
KEY_GAP = 0.22  # between columns of the key
HANDLE_LENGTH = 0.29  # of the line in the key
HANDLE = 0.36  # and the gap to its text
MARGIN = 0.08

KEY_SIZE = 7.5  # points
NOTE_SIZE = 7
RUN_LINE: dict[str, Any] = {"linestyle": "-", "linewidth": 1.2}
STUDY_LINE: dict[str, Any] = {"linestyle": (0, (3, 1.6)), "linewidth": 0.9}


class Member(NamedTuple):
    """An experiment of the group, its runs and their line style."""

    experiment: Experiment
    runs: list[Run]
    style: LineStyle
    label: str


def plot_group(
    group: str, runs: Sequence[Run], reference: bool, panel: str | None = None
) -> Figure:
    """Plot the histories of one of study.GROUPS.

    Args:
      group: its name.
      runs: those of experiments of the group that have a finished epoch are drawn, all others left
        out; several of one experiment look the same.
      reference: whether to draw the study's own histories: dashed where there are runs.
      panel: one of PANELS, for a picture of its own; all four by default.

    Raises:
      UserError: there are no histories to draw.
    """
    members = _members(group, runs, reference)
    if not any(each.runs for each in members) and not reference:
        raise UserError(f"--group={group}: no run of the group has a finished epoch")
    keys = [panel] if panel else list(PANELS)
    width = SEPARATE_WIDTH if panel else WIDTH
    key, footer = _key(members, width), _footer(members, reference, width)
    columns = min(2, len(keys))
    rows = len(keys) // columns
    top = MARGIN + TITLE_HEIGHT + key.height
    row_height = PANEL_TOP + PANEL_HEIGHT + PANEL_BOTTOM
    height = top + rows * row_height + KEY_LINE * sum(1 + text.count("\n") for _, text in footer)
    panel_width = width / columns - LEFT - RIGHT
    with figures.style():
        figure = Figure(figsize=(width, height))
        title = next(text for name, text in TITLES.items() if group.startswith(name))
        figures.add_text(figure, MARGIN, MARGIN, title)
        _draw_key(figure, key, members)
        for i, name in enumerate(keys):
            row, column = divmod(i, columns)
            left = column * width / columns + LEFT
            panel_top = top + row * row_height + PANEL_TOP
            axes = figures.add_axes(figure, left, panel_top, panel_width, PANEL_HEIGHT)
            history_lines(members, name, reference, axes)
        _draw_footer(figure, footer, top + rows * row_height)
    return figure


def _members(group: str, runs: Sequence[Run], reference: bool) -> list[Member]:
    """Return members with histories, in the study's order; a line style belongs to the place."""
    members = []
    for i, name in enumerate(study.GROUPS[group]):
        own = [run for run in runs if run.experiment == name and run.epochs]
        if own or reference:
            mark, _ = NOTES.get(name, ("", ""))
            style = LineStyle(figures.COLOURS[i], "*" if mark == "*" else MARKERS[i])
            experiment = EXPERIMENTS[name]
            label = f"{name}: {_difference(group, experiment)}{mark}"
            members.append(Member(experiment, own, style, label))
    return members


def _difference(group: str, experiment: Experiment) -> str:
    """Return what tells an experiment from the others of its group."""
    if group.startswith("width"):
        return ", ".join(map(str, widths(experiment.architecture)))
    if group.startswith("depth"):
        return ", ".join(map(str, experiment.architecture.depths))
    return experiment.modification or "unmodified"


def history_lines(
    members: Sequence[Member], key: str, reference: bool, ax: Axes | None = None
) -> Axes:
    """Draw one of PANELS of the members' runs and, with `reference`, of the study."""
    axes = figures.new_axes(ax)
    alone = not any(each.runs for each in members)
    epochs = 1
    for each in members:
        histories = [(run.history[key], False) for run in each.runs]
        if reference:
            histories.append((study.history(each.experiment.name)[key], True))
        for values, is_study in histories:
            epochs = max(epochs, len(values))
            line = STUDY_LINE if is_study and not alone else RUN_LINE
            mark = each.style.mark | line
            if is_study and not alone:
                mark |= {"mfc": "white", "mec": each.style.colour, "ms": 0.75 * mark["ms"]}
            name = f"{each.experiment.name}{' of the study' if is_study else ''}"
            axes.plot(
                range(1, len(values) + 1), values, label=name, clip_on=False,
                zorder=2 if is_study else 3, **mark,
            )  # fmt: skip
    scales.scale_epochs(axes, epochs)
    scales.scale_metric(axes, key.removeprefix("val_"))
    axes.set_title(PANELS[key], fontsize=9)
    axes.yaxis.label.set_fontsize(8)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8)
    return axes


class Key(NamedTuple):
    """Sizes of the legend."""

    columns: int
    column_width: float  # inches, as the next
    height: float


def _key(members: Sequence[Member], width: float) -> Key:
    column = HANDLE + texts.text_width([each.label for each in members], KEY_SIZE) + KEY_GAP
    fitting = max(1, int((width - 2 * MARGIN + KEY_GAP) / column))
    rows = math.ceil(len(members) / fitting)
    return Key(math.ceil(len(members) / rows), column, rows * KEY_LINE)


def _draw_key(figure: Figure, key: Key, members: Sequence[Member]) -> None:
    """Draw the legend line by line, in the study's order."""
    width, height = figure.get_size_inches()
    for i, each in enumerate(members):
        row, column = divmod(i, key.columns)
        left = MARGIN + column * key.column_width
        y = 1 - (MARGIN + TITLE_HEIGHT + (row + 0.5) * KEY_LINE) / height
        ends = [(left + share * HANDLE_LENGTH) / width for share in (0, 0.5, 1)]
        line = each.style.mark | RUN_LINE
        figure.add_artist(
            Line2D(ends, [y] * 3, markevery=[1], transform=figure.transFigure, **line)
        )
        figure.text((left + HANDLE) / width, y, each.label, fontsize=KEY_SIZE, va="center_baseline")


def _footer(members: Sequence[Member], reference: bool, width: float) -> list[tuple[str, str]]:
    """Return the lines below the panels: (mark or line style, text)."""
    runs = [run for each in members for run in each.runs]
    notes: list[tuple[str, str]] = []
    if runs:
        notes.append(("-", f"runs on {describe_data(runs)}"))
    if reference:
        notes.append(("--" if runs else "-", _study_note(members)))
    for each in members:
        note = NOTES.get(each.experiment.name)
        if note:
            notes.append(note)
    room = width - 2 * MARGIN - HANDLE
    return [(mark, "\n".join(texts.wrap_to_width(text, room, NOTE_SIZE))) for mark, text in notes]


def _study_note(members: Sequence[Member]) -> str:
    """Return the study's data and the standard error of its accuracies."""
    categories = members[0].experiment.categories or 0  # the same in a group
    training, validation = (each * categories for each in STUDY_DRAWINGS)
    accuracies = [study.history(each.experiment.name)["val_accuracy"][-1] for each in members]
    mean = sum(accuracies) / len(accuracies)
    error = standard_error(mean, validation)
    return (
        f"the study on {categories} categories, {training:,} training and {validation:,} "
        f"validation drawings (standard error of an accuracy: {error:.4f})"
    )


def _draw_footer(figure: Figure, footer: Sequence[tuple[str, str]], top: float) -> None:
    width, height = figure.get_size_inches()
    for mark, text in footer:
        if mark in ("-", "--"):
            line = RUN_LINE if mark == "-" else STUDY_LINE
            middle = 1 - (top + 0.055) / height
            ends = (MARGIN / width, (MARGIN + HANDLE_LENGTH) / width)
            figure.add_artist(Line2D(ends, (middle, middle), color=figures.TEXT, **line))
        else:
            figures.add_text(figure, MARGIN + HANDLE_LENGTH, top, mark, NOTE_SIZE, ha="right")
        figures.add_text(figure, MARGIN + HANDLE, top, text, NOTE_SIZE, linespacing=1.25)
        top += KEY_LINE * (1 + text.count("\n"))
