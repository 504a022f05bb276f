"""Raw strokes to simplified ones: against upstream's own, and against a plain implementation."""

import itertools
import json
import math
import pathlib
from array import array
from fractions import Fraction

import numpy as np
import pytest

from pipeline.drawings import simplify as module
from pipeline.drawings.drawing import parse_strokes
from pipeline.drawings.simplify import MAX_DISTANCES, MAX_SAMPLES, TooLarge, simplify, simplify_many
from pipeline.drawings.strokes import unpack_strokes

Stroke = list[list[float]]  # x, y

# An L of 255 by 255, so that a stroke drawn next to it keeps its coordinates.
FRAME: Stroke = [[0, 0, 255], [0, 255, 255]]


def beside_frame(x: list[float], y: list[float]) -> list[list[int]]:
    """Stroke after simplification, in a drawing that needs no shift and no scaling."""
    frame, stroke = simplify([FRAME, [x, y]])
    assert frame == FRAME
    return stroke


def plainly(strokes: list[Stroke]) -> list[list[list[int]]]:
    """Simplify by the same method, in loops and recursion over Python's numbers."""
    left, top = (min(min(stroke[axis]) for stroke in strokes) for axis in (0, 1))
    extent = max(
        max(v - low for s in strokes for v in s[axis]) for axis, low in ((0, left), (1, top))
    )
    simplified = []
    for stroke in strokes:
        x, y = stroke[:2]
        points = [
            ((a - left) * 255 / extent, (b - top) * 255 / extent) for a, b in zip(x, y, strict=True)
        ]
        corners = plain_corners(plain_samples(points))
        simplified.append([[round(p[axis]) for p in corners] for axis in (0, 1)])
    return simplified


