"""Raw strokes → simplified strokes, number for number as Quick, Draw! published them.

The data set's README (github.com/googlecreativelab/quickdraw-dataset) describes four steps:
align the drawing to the top-left corner; scale it uniformly to a maximum of 255; resample all
strokes with a spacing of 1 pixel; simplify them by Ramer–Douglas–Peucker with an epsilon of 2.0.
The code was not published. This one gives the published simplified drawing for all of the 602
drawings that were at hand in both forms: 600, and two that were sought out among 3,500 others
because they need the last of these rules to the full. What else it takes, found on them:

- The last point of a stroke is kept, after the last whole pixel. A stroke without extent, of
  one point too, becomes two equal points: no simplified stroke has fewer than two.
- Distances are to the infinite line; where its two ends coincide, to that point. The first of
  several farthest points wins, and it must be farther than epsilon.
- Coordinates are rounded at the very end, halves to even.
- Resampling steps over the raw corners, so a simplified drawing may begin at 1 or 2 instead of
  0, or end before 255.
- The points of a straight part parallel to the line are equally far from it but for the rounding
  errors of double precision, and these decide which is kept. Hence the exact formulas below;
  others of the same meaning are right for fewer of the 602: 600 without the fused multiply-add of
  `_fused_length`, 596 with `np.hypot` for the lengths of the steps, 576 with `np.interp`, 571
  with a factor of 255 / extent.

What upstream did with a drawing without any extent is not known; here it becomes all zeros.

A call of numpy costs more than the numbers of one drawing, so many drawings are done at once. Their
strokes lie one after the other in the arrays; the `bounds` of n runs are n + 1 indices, of which
run i is bounds[i] to bounds[i + 1].
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

MAX_COORDINATE = 255
EPSILON = 2.0  # pixels
MAX_SAMPLES = 50_000  # pixels of ink after scaling; real drawings have 1,000, few over 10,000
# Distances of a point from a line: the work of Ramer–Douglas–Peucker, whose recursion may take off
# one point at a time. Real drawings need 1,600, the most of 1,265 was 13,000; these take 20 ms.
MAX_DISTANCES = 500_000
_ALMOST = 1 - 1e-9  # far more than rounding errors are

Axis = Sequence["array[float]"]  # the x or the y of a raw drawing: an array("d") a stroke
Simplified = tuple[list[bytes], list[bytes]]  # x and y: a byte string a stroke, a byte a point


class TooLarge(ValueError):  # noqa: N818 - not an error of the program
    """A raw drawing over a limit. The message is which, one of two fixed texts."""


def simplify(strokes: Sequence[Sequence[Sequence[float]] | np.ndarray]) -> list[list[list[int]]]:
    """Normalises a raw drawing to the simplified format.

    Args:
      strokes: at least one; for each its x and its y coordinates, finite numbers, as many of
        one as of the other and at least one: lists, or an array [2, points]. What follows them,
        as the times, is ignored.

    Returns:
      For each stroke its x and its y coordinates, 0 to 255, at least two.

    Raises:
      TooLarge: the drawing has more than MAX_SAMPLES pixels or needs more than MAX_DISTANCES.
    """
    xs, ys = ([array("d", stroke[axis]) for stroke in strokes] for axis in (0, 1))
    (simplified,) = simplify_many([(xs, ys)])
    if isinstance(simplified, TooLarge):
        raise simplified
    return [[list(x), list(y)] for x, y in zip(*simplified, strict=True)]


def simplify_many(drawings: Sequence[tuple[Axis, Axis]]) -> list[Simplified | TooLarge]:
    """Normalises raw drawings as `simplify` does, each of a hundred in a sixth of the time.

    Args:
      drawings: at least one; of each the x and the y of its strokes.
    """
    try:
        return list(_simplify_together(drawings))
    except TooLarge as too_large:
        if len(drawings) == 1:
            return [too_large]
    half = len(drawings) // 2
    return simplify_many(drawings[:half]) + simplify_many(drawings[half:])


def _simplify_together(drawings: Sequence[tuple[Axis, Axis]]) -> Iterator[Simplified]:
    """Raises TooLarge if one drawing is over a limit, or all together are over MAX_DISTANCES."""
    xs = [x for drawing_xs, _ in drawings for x in drawing_xs]
    ys = [y for _, drawing_ys in drawings for y in drawing_ys]
    points = np.frombuffer(b"".join(xs + ys)).reshape(2, -1)
    bounds = _bounds([len(x) for x in xs])
    strokes = _bounds([len(drawing_xs) for drawing_xs, _ in drawings])
    path = _Path(_fit(points, bounds[strokes]), bounds)
    if np.add.reduceat(np.diff(path.bounds), strokes[:-1]).max() > MAX_SAMPLES:
        raise TooLarge(f"more than {MAX_SAMPLES} pixels of ink")
    numbers, corners = _corners(path)
    ends = numbers.searchsorted(path.bounds).tolist()
    x, y = (axis.tobytes() for axis in np.rint(corners).astype(np.uint8))
    xs_of = [x[start:end] for start, end in pairwise(ends)]
    ys_of = [y[start:end] for start, end in pairwise(ends)]
    for start, end in pairwise(strokes.tolist()):
        yield xs_of[start:end], ys_of[start:end]


def _bounds(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    bounds = np.zeros(len(counts) + 1, np.int64)
    np.add.accumulate(counts, out=bounds[1:])
    return bounds


def _fit(points: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Shifts and scales each drawing to minima of 0 and a common maximum of 255.

    Args:
      points: [2, points].
      bounds: of the drawings' points.
    """
    counts = np.diff(bounds)
    points = points * 2.0**-10  # rounds nothing; the extent of the largest numbers is finite
    points -= np.minimum.reduceat(points, bounds[:-1], axis=1).repeat(counts, axis=1)
    extents = np.maximum.reduceat(points, bounds[:-1], axis=1).max(axis=0)
    extents[extents == 0] = 1
    points *= MAX_COORDINATE
    points /= extents.repeat(counts)
    return points


