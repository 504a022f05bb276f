"""A line of ndjson or a binary record → a validated Drawing, or a Reject that says why not.

A line is simplified or raw, which shows in its strokes: raw ones are x, y and time, simplified
ones x and y. Raw drawings are simplified here, so that all are alike from here on: many at once,
which costs a fraction of one by one.
"""

import contextlib
import math
import re
import struct
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from pipeline.drawings.label_rule import clean_label
from pipeline.drawings.simplify import TooLarge, simplify_many
from pipeline.drawings.strokes import MAX_POINTS, MAX_STROKES, pack_strokes

MAX_LINE_BYTES = 4 << 20  # longer lines are rejected unread
_ORDINARY_LINE_BYTES = 100_000  # real ones are shorter
# Lists, objects and fields cost most: a million lists take half a second, these 25 ms. With this
# and the limits of simplify.py the worst line found takes 50 ms: 4 MiB of numbers in two lists.
MAX_PARTS = 50_000


class Reject(ValueError):  # noqa: N818 - not an error of the program
    """A line or record without a usable drawing. The message is one of a few fixed reasons."""


class Drawing(NamedTuple):
    """A drawing in the simplified format: whole coordinates in 0..255."""

    word: str | None  # the category
    key_id: str | None
    recognized: bool | None
    strokes: bytes  # see pipeline.drawings.strokes


class RawDrawing(NamedTuple):
    """A raw drawing, validated and not yet simplified: coordinates of any size and sign."""

    word: str | None
    key_id: str | None
    recognized: bool | None
    xs: "list[array[float]]"  # an array("d") a stroke
    ys: "list[array[float]]"


def parse_drawing(line: bytes) -> Drawing:
    """Parses one line of an ndjson file; fields other than Drawing's are ignored.

    Raises:
      Reject: the line is not a JSON object with a valid `drawing`.
    """
    drawing = parse_line(line)
    if isinstance(drawing, Drawing):
        return drawing
    (simplified,) = simplify_drawings([drawing])
    if isinstance(simplified, Reject):
        raise simplified
    return simplified


def simplify_drawings(drawings: Sequence[RawDrawing]) -> list[Drawing | Reject]:
    """Finishes the raw drawings of `parse_line`, at least one, and best many at once."""
    return [
        Reject(str(simplified))
        if isinstance(simplified, TooLarge)
        else Drawing(drawing.word, drawing.key_id, drawing.recognized, pack_strokes(*simplified))
        for drawing, simplified in zip(
            drawings, simplify_many([(xs, ys) for *_, xs, ys in drawings]), strict=True
        )
    ]


def parse_line(line: bytes) -> Drawing | RawDrawing:
    """Parses a line as `parse_drawing` does, but does not simplify what is raw.

    Raises:
      Reject: the line is not a JSON object with a valid `drawing`.
    """
    if len(line) > _ORDINARY_LINE_BYTES:
        _check_size(line)
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
    if isinstance(strokes, bytes):
        return Drawing(word or None, key_id or None, recognized, strokes)
    return RawDrawing(word or None, key_id or None, recognized, *strokes)


# key_id, country, recognized, timestamp, number of strokes; then of each stroke the number of
# points, and a byte a point of x and of y. In 0..255 by its type: the simplified format.
_BINARY_HEADER = struct.Struct("<Q2sbIH")
_BINARY_LENGTH = struct.Struct("<H")


class RecordReject(Reject):
    """A binary record that holds no usable drawing."""

    def __init__(self, reason: str, end: int) -> None:
        super().__init__(reason)
        self.end = end  # where the next record starts


def parse_binary(data: bytes, start: int) -> tuple[Drawing, int]:
    """Parses the record of upstream's binary format that starts at `start`.

    Returns:
      The drawing, which has no word, and where the next record starts.

    Raises:
      IndexError: `data` ends before the record does.
      RecordReject: no strokes, one without points, or more than the limits.
      Reject: no record starts there.
    """
    if start + _BINARY_HEADER.size > len(data):
        raise IndexError
    key_id, country, recognized, _, count = _BINARY_HEADER.unpack_from(data, start)
    if recognized not in (0, 1) or not (country.isalpha() or country == bytes(2)):
        raise Reject("not a record of the binary format")
    strokes, end = record_strokes(data, start)
    xs = [data[x : x + points] for x, points in strokes]
    ys = [data[x + points : x + 2 * points] for x, points in strokes]
    try:
        _check_strokes(count)
        if not all(xs):
            raise Reject("a stroke has no points")
        _check_points(sum(map(len, xs)))
    except Reject as reject:
        raise RecordReject(str(reject), end) from None
    return Drawing(None, str(key_id), bool(recognized), pack_strokes(xs, ys)), end


