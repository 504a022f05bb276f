import json
import pathlib
from typing import Any

import pytest

from pipeline.drawings.drawing import (
    MAX_LINE_BYTES,
    MAX_PARTS,
    RawDrawing,
    parse_drawing,
    parse_line,
    simplify_drawings,
)
from pipeline.drawings.reject import Reject
from pipeline.drawings.simplify import MAX_DISTANCES
from pipeline.drawings.strokes import MAX_POINTS, MAX_STROKES, unpack_strokes
from tests.support.ndjson import SQUARE


def encode(**fields: Any) -> bytes:
    return json.dumps({"word": "cat", "key_id": "1", "drawing": SQUARE, **fields}).encode()


def reason(line: bytes) -> str:
    with pytest.raises(Reject) as rejected:
        parse_drawing(line)
    return str(rejected.value)


def test_every_real_simplified_drawing_is_accepted_with_its_points(sample: pathlib.Path) -> None:
    for path in sorted((sample / "categories12").glob("*.ndjson")):
        for line in path.read_bytes().splitlines():
            fields = json.loads(line)
            drawing = parse_drawing(line)
            assert drawing.word == path.stem
            assert drawing.key_id == fields.get("key_id")
            assert drawing.recognized == fields.get("recognized")
            unpacked = unpack_strokes([drawing.strokes])
            assert unpacked.lengths.tolist() == [len(x) for x, _ in fields["drawing"]]
            assert unpacked.x.tolist() == [v for x, _ in fields["drawing"] for v in x]
            assert unpacked.y.tolist() == [v for _, y in fields["drawing"] for v in y]


def test_a_real_raw_drawing_becomes_its_simplified_one(sample: pathlib.Path) -> None:
    for text in (sample / "raw_simplified_pairs.ndjson").read_text().splitlines()[:50]:
        pair = json.loads(text)
        raw = parse_drawing(encode(drawing=pair["raw"]))
        assert raw.strokes == parse_drawing(encode(drawing=pair["simplified"])).strokes


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{", "not JSON"),
        (b'{"drawing": [[[1],[2]]]', "not JSON"),
        (b'{"word": "\xff", "drawing": [[[1],[2]]]}', "not UTF-8"),
        (b"[" * 2000, "not JSON"),
        (b'{"drawing": [[[1], [2]]]}' + bytes(1), "not JSON"),
        (b'{"word": "a' + bytes(1) + b'", "drawing": [[[1], [2]]]}', "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b"{}", "no field drawing"),
        (encode(word=["cat"]), "word is not a string"),
        (encode(word=True), "word is not a string"),
        (encode(word=7), "word is a number; --labels=FILE names the categories, the first is 0"),
        (encode(word="a\nb"), "word is not one line of plain text"),
        (encode(word=" cat"), "word is not one line of plain text"),
        (encode(drawing=[]), "no strokes"),
        (encode(drawing=7), "drawing is not a list of strokes"),
        (encode(drawing={"x": 1}), "drawing is not a list of strokes"),
        (encode(drawing=[5]), "a stroke is not a list of coordinate lists"),
        (encode(drawing=[[3, 3]]), "a stroke is not a list of coordinate lists"),
        (encode(drawing=[["ab", "cd"]]), "a stroke is not a list of coordinate lists"),
        (encode(drawing=[[[1, 2]]]), "a stroke is not x and y, nor x, y and time"),
        (encode(drawing=[[[1, 2], [1]]]), "the coordinate lists of a stroke differ in length"),
        (encode(drawing=[[[], []]]), "a stroke has no points"),
        (
            encode(drawing=[[[1], [2], [0]], [[1], [2]]]),
            "some strokes have times and some have none",
        ),
        (encode(drawing=[[[1], [True], [0]]]), "a coordinate is not a finite number"),
        (encode(drawing=[[[1], ["2"], [0]]]), "a coordinate is not a finite number"),
        (
            encode(drawing=[[[0, 1] * 900, [0, 1e6] * 900, [0] * 1800]]),
            "more than 50000 pixels of ink",
        ),
        (
            encode(
                drawing=[
                    [[i / 40 for i in range(8000)], [0, 5] * 4000, [0] * 8000],
                    [[0, 255], [0, 255], [0, 1]],
                ]
            ),
            f"more than {MAX_DISTANCES} distances to simplify",
        ),
        (encode(drawing=[[[1], [[2]], [0]]]), "a coordinate is not a finite number"),
        (encode(drawing=[[[1], [None], [0]]]), "a coordinate is not a finite number"),
        (encode(drawing=[[[1, 2], [1, 2], "ab"]]), "a stroke is not a list of coordinate lists"),
        (
            encode(drawing=[[[1, 2], [1, 2], [0]]]),
            "the coordinate lists of a stroke differ in length",
        ),
        (encode(drawing=[[[], [], []]]), "a stroke has no points"),
        (encode(drawing=[[[1], [1], [0]]] * (MAX_STROKES + 1)), f"more than {MAX_STROKES} strokes"),
        (encode(drawing=[[[1] * (MAX_POINTS + 1)] * 3]), f"more than {MAX_POINTS} points"),
        (
            encode(drawing=[[]] * (MAX_PARTS + 1)),
            f"more than {MAX_PARTS} lists, objects and fields",
        ),
        (
            encode(**{str(n): 0 for n in range(MAX_PARTS)}),
            f"more than {MAX_PARTS} lists, objects and fields",
        ),
        (encode(other=[{}] * (MAX_PARTS + 1)), f"more than {MAX_PARTS} lists, objects and fields"),
        (encode(drawing=[[[1, None], [1, 2]]]), "a coordinate is not a finite number"),
        (encode(drawing=[[[1, True], [1, 2]]]), "a coordinate is not a finite number"),
        (encode(drawing=[[[1, "2"], [1, 2]]]), "a coordinate is not a finite number"),
        (encode(drawing=[[[1], [1]]] * (MAX_STROKES + 1)), f"more than {MAX_STROKES} strokes"),
        (encode(drawing=[[[1] * (MAX_POINTS + 1)] * 2]), f"more than {MAX_POINTS} points"),
        (b" " * (MAX_LINE_BYTES + 1), "line longer than 4 MiB"),
    ],
)
def test_a_line_without_a_usable_drawing_is_rejected_with_its_reason(
    line: bytes, expected: str
) -> None:
    assert reason(line) == expected


