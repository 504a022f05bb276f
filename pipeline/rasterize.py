"""Strokes → 85×85 bitmap, bit for bit as the study drew them.

The study: a canvas of 262×262 zeros; the drawing shifted to its middle, by
int((262 − extent) / 2) on each axis, without subtracting the minimum; every segment drawn by
OpenCV `line` with colour 1 and thickness 5; OpenCV `resize` to 85×85, bilinear, which on 0 and 1
rounds to 0 or 1 again. Colour 1 matters: 255 and a threshold give about 20 % more ink.

One difference: the study dropped strokes of one point; here they are dots.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.records import IMAGE_SIZE
from pipeline.strokes import unpack_strokes

CANVAS_SIZE = 262  # pixels: the 256 of a drawing and the pen's width
THICKNESS = 5  # pixels on the canvas
SETTINGS = {
    "canvas_size": CANVAS_SIZE,
    "thickness": THICKNESS,
    "colour": 1,
    "line_type": "LINE_8",
    "interpolation": "INTER_LINEAR",
}


def rasterize(strokes: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
    """Draws strokes of the simplified format.

    Args:
      strokes: for each stroke its x and its y coordinates, 0 to 255.

    Returns:
      [85, 85] uint8 of 0 and 1, 1 where there is ink.

    Raises:
      ValueError: there are no strokes, a stroke has no points, or x and y differ in length.
    """
    lengths = [len(x) for x, _ in strokes]
    if not lengths or not all(lengths):
        raise ValueError("a drawing needs a stroke, and a stroke a point")
    x = np.concatenate([np.asarray(x, np.int32) for x, _ in strokes])
    y = np.concatenate([np.asarray(y, np.int32) for _, y in strokes])
    return _draw(np.asarray(lengths), np.stack((x, y)))


def rasterize_packed(packed: bytes) -> np.ndarray:
    """`rasterize` for strokes packed by `pipeline.strokes.pack_strokes`."""
    lengths, points = unpack_strokes(packed)
    return _draw(lengths, points.astype(np.int32))


def _draw(lengths: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`lengths`: [strokes], points of each; `points`: [2, points] int32, x and y."""
    extent = points.max(axis=1) - points.min(axis=1)
    centred = (points + ((CANVAS_SIZE - extent) // 2)[:, np.newaxis]).T  # [points, 2]
    centred = np.ascontiguousarray(centred)
    polylines = []
    start = 0
    for length in lengths.tolist():
        stroke = centred[start : start + length]
        # OpenCV draws nothing for a polyline of one point: make it a segment of length 0.
        polylines.append(stroke if length > 1 else np.repeat(stroke, 2, axis=0))
        start += length
    canvas = np.zeros((CANVAS_SIZE, CANVAS_SIZE), np.uint8)
    # The same pixels as one `line` a segment, which rounds off the same joints, in one call.
    cv2.polylines(canvas, polylines, isClosed=False, color=1, thickness=THICKNESS)
    return cv2.resize(canvas, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_LINEAR)
