"""Confusion matrix of a run's model, from 2 categories to 345.

python -m analysis.confusion RUN -o confusion.png
python -m analysis.confusion --evaluation=test.json -o confusion.png

Categories that the model confuses are neighbours. Where there are too many to name at the axes,
they are numbered by groups, which a list beside the matrix spells out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import commands
from analysis.reading import similar_order
from analysis.reading.evaluations import Evaluation
from analysis.style import figures, texts

MAX_NUMBERED = 20  # categories: with more there are no numbers in the cells
MAX_NAMED = 110  # categories: with more the axes name groups of them
GROUP_SIZES = (5, 16)  # least and most categories of a group

# Of a true category's drawings; the colours change at these shares.
STEPS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MIN_SHOWN = 0.01  # a smaller share has no number in its cell
DARK_FROM = 0.1  # numbers in cells of as much are white

# Lengths in pixels of the PNG, so that all cells have the same size.
MATRIX = 1725  # 345 cells of 5
LEAST_MATRIX = 600
NUMBERED_CELL = 76  # at least
NAMED_CELLS = (28, 18)  # largest and smallest

# Inches.
MARGIN = 0.15
TITLE_HEIGHT = 0.35
AXIS_LABEL = 0.3  # beyond the ticks
TICK_GAP = 0.08
BAR_GAP = 0.25  # from the matrix to the scale of colours
BAR_WIDTH = 0.14
BAR_HEIGHT = 2.0  # at most
BAR_TITLE = 0.42  # above it
BAR_LABELS = 0.75  # to the right of it
LIST_WIDTH = 3.7
LIST_LINE = 0.117
LIST_GAP = 0.05  # between groups
NUMBERS_WIDTH = 0.2  # of the groups' numbers

NUMBER_SIZE = 8  # points
LIST_SIZE = 6.5


class Layout(NamedTuple):
    """Sizes of a matrix, and its groups of categories."""

    cell: int  # pixels
    name_size: float  # points, of the ticks
    groups: list[range]  # of neighbours in the order; empty where every category is named


def plot_confusion(evaluation: Evaluation, order: str = "similar") -> Figure:
    """Plot the confusion matrix of an evaluation.

    Args:
      evaluation: of a run with a finished epoch.
      order: "similar", or "label" for the order of the data set.

    Raises:
      UserError: there is no evaluation, or it is damaged.
    """
    scores = evaluation.read_scores()
    title = f"{evaluation.title(scores.epoch, scores.examples)}, top-1 {scores.top1:.3f}"
    return draw_confusion(evaluation.labels, scores.confusion, title, order)


def draw_confusion(
    labels: Sequence[str], confusion: np.ndarray, title: str, order: str = "similar"
) -> Figure:
    """Plot a confusion matrix, each row as shares of its category's drawings.

    Args:
      labels: the categories.
      confusion: [categories, categories] drawings by true and predicted category.
      title: one line.
      order: "similar" or "label", which is the given one.
    """
    similarities = similar_order.similarity(confusion)
    places = list(range(len(labels)))
    if order == "similar":
        places = similar_order.similar_order(similarities)
    ordered = np.ix_(places, places)
    names = texts.elide_names([labels[i] for i in places])
    layout = _lay_out(similarities[ordered])
    spelled = [_spell(names, group) for group in layout.groups]
    side = len(names) * layout.cell / figures.DPI
    ticks = NUMBERS_WIDTH if layout.groups else texts.text_width(names, layout.name_size)
    left = MARGIN + AXIS_LABEL + ticks + TICK_GAP
    top = MARGIN + TITLE_HEIGHT
    bar_left = left + side + BAR_GAP
    list_left = bar_left + BAR_WIDTH + BAR_LABELS
    list_width = LIST_WIDTH if layout.groups else 0
    list_height = sum(len(lines) * LIST_LINE + LIST_GAP for lines in spelled)
    title_width = texts.text_width([title], figures.TITLE_SIZE)
    width = max(list_left + list_width, 2 * MARGIN + title_width)
    height = top + max(side + TICK_GAP + ticks + AXIS_LABEL, list_height) + MARGIN
    with figures.style():
        figure = Figure(figsize=(width, height))
        figures.add_text(figure, MARGIN, MARGIN, title)
        matrix = figures.add_axes(figure, left, top, side, side)
        confusion_heatmap(confusion[ordered], names, layout, matrix)
        bar_height = min(BAR_HEIGHT, side - BAR_TITLE)
        bar = figures.add_axes(figure, bar_left, top + BAR_TITLE, BAR_WIDTH, bar_height)
        _draw_colour_bar(bar)
        _write_list(figure, spelled, list_left, top)
    return figure


def confusion_heatmap(
    confusion: np.ndarray, names: Sequence[str], layout: Layout, ax: Axes | None = None
) -> Axes:
    """Draw a confusion matrix, [categories, categories], as shares of each row."""
    ax = figures.new_axes(ax)
    counts = confusion.sum(axis=1)
    shares = confusion / np.maximum(counts[:, np.newaxis], 1)
    colours, norm = _scale()
    ax.imshow(shares, cmap=colours, norm=norm, interpolation="none", aspect="auto")
    _dress(ax, names, layout, counts)
    if len(names) <= MAX_NUMBERED:
        _write_numbers(ax, shares)
    return ax


def _lay_out(similarities: np.ndarray) -> Layout:
    """Return the layout for `similarities` in the order of the rows."""
    count = len(similarities)
    if count <= MAX_NUMBERED:
        return Layout(max(NUMBERED_CELL, LEAST_MATRIX // count), NUMBER_SIZE, [])
    if count <= MAX_NAMED:
        largest, smallest = NAMED_CELLS
        cell = min(max(MATRIX // count, smallest), largest)
        return Layout(cell, min(NUMBER_SIZE, 0.8 * cell / figures.DPI * 72), [])
    cell = max(1, MATRIX // count)
    return Layout(cell, 6, similar_order.cut_groups(similarities, *GROUP_SIZES))


def _spell(names: Sequence[str], group: range) -> list[str]:
    """Return the categories of a group in lines of the list."""
    text = ", ".join(names[i] for i in group)
    return texts.wrap_to_width(text, LIST_WIDTH - NUMBERS_WIDTH - MARGIN, LIST_SIZE)


def _scale() -> tuple[Colormap, BoundaryNorm]:
    """Return a colour for each of STEPS, darker for more, and white for 0."""
    bands = len(STEPS) - 1
    light_to_dark = matplotlib.colormaps["YlGnBu"](np.linspace(0.1, 1, bands))
    colours = ListedColormap(light_to_dark).with_extremes(under="white")
    return colours, BoundaryNorm((1e-9, *STEPS[1:]), bands)


def _dress(axes: Axes, names: Sequence[str], layout: Layout, counts: np.ndarray) -> None:
    count = len(names)
    if layout.groups:
        places = [(group[0] + group[-1]) / 2 for group in layout.groups]
        ticks = [str(number) for number in range(1, len(places) + 1)]
        borders = [group[0] for group in layout.groups[1:]]
        for group in layout.groups:
            axes.add_patch(
                Rectangle(
                    (group[0] - 0.5, group[0] - 0.5), len(group), len(group),
                    fill=False, edgecolor=figures.MUTED, linewidth=0.6,
                )
            )  # fmt: skip
    else:
        places, ticks, borders = list(range(count)), list(names), list(range(1, count))
    for border in borders:
        axes.axhline(border - 0.5, color=figures.GRID, linewidth=0.4)
        axes.axvline(border - 0.5, color=figures.GRID, linewidth=0.4)
    axes.grid(visible=False)
    axes.set_yticks(places, ticks, fontsize=layout.name_size)
    axes.set_xticks(places, ticks, fontsize=layout.name_size, rotation=0 if layout.groups else 90)
    axes.tick_params(length=0, pad=3)
    axes.spines[["top", "right"]].set_visible(True)
    number = texts.number_range([int(each) for each in counts])
    unit = "group of categories, numbered as in the list" if layout.groups else "category"
    axes.set_ylabel(f"true {unit} (n = {number} drawings each)", fontsize=9)
    axes.set_xlabel(f"predicted {unit}", fontsize=9)


def _write_numbers(axes: Axes, shares: np.ndarray) -> None:
    for row, column in zip(*np.nonzero(shares >= MIN_SHOWN), strict=True):
        share = shares[row, column]
        axes.text(
            column, row, f"{share:.2f}".lstrip("0"), fontsize=NUMBER_SIZE, ha="center",
            va="center_baseline", color="white" if share >= DARK_FROM else figures.TEXT,
        )  # fmt: skip


def _draw_colour_bar(axes: Axes) -> None:
    """Draw the scale of colours, all bands of one height."""
    colours, _ = _scale()
    bands = len(STEPS) - 1
    axes.imshow(
        np.arange(bands)[:, np.newaxis], cmap=colours, aspect="auto", origin="lower",
        extent=(0, 1, 0, bands), vmin=0, vmax=bands - 1, interpolation="none",
    )  # fmt: skip
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks(range(bands + 1), [f"{share:g}" for share in STEPS], fontsize=7)
    axes.tick_params(length=2)
    axes.spines[["top", "right"]].set_visible(True)
    axes.set_title("share of the\ntrue category's\ndrawings", fontsize=7, pad=6)


def _write_list(figure: Figure, spelled: Sequence[Sequence[str]], left: float, top: float) -> None:
    """Write the categories of each group, in the order of the matrix."""
    right = left + NUMBERS_WIDTH
    for number, lines in enumerate(spelled, 1):
        figures.add_text(
            figure, right - 0.06, top, str(number), LIST_SIZE, ha="right", fontweight="bold"
        )
        figures.add_text(figure, right, top, "\n".join(lines), LIST_SIZE, linespacing=1.2)
        top += len(lines) * LIST_LINE + LIST_GAP


COMMAND = commands.PictureCommand(
    commands.EVALUATION,
    plot_confusion,
    {
        "order": commands.choice(
            "similar", ["similar", "label"], "Order of the categories; label: as in labels.txt."
        )
    },
)

if __name__ == "__main__":
    COMMAND.run()