class _Path:
    """Strokes resampled: at every pixel along each, and its last point.

    The samples of all strokes have numbers from 0 on; only those asked for are computed.

    Attributes:
      bounds: of the strokes' samples, of which each has at least two.
      starts: [points], the number of the first sample at or after each point.
      counts: [points], the samples from each point to before the following one.
    """

    def __init__(self, points: np.ndarray, bounds: np.ndarray) -> None:
        """`points`: [2, points]; `bounds`: of the strokes' points."""
        lasts = bounds[1:] - 1
        steps = np.diff(points, axis=1, append=0)
        steps *= steps
        self._points = points
        self._lengths = np.sqrt(steps[0] + steps[1])  # to the following point
        self._travelled = np.zeros(len(self._lengths))  # along the stroke, up to each point
        for start, end in pairwise(bounds.tolist()):
            self._lengths[start : end - 1].cumsum(out=self._travelled[start + 1 : end])
        self._lengths[lasts] = np.inf  # so that what follows has a weight of 0
        pixels = np.ceil(self._travelled)
        self.counts = np.empty(len(pixels), np.int64)
        self.counts[:-1] = pixels[1:] - pixels[:-1]
        self.counts[lasts] = 1 + (pixels[lasts] == 0)
        ends = self.counts.cumsum()
        self.starts = ends - self.counts
        self.bounds = np.zeros_like(bounds)
        self.bounds[1:] = ends[lasts]
        self._firsts = self.bounds[:-1].repeat(np.diff(bounds))  # the stroke's first sample

    def samples(self, numbers: np.ndarray, before: np.ndarray) -> np.ndarray:
        """[n] numbers and the indices of the points at or before them to [2, n] coordinates."""
        weight = (numbers - self._firsts[before]) - self._travelled[before]
        weight /= self._lengths[before]
        following = self._points.take(before + 1, axis=1, mode="clip")
        following *= weight
        samples = self._points.take(before, axis=1)
        samples *= 1 - weight
        samples += following
        return samples


