"""What does not lie in upstream's frame becomes what upstream would have made of it."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from pipeline.drawings.drawing import Drawing, Reading, parse_drawing
from pipeline.drawings.frame import LARGEST_MINIMUM
from pipeline.drawings.reject import Reject
from pipeline.drawings.simplify import simplify
from pipeline.rasterize import rasterize_packed

HOUSE = [[[0, 255, 255, 0, 0], [60, 60, 255, 255, 60]], [[0, 128, 255], [60, 0, 60]]]


def parse(strokes: Any, **reading: Any) -> Drawing:
    return parse_drawing(json.dumps({"drawing": strokes}).encode(), Reading(**reading))


def moved(strokes: Any, x: float, y: float, scale: float = 1) -> Any:
    return [[[x + scale * v for v in xs], [y + scale * v for v in ys]] for xs, ys in strokes]


def packed(strokes: Any) -> bytes:
    return parse(strokes, frame="keep").strokes


@pytest.mark.parametrize(
    ("x", "y", "scale"),
    [
        (120.5, 90.25, 0.75),  # floats
        (240, 180, 1.5),  # a large canvas
        (-5, -200, 1),
        (8, 8, 0.5),  # whole numbers in 0..255
        (100, 127, 0.5),
        (0, 100, 0.5),
        (0.25, 0.5, 0.003),  # shares of the canvas
        (1e6, -1e6, 1e-3),
    ],
)
def test_a_canvas_drawing_becomes_what_upstream_would_have_made_of_it(
    x: float, y: float, scale: float
) -> None:
    strokes = moved(HOUSE, x, y, scale)
    drawing = parse(strokes)
    assert drawing.strokes == packed(simplify(strokes))
    assert drawing.is_normalised
    unpacked = np.frombuffer(drawing.strokes[6:], np.uint8)
    assert (unpacked.min(), unpacked.max()) == (0, 255)
    house = rasterize_packed([packed(HOUSE)])
    assert (rasterize_packed([drawing.strokes]) != house).mean() < 0.02


@pytest.mark.parametrize("by", range(LARGEST_MINIMUM + 1))
def test_what_begins_near_the_origin_stays_to_the_bit(by: int) -> None:
    for strokes in (moved(HOUSE, by, 0, 0.5), moved(HOUSE, 0, by, 0.5), moved(HOUSE, by, by, 0.5)):
        whole = [[[int(v) for v in axis] for axis in stroke] for stroke in strokes]
        drawing = parse(whole)
        assert drawing.strokes == parse(whole, frame="keep").strokes
        assert not drawing.is_normalised


def test_real_drawings_stay_to_the_bit(sample: pathlib.Path) -> None:
    count = 0
    for path in sorted((sample / "categories345").glob("[a-c]*.ndjson")):
        for line in path.read_bytes().splitlines():
            assert parse_drawing(line) == parse_drawing(line, Reading(frame="keep"))
            count += 1
    assert count > 5_000


def test_all_drawings_are_normalised_where_that_is_asked_for() -> None:
    drawing = parse(HOUSE, frame="normalise")
    assert drawing.is_normalised
    assert drawing.strokes == packed(simplify(HOUSE))


def test_the_first_strokes_of_a_drawing_and_the_last_one_alone_have_ink() -> None:
    parts: list[Any] = [HOUSE[1:], [[[215, 255], [128, 128]]], [[[128, 128], [215, 255]]]]
    for strokes in (*parts, [[[99], [7]]]):
        assert rasterize_packed([parse(strokes).strokes]).any()


@pytest.mark.parametrize(
    ("axis", "reason"),
    [
        ([0, 256], "a coordinate is outside 0..255"),
        ([-1, 2], "a coordinate is outside 0..255"),
        ([1, 1e300], "a coordinate is outside 0..255"),
        ([0, 2.5], "a coordinate is not a whole number"),
    ],
)
def test_what_cannot_be_kept_is_rejected_where_all_is_to_be(axis: Any, reason: str) -> None:
    with pytest.raises(Reject, match=reason):
        parse([[axis, [0, 1]]], frame="keep")
    assert parse([[axis, [0, 1]]]).is_normalised


def test_raw_drawings_are_not_counted_as_normalised() -> None:
    raw = [[[*x, 300], [*y, 7], [0] * (len(x) + 1)] for x, y in HOUSE]
    assert not parse(raw).is_normalised
