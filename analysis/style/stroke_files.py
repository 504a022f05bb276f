"""One drawing alone: as SVG, a path for each stroke, and as GIF, stroke by stroke."""

import io
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw

from analysis.style import figures

LINE_WIDTH = 5  # units of the drawing, which fills 255
MARGIN = 8  # units around the points
GIF_SCALE = 2  # pixels of the GIF a unit
_SMOOTHING = 2  # drawn so many times larger, then shrunk: Pillow's lines have hard edges
STROKE_MILLISECONDS = 400
END_MILLISECONDS = 2000  # the whole drawing, before it begins again


def to_svg(strokes: Sequence[np.ndarray], title: str) -> bytes:
    """Return an SVG file with a path for each stroke, in their order.

    Args:
      strokes: [points, 2] each, x and y.
      title: of the drawing, as browsers show it.
    """
    left, top, width, height = _frame(strokes)
    svg = ElementTree.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"{left} {top} {width} {height}",
        width=f"{width}",
        height=f"{height}",
    )
    ElementTree.SubElement(svg, "title").text = title
    group = {
        "fill": "none",
        "stroke": figures.TEXT,
        "stroke-width": f"{LINE_WIDTH}",
        "stroke-linecap": "round",
        "stroke-linejoin": "round",
    }
    paths = ElementTree.SubElement(svg, "g", group)
    for stroke in strokes:
        points = [f"{x:g},{y:g}" for x, y in stroke.tolist()]
        # A path of one point is not drawn; a line to that point is a dot.
        ElementTree.SubElement(paths, "path", d=f"M{points[0]}L{' '.join(points[1:] or points)}")
    return bytes(ElementTree.tostring(svg, encoding="utf-8", xml_declaration=True)) + b"\n"


def to_gif(strokes: Sequence[np.ndarray]) -> bytes:
    """Return an animated GIF that begins empty, gets a stroke a frame, and begins again.

    Args:
      strokes: [points, 2] each, x and y.
    """
    left, top, width, height = _frame(strokes)
    pixels = GIF_SCALE * _SMOOTHING
    canvas = Image.new("L", (width * pixels, height * pixels), "white")
    pen = ImageDraw.Draw(canvas)
    size = (width * GIF_SCALE, height * GIF_SCALE)
    frames = [canvas.resize(size)]
    for stroke in strokes:
        _draw(pen, (stroke - (left, top)) * pixels, LINE_WIDTH * pixels)
        frames.append(canvas.resize(size, Image.Resampling.BOX))
    times = [STROKE_MILLISECONDS] * len(strokes) + [END_MILLISECONDS]
    buffer = io.BytesIO()
    frames[0].save(buffer, "gif", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return buffer.getvalue()


def _draw(pen: ImageDraw.ImageDraw, points: np.ndarray, width: int) -> None:
    """Draw a line with round ends and corners."""
    pen.line([(x, y) for x, y in points.tolist()], fill=figures.TEXT, width=width)
    for x, y in points.tolist():
        radius = width / 2
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=figures.TEXT)


def _frame(strokes: Sequence[np.ndarray]) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the picture, whole units of the drawing."""
    points = np.concatenate(strokes)
    low = np.floor(points.min(axis=0)).astype(int) - MARGIN
    high = np.ceil(points.max(axis=0)).astype(int) + MARGIN
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])
