"""Whatever stands in a file, a parser answers with a drawing or a reason."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.drawings.binary_record import parse_binary
from pipeline.drawings.drawing import (
    Drawing,
    RawDrawing,
    Reading,
    parse_drawing,
    simplify_drawings,
)
from pipeline.drawings.reject import Reject
from pipeline.rasterize import rasterize_packed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
NUMBERS = st.lists(
    st.integers(-2, 257) | st.floats(width=32) | st.booleans() | st.none(), min_size=1, max_size=5
)
STROKES = st.lists(st.lists(NUMBERS, min_size=1, max_size=4), max_size=4)
FIELDS = st.fixed_dictionaries(
    {"drawing": STROKES | JSON}, optional={"word": JSON, "key_id": JSON, "recognized": JSON}
)


def check(line: bytes) -> None:
    try:
        drawing = parse_drawing(line)
    except Reject:
        return
    check_bitmap(drawing.strokes)


def check_bitmap(strokes: bytes) -> None:
    (bitmap,) = rasterize_packed([strokes])
    assert bitmap.shape == (85, 85)
    assert bitmap.max() == 1  # ink, wherever the drawing lay


@given(st.binary())
def test_any_bytes(line: bytes) -> None:
    check(line)


@given(JSON)
def test_any_json(value: object) -> None:
    check(json.dumps(value).encode("utf-8", "surrogatepass"))


@settings(max_examples=500)
@given(FIELDS)
def test_any_object_with_a_drawing(fields: dict[str, object]) -> None:
    check(json.dumps(fields).encode("utf-8", "surrogatepass"))


@settings(max_examples=500)
@given(st.lists(st.integers(0, 255), min_size=2, max_size=9), st.integers(1, 9), st.booleans())
def test_sound_drawings_are_accepted(values: list[int], cut: int, with_floats: bool) -> None:
    xs, ys = values, values[::-1]
    strokes = [[xs[:cut], ys[:cut]]] + ([[xs[cut:], ys[cut:]]] if xs[cut:] else [])
    if with_floats:
        strokes = [[[float(x) for x in x_values], y_values] for x_values, y_values in strokes]
    line = json.dumps({"drawing": strokes}).encode()
    assert parse_drawing(line, Reading(frame="keep")).strokes.endswith(bytes(ys))
    check_bitmap(parse_drawing(line).strokes)


@given(st.binary(max_size=200))
def test_any_bytes_as_a_binary_record(data: bytes) -> None:
    try:
        drawing, end = parse_binary(data, 0)
    except (Reject, IndexError):
        return
    assert 0 < end <= len(data)
    (simplified,) = simplify_drawings([drawing])
    assert isinstance(simplified, Drawing)
    assert simplified.is_normalised == isinstance(drawing, RawDrawing)
    check_bitmap(simplified.strokes)
