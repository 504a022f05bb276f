"""Strokes as compact bytes, the form in which drawings are shuffled (about 100 bytes each).

Layout, little endian: uint16 number of strokes, uint16 number of points of each stroke, then the
x of all points, then the y of all points, a byte each.
"""

import struct
from collections.abc import Sequence

import numpy as np

MAX_STROKES = 2_000  # a drawing of more is rejected; real ones stay below 300
MAX_POINTS = 50_000  # a drawing, all strokes together; real ones stay below 3,000


def pack_strokes(xs: Sequence[bytes], ys: Sequence[bytes]) -> bytes:
    """The x and the y of each stroke, a byte a point, to one byte string."""
    lengths = [len(x) for x in xs]
    return b"".join((struct.pack(f"<{len(xs) + 1}H", len(xs), *lengths), *xs, *ys))


def unpack_strokes(packed: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `pack_strokes`.

    Returns:
      [strokes] uint16, the points of each stroke, and [2, points] uint8, all x and all y.
    """
    (count,) = struct.unpack_from("<H", packed)
    lengths = np.frombuffer(packed, "<u2", count, offset=2)
    points = np.frombuffer(packed, np.uint8, offset=2 + 2 * count)
    return lengths, points.reshape(2, -1)