def test_what_is_unusual_but_sound_is_accepted() -> None:
    whole_floats = encode(drawing=[[[1.0, 2], [3, 4.0]]])
    unpacked = unpack_strokes([parse_drawing(whole_floats).strokes])
    assert (unpacked.x.tolist(), unpacked.y.tolist()) == ([1, 2], [3, 4])
    long_stroke = encode(drawing=[[[1, 2] * 2500] * 2])
    assert unpack_strokes([parse_drawing(long_stroke).strokes]).lengths.tolist() == [5000]
    assert parse_drawing(encode(key_id=17)).key_id == "17"
    assert parse_drawing(encode() + b"\r").word == "cat"


def test_missing_fields_are_none() -> None:
    drawing = parse_drawing(json.dumps({"drawing": SQUARE}).encode())
    assert (drawing.word, drawing.key_id, drawing.recognized) == (None, None, None)


def test_a_raw_line_is_validated_first_and_simplified_later() -> None:
    raw = encode(drawing=[[[0, 9, 90], [0, 1, 90], [0, 1, 2]]])
    other = encode(key_id="2", recognized=True, drawing=[[[5.5], [-6], [0]]])
    parsed = [parse_line(line) for line in (raw, other)]
    drawings = [drawing for drawing in parsed if isinstance(drawing, RawDrawing)]
    assert simplify_drawings(drawings) == [parse_drawing(raw), parse_drawing(other)]
    assert drawings[1][:3] == ("cat", "2", True)
    assert parse_line(encode()) == parse_drawing(encode())


def test_a_long_line_with_as_many_lists_as_strokes_need_is_accepted() -> None:
    strokes = [[[*range(40)], [*range(40)]]] * 1_000
    assert len(parse_drawing(encode(drawing=strokes, other="[" * 1_000)).strokes) > 80_000
