"""Strokes as compact bytes, the form in which drawings are shuffled (about 100 bytes each).

Layout, little endian: uint16 number of strokes, uint16 number of points of each stroke, then the
x of all points, then the y of all points, a byte each.
"""

import functools
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

MAX_STROKES = 2_000  # a drawing of more is rejected; real ones stay below 300
MAX_POINTS = 50_000  # a drawing, all strokes together; real ones stay below 3,000


def pack_strokes(xs: Sequence[bytes], ys: Sequence[bytes]) -> bytes:
    """Pack the x and the y of each stroke, a byte a point, into one byte string."""
    return pack_strokes_of(list(map(len, xs)), xs, ys)


def pack_strokes_of(lengths: Sequence[int], xs: Sequence[bytes], ys: Sequence[bytes]) -> bytes:
    """Pack strokes of known lengths as `pack_strokes` does."""
    count = len(lengths)
    return b"".join((_numbers_packer(count + 1)(count, *lengths), *xs, *ys))


@functools.lru_cache(maxsize=256)
def _numbers_packer(count: int) -> Callable[..., bytes]:
    return struct.Struct(f"<{count}H").pack


class Unpacked(NamedTuple):
    """Strokes of N drawings, one after the other."""

    stroke_counts: np.ndarray  # [N], strokes of each drawing
    lengths: np.ndarray  # [strokes], points of each
    x: np.ndarray  # [points] uint8
    y: np.ndarray  # [points] uint8


def unpack_strokes(packed: Sequence[bytes]) -> Unpacked:
    """Invert `pack_strokes` for many drawings, in a few operations on all of them."""
    sizes = np.array([len(drawing) for drawing in packed])
    data = np.frombuffer(b"".join(packed), np.uint8)
    starts = np.cumsum(sizes) - sizes
    stroke_counts = data[starts] + 256 * data[starts + 1].astype(np.int64)
    low_bytes = _ranges(starts + 2, stroke_counts, step=2)
    lengths = data[low_bytes] + 256 * data[low_bytes + 1].astype(np.int64)
    headers = 2 + 2 * stroke_counts
    points = (sizes - headers) // 2  # of each drawing
    x_indices = _ranges(starts + headers, points)
    return Unpacked(
        stroke_counts, lengths, data[x_indices], data[x_indices + np.repeat(points, points)]
    )


def _ranges(starts: np.ndarray, counts: np.ndarray, step: int = 1) -> np.ndarray:
    """Return the numbers start, start + step, … of each range, `count` of them, concatenated."""
    firsts = np.cumsum(counts) - counts
    places = np.arange(counts.sum()) - np.repeat(firsts, counts)
    return np.repeat(starts, counts) + step * places
