"""A line of ndjson or a binary record → a validated Drawing, or a Reject that says why not.

A line is simplified or raw, which shows in its strokes: raw ones are x, y and time, simplified
ones x and y. Raw drawings are simplified here, so that all are alike from here on.
"""

import math
import re
import struct
from typing import Any, NamedTuple

import orjson

from pipeline.label_rule import clean_label
from pipeline.simplify import MAX_SAMPLES, simplify
from pipeline.strokes import MAX_POINTS, MAX_STROKES, pack_strokes

MAX_LINE_BYTES = 4 << 20  # longer lines are rejected unread; real ones stay below 100 kB


class Reject(ValueError):  # noqa: N818 - not an error of the program
    """What holds no usable drawing. The message is the reason, one of a few fixed texts."""


class Drawing(NamedTuple):
    """A drawing in the simplified format: whole coordinates in 0..255."""

    word: str | None  # the category
    key_id: str | None
    recognized: bool | None
    strokes: bytes  # see pipeline.strokes


def parse_drawing(line: bytes) -> Drawing:
    """Parses one line of an ndjson file; fields other than Drawing's are ignored.

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
    if word:
        try:
            word = clean_label(word)
        except ValueError as error:
            raise Reject(f"word is {error}") from None
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


# key_id, country, recognized, timestamp, number of strokes; then of each stroke the number of
# points, and a byte a point of x and of y. In 0..255 by its type: the simplified format.
_BINARY_HEADER = struct.Struct("<Q2sbIH")
_BINARY_LENGTH = struct.Struct("<H")


def parse_binary(data: bytes, start: int) -> tuple[Drawing | Reject, int]:
    """Parses the record of upstream's binary format that starts at `start`.

    Returns:
      The drawing, which has no word, or a Reject if it has no strokes, one without points, or more
      than the limits; and where the next record starts.

    Raises:
      IndexError: `data` ends before the record does.
      ValueError: no record starts there.
    """
    position = start + _BINARY_HEADER.size
    if position > len(data):
        raise IndexError
    key_id, country, recognized, _, count = _BINARY_HEADER.unpack_from(data, start)
    if recognized not in (0, 1) or not (country.isalpha() or country == bytes(2)):
        raise ValueError("no country, or neither recognized nor not")
    xs, ys = [], []
    for _ in range(count):
        y_start = position + 2
        if y_start > len(data):
            raise IndexError
        (length,) = _BINARY_LENGTH.unpack_from(data, position)
        x_start, y_start = y_start, y_start + length
        position = y_start + length
        xs.append(data[x_start:y_start])
        ys.append(data[y_start:position])
    if position > len(data):
        raise IndexError
    try:
        _check_strokes(count)
        if not all(xs):
            raise Reject("a stroke has no points")
        _check_points(sum(map(len, xs)))
    except Reject as reject:
        return reject, position
    return Drawing(None, str(key_id), bool(recognized), pack_strokes(xs, ys)), position


def holds_binary_records(data: bytes) -> bool:
    """Tell whether in a record that ends early others seem to begin: then its lengths are wrong."""
    for match in re.finditer(rb"[A-Z]{2}[\0\1]", data[_BINARY_HEADER.size + 8 :]):
        try:
            drawing, _ = parse_binary(data, _BINARY_HEADER.size + match.start())
        except (IndexError, ValueError):
            continue
        if isinstance(drawing, Drawing):
            return True
    return False


def parse_strokes(strokes: Any, *, may_hold_booleans: bool = True) -> bytes:
    """Validates strokes as parsed from JSON and packs them, raw ones simplified.

    Args:
      strokes: the value of the field `drawing`: [[x, …], [y, …]] a stroke, or [x, y, time].
      may_hold_booleans: whether `true` or `false` may stand among the coordinates.

    Raises:
      Reject: no strokes, other coordinates than the format allows, or more than the limits.
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
    _check_strokes(len(xs))
    _check_points(sum(map(len, xs)))
    return pack_strokes(xs, ys)


def _check_strokes(count: int) -> None:
    if not count:
        raise Reject("no strokes")
    if count > MAX_STROKES:
        raise Reject(f"more than {MAX_STROKES} strokes")


def _check_points(count: int) -> None:
    if count > MAX_POINTS:
        raise Reject(f"more than {MAX_POINTS} points")


def _parse_strokes_slowly(strokes: Any) -> tuple[list[bytes], list[bytes]]:
    """Value by value, so that a drawing is accepted or rejected for the right reason."""
    if strokes is None:
        raise Reject("no field drawing")
    if type(strokes) is not list:
        raise Reject("drawing is not a list of strokes")
    for stroke in strokes:
        if type(stroke) is not list or any(type(axis) is not list for axis in stroke):
            raise Reject("a stroke is not a list of coordinate lists")
        if len(stroke) not in (2, 3):
            raise Reject("a stroke is not x and y, nor x, y and time")
        if len({len(axis) for axis in stroke}) > 1:
            raise Reject("the coordinate lists of a stroke differ in length")
        if not stroke[0]:
            raise Reject("a stroke has no points")
    kinds = {len(stroke) for stroke in strokes}
    if len(kinds) > 1:
        raise Reject("some strokes have times and some have none")
    if kinds == {3}:
        strokes = _simplify_raw(strokes)
    xs = [bytes(map(_coordinate, stroke[0])) for stroke in strokes]
    ys = [bytes(map(_coordinate, stroke[1])) for stroke in strokes]
    return xs, ys


def _simplify_raw(strokes: list[list[list[Any]]]) -> list[list[list[int]]]:
    """`strokes`: [x, y, time] each, coordinates of any size and sign."""
    _check_strokes(len(strokes))
    _check_points(sum(len(x) for x, _, _ in strokes))
    for x, y, _ in strokes:
        if not set(map(type, x)) | set(map(type, y)) <= {int, float}:
            raise Reject("a coordinate is not a finite number")
        if not all(map(math.isfinite, x)) or not all(map(math.isfinite, y)):
            raise Reject("a coordinate is not a finite number")
    try:
        return simplify(strokes)
    except ValueError:
        raise Reject(f"more than {MAX_SAMPLES} pixels of ink") from None


def _coordinate(value: Any) -> int:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise Reject("a coordinate is not a finite number")
    if not 0 <= value <= 255:
        raise Reject("a coordinate is outside 0..255")
    if value != int(value):
        raise Reject("a coordinate is not a whole number")
    return int(value)
