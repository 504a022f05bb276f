"""A line of ndjson, or the fields of a row → a validated Drawing, or a Reject that says why not.

A line is simplified or raw, which shows in its strokes: raw ones are x, y and time, simplified
ones x and y. Raw drawings are simplified here, so that all are alike from here on; and so are,
unless they are to be kept, drawings that do not lie in upstream's frame, as a canvas gives them:
many at once, which costs a fraction of one by one.
"""

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from pipeline.drawings.frame import lies_in_frame
from pipeline.drawings.label_rule import clean_label
from pipeline.drawings.reject import Reject
from pipeline.drawings.shapes import LISTS, as_lists
from pipeline.drawings.simplify import Simplified, TooLarge, simplify_many
from pipeline.drawings.strokes import MAX_POINTS, MAX_STROKES, pack_strokes, pack_strokes_of

MAX_LINE_BYTES = 4 << 20  # longer lines are rejected unread
_ORDINARY_LINE_BYTES = 100_000  # real ones are shorter
# Lists, objects and fields cost most: a million lists take half a second, these 25 ms. With this
# and the limits of simplify.py the worst line found takes 50 ms: 4 MiB of numbers in two lists.
MAX_PARTS = 50_000
_MAX_KEY_BYTES = 255
_MAX_ORIGIN = 64  # characters; a country has 2, a time up to 33
_SURE_KEY_LENGTH = _MAX_KEY_BYTES // 4  # in UTF-8 a character takes four bytes at most
_RECOGNIZED = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class Reading(NamedTuple):
    """Settings of reading, for what a line does not say itself."""

    frame: str = "auto"  # see pipeline.drawings.frame
    # By number, for words that are numbers; None: such a word is taken for a name.
    labels: tuple[str, ...] | None = ()
    layout: str = LISTS  # of the strokes, see pipeline.drawings.shapes
    keeps_origin: bool = False  # whether Drawing.origin is read


UPSTREAM = Reading()


class Origin(NamedTuple):
    """Country and time of a drawing, as texts of the input; empty where it has none."""

    countrycode: str = ""
    timestamp: str = ""


NO_ORIGIN = Origin()


class Drawing(NamedTuple):
    """A drawing in the simplified format: whole coordinates in 0..255."""

    word: str | None  # the category
    key_id: str | None
    recognized: bool | None
    strokes: bytes  # see pipeline.drawings.strokes
    is_normalised: bool = False  # did not lie in upstream's frame
    origin: Origin = NO_ORIGIN


class RawDrawing(NamedTuple):
    """A raw drawing or one from a canvas, validated: coordinates of any size and sign."""

    word: str | None
    key_id: str | None
    recognized: bool | None
    xs: "list[array[float]]"  # an array("d") a stroke
    ys: "list[array[float]]"
    is_normalised: bool = False  # by what follows; it is not upstream's raw format
    origin: Origin = NO_ORIGIN


def parse_drawing(line: bytes, reading: Reading = UPSTREAM) -> Drawing:
    """Parse one line of an ndjson file; fields other than Drawing's are ignored.

    Raises:
      Reject: the line is not a JSON object with a valid `drawing`.
    """
    (drawing,) = simplify_drawings([parse_line(line, reading)])
    if isinstance(drawing, Reject):
        raise drawing
    return drawing


def simplify_drawings(drawings: Sequence[Drawing | RawDrawing | Reject]) -> list[Drawing | Reject]:
    """Finish what `parse_line` gave, best many at once; only what is raw takes work."""
    raw = [drawing for drawing in drawings if isinstance(drawing, RawDrawing)]
    simplified = iter(simplify_many([(drawing.xs, drawing.ys) for drawing in raw]) if raw else ())
    return [
        _simplified(drawing, next(simplified)) if isinstance(drawing, RawDrawing) else drawing
        for drawing in drawings
    ]


def _simplified(drawing: RawDrawing, strokes: Simplified | TooLarge) -> Drawing | Reject:
    if isinstance(strokes, TooLarge):
        return Reject(str(strokes))
    word, key_id, recognized, _, _, is_normalised, origin = drawing
    return Drawing(word, key_id, recognized, pack_strokes(*strokes), is_normalised, origin)


