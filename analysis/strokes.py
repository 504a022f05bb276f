"""Drawings as numbered strokes in drawing order, beside their bitmaps; or one drawing alone.

  python -m analysis.strokes drawings/cat.ndjson --drawings=4 -o strokes.png
  python -m analysis.strokes --key_id=KEY drawings/*.ndjson -o cat.svg,cat.gif

One drawing as .svg is the drawing alone, a path for each stroke; as .gif it is drawn stroke by
stroke. All other pictures have numbers and bitmaps.
"""

import math
from collections.abc import Sequence
from itertools import islice

import cv2
import matplotlib
import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from analysis import commands
from analysis.reading.drawings import LabelledDrawing, read_drawings
from analysis.style import figures, texts
from analysis.style.stroke_files import to_gif, to_svg
from pipeline import cli
from pipeline.cli import UserError, counted
from pipeline.dataset.records import IMAGE_SIZE
from pipeline.drawings.strokes import unpack_strokes
from pipeline.rasterize import CANVAS_SIZE, rasterize_packed

MAX_DRAWINGS = 30  # in one picture
COLOUR_MAP, LAST_COLOUR = "viridis", 0.85  # of it; what follows is too light for lines
TITLE = "Strokes in drawing order, numbered, from dark to light; dots are where they begin"

# Inches.
PANEL = 6 * IMAGE_SIZE / figures.DPI  # a pixel of the bitmap is 6×6 of the PNG: nothing is blurred
AXIS = 0.6  # to the left of a panel or below: ticks and axis label
RIGHT = 0.3
HEADING = 0.45  # above the panels: the drawing's name, their titles
MARGIN = 0.2
TITLE_HEIGHT = 0.32

NAME_SIZE = 9  # points, as the next
PANEL_TITLE_SIZE = 8
TICK_SIZE = 7
NUMBER_SIZE = 7
LINE_WIDTH = 1.6
DOT_SIZE = 4.5

# Positions of a stroke's number around its start: the nearest free one. Inches.
NUMBER_RADIUS = 0.07  # of the disc that a number needs
DOT_RADIUS = DOT_SIZE / 2 / 72
DISTANCES = (0.11, 0.15, 0.2, 0.26, 0.34, 0.44)
DIRECTIONS = 24
INK_COST = 0.2  # so far a number goes out of the way of a place that is all ink
LEADER_FROM = 0.16  # numbers farther from their start are tied to it by a line


def plot_strokes(patterns: Sequence[str], drawings: int = 1, key_id: Sequence[str] = ()) -> Figure:
    """Plot the first drawings of each of some files, or the drawings of some keys.

    Args:
      patterns: globs, as of `analysis.reading.drawings.read_drawings`.
      drawings: how many of each file to show.
      key_id: keys of the drawings to show instead, in this order.

    Raises:
      UserError: a glob matches no file, there is no drawing, none of a key, or there are more than
        MAX_DRAWINGS.
      RunError: a file cannot be read to its end.
    """
    return draw_strokes(choose_drawings(patterns, drawings, key_id))


def choose_drawings(
    patterns: Sequence[str], drawings: int, key_id: Sequence[str]
) -> list[LabelledDrawing]:
    """Read the drawings to show; arguments and errors are those of `plot_strokes`."""
    if key_id:
        chosen = _find(key_id, patterns)
    else:
        chosen = list(islice(read_drawings(patterns, drawings), MAX_DRAWINGS + 1))
    if len(chosen) > MAX_DRAWINGS:
        raise UserError(f"more than {MAX_DRAWINGS} drawings to show; fewer --drawings or files")
    return chosen


