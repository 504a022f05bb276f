"""Records of upstream's binary format: parsed, and where they begin and end."""

import contextlib
import datetime
import re
import struct

from pipeline.drawings.drawing import (
    UPSTREAM,
    Drawing,
    Origin,
    RawDrawing,
    Reading,
    check_strokes,
    place,
)
from pipeline.drawings.reject import Reject

# key_id, country, recognized, timestamp, number of strokes; then of each stroke the number of
# points, and a byte a point of x and of y. In 0..255 by its type: the simplified format.
_HEADER = struct.Struct("<Q2sbIH")
_LENGTH = struct.Struct("<H")


class RecordReject(Reject):
    """A binary record that holds no usable drawing."""

    def __init__(self, reason: str, end: int) -> None:
        super().__init__(reason)
        self.end = end  # where the next record starts


def parse_binary(
    data: bytes, start: int, reading: Reading = UPSTREAM
) -> tuple[Drawing | RawDrawing, int]:
    """Parse the record of upstream's binary format that starts at `start`.

    Args:
      data: of a file.
      start: of the record.
      reading: how to.

    Returns:
      The drawing, which has no word, and where the next record starts.

    Raises:
      IndexError: `data` ends before the record does.
      RecordReject: no strokes, one without points, or more than the limits.
      Reject: no record starts there.
    """
    if start + _HEADER.size > len(data):
        raise IndexError
    key_id, country, recognized, seconds, count = _HEADER.unpack_from(data, start)
    if recognized not in (0, 1) or not (country.isalpha() or country == bytes(2)):
        raise Reject("not a record of the binary format")
    strokes, end = record_strokes(data, start)
    xs = [data[x : x + points] for x, points in strokes]
    ys = [data[x + points : x + 2 * points] for x, points in strokes]
    try:
        check_strokes(count)
        if not all(xs):
            raise Reject("a stroke has no points")
        placed = place(xs, ys, reading.frame)
    except Reject as reject:
        raise RecordReject(str(reject), end) from None
    drawing = (
        Drawing(None, str(key_id), bool(recognized), placed)
        if isinstance(placed, bytes)
        else RawDrawing(None, str(key_id), bool(recognized), *placed)
    )
    if reading.keeps_origin:
        time = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
        origin = Origin(country.strip(b"\0").decode("ascii"), f"{time:%Y-%m-%d %H:%M:%S} UTC")
        drawing = drawing._replace(origin=origin)
    return drawing, end


def record_strokes(data: bytes | bytearray, start: int) -> tuple[list[tuple[int, int]], int]:
    """Find the strokes of the binary record that starts at `start`.

    Returns:
      The offset of x and the number of points of each stroke, and where the next record starts.

    Raises:
      IndexError: `data` ends before the record does.
    """
    position = start + _HEADER.size
    if position > len(data):
        raise IndexError
    strokes = []
    for _ in range(_LENGTH.unpack_from(data, position - _LENGTH.size)[0]):
        if position + _LENGTH.size > len(data):
            raise IndexError
        (points,) = _LENGTH.unpack_from(data, position)
        strokes.append((position + _LENGTH.size, points))
        position += _LENGTH.size + 2 * points
    if position > len(data):
        raise IndexError
    return strokes, position


def begins_with_record(data: bytes) -> bool:
    """Tell whether a file's first bytes are a record with a key, a time and strokes.

    Bitmaps begin with zeros, which are a record without any.
    """
    if len(data) < _HEADER.size:
        return False
    key_id, country, recognized, time, count = _HEADER.unpack_from(data, 0)
    return (
        bool(key_id and time and count)
        and recognized in (0, 1)
        and (country.isalpha() or country == bytes(2))
    )


def holds_binary_records(data: bytes) -> bool:
    """Tell whether in a record that ends early others seem to begin: then its lengths are wrong."""
    for match in re.finditer(rb"[A-Z]{2}[\0\1]", data[_HEADER.size + 8 :]):
        with contextlib.suppress(IndexError, Reject):
            parse_binary(data, _HEADER.size + match.start())
            return True
    return False
