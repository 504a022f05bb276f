"""Charts with a row for each category in as many columns as fit best: from 2 rows to 345."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.style import figures, texts

MANY = 60  # categories; more are set smaller: several hundred fit on a page of A4
KEY_LENGTH = 1.3  # of a handle, in font sizes

# Inches.
MARGIN = 0.2
TITLE_HEIGHT = 0.28
KEY_HEIGHT = 0.28
KEY_HANDLE = 0.4  # a handle of the key, and the gap to the next
AXIS_HEIGHT = 0.55  # of ticks and axis label
TOP_AXIS_HEIGHT = 0.25  # of ticks alone
TALL = 4.0  # columns that are taller have ticks at the top, too
NAME_GAP = 0.12


class Density(NamedTuple):
    """Sizes of a chart of few or of many rows."""

    font_size: float  # points
    pitch: float  # inches from row to row, as the next
    panel_width: float
    gap: float  # between panels


FEW_ROWS = Density(font_size=8, pitch=0.2, panel_width=2.3, gap=0.2)
MANY_ROWS = Density(font_size=6, pitch=0.105, panel_width=1.25, gap=0.12)


class Block(NamedTuple):
    """One of the columns into which the rows are cut. Row i is at y = i in its axes."""

    labels: Sequence[str]
    panels: list[Axes]


def lay_out(
    labels: Sequence[str], axis_labels: Sequence[str], title: str, key: Sequence[Artist]
) -> tuple[Figure, list[Block]]:
    """Return an empty chart; the caller draws into the rows of its blocks.

    Args:
      labels: the categories, from top to bottom and then to the right.
      axis_labels: of the panels side by side. All panels of one kind have one scale.
      title: one line.
      key: labelled artists that explain the marks, drawn below the title.
    """
    names = texts.elide_names(labels)
    density = MANY_ROWS if len(labels) > MANY else FEW_ROWS
    name_width = texts.text_width(names, density.font_size) + NAME_GAP
    block_width = name_width + len(axis_labels) * (density.panel_width + density.gap)
    columns = figures.best_columns(len(labels), block_width, density.pitch)
    rows = math.ceil(len(labels) / columns)
    columns = math.ceil(len(labels) / rows)  # the last ones may be left without any
    is_tall = rows * density.pitch > TALL
    top = MARGIN + TITLE_HEIGHT + KEY_HEIGHT + (TOP_AXIS_HEIGHT if is_tall else 0)
    width = 2 * MARGIN + max(columns * block_width, _heading_width(title, key))
    height = top + rows * density.pitch + AXIS_HEIGHT
    blocks: list[Block] = []
    with figures.style():
        figure = Figure(figsize=(width, height))
        figures.add_text(figure, MARGIN, MARGIN, title)
        figures.add_legend(
            figure, MARGIN, MARGIN + TITLE_HEIGHT, key,
            ncols=len(key), handlelength=KEY_LENGTH, columnspacing=1.4,
        )  # fmt: skip
        for start in range(0, len(labels), rows):
            block = Block(labels[start : start + rows], [])
            left = MARGIN + len(blocks) * block_width + name_width
            for i, axis_label in enumerate(axis_labels):
                axes = figures.add_axes(
                    figure, left + i * (density.panel_width + density.gap), top,
                    density.panel_width, len(block.labels) * density.pitch,
                    sharex=blocks[0].panels[i] if blocks else None,
                )  # fmt: skip
                shown = names[start : start + rows] if i == 0 else [""] * len(block.labels)
                _dress(axes, shown, axis_label, density)
                axes.tick_params(axis="x", top=is_tall, labeltop=is_tall)
                block.panels.append(axes)
            blocks.append(block)
    return figure, blocks


def _heading_width(title: str, key: Sequence[Artist]) -> float:
    key_widths = [
        texts.text_width([str(artist.get_label())], figures.LABEL_SIZE) + KEY_HANDLE
        for artist in key
    ]
    return max(texts.text_width([title], figures.TITLE_SIZE), sum(key_widths))


def _dress(axes: Axes, names: Sequence[str], axis_label: str, density: Density) -> None:
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize=density.font_size)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(axis_label, fontsize=density.font_size)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