def parse_line(line: bytes, reading: Reading = UPSTREAM) -> Drawing | RawDrawing:
    """Parse a line as `parse_drawing` does, but do not simplify what is raw.

    A line may be the strokes alone, too.

    Raises:
      Reject: the line is not a JSON object with a valid `drawing`.
    """
    fields = load_line(line)
    # Upstream's lines end in the drawing: a search for one byte, which counting would cost a tenth.
    may_hold_booleans = line.find(b"e", line.find(b'"drawing"') + 9) >= 0 and (
        line.count(b"true") + line.count(b"false") > (type(fields.get("recognized")) is bool)
    )
    return parse_fields(fields, reading, may_hold_booleans)


def load_line(line: bytes) -> dict[str, Any]:
    """Parse the JSON of a line.

    Raises:
      Reject: it is too long, or no JSON object nor the strokes of a drawing.
    """
    if len(line) > _ORDINARY_LINE_BYTES:
        _check_size(line)
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Reject("not UTF-8" if "UTF-8" in str(error) else "not JSON") from None
    if type(fields) is dict:
        return fields
    if type(fields) is list and fields and type(fields[0]) is list:
        return {"drawing": fields}
    raise Reject("not a JSON object")


def parse_fields(
    fields: dict[str, Any], reading: Reading, may_hold_booleans: bool
) -> Drawing | RawDrawing:
    """Validate the fields of a drawing.

    Only `drawing` (or `image`, as upstream's own parser of binary files names it) is needed; none
    of the others can refuse the drawing, but a word that is no label.

    Args:
      fields: as parsed from JSON, or of a row of a table.
      reading: how to.
      may_hold_booleans: whether `true` or `false` may stand among the coordinates.

    Raises:
      Reject: there is no valid `drawing`, or its `word` is no label.
    """
    word = fields.get("word")
    if word is not None:
        word = _label(word, reading.labels)
    recognized = fields.get("recognized")
    if recognized is not None and type(recognized) is not bool:
        recognized = _RECOGNIZED.get(str(recognized).lower())
    key_id = fields.get("key_id")
    if key_id is not None:
        key_id = _key(key_id)
    strokes = fields.get("drawing")
    if strokes is None:
        strokes = fields.get("image")
    if type(strokes) is str:
        strokes = _parse_text(strokes)
    parsed = parse_strokes(strokes, reading, may_hold_booleans)
    drawing = (
        Drawing(word, key_id, recognized, parsed)
        if isinstance(parsed, bytes)
        else RawDrawing(word, key_id, recognized, *parsed)
    )
    return drawing._replace(origin=_origin(fields)) if reading.keeps_origin else drawing


def _origin(fields: dict[str, Any]) -> Origin:
    """Return country and time of a drawing's fields; what is no short text counts as none."""
    texts = (fields.get(name) for name in Origin._fields)
    return Origin(
        *(
            str(text) if type(text) in (str, int, float) and len(str(text)) <= _MAX_ORIGIN else ""
            for text in texts
        )
    )


def _label(word: Any, labels: tuple[str, ...] | None) -> str | None:
    """Return a word's label; None for an empty word."""
    if type(word) is str:
        try:
            return clean_label(word) if word else None
        except ValueError as error:
            raise Reject(f"word is {error}") from None
    if type(word) is bool or not isinstance(word, (int, float)) or word != word // 1:
        raise Reject("word is not a string")
    if labels is None:
        return str(word)
    if not labels:
        raise Reject("word is a number; --labels=FILE names the categories, the first is 0")
    if not 0 <= word < len(labels):
        raise Reject("word is a number that --labels has no line for")
    return labels[int(word)]


def _key(key_id: Any) -> str | None:
    """Return a key as text; None for what can be none."""
    if type(key_id) is str and 0 < len(key_id) <= _SURE_KEY_LENGTH:
        return key_id
    if type(key_id) is float and key_id.is_integer():  # as pandas makes of integers
        key_id = int(key_id)
    text = str(key_id) if type(key_id) in (str, int) else ""
    return text if 0 < len(text.encode()) <= _MAX_KEY_BYTES else None


def _parse_text(strokes: str) -> Any:
    """Parse strokes that are JSON in a string, as in columns of tables."""
    try:
        return orjson.loads(strokes)
    except orjson.JSONDecodeError:
        raise Reject("drawing is a text that is not JSON") from None


class Raw(NamedTuple):
    """Coordinates that are to be simplified."""

    xs: "list[array[float]]"  # an array("d") a stroke
    ys: "list[array[float]]"
    is_normalised: bool


