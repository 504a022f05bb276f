"""Lines of a file: of ndjson, and of whatever else has a drawing a line."""

from collections.abc import Iterator
from typing import BinaryIO

from pipeline.drawings.drawing import MAX_LINE_BYTES
from pipeline.forms import texts


def read_lines(
    file: BinaryIO, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that start in a range: (byte offset, line), but no blank ones.

    Of a line longer than MAX_LINE_BYTES only the beginning is returned, a little more than that.
    """
    # From one byte before the range on, which tells whether a line starts at its first byte.
    position = max(start - 1, 0)  # of the line at hand
    if position:
        file.seek(position)
    is_inside = start > 0  # of a line that does not count
    rest = b""
    while end is None or position < end:
        chunk = file.read(texts.CHUNK_BYTES)
        *lines, rest = (rest + chunk).split(b"\n")
        if not chunk:
            lines, rest = [rest], b""
        for line in lines:
            if end is not None and position >= end:
                return
            if not is_inside and line and not line.isspace():
                yield position, line
            is_inside = False
            position += len(line) + 1
        if not chunk:
            return
        if len(rest) > MAX_LINE_BYTES:
            if not is_inside and (end is None or position < end):
                yield position, rest
            is_inside = True
            position += len(rest)
            rest = b""