def record_strokes(data: bytes | bytearray, start: int) -> tuple[list[tuple[int, int]], int]:
    """Find the strokes of the binary record that starts at `start`.

    Returns:
      The offset of x and the number of points of each stroke, and where the next record starts.

    Raises:
      IndexError: `data` ends before the record does.
    """
    position = start + _BINARY_HEADER.size
    if position > len(data):
        raise IndexError
    strokes = []
    for _ in range(_BINARY_LENGTH.unpack_from(data, position - _BINARY_LENGTH.size)[0]):
        if position + _BINARY_LENGTH.size > len(data):
            raise IndexError
        (points,) = _BINARY_LENGTH.unpack_from(data, position)
        strokes.append((position + _BINARY_LENGTH.size, points))
        position += _BINARY_LENGTH.size + 2 * points
    if position > len(data):
        raise IndexError
    return strokes, position


def holds_binary_records(data: bytes) -> bool:
    """Tell whether in a record that ends early others seem to begin: then its lengths are wrong."""
    for match in re.finditer(rb"[A-Z]{2}[\0\1]", data[_BINARY_HEADER.size + 8 :]):
        with contextlib.suppress(IndexError, Reject):
            parse_binary(data, _BINARY_HEADER.size + match.start())
            return True
    return False


def parse_strokes(
    strokes: Any, *, may_hold_booleans: bool = True
) -> "bytes | tuple[list[array[float]], list[array[float]]]":
    """Validates strokes as parsed from JSON and packs them; of raw ones returns x and y.

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
        raw = _parse_raw(strokes, may_hold_booleans)
        if raw:
            return raw
        # Value by value, so that a drawing is accepted or rejected for the right reason.
        _check_shape(strokes)
        xs = [bytes(map(_coordinate, x)) for x, _ in strokes]
        ys = [bytes(map(_coordinate, y)) for _, y in strokes]
    _check_strokes(len(xs))
    _check_points(sum(map(len, xs)))
    return pack_strokes(xs, ys)


def _check_size(line: bytes) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise Reject(f"line longer than {MAX_LINE_BYTES >> 20} MiB")
    if line.count(b"[") + line.count(b"{") + line.count(b":") > MAX_PARTS:
        raise Reject(f"more than {MAX_PARTS} lists, objects and fields")


def _check_strokes(count: int) -> None:
    if not count:
        raise Reject("no strokes")
    if count > MAX_STROKES:
        raise Reject(f"more than {MAX_STROKES} strokes")


def _check_points(count: int) -> None:
    if count > MAX_POINTS:
        raise Reject(f"more than {MAX_POINTS} points")


def _check_shape(strokes: Any) -> None:
    """Rejects what is not a list of strokes of the same kind, simplified or raw."""
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
    if len({len(stroke) for stroke in strokes}) > 1:
        raise Reject("some strokes have times and some have none")
    if strokes and len(strokes[0]) == 3:
        _check_strokes(len(strokes))
        _check_points(sum(len(x) for x, _, _ in strokes))
        raise Reject("a coordinate is not a finite number")


def _parse_raw(
    strokes: Any, may_hold_booleans: bool
) -> "tuple[list[array[float]], list[array[float]]] | None":
    """x and y of strokes if they are valid raw ones; no number is infinite, orjson takes none."""
    xs, ys = [], []
    points = 0
    try:
        for x, y, times in strokes:
            points += len(x)
            if not len(x) == len(y) == len(times) > 0 or points > MAX_POINTS:
                return None
            if type(times) is not list or (may_hold_booleans and bool in map(type, x + y)):
                return None
            xs.append(array("d", x))
            ys.append(array("d", y))
    except (TypeError, ValueError):
        return None
    return (xs, ys) if 0 < len(xs) <= MAX_STROKES else None


def _coordinate(value: Any) -> int:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise Reject("a coordinate is not a finite number")
    if not 0 <= value <= 255:
        raise Reject("a coordinate is outside 0..255")
    if value != int(value):
        raise Reject("a coordinate is not a whole number")
    return int(value)