def parse_strokes(
    strokes: Any, reading: Reading = UPSTREAM, may_hold_booleans: bool = True
) -> bytes | Raw:
    """Validate strokes as parsed from JSON, and pack them if they need no simplification.

    Args:
      strokes: the value of the field `drawing`, of a shape that `shapes` knows.
      reading: how to.
      may_hold_booleans: whether `true` or `false` may stand among the coordinates.

    Raises:
      Reject: no strokes, coordinates that are none, or more than the limits.
    """
    xs: list[bytes] = []
    ys: list[bytes] = []
    try:  # The common case: bytes() checks type and range in C. It takes true for 1, though.
        if may_hold_booleans or reading.layout != LISTS:
            raise TypeError
        for x, y in strokes:
            if not len(x) == len(y) > 0:
                raise ValueError
            xs.append(bytes(x))
            ys.append(bytes(y))
    except (TypeError, ValueError):
        return _parse_others(strokes, reading, may_hold_booleans)
    return place(xs, ys, reading.frame)


def place(xs: Sequence[bytes], ys: Sequence[bytes], frame: str) -> bytes | Raw:
    """Pack whole coordinates in 0..255 if they lie in the frame or are to be kept.

    Raises:
      Reject: no strokes, or more than the limits.
    """
    lengths = [*map(len, xs)]
    if not 0 < len(lengths) <= MAX_STROKES or sum(lengths) > MAX_POINTS:
        check_strokes(len(xs))
        check_points(sum(lengths))
    packed = pack_strokes_of(lengths, xs, ys)
    if frame == "keep" or (frame == "auto" and lies_in_frame(packed)):
        return packed
    return Raw([array("d", [*x]) for x in xs], [array("d", [*y]) for y in ys], True)


def _parse_others(strokes: Any, reading: Reading, may_hold_booleans: bool) -> bytes | Raw:
    """Parse what is not plainly upstream's, value by value, so that each Reject is right."""
    strokes = as_lists(strokes, reading.layout)
    found = _parse_numbers(strokes, may_hold_booleans)
    if found is None:
        _check_shape(strokes)
        raise Reject("a coordinate is not a finite number")
    xs, ys, has_times = found
    if has_times:
        return Raw(xs, ys, False)
    if all(map(_are_bytes, xs)) and all(map(_are_bytes, ys)):
        whole_xs, whole_ys = ([bytes(map(int, axis)) for axis in axes] for axes in (xs, ys))
        return place(whole_xs, whole_ys, reading.frame)
    if reading.frame != "keep":
        return Raw(xs, ys, True)
    is_outside = any(not 0 <= value <= 255 for axis in (*xs, *ys) for value in axis)
    raise Reject(f"a coordinate is {'outside 0..255' if is_outside else 'not a whole number'}")


def _are_bytes(values: "array[float]") -> bool:
    return all(0 <= value <= 255 and value.is_integer() for value in values)


def _check_size(line: bytes) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise Reject(f"line longer than {MAX_LINE_BYTES >> 20} MiB")
    if line.count(b"[") + line.count(b"{") + line.count(b":") > MAX_PARTS:
        raise Reject(f"more than {MAX_PARTS} lists, objects and fields")


def check_strokes(count: int) -> None:
    """Raise Reject for no strokes, or more than MAX_STROKES."""
    if not count:
        raise Reject("no strokes")
    if count > MAX_STROKES:
        raise Reject(f"more than {MAX_STROKES} strokes")


def check_points(count: int) -> None:
    """Raise Reject for more than MAX_POINTS points."""
    if count > MAX_POINTS:
        raise Reject(f"more than {MAX_POINTS} points")


def _check_shape(strokes: Any) -> None:
    """Reject what is not a list of strokes of the same kind, simplified or raw."""
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
    check_strokes(len(strokes))
    check_points(sum(len(stroke[0]) for stroke in strokes))


def _parse_numbers(
    strokes: Any, may_hold_booleans: bool
) -> "tuple[list[array[float]], list[array[float]], bool] | None":
    """Return x and y of sound strokes and whether they have times; None of others.

    No number is infinite: orjson takes none.
    """
    xs, ys = [], []
    points = 0
    try:
        axes = {len(stroke) for stroke in strokes}
        if axes not in ({2}, {3}):
            return None
        for x, y, *times in strokes:
            points += len(x)
            if points > MAX_POINTS or not {len(x)} == {len(axis) for axis in (y, *times)} != {0}:
                return None
            if any(type(axis) is not list for axis in (x, y, *times)):
                return None
            if may_hold_booleans and bool in map(type, x + y):
                return None
            xs.append(array("d", x))
            ys.append(array("d", y))
    except (TypeError, ValueError, OverflowError):
        return None
    return (xs, ys, axes == {3}) if len(xs) <= MAX_STROKES else None