class _Budget:
    """Number of distances that may still be computed."""

    def __init__(self) -> None:
        self._left = MAX_DISTANCES

    def spend(self, distances: int) -> None:
        """Raises TooLarge if there are not so many left; to be called before the work."""
        self._left -= distances
        if self._left < 0:
            raise TooLarge(f"more than {MAX_DISTANCES} distances to simplify")


class _Spans(NamedTuple):
    """Stretches of strokes, still to be split where that is needed.

    Along a straight part, from one raw point to the next, the distance from a line has its
    maximum at one of the two ends. So of the samples on it the first and the last are enough.
    """

    ends: np.ndarray  # [2, 2, spans], x and y of the first and of the last sample
    counts: np.ndarray  # [spans], how many of the samples below, at least one
    numbers: np.ndarray  # [n], of samples; where two spans meet, that one is the second span's
    samples: np.ndarray  # [2, n]


def _corners(path: _Path) -> tuple[np.ndarray, np.ndarray]:
    """Ramer–Douglas–Peucker on all strokes at once, one level of the recursion after the other.

    Returns:
      [n] numbers, ascending, and [2, n] coordinates of the samples to keep.

    Raises:
      TooLarge: it takes more than MAX_DISTANCES.
    """
    budget = _Budget()
    spans = _whole_strokes(path)
    bounds = _bounds(spans.counts)
    kept_numbers = [spans.numbers[bounds[:-1]], spans.numbers[bounds[1:] - 1]]
    kept = [spans.ends[:, 0], spans.ends[:, 1]]
    while len(spans.counts):
        is_split, numbers, samples = _farthest(path, spans, budget)
        kept_numbers.append(numbers)
        kept.append(samples)
        spans = _split(spans, is_split, numbers, samples)
    numbers = np.concatenate(kept_numbers)
    order = numbers.argsort()
    return numbers[order], np.concatenate(kept, axis=1).take(order, axis=1)


def _whole_strokes(path: _Path) -> _Spans:
    per_point = np.minimum(path.counts, 2)  # the first and the last sample from each point on
    before = np.arange(len(per_point)).repeat(per_point)
    numbers = path.starts[before]
    has_two = per_point == 2
    numbers[per_point.cumsum()[has_two] - 1] += path.counts[has_two] - 1
    samples = path.samples(numbers, before)
    bounds = numbers.searchsorted(path.bounds)
    ends = samples.take(np.stack((bounds[:-1], bounds[1:] - 1)), axis=1)
    return _Spans(ends, np.diff(bounds), numbers, samples)


def _split(
    spans: _Spans, is_split: np.ndarray, middle_numbers: np.ndarray, middles: np.ndarray
) -> _Spans:
    """Two spans for each that is split, and none for the others, which are done.

    Args:
      is_split: [spans] bool.
      middle_numbers, middles: [split spans] and [2, split spans], the samples at which.
    """
    is_within = is_split.repeat(spans.counts)
    numbers = spans.numbers.compress(is_within)
    counts = spans.counts[is_split].repeat(2)
    starts = counts[::2].cumsum() - counts[::2]
    counts[::2] = numbers.searchsorted(middle_numbers) - starts
    counts[1::2] -= counts[::2]
    ends = spans.ends.compress(is_split, axis=2).repeat(2, axis=2)
    ends[:, 1, ::2] = ends[:, 0, 1::2] = middles
    if not counts.all():
        ends = ends.compress(counts > 0, axis=2)
        counts = counts[counts > 0]
    return _Spans(ends, counts, numbers, spans.samples.compress(is_within, axis=1))


