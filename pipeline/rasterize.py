"""Strokes → 85×85 bitmap, bit for bit as the study drew them.

The study: a canvas of 262×262 zeros; the drawing shifted to its middle, by
int((262 − extent) / 2) on each axis, without subtracting the minimum; every segment drawn by
OpenCV `line` with colour 1 and thickness 5; OpenCV `resize` to 85×85, bilinear, which on 0 and 1
rounds to 0 or 1 again. Colour 1 matters: 255 and a threshold give about 20 % more ink.

One difference: the study dropped strokes of one point; here they are dots.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.dataset.records import IMAGE_SIZE
from pipeline.drawings.frame import LARGEST_MINIMUM
from pipeline.drawings.strokes import Unpacked, unpack_strokes

CANVAS_SIZE = 262  # pixels: the 256 of a drawing and the pen's width
THICKNESS = 5  # pixels on the canvas
SETTINGS = {
    "canvas_size": CANVAS_SIZE,
    "thickness": THICKNESS,
    "colour": 1,
    "line_type": "LINE_8",
    "interpolation": "INTER_LINEAR",
}


class Drawn(NamedTuple):
    """Bitmaps of N drawings."""

    bitmaps: np.ndarray  # [N, 85, 85] uint8 of 0 and 1
    # [N] bool: beginning further in than LARGEST_MINIMUM; no other is blank
    is_displaced: np.ndarray


def rasterize(strokes: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
    """Draws strokes of the simplified format.

    Args:
      strokes: for each stroke its x and its y coordinates, 0 to 255.

    Returns:
      [85, 85] uint8 of 0 and 1, 1 where there is ink.

    Raises:
      ValueError: there are no strokes, a stroke has no points, or x and y differ in length.
    """
    lengths = np.array([len(x) for x, _ in strokes])
    if not len(lengths) or not lengths.all():
        raise ValueError("a drawing needs a stroke, and a stroke a point")
    if any(len(x) != len(y) for x, y in strokes):
        raise ValueError("x and y of a stroke differ in length")
    x = np.concatenate([np.asarray(x, np.int32) for x, _ in strokes])
    y = np.concatenate([np.asarray(y, np.int32) for _, y in strokes])
    bitmap: np.ndarray = _draw(Unpacked(np.array([len(lengths)]), lengths, x, y)).bitmaps[0]
    return bitmap


def rasterize_packed(packed: Sequence[bytes]) -> np.ndarray:
    """`rasterize` for many drawings at once, packed by `pipeline.drawings.strokes.pack_strokes`.

    Returns:
      [N, 85, 85] uint8 of 0 and 1.
    """
    return draw_packed(packed).bitmaps


def draw_packed(packed: Sequence[bytes]) -> Drawn:
    """Rasterize as `rasterize_packed`, and tell which drawings are outside of upstream's frame."""
    return _draw(unpack_strokes(packed))


def _draw(drawings: Unpacked) -> Drawn:
    point_counts = np.add.reduceat(drawings.lengths, _starts(drawings.stroke_counts))
    points = np.empty((len(drawings.x), 2), np.int32)
    is_displaced = np.zeros(len(point_counts), bool)
    for axis, values in enumerate((drawings.x, drawings.y)):
        values = values.astype(np.int32)
        starts = _starts(point_counts)
        minimum = np.minimum.reduceat(values, starts)
        is_displaced |= minimum > LARGEST_MINIMUM
        extent = np.maximum.reduceat(values, starts) - minimum
        points[:, axis] = values + np.repeat((CANVAS_SIZE - extent) // 2, point_counts)
    stroke_starts = _starts(drawings.lengths)
    strokes = [
        # OpenCV draws nothing for a polyline of one point: make it a segment of length 0.
        points[start:end] if end - start > 1 else np.repeat(points[start:end], 2, axis=0)
        for start, end in zip(
            stroke_starts.tolist(), (stroke_starts + drawings.lengths).tolist(), strict=True
        )
    ]
    bitmaps = np.empty((len(point_counts), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    canvas = np.empty((CANVAS_SIZE, CANVAS_SIZE), np.uint8)
    end = 0
    for bitmap, count in zip(bitmaps, drawings.stroke_counts.tolist(), strict=True):
        start, end = end, end + count
        canvas.fill(0)
        # The same pixels as one `line` a segment, which rounds off the same joints, in one call.
        cv2.polylines(canvas, strokes[start:end], isClosed=False, color=1, thickness=THICKNESS)
        cv2.resize(canvas, bitmap.shape, dst=bitmap, interpolation=cv2.INTER_LINEAR)
    return Drawn(bitmaps, is_displaced)


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts) - counts