def plain_samples(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    samples = [points[0]]
    travelled, pixel = 0.0, 1.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length = math.sqrt((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0))
        while pixel < travelled + length:
            w = (pixel - travelled) / length
            samples.append((x0 * (1 - w) + x1 * w, y0 * (1 - w) + y1 * w))
            pixel += 1
        travelled += length
    return [*samples, points[-1]]


def plain_corners(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    (x0, y0), (x1, y1) = points[0], points[-1]
    dx, dy = x1 - x0, y1 - y0
    length = math.sqrt(float(Fraction(dx) ** 2 + Fraction(dy * dy)))  # a fused multiply-add
    farthest, at = 2.0, 0
    for i, (x, y) in enumerate(points[1:-1], 1):
        if length:
            distance = abs(dx * (y0 - y) - dy * (x0 - x)) / length
        else:
            distance = math.sqrt((x0 - x) * (x0 - x) + (y0 - y) * (y0 - y))
        if distance > farthest:
            farthest, at = distance, i
    if not at:
        return [points[0], points[-1]]
    return plain_corners(points[: at + 1])[:-1] + plain_corners(points[at:])


def scribbles(seed: int) -> list[Stroke]:
    """A few wandering strokes; every second drawing whole numbers, some strokes closed."""
    rng = np.random.default_rng(seed)
    strokes = []
    for _ in range(rng.integers(1, 6)):
        steps = rng.normal(0, 15, (2, rng.integers(1, 60)))
        steps[rng.random(steps.shape) < 0.3] = 0  # level and upright parts, repeated points
        points = rng.uniform(0, 800, (2, 1)) + np.cumsum(steps, axis=1)
        if rng.random() < 0.3:
            points = np.concatenate((points, points[:, :1]), axis=1)
        strokes.append((np.rint(points) if seed % 2 else points).tolist())
    x, y, width, height = rng.integers(50, 250, 4).tolist()
    low = y + height
    # Its bottom is level, and so is the line through its ends: equally far points.
    strokes.append([[x, x + 0.3 * width, x + 0.6 * width, x + width], [y, low, low, y]])
    return strokes


def test_every_drawing_is_simplified_as_upstream_did_it(sample: pathlib.Path) -> None:
    different = []
    with open(sample / "raw_simplified_pairs.ndjson", encoding="utf-8") as pairs:
        drawings = [json.loads(text) for text in pairs]
    for drawing in drawings:
        if simplify(drawing["raw"]) != drawing["simplified"]:
            different.append(drawing["key_id"])
    assert len(drawings) == 600
    assert different == []


@pytest.mark.filterwarnings("error")
def test_strokes_done_at_once_are_as_done_one_by_one_in_plain_loops() -> None:
    for seed in range(60):
        strokes = scribbles(seed)
        assert simplify(strokes) == plainly(strokes), f"seed {seed}"


# Their third step is parallel to the line from the first point to the last: what of it is farthest
# is up to rounding errors. A line's length with both squares rounded gives other points.
PARALLEL_STEPS = [
    (
        [[0, 19, 51, 44], [0, 32, 56, 33]],
        [[0, 88, 232, 200], [0, 147, 255, 150]],
    ),
    (
        [[0, 17, 49, 76], [0, 77, 101, 57]],
        [[0, 43, 63, 124, 192], [0, 194, 209, 255, 144]],
    ),
    (
        [[0, -4, 41, 85], [0, 51, 69, 34]],
        [[11, 0, 129, 255], [0, 146, 198, 97]],
    ),
]


@pytest.mark.parametrize(("raw", "simplified"), PARALLEL_STEPS)
def test_of_equally_far_points_the_one_is_kept_that_a_fused_multiply_add_makes_farthest(
    raw: Stroke, simplified: Stroke
) -> None:
    assert plainly([raw]) == [simplified]
    assert simplify([raw]) == [simplified]


def test_a_long_straight_part_parallel_to_the_line_is_simplified_as_in_plain_loops() -> None:
    slopes = [(7, 1), (7, -2), (5, 2), (9, -4), (1, 0), (0, 1)]
    for (x, y), steps, aside in itertools.product(slopes, (3, 8), (21, 40, 57)):
        strokes: list[Stroke] = [
            [
                [0, aside - 9, aside - 9 + steps * x, 30 * x],
                [0, aside, aside + steps * y, 30 * y],
            ],
            FRAME,
        ]
        assert simplify(strokes) == plainly(strokes), f"{strokes}"


def test_a_drawing_is_shifted_to_0_and_its_larger_side_scaled_to_255() -> None:
    assert simplify([[[10, 110], [-20, 30]]]) == [[[0, 255], [0, 128]]]
    assert simplify([[[10, 60], [-20, 80]]]) == [[[0, 128], [0, 255]]]


def test_the_extent_is_that_of_all_strokes_together() -> None:
    assert simplify([[[0, 10], [0, 0]], [[10, 20], [5, 5]]]) == [
        [[0, 128], [0, 0]],
        [[128, 255], [64, 64]],
    ]


def test_halves_are_rounded_to_even() -> None:
    assert simplify([[[0, 510], [0, 0]], [[0, 510], [1, 3]]])[1] == [[0, 255], [0, 2]]


def test_points_along_a_straight_line_are_left_out() -> None:
    assert beside_frame([10, 20, 50, 90], [100, 100, 100, 100]) == [[10, 90], [100, 100]]


def test_a_point_is_kept_only_if_more_than_2_pixels_off() -> None:
    # A spike; its tip is at a whole pixel along the stroke, so that it is among the samples.
    assert beside_frame([10, 50, 50, 50, 90], [50, 50, 52, 50, 50]) == [[10, 90], [50, 50]]
    assert beside_frame([10, 50, 50, 50, 90], [50, 50, 53, 50, 50]) == [
        [10, 50, 50, 50, 90],
        [50, 50, 53, 50, 50],
    ]


def test_distance_is_to_the_line_and_not_to_the_segment() -> None:
    # There and back beyond the start along one line: far from the segment, not from the line.
    assert beside_frame([100, 60, 200], [80, 80, 80]) == [[100, 200], [80, 80]]


def test_a_closed_stroke_is_split_at_its_point_farthest_from_the_start() -> None:
    stroke = beside_frame([100, 200, 200, 100, 100], [20, 20, 120, 120, 20])
    assert stroke == [[100, 200, 200, 100, 100], [20, 20, 120, 120, 20]]


def test_a_corner_between_two_pixels_is_stepped_over() -> None:
    # Samples are at (100, 0) and (100.4, 0.6); the corner at (100.4, 0) is none.
    assert simplify([[[0, 100.4, 100.4], [0, 0, 255]]]) == [[[0, 100, 100], [0, 1, 255]]]


def test_the_last_point_is_kept_between_two_pixels() -> None:
    assert beside_frame([10, 20.7], [30, 30]) == [[10, 21], [30, 30]]


@pytest.mark.parametrize("stroke", [[[7], [9]], [[7, 7], [9, 9]], [[7] * 5, [9] * 5]])
def test_a_stroke_without_extent_becomes_two_equal_points(stroke: Stroke) -> None:
    assert beside_frame(*stroke) == [[7, 7], [9, 9]]
    assert simplify([stroke, FRAME, stroke])[::2] == [[[7, 7], [9, 9]]] * 2


def test_a_drawing_without_extent_becomes_zeros() -> None:
    assert simplify([[[5], [6]], [[5, 5], [6, 6]]]) == [[[0, 0], [0, 0]]] * 2


def test_strokes_may_have_times_and_may_be_arrays() -> None:
    strokes = scribbles(0)
    timed = [[*stroke, [33.0] * len(stroke[0])] for stroke in strokes]
    assert simplify(timed) == simplify(strokes)
    assert simplify([np.array(stroke) for stroke in strokes]) == simplify(strokes)


def test_arrays_are_left_as_they_were() -> None:
    stroke = np.array([[3.0, 7.0], [9.0, 8.0]])
    simplify([stroke])
    assert stroke.tolist() == [[3.0, 7.0], [9.0, 8.0]]


@pytest.mark.parametrize("unit", [1e-300, 1e-5, 1e12, 1.7e308 / 255])
def test_coordinates_may_be_as_small_and_as_large_as_numbers_get(unit: float) -> None:
    strokes: list[Stroke] = [[[-255 * unit, 255 * unit], [0, 201 * unit]], [[5 * unit], [0]]]
    assert simplify(strokes) == [[[0, 255], [0, 100]], [[130, 130], [0, 0]]]


def test_results_are_valid_simplified_strokes() -> None:
    for seed in range(60, 120):
        strokes = scribbles(seed)
        packed = parse_strokes(simplify(strokes))  # rejects what is not a whole number in 0..255
        _, lengths, x, y = unpack_strokes([packed])
        assert len(lengths) == len(strokes)
        assert lengths.min() >= 2
        assert max(x.max(), y.max()) >= 250


def test_a_stroke_of_5000_points_is_simplified() -> None:
    angle = np.linspace(0, 40 * np.pi, 5_000)
    (spiral,) = simplify([[(angle * np.cos(angle)).tolist(), (angle * np.sin(angle)).tolist()]])
    assert 300 < len(spiral[0]) < 1_000


def axes(strokes: list[Stroke]) -> tuple[list["array[float]"], list["array[float]"]]:
    return [array("d", x) for x, _ in strokes], [array("d", y) for _, y in strokes]


BACK_AND_FORTH: list[Stroke] = [[[0, 255] * (MAX_SAMPLES // 510 + 1)] * 2]
# Each level of the recursion takes a tooth or two off.
COMB: list[Stroke] = [[(np.arange(9_000) * 255 / 9_000).tolist(), [0.0, 5.0] * 4_500], FRAME]
# All tops are equally far, so all samples between the first and the last are compared.
BATTLEMENTS: list[Stroke] = [
    [(np.arange(12_000) // 2 * 255 / 6_000).tolist(), [0.0, 6.0, 6.0, 0.0] * 3_000],
    FRAME,
]


def test_a_drawing_of_too_many_pixels_is_refused() -> None:
    with pytest.raises(TooLarge, match=f"^more than {MAX_SAMPLES} pixels of ink$"):
        simplify(BACK_AND_FORTH)


def test_many_at_once_are_each_as_by_itself_and_those_too_large_do_not_touch_the_others() -> None:
    drawings = [scribbles(seed) for seed in range(40)]
    drawings[3:3] = [COMB]
    drawings[20:20] = [BACK_AND_FORTH]
    drawings += [COMB, COMB]
    results = simplify_many([axes(strokes) for strokes in drawings])
    assert len(results) == len(drawings)
    for strokes, result in zip(drawings, results, strict=True):
        if strokes is COMB or strokes is BACK_AND_FORTH:
            assert isinstance(result, TooLarge)
        else:
            assert not isinstance(result, TooLarge)
            assert [[list(x), list(y)] for x, y in zip(*result, strict=True)] == simplify(strokes)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how many distances were computed, a number for each time."""
    counts: list[int] = []
    compute = module._areas

    def count(samples: np.ndarray, *spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts.append(samples.shape[1])
        return compute(samples, *spans)

    monkeypatch.setattr(module, "_areas", count)
    return counts


@pytest.mark.parametrize("strokes", [COMB, BATTLEMENTS])
def test_a_drawing_that_takes_too_many_distances_is_refused_before_they_are_computed(
    computed: list[int], strokes: list[Stroke]
) -> None:
    with pytest.raises(TooLarge, match=f"^more than {MAX_DISTANCES} distances to simplify$"):
        simplify(strokes)
    assert MAX_DISTANCES * 0.9 < sum(computed) <= MAX_DISTANCES


def test_real_drawings_take_few_of_the_distances_allowed(
    sample: pathlib.Path, computed: list[int]
) -> None:
    most = 0
    for path in [sample / "raw_simplified_pairs.ndjson", *(sample / "raw").glob("*.ndjson")]:
        for text in path.read_text(encoding="utf-8").splitlines():
            drawing = json.loads(text)
            computed.clear()
            simplify(drawing["raw"] if "raw" in drawing else drawing["drawing"])
            most = max(most, sum(computed))
    assert 1_000 < most < MAX_DISTANCES / 20