def _farthest(
    path: _Path, spans: _Spans, budget: _Budget
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds where to split: at the sample that is farthest from the line through the ends.

    Returns:
      [spans] bool, which to split; [split spans] numbers and [2, split spans] coordinates.
    """
    budget.spend(len(spans.numbers))
    areas, lengths = _areas(spans.samples, spans.ends, spans.counts)
    edges = _bounds(spans.counts)
    largest = np.maximum.reduceat(areas, edges[:-1])
    least = np.maximum(largest, EPSILON * lengths)
    least *= _ALMOST
    candidates = (areas > least.repeat(spans.counts)).nonzero()[0]
    bounds = candidates.searchsorted(edges)
    found = (bounds[1:] > bounds[:-1]).nonzero()[0]  # spans that have any
    firsts = candidates[bounds[found]]
    lasts = candidates[bounds[found + 1] - 1]
    numbers, samples = spans.numbers[firsts], spans.samples.take(firsts, axis=1)
    distances = largest[found] / lengths[found]

    equals = (lasts > firsts).nonzero()[0]
    if len(equals):  # all the samples between, and exactly
        counts = spans.numbers[lasts[equals]] - numbers[equals] + 1
        budget.spend(int(counts.sum()))
        numbers[equals], samples[:, equals], distances[equals] = _first_of_farthest(
            path, numbers[equals], counts, spans.ends.take(found[equals], axis=2)
        )
    is_far = distances > EPSILON
    if not is_far.all():
        found, numbers, samples = found[is_far], numbers[is_far], samples.compress(is_far, axis=1)
    is_split = np.zeros(len(spans.counts), bool)
    is_split[found] = True
    return is_split, numbers, samples


def _first_of_farthest(
    path: _Path, starts: np.ndarray, counts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compares all samples of some ranges as upstream did, where rounding errors decide.

    Args:
      starts, counts: [spans], the number of each range's first sample and how many it has.
      ends: [2, 2, spans], see _Spans.

    Returns:
      [spans] numbers, [2, spans] coordinates and [spans] distances of the farthest.
    """
    bounds = _bounds(counts)
    numbers = np.arange(bounds[-1]) + (starts - bounds[:-1]).repeat(counts)
    samples = path.samples(numbers, path.starts.searchsorted(numbers, "right") - 1)
    areas, _ = _areas(samples, ends, counts)
    lines = (ends[:, 1] - ends[:, 0]).T.tolist()
    lengths = np.array([_fused_length(x, y) or 1 for x, y in lines])
    distances = areas / lengths.repeat(counts)
    farthest = np.maximum.reduceat(distances, bounds[:-1])
    hits = (distances == farthest.repeat(counts)).nonzero()[0]
    firsts = hits[hits.searchsorted(bounds[:-1])]
    return numbers[firsts], samples.take(firsts, axis=1), farthest


def _areas(
    samples: np.ndarray, ends: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the lines through the ends, times the lengths of these.

    Args:
      samples: [2, n]; ends, counts: see _Spans.

    Returns:
      [n] products and [spans] lengths; for ends that coincide, distances from them and 1.
    """
    firsts = ends[:, 0]
    lines = ends[:, 1] - firsts
    squares = lines * lines
    lengths = np.sqrt(squares[0] + squares[1])
    back = firsts.repeat(counts, axis=1)
    back -= samples
    products = lines[::-1].repeat(counts, axis=1)
    products *= back
    areas = products[1]
    areas -= products[0]
    np.abs(areas, out=areas)
    if not lengths.all():
        is_point = lengths == 0
        own = is_point.repeat(counts)
        areas[own] = np.sqrt(back[0, own] ** 2 + back[1, own] ** 2)
        lengths[is_point] = 1
    return areas, lengths


def _fused_length(x: float, y: float) -> float:
    """√(x² + y²) with a fused multiply-add: x² is not rounded before y², which is, is added.

    So did upstream's processor or library. The error-free product: T. J. Dekker, 1971.
    """
    scaled = x * (2.0**27 + 1)
    high = scaled - (scaled - x)
    low = x - high
    return math.sqrt(math.fsum((high * high, 2 * high * low, low * low, y * y)))
