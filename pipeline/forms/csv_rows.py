"""Files of comma-separated values with a column of drawings, as of Kaggle's Doodle Recognition.

A line is a row: a quotation mark that is missing costs that one, and a file can be cut into ranges.
"""

import csv
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipeline.drawings.drawing import MAX_LINE_BYTES
from pipeline.drawings.reject import Reject
from pipeline.forms.lines import read_lines
from pipeline.forms.texts import BYTE_ORDER_MARK

_DELIMITERS = ",;\t"
csv.field_size_limit(2 * MAX_LINE_BYTES)  # the module's own is less than a raw drawing


class Header:
    """First line of such a file: the names of its columns."""

    def __init__(self, line: bytes) -> None:
        """Read the header; raises Reject if it is none, or names no drawings."""
        text = _decode(line.removeprefix(BYTE_ORDER_MARK))
        self._delimiter = max(_DELIMITERS, key=text.count)
        self.columns = [name.strip().lower() for name in self._split(text)]
        if "drawing" not in self.columns or len(self.columns) < 2:
            raise Reject("no column drawing")

    def fields(self, line: bytes) -> dict[str, Any]:
        """Return the values of a row by column, but no empty ones; raises Reject if it is none."""
        if len(line) > MAX_LINE_BYTES:
            raise Reject(f"line longer than {MAX_LINE_BYTES >> 20} MiB")
        values = self._split(_decode(line))
        if len(values) != len(self.columns):
            raise Reject("not as many values as the first line has columns")
        return {name: value for name, value in zip(self.columns, values, strict=True) if value}

    def _split(self, text: str) -> list[str]:
        try:
            return next(csv.reader([text.rstrip("\r")], delimiter=self._delimiter, strict=True), [])
        except csv.Error:
            raise Reject("not a row of comma-separated values") from None


def read_rows(
    file: BinaryIO, start: int, end: int | None
) -> tuple[Header, Iterator[tuple[int, bytes]]]:
    """Return the header of a file, and the rows that start in a range: (byte offset, line)."""
    lines = read_lines(file)
    header = Header(next(lines, (0, b""))[1])
    return header, read_lines(file, start, end) if start else _before(lines, end)


def _before(lines: Iterator[tuple[int, bytes]], end: int | None) -> Iterator[tuple[int, bytes]]:
    for offset, line in lines:
        if end is not None and offset >= end:
            return
        yield offset, line


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Reject("not UTF-8") from None
