"""Which categories a run's model takes for which, as a matrix: from 2 categories to 345.

python -m analysis.confusion --run_dir=runs/E2_7 --output=confusion.png
python -m analysis.confusion --evaluation=test.json --output=confusion.png

Categories that are taken for each other stand next to each other. Where there are too many to name
at the axes, they are numbered by groups, which a list beside the matrix spells out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.reading import evaluations
from analysis.reading.evaluations import ShownEvaluation
from analysis.style import figures, similar_order
from analysis.style.text_lines import wrap_to_width
from pipeline import cli

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
AXIS_LABEL = 0.3  # what an axis shows, beyond its ticks
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

TITLE_SIZE = 10  # points
NUMBER_SIZE = 8
LIST_SIZE = 6.5


class Layout(NamedTuple):
    """How a matrix of so many categories is drawn."""

    cell: int  # pixels
    name_size: float  # points, of the ticks
    groups: list[range]  # of neighbours in the order; empty where every category is named


def plot_confusion(evaluation: ShownEvaluation, order: str = "similar") -> Figure:
    """The confusion matrix of an evaluation.

    Args:
      evaluation: of a run with a finished epoch.
      order: "similar", or "label" for that of the data set.

    Raises:
      UserError: there is no evaluation, or it is damaged.
    """
    scores = evaluation.read_scores()
    title = f"{evaluation.title(scores.epoch, scores.examples)}, {scores.top1:.1%} recognized"
    return draw_confusion(evaluation.labels, scores.confusion, title, order)


def draw_confusion(
    labels: Sequence[str], confusion: np.ndarray, title: str, order: str = "similar"
) -> Figure:
    """A confusion matrix, each row as shares of its category's drawings.

    Args:
      labels: the categories.
      confusion: [categories, categories] drawings of the row's category taken for the column's.
      title: one line.
      order: "similar" or "label", which is the given one.
    """
    similarities = similar_order.similarity(confusion)
    if order == "similar":
        places = np.array(similar_order.similar_order(similarities), np.intp)
    else:
        places = np.arange(len(labels))
    ordered = np.ix_(places, places)
    names = [labels[i] for i in places]
    layout = _lay_out(similarities[ordered])
    confusion = confusion[ordered]
    counts = confusion.sum(axis=1)
    shares = confusion / np.maximum(counts[:, np.newaxis], 1)

    with figures.style():
        spelled = [_spell(names, group) for group in layout.groups]
        figure, axes, bar, list_place = _make_axes(names, layout, spelled, title)
        colours, norm = _scale()
        axes.imshow(shares, cmap=colours, norm=norm, interpolation="none", aspect="auto")
        _dress(axes, names, layout, counts)
        if len(labels) <= MAX_NUMBERED:
            _write_numbers(axes, shares)
        _draw_bar(bar)
        _write_list(figure, spelled, list_place)
    return figure


def _lay_out(similarities: np.ndarray) -> Layout:
    """`similarities` in the order of the rows."""
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
    """The categories of a group, in lines of the list."""
    text = ", ".join(names[i] for i in group)
    return wrap_to_width(text, LIST_WIDTH - NUMBERS_WIDTH - MARGIN, LIST_SIZE)


def _make_axes(
    names: Sequence[str], layout: Layout, spelled: Sequence[Sequence[str]], title: str
) -> tuple[Figure, Axes, Axes, tuple[float, float]]:
    """The figure, the axes of the matrix and of its colours; (left, top) of the list in inches."""
    side = len(names) * layout.cell / figures.DPI
    ticks = NUMBERS_WIDTH if layout.groups else figures.text_width(names, layout.name_size)
    before = MARGIN + AXIS_LABEL + ticks + TICK_GAP  # the matrix
    top = MARGIN + TITLE_HEIGHT
    bar_left, bar_height = before + side + BAR_GAP, min(BAR_HEIGHT, side - BAR_TITLE)
    bar_bottom = top + BAR_TITLE + bar_height
    list_left = bar_left + BAR_WIDTH + BAR_LABELS
    list_width = LIST_WIDTH if layout.groups else 0
    title_width = figures.text_width([title], TITLE_SIZE)
    width = max(list_left + list_width, 2 * MARGIN + title_width)
    list_height = sum(len(lines) * LIST_LINE + LIST_GAP for lines in spelled)
    height = top + max(side + TICK_GAP + ticks + AXIS_LABEL, list_height) + MARGIN
    figure = Figure(figsize=(width, height))
    figure.text(MARGIN / width, 1 - MARGIN / height, title, fontsize=TITLE_SIZE, va="top")
    axes = figure.add_axes((before / width, 1 - (top + side) / height, side / width, side / height))
    bar = figure.add_axes(
        (bar_left / width, 1 - bar_bottom / height, BAR_WIDTH / width, bar_height / height)
    )
    return figure, axes, bar, (list_left, top)


def _scale() -> tuple[Colormap, BoundaryNorm]:
    """A colour for each of STEPS, darker for more, and white for none at all."""
    bands = len(STEPS) - 1
    light_to_dark = matplotlib.colormaps["YlGnBu"](np.linspace(0.1, 1, bands))
    colours = ListedColormap(light_to_dark).with_extremes(under="white")
    return colours, BoundaryNorm((1e-9, *STEPS[1:]), bands)


def _dress(axes: Axes, names: Sequence[str], layout: Layout, counts: np.ndarray) -> None:
    count = len(names)
    if layout.groups:
        places = [(group[0] + group[-1]) / 2 for group in layout.groups]
        texts = [str(number) for number in range(1, len(places) + 1)]
        for group in layout.groups[1:]:
            axes.axhline(group[0] - 0.5, color=figures.GRID, linewidth=0.4)
            axes.axvline(group[0] - 0.5, color=figures.GRID, linewidth=0.4)
        for group in layout.groups:
            axes.add_patch(
                Rectangle(
                    (group[0] - 0.5, group[0] - 0.5), len(group), len(group),
                    fill=False, edgecolor=figures.MUTED, linewidth=0.6,
                )
            )  # fmt: skip
    else:
        places, texts = list(range(count)), list(names)
        for place in range(1, count):
            axes.axhline(place - 0.5, color=figures.GRID, linewidth=0.4)
            axes.axvline(place - 0.5, color=figures.GRID, linewidth=0.4)
    axes.grid(visible=False)
    axes.set_yticks(places, texts, fontsize=layout.name_size)
    axes.set_xticks(places, texts, fontsize=layout.name_size, rotation=0 if layout.groups else 90)
    axes.tick_params(length=0, pad=3)
    axes.spines[["top", "right"]].set_visible(True)
    number = figures.number_range([int(each) for each in counts])
    unit = "group of categories, numbered as in the list" if layout.groups else "category"
    axes.set_ylabel(f"true {unit} (n = {number} drawings each)", fontsize=9)
    axes.set_xlabel(f"predicted {unit}", fontsize=9)


def _write_numbers(axes: Axes, shares: np.ndarray) -> None:
    for row, column in zip(*np.nonzero(shares >= MIN_SHOWN), strict=True):
        share = shares[row, column]
        axes.text(
            column, row, f"{100 * share:.0f}", fontsize=NUMBER_SIZE, ha="center",
            va="center_baseline", color="white" if share >= DARK_FROM else figures.TEXT,
        )  # fmt: skip


def _draw_bar(axes: Axes) -> None:
    """The scale of colours, all bands alike."""
    colours, _ = _scale()
    bands = len(STEPS) - 1
    axes.imshow(
        np.arange(bands)[:, np.newaxis], cmap=colours, aspect="auto", origin="lower",
        extent=(0, 1, 0, bands), vmin=0, vmax=bands - 1, interpolation="none",
    )  # fmt: skip
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks(range(bands + 1), [f"{100 * share:g}" for share in STEPS], fontsize=7)
    axes.tick_params(length=2)
    axes.spines[["top", "right"]].set_visible(True)
    axes.set_title("% of the true\ncategory's\ndrawings", fontsize=7, pad=6)


def _write_list(
    figure: Figure, spelled: Sequence[Sequence[str]], place: tuple[float, float]
) -> None:
    """The categories of each group, in the order of the matrix."""
    width, height = figure.get_size_inches()
    left, top = place
    for number, lines in enumerate(spelled, 1):
        y = 1 - top / height
        figure.text(
            (left + NUMBERS_WIDTH - 0.06) / width, y, str(number), fontsize=LIST_SIZE, ha="right",
            va="top", fontweight="bold",
        )  # fmt: skip
        figure.text(
            (left + NUMBERS_WIDTH) / width, y, "\n".join(lines), fontsize=LIST_SIZE, va="top",
            linespacing=1.2,
        )  # fmt: skip
        top += len(lines) * LIST_LINE + LIST_GAP


def define_flags() -> None:
    evaluations.define_flags()
    flags.DEFINE_enum(
        "order",
        "similar",
        ["similar", "label"],
        "Of the categories; label: as they are numbered.",
    )
    figures.define_output_flag()


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    figure = plot_confusion(evaluations.chosen(), args.order)
    figures.write(figure, args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
