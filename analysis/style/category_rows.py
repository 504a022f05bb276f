"""Charts with a row for each category, cut into as many columns as look best: from 2 rows to 345.

`lay_out` makes the empty chart; what stands in its rows is up to the caller.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.style import figures

MANY = 60  # categories; more are set smaller: several hundred fit on a page of A4
TITLE_SIZE = 10  # points
KEY_SIZE = 8
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
    """How large everything is."""

    font_size: float  # points
    pitch: float  # inches from row to row, as the next
    panel_width: float
    gap: float  # between panels


FEW_ROWS = Density(font_size=8, pitch=0.2, panel_width=2.3, gap=0.2)
MANY_ROWS = Density(font_size=6, pitch=0.105, panel_width=1.25, gap=0.12)


class Column(NamedTuple):
    """One of the columns into which the rows were cut. Row i is at y = i in its axes."""

    labels: Sequence[str]
    panels: list[Axes]


def lay_out(
    labels: Sequence[str], axis_labels: Sequence[str], title: str, key: Sequence[Artist]
) -> tuple[Figure, list[Column]]:
    """An empty chart.

    Args:
      labels: the categories, from top to bottom and then to the right.
      axis_labels: what each of the panels that stand side by side shows. All panels of one kind
        have one scale.
      title: one line.
      key: artists that say what the marks mean, labelled; they stand below the title.
    """
    density = MANY_ROWS if len(labels) > MANY else FEW_ROWS
    name_width = figures.text_width(labels, density.font_size) + NAME_GAP
    column_width = name_width + len(axis_labels) * (density.panel_width + density.gap)
    columns = figures.best_columns(len(labels), column_width, density.pitch)
    rows = math.ceil(len(labels) / columns)
    columns = math.ceil(len(labels) / rows)  # the last ones may be left without any
    is_tall = rows * density.pitch > TALL
    top = MARGIN + TITLE_HEIGHT + KEY_HEIGHT + (TOP_AXIS_HEIGHT if is_tall else 0)
    width = 2 * MARGIN + max(columns * column_width, _heading_width(title, key))
    height = top + rows * density.pitch + AXIS_HEIGHT
    grid: list[Column] = []
    with figures.style():
        figure = Figure(figsize=(width, height))
        _draw_heading(figure, title, key)
        for start in range(0, len(labels), rows):
            column = Column(labels[start : start + rows], [])
            left = MARGIN + len(grid) * column_width + name_width
            panel_height = len(column.labels) * density.pitch
            for i, axis_label in enumerate(axis_labels):
                x = left + i * (density.panel_width + density.gap)
                box = (
                    x / width, 1 - (top + panel_height) / height,
                    density.panel_width / width, panel_height / height,
                )  # fmt: skip
                axes = figure.add_axes(box, sharex=grid[0].panels[i] if grid else None)
                names = column.labels if i == 0 else [""] * len(column.labels)
                _dress(axes, names, axis_label, density)
                axes.tick_params(axis="x", top=is_tall, labeltop=is_tall)
                column.panels.append(axes)
            grid.append(column)
    return figure, grid


def _heading_width(title: str, key: Sequence[Artist]) -> float:
    key_widths = [
        figures.text_width([str(artist.get_label())], KEY_SIZE) + KEY_HANDLE for artist in key
    ]
    return max(figures.text_width([title], TITLE_SIZE), sum(key_widths))


def _draw_heading(figure: Figure, title: str, key: Sequence[Artist]) -> None:
    width, height = figure.get_size_inches()
    figure.text(MARGIN / width, 1 - MARGIN / height, title, fontsize=TITLE_SIZE, va="top")
    figure.legend(
        handles=key, ncols=len(key), loc="upper left", fontsize=KEY_SIZE, frameon=False,
        bbox_to_anchor=(MARGIN / width, 1 - (MARGIN + TITLE_HEIGHT) / height),
        borderpad=0, borderaxespad=0, handlelength=KEY_LENGTH, columnspacing=1.4,
    )  # fmt: skip


def _dress(axes: Axes, names: Sequence[str], axis_label: str, density: Density) -> None:
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize=density.font_size)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(axis_label, fontsize=density.font_size)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