def draw_strokes(drawings: Sequence[LabelledDrawing]) -> Figure:
    """Plot two panels for each drawing, its strokes and its bitmap."""
    block_width, block_height = 2 * (AXIS + PANEL) + RIGHT, HEADING + PANEL + AXIS
    columns = figures.best_columns(len(drawings), block_width, block_height)
    title_width = AXIS + texts.text_width([TITLE], figures.TITLE_SIZE) + RIGHT
    width = MARGIN + max(columns * block_width, title_width)
    height = MARGIN + TITLE_HEIGHT + math.ceil(len(drawings) / columns) * block_height
    bitmaps = rasterize_packed([found.drawing.strokes for found in drawings])
    with figures.style():
        figure = Figure(figsize=(width, height))
        figures.add_text(figure, MARGIN + AXIS, MARGIN, TITLE)
        for i, (found, bitmap) in enumerate(zip(drawings, bitmaps, strict=True)):
            row, column = divmod(i, columns)
            left = MARGIN + AXIS + column * block_width
            top = MARGIN + TITLE_HEIGHT + row * block_height
            figures.add_text(figure, left, top, _name(found), NAME_SIZE)
            strokes, image = (
                figures.add_axes(figure, x, top + HEADING, PANEL, PANEL)
                for x in (left, left + PANEL + AXIS)
            )
            stroke_lines(split_strokes(found.drawing.strokes), bitmap, strokes)
            bitmap_image(bitmap, image)
    return figure


def _name(drawing: LabelledDrawing) -> str:
    key_id = drawing.drawing.key_id
    return f"{drawing.label}, key {key_id}" if key_id else drawing.label


def write_drawing(drawing: LabelledDrawing, path: str) -> None:
    """Write one drawing alone as .svg or .gif; raises UserError if it cannot be written."""
    strokes = split_strokes(drawing.drawing.strokes)
    is_gif = _is(".gif", path)
    content = to_gif(strokes) if is_gif else to_svg(strokes, _name(drawing))
    figures.write_file(path, content)


def split_strokes(packed: bytes) -> list[np.ndarray]:
    """Return x and y, [points, 2], of each stroke that `pack_strokes` packed."""
    drawing = unpack_strokes([packed])
    points = np.stack([drawing.x, drawing.y], axis=1)
    return np.split(points, np.cumsum(drawing.lengths)[:-1])


def place_numbers(starts: np.ndarray, bitmap: np.ndarray) -> list[np.ndarray | None]:
    """Place the numbers of strokes near their starts, not on each other, off the ink.

    Args:
      starts: [strokes, 2], x and y in inches from the upper left corner of the panel.
      bitmap: [85, 85] of 0 and 1, which fills the panel.

    Returns:
      For each stroke the middle of its number, in the same inches; None where there is no room.
    """
    angles = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    offsets = np.concatenate([distance * circle for distance in DISTANCES])
    ink = cv2.blur(bitmap.astype(np.float32), (5, 5))  # share of it under a number
    places: list[np.ndarray | None] = []
    numbers = np.empty((0, 2))
    for start in starts:
        middles = start + offsets
        is_free = ((middles > NUMBER_RADIUS) & (middles < PANEL - NUMBER_RADIUS)).all(axis=1)
        for taken, radius in ((starts, DOT_RADIUS), (numbers, NUMBER_RADIUS)):
            gaps = np.linalg.norm(middles[:, None] - taken[None], axis=2)
            is_free &= (gaps > NUMBER_RADIUS + radius).all(axis=1)
        if not is_free.any():
            places.append(None)
            continue
        free = middles[is_free]
        columns, rows = (free * IMAGE_SIZE / PANEL).astype(int).T
        cost = np.linalg.norm(free - start, axis=1) + INK_COST * ink[rows, columns]
        place = free[np.argmin(cost.round(6))]  # the first of equals, on every machine
        places.append(place)
        numbers = np.vstack([numbers, place])
    return places


def _find(key_ids: Sequence[str], patterns: Sequence[str]) -> list[LabelledDrawing]:
    found: dict[str, LabelledDrawing] = {}
    for drawing in read_drawings(patterns):
        key_id = drawing.drawing.key_id
        if key_id in key_ids:
            found.setdefault(str(key_id), drawing)
            if len(found) == len(set(key_ids)):
                break
    for key_id in key_ids:
        if key_id not in found:
            raise UserError(f"--key_id: no drawing has the key {key_id!r}")
    return [found[key_id] for key_id in key_ids]


