"""The study's figures: the histories of a group of its experiments, of runs and as it had them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.reading.runs import Run
from analysis.style import curves, figures, scales
from analysis.style.curves import Look
from analysis.style.text_lines import wrap_to_width
from pipeline.cli import UserError
from trainer.models import study
from trainer.models.costs import widths
from trainer.models.experiments import EXPERIMENTS, Experiment

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

# What the comparison that a group makes does not say by itself, and the mark that leads there.
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


class Series(NamedTuple):
    """An experiment of the group, its runs and how to draw them."""

    experiment: Experiment
    runs: list[Run]
    look: Look
    label: str


def plot_group(
    group: str, runs: Sequence[Run], reference: bool, panel: str | None = None
) -> Figure:
    """The histories of one of study.GROUPS.

    Args:
      group: its name.
      runs: those of experiments of the group that have a finished epoch are drawn, all others left
        out; several of one experiment look the same.
      reference: whether to draw the study's own histories: dashed where there are runs.
      panel: one of PANELS, for a picture of its own; all four by default.

    Raises:
      UserError: there is nothing to draw.
    """
    series = _series(group, runs, reference)
    if not any(each.runs for each in series) and not reference:
        raise UserError(f"--group={group}: none of the runs is of it and has a finished epoch")
    keys = [panel] if panel else list(PANELS)
    width = SEPARATE_WIDTH if panel else WIDTH
    key, footer = _key(series, width), _footer(series, reference, width)
    columns = min(2, len(keys))
    rows = len(keys) // columns
    top = MARGIN + TITLE_HEIGHT + key.height
    row_height = PANEL_TOP + PANEL_HEIGHT + PANEL_BOTTOM
    height = top + rows * row_height + KEY_LINE * sum(1 + text.count("\n") for _, text in footer)
    panel_width = width / columns - LEFT - RIGHT
    with figures.style():
        figure = Figure(figsize=(width, height))
        title = next(text for name, text in TITLES.items() if group.startswith(name))
        figure.text(MARGIN / width, 1 - MARGIN / height, title, fontsize=10, va="top")
        _draw_key(figure, key, series)
        for i, name in enumerate(keys):
            row, column = divmod(i, columns)
            left = column * width / columns + LEFT
            bottom = height - top - row * row_height - PANEL_TOP - PANEL_HEIGHT
            box = (left / width, bottom / height, panel_width / width, PANEL_HEIGHT / height)
            _draw_panel(figure.add_axes(box), name, series, reference)
        _draw_footer(figure, footer, top + rows * row_height)
    return figure


def has_runs(group: str, runs: Sequence[Run]) -> bool:
    """Whether any of the runs is of the group and has a finished epoch."""
    return any(run.epochs and run.experiment in study.GROUPS[group] for run in runs)


def data_of(runs: Sequence[Run]) -> str:
    """What runs learned from."""
    categories = figures.number_range([len(run.labels) for run in runs])
    training, validation = (
        figures.number_range([run.drawings[split] for run in runs])
        for split in ("train", "validation")
    )
    return f"{categories} categories, {training} training and {validation} validation drawings"


def _series(group: str, runs: Sequence[Run], reference: bool) -> list[Series]:
    """Those that have something to draw, in the study's order; a look belongs to the place."""
    series = []
    for i, name in enumerate(study.GROUPS[group]):
        own = [run for run in runs if run.experiment == name and run.epochs]
        if own or reference:
            mark, _ = NOTES.get(name, ("", ""))
            look = Look(figures.COLOURS[i], "*" if mark == "*" else MARKERS[i])
            experiment = EXPERIMENTS[name]
            label = f"{name}: {_difference(group, experiment)}{mark}"
            series.append(Series(experiment, own, look, label))
    return series


def _difference(group: str, experiment: Experiment) -> str:
    """What tells an experiment from the others of its group."""
    if group.startswith("width"):
        return ", ".join(map(str, widths(experiment.architecture)))
    if group.startswith("depth"):
        return ", ".join(map(str, experiment.architecture.depths))
    return experiment.modification or "unmodified"


