"""Bitmaps with texts around them in a grid of whole pixels, so that nothing is blurred."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.style import figures, texts

PAPER, FAINT_INK, INK = 255, 165, 20  # gray levels
GRAY_LEVELS: Mapping[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}

# Pixels of the PNG.
IMAGE_GAP = 11  # between bitmaps of one image
TEXT_GAP = 18  # between an image and the texts to its left
CAPTION_GAP = 6  # between an image and the texts above and below
MARGIN = 36
TITLE_GAP = 34
ROUNDING = 1e-4  # Matplotlib before 3.11 makes an image of 85.0000001 pixels 86 wide

HEADING_SIZE = 9  # points
HEADING_HEIGHT = 56  # pixels
LINE_HEIGHT = 1.2  # font sizes, as the next
ASCENT = 0.93


class Text(NamedTuple):
    """A text in one or more lines, and Matplotlib's style for it."""

    lines: Sequence[str]
    size: float  # points
    style: Mapping[str, Any] = {}

    @property
    def height(self) -> int:
        """Return pixels."""
        return round(len(self.lines) * LINE_HEIGHT * self.size / 72 * figures.DPI)

    @property
    def width(self) -> int:
        """Return pixels."""
        return -int(-texts.text_width(self.lines, self.size, **self.style) * figures.DPI // 1)

    def write(self, axes: Axes, x: float, top: float, **style: Any) -> None:
        """Write the lines from `top` down, each on its baseline whatever letters it has."""
        pixels = self.size / 72 * figures.DPI
        style = {"va": "baseline", "fontsize": self.size, **style, **self.style}
        for i, line in enumerate(self.lines):
            axes.text(x, top + (ASCENT + i * LINE_HEIGHT) * pixels, line, **style)


class Cell(NamedTuple):
    """An image and the texts around it."""

    image: np.ndarray  # [H, W], of gray levels by default; empty for none
    left: Sequence[Text] = ()  # side by side, right-aligned
    above: Sequence[Text] = ()
    below: Sequence[Text] = ()


class Row(NamedTuple):
    """Cells side by side. All measures are in pixels."""

    cells: Sequence[Cell]
    scale: int

    @property
    def above(self) -> int:
        return max(_caption_height(cell.above) for cell in self.cells)

    @property
    def image(self) -> int:
        return max(cell.image.shape[0] * self.scale for cell in self.cells)

    def image_height(self, cell: Cell) -> int:
        return cell.image.shape[0] * self.scale or self.image

    @property
    def overhang(self) -> int:
        """Return how far texts to the left reach beyond their images, above and below."""
        heights = [
            text.height - self.image_height(cell) for cell in self.cells for text in cell.left
        ]
        return max([0, *heights]) // 2

    @property
    def height(self) -> int:
        below = max(_caption_height(cell.below) for cell in self.cells)
        return self.above + 2 * self.overhang + self.image + below


class GridSection(NamedTuple):
    """Rows of cells below a heading, which may be empty."""

    heading: str
    rows: Sequence[Sequence[Cell]]


def arrange(
    bitmaps: Sequence[np.ndarray] | np.ndarray, columns: int, inks: Sequence[int] = ()
) -> np.ndarray:
    """Arrange bitmaps in rows with gaps between them.

    Args:
      bitmaps: [H, W] of 0 and 1, all of one size.
      columns: bitmaps in a row.
      inks: the gray level of each; INK if empty.

    Returns:
      [rows, pixels] uint8 gray levels; [0, 0] without bitmaps.
    """
    if not len(bitmaps):
        return np.zeros((0, 0), np.uint8)
    height, width = bitmaps[0].shape
    rows, columns = -(-len(bitmaps) // columns), min(columns, len(bitmaps))
    shape = (rows * (height + IMAGE_GAP), columns * (width + IMAGE_GAP))
    pixels = np.full(shape, PAPER, np.uint8)
    for i, bitmap in enumerate(bitmaps):
        top, left = i // columns * (height + IMAGE_GAP), i % columns * (width + IMAGE_GAP)
        gray = np.where(bitmap, inks[i] if len(inks) else INK, PAPER)
        pixels[top : top + height, left : left + width] = gray
    return pixels[:-IMAGE_GAP, :-IMAGE_GAP]


def plot_image_grid(
    sections: Sequence[GridSection],
    title: str,
    *,
    title_size: float = figures.TITLE_SIZE,
    scale: int = 1,
    column_gap: int = 40,
    row_gap: int = IMAGE_GAP,
    section_gap: int = 0,
    cell_width: int = 0,
    min_width: int = 0,
    head: int = 0,
    is_centred: bool = False,
    colours: Mapping[str, Any] = GRAY_LEVELS,
) -> Figure:
    """Plot sections of cells below each other, all columns of one width.

    Args:
      sections: from top to bottom.
      title: one line.
      title_size: points.
      scale: pixels of the picture for each of an image, both ways.
      column_gap, row_gap, section_gap: pixels.
      cell_width, min_width: of a cell and of the grid, pixels at least.
      head: pixels to leave below the title.
      is_centred: whether images and captions are centred in their cells, not at the left.
      colours: the images' colour map and its limits, as of `Axes.imshow`.

    Returns:
      A figure whose first axes cover it, in pixels from its upper left corner.
    """
    grid = [[Row(cells, scale) for cells in section.rows] for section in sections]
    cells = [cell for rows in grid for row in rows for cell in row.cells]
    columns = max(len(row.cells) for rows in grid for row in rows)
    left = _left_widths(cells)
    widths = [cell.image.shape[1] * scale for cell in cells]
    widths += [text.width for cell in cells for text in (*cell.above, *cell.below)]
    cell_width = max(cell_width, sum(left) + max(widths))
    room = cell_width - sum(left) if is_centred else 0
    heading = Text([title], title_size)
    heads = [Text([section.heading], HEADING_SIZE) for section in sections if section.heading]
    grid_width = columns * (cell_width + column_gap) - column_gap
    width = 2 * MARGIN + max(min_width, grid_width, *(text.width for text in (heading, *heads)))
    top = MARGIN + round(title_size / 72 * figures.DPI) + TITLE_GAP + head
    height = top + MARGIN + len(heads) * HEADING_HEIGHT + len(grid) * section_gap
    height += sum(row.height + row_gap for rows in grid for row in rows)
    with figures.style():
        figure = Figure(figsize=(width / figures.DPI, height / figures.DPI))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        heading.write(axes, MARGIN, MARGIN)
        for section, rows in zip(sections, grid, strict=True):
            if section.heading:
                Text([section.heading], HEADING_SIZE).write(axes, MARGIN, top)
                top += HEADING_HEIGHT
            for row in rows:
                for i, cell in enumerate(row.cells):
                    x = MARGIN + i * (cell_width + column_gap)
                    _draw_left(axes, x, top, cell, row, left)
                    _draw_cell(axes, x + sum(left), top, cell, row, room, colours)
                top += row.height + row_gap
            top += section_gap
    return figure


def _draw_left(axes: Axes, x: float, top: int, cell: Cell, row: Row, widths: Sequence[int]) -> None:
    """Write the texts to the left of an image in columns, at half its height."""
    middle = top + row.above + row.overhang + row.image_height(cell) / 2
    for width, text in zip(widths, cell.left, strict=False):
        x += width
        text.write(axes, x - TEXT_GAP, middle - text.height / 2, ha="right")


def _draw_cell(
    axes: Axes, left: int, top: int, cell: Cell, row: Row, room: int, colours: Mapping[str, Any]
) -> None:
    """Draw an image and its captions, centred in `room` pixels or, of 0, at the left."""
    height, width = (side * row.scale for side in cell.image.shape)
    x, align = left + room // 2, {"ha": "center" if room else "left"}
    # The last line above is next to the image, wherever those of its neighbours begin.
    y = top + row.above - _caption_height(cell.above)
    for text in cell.above:
        text.write(axes, x, y, **align)
        y += text.height
    y = top + row.above + row.overhang
    if cell.image.size:
        start = left + max(0, room - width) // 2
        right, bottom = start + width - ROUNDING, y + height - ROUNDING
        axes.imshow(
            cell.image, extent=(start, right, bottom, y), aspect="auto",
            interpolation="none", **colours,  # in SVG, too: whole pixels with hard edges
        )  # fmt: skip
        x = start + width / 2 if room else x
    y += row.image + row.overhang + CAPTION_GAP
    for text in cell.below:
        text.write(axes, x, y, **align)
        y += text.height


def _caption_height(captions: Sequence[Text]) -> int:
    return sum(text.height for text in captions) + CAPTION_GAP if captions else 0


def _left_widths(cells: Sequence[Cell]) -> list[int]:
    """Return the widths of the columns of texts to the left, each with the gap after it."""
    columns = max(len(cell.left) for cell in cells)
    return [
        max(cell.left[i].width for cell in cells if len(cell.left) > i) + TEXT_GAP
        for i in range(columns)
    ]