def stroke_lines(strokes: Sequence[np.ndarray], bitmap: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw strokes of [points, 2] each as lines, numbered, off the ink of their bitmap."""
    axes = figures.new_axes(ax)
    points = np.concatenate(strokes).astype(int)
    # The drawing in the middle of the canvas, as in the bitmap: see pipeline.rasterize.
    corner = -((CANVAS_SIZE - np.ptp(points, axis=0)) // 2) - 0.5
    inch = CANVAS_SIZE / PANEL
    starts = np.array([stroke[0] for stroke in strokes])
    colours = matplotlib.colormaps[COLOUR_MAP](np.linspace(0, LAST_COLOUR, len(strokes)))
    for stroke, colour in zip(strokes, colours, strict=True):
        axes.plot(*stroke.T, color=colour, linewidth=LINE_WIDTH, solid_capstyle="round")
        axes.plot(*stroke[0], color=colour, marker="o", ms=DOT_SIZE, mec="white", mew=0.6, zorder=3)
    places = place_numbers((starts - corner) / inch, bitmap)
    for number, (start, place) in enumerate(zip(starts, places, strict=True), start=1):
        if place is not None:
            _write_number(axes, number, start, corner + place * inch, LEADER_FROM * inch)
    title = f"{counted(len(strokes), 'stroke')}, {counted(len(points), 'point')}"
    _dress(axes, title, (0, 64, 128, 192, 255), "units of the drawing")
    # After the ticks, which would widen the limits.
    axes.set(xlim=(corner[0], corner[0] + CANVAS_SIZE), ylim=(corner[1] + CANVAS_SIZE, corner[1]))
    return axes


def _write_number(
    axes: Axes, number: int, start: np.ndarray, place: np.ndarray, leader_from: float
) -> None:
    if np.linalg.norm(place - start) > leader_from:
        axes.plot(*np.stack([start, place]).T, color=figures.MUTED, linewidth=0.5, zorder=2.5)
    axes.text(
        place[0], place[1], str(number), fontsize=NUMBER_SIZE, ha="center", va="center", zorder=4,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip


def bitmap_image(bitmap: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw a bitmap, [85, 85] of 0 and 1."""
    axes = figures.new_axes(ax)
    axes.imshow(bitmap, cmap="gray_r", vmin=0, vmax=1, aspect="auto", interpolation="none")
    title = f"{IMAGE_SIZE}×{IMAGE_SIZE} pixels, {bitmap.mean():.1%} ink"
    _dress(axes, title, (0, 42, 84), "pixels")
    return axes


def _dress(axes: Axes, title: str, ticks: Sequence[int], unit: str) -> None:
    axes.set_title(title, fontsize=PANEL_TITLE_SIZE, color=figures.MUTED)
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=figures.GRID)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.tick_params(labelsize=TICK_SIZE)
    axes.set_xlabel(f"x ({unit})", fontsize=TICK_SIZE)
    axes.set_ylabel(f"y ({unit})", fontsize=TICK_SIZE)


def _is(extension: str, path: str) -> bool:
    return path.lower().endswith(extension)


def define_flags() -> None:
    commands.DRAWINGS.define_flags()
    text = (
        "Pictures to write (-o), with commas between: .png, .svg, .pdf, .eps; .gif of one drawing."
    )
    cli.define_paths("output", None, text, kind="FILE", required=True)
    commands.define_short_output()
    commands.integer(1, "Drawings of each file, the first ones.", 1, 10**6)("drawings")
    commands.names([], "Keys of the drawings to show instead, with commas between.")("key_id")


def main(argv: Sequence[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output, (*figures.FORMATS, "gif"))
    (patterns,) = commands.DRAWINGS.read(argv[1:])
    chosen = choose_drawings(patterns, args.drawings, args.key_id)
    gifs = [path for path in args.output if _is(".gif", path)]
    if gifs and len(chosen) > 1:
        raise UserError(
            f"--output={gifs[0]}: shows one drawing, not {len(chosen)}; --key_id chooses one"
        )
    alone = [path for path in args.output if len(chosen) == 1 and _is(".svg", path)] + gifs
    for path in alone:
        write_drawing(chosen[0], path)
    if pictures := [path for path in args.output if path not in alone]:
        figures.write(draw_strokes(chosen), pictures)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    cli.run(main, takes_arguments=True)
