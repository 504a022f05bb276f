"""Bitmaps and texts at whole pixels of a figure, so that nothing is blurred."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.style import figures
from pipeline.dataset.records import IMAGE_SIZE

PAPER, FAINT_INK, INK = 255, 165, 20  # gray levels
ASCENT = 0.93  # of a font, in sizes of it, as the next
LINE_HEIGHT = 1.4


def make_page(width: int, height: int) -> tuple[Figure, Axes]:
    """A figure of so many pixels with one set of axes, in pixels from its upper left corner."""
    figure = Figure(figsize=(width / figures.DPI, height / figures.DPI))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def show(
    axes: Axes, left: float, top: float, bitmap: np.ndarray, scale: int = 1, ink: int = INK
) -> None:
    """Draws [85, 85] of 0 and 1 with its upper left corner there, each pixel `scale` wide."""
    side = scale * IMAGE_SIZE
    axes.imshow(
        np.where(bitmap, ink, PAPER).astype(np.uint8), cmap="gray", vmin=0, vmax=255,
        aspect="auto", interpolation="none",  # in SVG, too: whole pixels with hard edges
        extent=(left, left + side, top + side, top),
    )  # fmt: skip


def write_lines(
    axes: Axes, left: float, top: float, lines: Sequence[str], size: float, **style: Any
) -> None:
    """Text below and to the right of a place; `size` in points.

    Each line has its baseline where it belongs, whatever letters it has.
    """
    for i, line in enumerate(lines):
        baseline = top + ASCENT * size / 72 * figures.DPI + i * line_height(size)
        axes.text(left, baseline, line, fontsize=size, va="baseline", **style)


def line_height(size: float) -> float:
    """From line to line, in pixels; `size` in points."""
    return LINE_HEIGHT * size / 72 * figures.DPI
