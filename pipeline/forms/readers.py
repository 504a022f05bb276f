"""Readers of all forms behind one interface, by the name of the form."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from pipeline.cli import RunError
from pipeline.drawings.drawing import (
    Drawing,
    Origin,
    RawDrawing,
    Reading,
    load_line,
    parse_fields,
    parse_line,
)
from pipeline.drawings.reject import Reject
from pipeline.drawings.shapes import LISTS, POINTS, UNKNOWN, layout_of
from pipeline.forms import binary, csv_rows, json_values, parquet_rows
from pipeline.forms.lines import read_lines
from pipeline.forms.texts import Parsed, parse_texts

# So many drawings of points alone, before one that can only be lists, make a file one of points.
_ENOUGH_POINTS = 20


class Part(NamedTuple):
    """A part of a file that is to be read; of most forms only all of it can be."""

    name: str  # of the file, for errors
    start: int = 0
    end: int | None = None  # where what begins belongs to the next part; None for the file's end


def _read_ndjson(file: BinaryIO, part: Part, reading: Reading) -> Iterator[Parsed]:
    return parse_texts(
        read_lines(file, part.start, part.end), lambda line: parse_line(line, reading), part.name
    )


def _read_json(file: BinaryIO, part: Part, reading: Reading) -> Iterator[Parsed]:
    parse = functools.partial(json_values.parse_value, reading=reading)
    try:
        yield from parse_texts(json_values.json_values(file), parse, part.name)
    except RunError as error:
        raise RunError(f"{part.name}: {str(error).removeprefix(f'{part.name}: ')}") from None


def _read_csv(file: BinaryIO, part: Part, reading: Reading) -> Iterator[Parsed]:
    header, rows = csv_rows.read_rows(file, part.start, part.end)

    def parse(line: bytes) -> Drawing | RawDrawing:
        fields = header.fields(line)
        word = fields.get("word", "")
        if reading.labels and word not in reading.labels and word.isdecimal() and len(word) < 20:
            fields["word"] = int(word)
        strokes = fields.get("drawing", "")
        may_hold_booleans = "true" in strokes or "false" in strokes
        return parse_fields(fields, reading, may_hold_booleans)

    return parse_texts(rows, parse, part.name)


def _read_parquet(file: BinaryIO, part: Part, reading: Reading) -> Iterator[Parsed]:
    parse = functools.partial(parse_line, reading=reading)
    try:
        columns, names = parquet_rows.drawing_columns(file)
        if reading.keeps_origin:
            columns += [name for name in Origin._fields if name in names]
        yield from parse_texts(parquet_rows.parquet_rows(file, columns), parse, part.name)
    except parquet_rows.ERRORS as error:
        raise RunError(f"cannot read {part.name}: {error}") from error


def _read_binary(file: BinaryIO, part: Part, reading: Reading) -> Iterator[Parsed]:
    return binary.read_records(file, part.name, reading)


NDJSON, JSON, CSV, PARQUET, BINARY = "ndjson", "json", "csv", "parquet", "binary"
_READERS: dict[str, Callable[[BinaryIO, Part, Reading], Iterator[Parsed]]] = {
    NDJSON: _read_ndjson,
    JSON: _read_json,
    CSV: _read_csv,
    PARQUET: _read_parquet,
    BINARY: _read_binary,
}
CAN_BE_CUT = (NDJSON, CSV)  # into ranges, unless compressed


def read(file: BinaryIO, form: str, part: Part, reading: Reading) -> Iterator[Parsed]:
    """Yield the drawings and rejects of a part of a file, in its order.

    Args:
      file: open, at its beginning, decompressed.
      form: its form, see recognition.
      part: which.
      reading: how.

    Raises:
      RunError: the file is damaged.
    """
    return _READERS[form](file, part, reading)


def layout(file: BinaryIO, form: str, max_bytes: int) -> str:
    """Find the layout of a file's strokes from the first drawings that tell, see shapes.

    Args:
      file: open, at its beginning, decompressed; it is read only as far as is needed.
      form: its form.
      max_bytes: how far at most.
    """
    points = 0
    # Damage of parquet is left to its reader, as that of other forms.
    with contextlib.suppress(*(parquet_rows.ERRORS if form == PARQUET else ())):
        for strokes in _strokes(file, form, max_bytes):
            found = layout_of(strokes)
            if found == LISTS:
                return LISTS
            points += found == POINTS
            if points == _ENOUGH_POINTS:
                break
    return POINTS if points else UNKNOWN


def _strokes(file: BinaryIO, form: str, max_bytes: int) -> Iterator[Any]:
    """Yield the value of `drawing` of the drawings up to an offset, but no broken ones."""
    load: Callable[[bytes], dict[str, Any]] = load_line
    if form == BINARY:
        yield [[[0] * 4] * 2]  # lists, by the format
        return
    if form == CSV:
        header, texts = csv_rows.read_rows(file, 0, None)
        load = header.fields
    elif form == PARQUET:
        texts = parquet_rows.parquet_rows(file, parquet_rows.drawing_columns(file)[0])
    else:
        texts = read_lines(file) if form == NDJSON else json_values.json_values(file)
    for offset, text in texts:
        if offset > max_bytes:
            return
        try:
            fields = load(text)
            strokes = fields.get("drawing", fields.get("image"))
            yield load_line(strokes.encode())["drawing"] if type(strokes) is str else strokes
        except (Reject, KeyError):
            continue