def _draw_panel(axes: Axes, key: str, series: Sequence[Series], reference: bool) -> None:
    alone = not any(each.runs for each in series)
    epochs = 1
    for each in series:
        histories = [(run.history[key], False) for run in each.runs]
        if reference:
            histories.append((study.history(each.experiment.name)[key], True))
        for values, is_study in histories:
            epochs = max(epochs, len(values))
            line = STUDY_LINE if is_study and not alone else RUN_LINE
            mark = each.look.mark | line
            if is_study and not alone:
                mark |= {"mfc": "white", "mec": each.look.colour, "ms": 0.75 * mark["ms"]}
            name = f"{each.experiment.name}{' of the study' if is_study else ''}"
            axes.plot(
                range(1, len(values) + 1), values, label=name, clip_on=False,
                zorder=2 if is_study else 3, **mark,
            )  # fmt: skip
    curves.scale_epochs(axes, epochs)
    scales.scale_metric(axes, key.removeprefix("val_"))
    axes.set_title(PANELS[key], fontsize=9)
    axes.yaxis.label.set_fontsize(8)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8)


class Key(NamedTuple):
    """The legend of the series."""

    columns: int
    column_width: float  # inches, as the next
    height: float


def _key(series: Sequence[Series], width: float) -> Key:
    column = HANDLE + figures.text_width([each.label for each in series], KEY_SIZE) + KEY_GAP
    fitting = max(1, int((width - 2 * MARGIN + KEY_GAP) / column))
    rows = math.ceil(len(series) / fitting)
    return Key(math.ceil(len(series) / rows), column, rows * KEY_LINE)


def _draw_key(figure: Figure, key: Key, series: Sequence[Series]) -> None:
    """Line by line, in the study's order."""
    width, height = figure.get_size_inches()
    for i, each in enumerate(series):
        row, column = divmod(i, key.columns)
        left = MARGIN + column * key.column_width
        y = 1 - (MARGIN + TITLE_HEIGHT + (row + 0.5) * KEY_LINE) / height
        ends = [(left + share * HANDLE_LENGTH) / width for share in (0, 0.5, 1)]
        line = each.look.mark | RUN_LINE
        figure.add_artist(
            Line2D(ends, [y] * 3, markevery=[1], transform=figure.transFigure, **line)
        )
        figure.text((left + HANDLE) / width, y, each.label, fontsize=KEY_SIZE, va="center_baseline")


def _footer(series: Sequence[Series], reference: bool, width: float) -> list[tuple[str, str]]:
    """What stands below the panels: (a mark or how a line looks, its text in lines)."""
    runs = [run for each in series for run in each.runs]
    texts: list[tuple[str, str]] = []
    if runs:
        texts.append(("-", f"runs on {data_of(runs)}"))
    if reference:
        texts.append(("--" if runs else "-", _study_note(series)))
    for each in series:
        note = NOTES.get(each.experiment.name)
        if note:
            texts.append(note)
    room = width - 2 * MARGIN - HANDLE
    return [(mark, "\n".join(wrap_to_width(text, room, NOTE_SIZE))) for mark, text in texts]


def _study_note(series: Sequence[Series]) -> str:
    """The study's data, and how much its accuracies vary by the number of drawings alone."""
    categories = series[0].experiment.categories or 0  # the same in a group
    training, validation = (each * categories for each in STUDY_DRAWINGS)
    accuracies = [study.history(each.experiment.name)["val_accuracy"][-1] for each in series]
    mean = sum(accuracies) / len(accuracies)
    error = math.sqrt(mean * (1 - mean) / validation)
    return (
        f"the study on {categories} categories, {training:,} training and {validation:,} "
        f"validation drawings (standard error of an accuracy: {error:.4f})"
    )


def _draw_footer(figure: Figure, footer: Sequence[tuple[str, str]], top: float) -> None:
    width, height = figure.get_size_inches()
    for mark, text in footer:
        y = 1 - top / height
        if mark in ("-", "--"):
            line = RUN_LINE if mark == "-" else STUDY_LINE
            middle = y - 0.055 / height
            ends = (MARGIN / width, (MARGIN + HANDLE_LENGTH) / width)
            sample = Line2D(ends, (middle, middle), color=figures.TEXT, **line)
            figure.add_artist(sample)
        else:
            x = (MARGIN + HANDLE_LENGTH) / width
            figure.text(x, y, mark, fontsize=NOTE_SIZE, va="top", ha="right")
        figure.text(
            (MARGIN + HANDLE) / width, y, text, fontsize=NOTE_SIZE, va="top", linespacing=1.25
        )
        top += KEY_LINE * (1 + text.count("\n"))
