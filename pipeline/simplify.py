"""Raw strokes → simplified strokes, number for number as Quick, Draw! published them.

The data set's README (github.com/googlecreativelab/quickdraw-dataset) describes four steps:
align the drawing to the top-left corner; scale it uniformly to a maximum of 255; resample all
strokes with a spacing of 1 pixel; simplify them by Ramer–Douglas–Peucker with an epsilon of 2.0.
The code was not published. This one gives the published simplified drawing for all of the 600
drawings (3,112 strokes) that were at hand in both forms; what else it takes, found on them:

- The last point of a stroke is kept, after the last whole pixel. A stroke without extent, of
  one point too, becomes two equal points: no simplified stroke has fewer than two.
- Distances are to the infinite line; where its two ends coincide, to that point. The first of
  several farthest points wins, and it must be farther than epsilon.
- Coordinates are rounded at the very end, halves to even.
- Resampling steps over the raw corners, so a simplified drawing may begin at 1 or 2 instead of
  0, or end before 255.
- The points of a straight part parallel to the line are equally far from it but for the rounding
  errors of double precision, and these decide which is kept. Hence the exact formulas below;
  others of the same meaning are right for fewer of the 600: 594 with `np.hypot` for the lengths
  of the steps, 575 with `np.interp`, 571 with a factor of 255 / extent.

What upstream did with a drawing without any extent is not known; here it becomes all zeros.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

MAX_COORDINATE = 255
EPSILON = 2.0  # pixels
MAX_SAMPLES = 50_000  # pixels of ink after scaling; real drawings have 1,000, few over 10,000


def simplify(
    strokes: Sequence[Sequence[Sequence[float]] | np.ndarray],
) -> list[list[list[int]]]:
    """Normalises a raw drawing to the simplified format.

    Args:
      strokes: at least one; for each its x and its y coordinates, finite numbers, as many of
        one as of the other and at least one: lists, or an array [2, points]. What follows them,
        as the times, is ignored.

    Returns:
      For each stroke its x and its y coordinates, 0 to 255, at least two.

    Raises:
      ValueError: the drawing is longer than MAX_SAMPLES pixels.
    """
    arrays = [np.asarray(stroke[:2], np.float64) for stroke in strokes]
    counts = np.array([stroke.shape[1] for stroke in arrays])
    points, counts = _resample(_fit(np.concatenate(arrays, axis=1)), counts)
    kept = _corners(points, counts)
    x, y = np.rint(points[:, kept]).astype(np.int64).tolist()
    ends = np.cumsum(np.add.reduceat(kept, np.cumsum(counts) - counts, dtype=np.int64)).tolist()
    return [[x[start:end], y[start:end]] for start, end in pairwise([0, *ends])]


def _fit(points: np.ndarray) -> np.ndarray:
    """Shifts and scales [2, points] to minima of 0 and a common maximum of 255."""
    points = points * 2.0**-10  # rounds nothing; the extent of the largest numbers is finite
    points -= points.min(axis=1, keepdims=True)
    extent = points.max()
    if extent:
        points *= MAX_COORDINATE
        points /= extent
    return points


def _resample(points: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points at every pixel along each stroke, and its last one.

    Args:
      points: [2, points], all strokes one after the other.
      counts: [strokes], the points of each.

    Returns:
      [2, samples] and [strokes], the samples of each, at least two.
    """
    following = np.concatenate((points[:, 1:], points[:, -1:]), axis=1)
    steps = following - points
    steps *= steps
    lengths = np.sqrt(steps[0] + steps[1])  # to the following point
    lasts = np.cumsum(counts) - 1
    lengths[lasts] = 1  # from stroke to stroke nothing is drawn; not 0, as it divides a 0 below
    if lengths.sum() > MAX_SAMPLES:
        raise ValueError(f"a drawing of more than {MAX_SAMPLES} pixels")

    travelled = np.empty_like(lengths)  # along the stroke, up to each point
    before, distances, sampled = [], [], []  # of each sample: the point before it, how far it is
    start = 0
    for last in lasts.tolist():
        along = travelled[start : last + 1]
        along[0] = 0
        np.cumsum(lengths[start:last], out=along[1:])
        pixels = np.arange(0.0, along[-1] or 1.0)
        before += [along.searchsorted(pixels, "right") + (start - 1), [last]]
        distances += [pixels, along[-1:]]
        sampled.append(len(pixels) + 1)
        start = last + 1
    left = np.concatenate(before)
    weight = np.concatenate(distances)
    weight -= travelled[left]
    weight /= lengths[left]
    return points[:, left] * (1 - weight) + following[:, left] * weight, np.array(sampled)


def _corners(points: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ramer–Douglas–Peucker on all strokes at once, one level of the recursion after the other.

    Args:
      points: [2, points], all strokes one after the other.
      counts: [strokes], the points of each, at least two.

    Returns:
      [points] bool, the points to keep.
    """
    lasts = np.cumsum(counts) - 1
    firsts = lasts - counts + 1
    kept = np.zeros(points.shape[1], bool)
    kept[firsts] = kept[lasts] = True
    while True:  # The spans from `firsts` to `lasts` are still to be split where that is needed.
        with_inner = lasts - firsts > 1
        firsts, lasts = firsts[with_inner], lasts[with_inner]
        if not len(firsts):
            return kept
        middles, farthest = _farthest(points, firsts, lasts)
        split = farthest > EPSILON
        firsts, middles, lasts = firsts[split], middles[split], lasts[split]
        kept[middles] = True
        firsts, lasts = np.concatenate((firsts, middles)), np.concatenate((middles, lasts))


def _farthest(
    points: np.ndarray, firsts: np.ndarray, lasts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of each span's inner points the first of the farthest from the line through its ends.

    Args:
      points: [2, points].
      firsts, lasts: [spans], indices of their end points; each has a point in between.

    Returns:
      [spans] indices and [spans] distances.
    """
    inner = lasts - firsts - 1
    starts = np.cumsum(inner) - inner  # of the spans in the arrays of all inner points
    span = np.arange(len(inner)).repeat(inner)
    index = np.arange(len(span)) + (firsts + 1 - starts)[span]
    x, y = points
    x_first, y_first = x[firsts], y[firsts]
    dx, dy = x[lasts] - x_first, y[lasts] - y_first
    x_back, y_back = x_first[span] - x[index], y_first[span] - y[index]
    length = np.sqrt(dx * dx + dy * dy)
    closed = length == 0
    length[closed] = 1
    distance = np.abs(dx[span] * y_back - dy[span] * x_back) / length[span]
    if closed.any():
        distance = np.where(closed[span], np.sqrt(x_back**2 + y_back**2), distance)
    farthest = np.maximum.reduceat(distance, starts)
    hits = np.flatnonzero(distance == farthest[span])
    return index[hits[hits.searchsorted(starts)]], farthest
