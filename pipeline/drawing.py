"""One line of simplified ndjson → a validated Drawing, or a Reject that says why not."""

import math
from typing import Any, NamedTuple

import orjson

from pipeline.strokes import MAX_POINTS, MAX_STROKES, pack_strokes

MAX_LINE_BYTES = 4 << 20  # longer lines are rejected unread; real ones stay below 100 kB


class Reject(ValueError):  # noqa: N818 - not an error of the program
    """A line that holds no usable drawing. The message is the reason, one of a few fixed texts."""


class Drawing(NamedTuple):
    """A drawing in the simplified format: whole coordinates in 0..255."""

    word: str | None  # the category
    key_id: str | None
    recognized: bool | None
    strokes: bytes  # see pipeline.strokes


def parse_drawing(line: bytes) -> Drawing:
    """Parses one line of a simplified ndjson file; fields other than Drawing's are ignored.

    Raises:
      Reject: the line is not a JSON object with a valid `drawing`.
    """
    if len(line) > MAX_LINE_BYTES:
        raise Reject(f"line longer than {MAX_LINE_BYTES >> 20} MiB")
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Reject("not UTF-8" if "UTF-8" in str(error) else "not JSON") from None
    if type(fields) is not dict:
        raise Reject("not a JSON object")
    word = fields.get("word")
    if word is not None and type(word) is not str:
        raise Reject("word is not a string")
    if word and not (word.isprintable() and word == word.strip()):
        raise Reject("word is not one line of plain text")  # it becomes a line of labels.txt
    recognized = fields.get("recognized")
    if recognized is not None and type(recognized) is not bool:
        raise Reject("recognized is not true or false")
    key_id = fields.get("key_id")
    if type(key_id) is int:
        key_id = str(key_id)
    elif key_id is not None and type(key_id) is not str:
        raise Reject("key_id is not a string")
    if key_id is not None and len(key_id.encode()) > 255:
        raise Reject("key_id is longer than 255 bytes")
    booleans = line.count(b"true") + line.count(b"false")
    strokes = parse_strokes(
        fields.get("drawing"), may_hold_booleans=booleans > (recognized is not None)
    )
    return Drawing(word or None, key_id or None, recognized, strokes)


def parse_strokes(strokes: Any, *, may_hold_booleans: bool = True) -> bytes:
    """Validates strokes as parsed from JSON, [[x, …], [y, …]] each, and packs them.

    Args:
      strokes: the value of the field `drawing`.
      may_hold_booleans: whether `true` or `false` may stand among the coordinates.

    Raises:
      Reject: not strokes of whole numbers in 0..255, or more of them than the limits.
    """
    xs: list[bytes] = []
    ys: list[bytes] = []
    try:  # The common case: bytes() checks type and range in C. It takes true for 1, though.
        if may_hold_booleans:
            raise TypeError
        for x, y in strokes:
            if not len(x) == len(y) > 0:
                raise ValueError
            xs.append(bytes(x))
            ys.append(bytes(y))
    except (TypeError, ValueError):
        xs, ys = _parse_strokes_slowly(strokes)
    if not xs:
        raise Reject("no strokes")
    if len(xs) > MAX_STROKES:
        raise Reject(f"more than {MAX_STROKES} strokes")
    if sum(map(len, xs)) > MAX_POINTS:
        raise Reject(f"more than {MAX_POINTS} points")
    return pack_strokes(xs, ys)


def _parse_strokes_slowly(strokes: Any) -> tuple[list[bytes], list[bytes]]:
    """Value by value, so that a drawing is accepted or rejected for the right reason."""
    if strokes is None:
        raise Reject("no field drawing")
    if type(strokes) is not list:
        raise Reject("drawing is not a list of strokes")
    xs, ys = [], []
    for stroke in strokes:
        if type(stroke) is not list or any(type(axis) is not list for axis in stroke):
            raise Reject("a stroke is not a list of coordinate lists")
        if len(stroke) != 2:
            raise Reject("a stroke does not have exactly x and y")
        x, y = stroke
        if len(x) != len(y):
            raise Reject("x and y of a stroke differ in length")
        if not x:
            raise Reject("a stroke has no points")
        xs.append(bytes(map(_coordinate, x)))
        ys.append(bytes(map(_coordinate, y)))
    return xs, ys


def _coordinate(value: Any) -> int:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise Reject("a coordinate is not a finite number")
    if not 0 <= value <= 255:
        raise Reject("a coordinate is outside 0..255")
    if value != int(value):
        raise Reject("a coordinate is not a whole number")
    return int(value)
