"""Lines of drawings, read as they arrive."""

import select
import sys
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pipeline.drawings.drawing import MAX_LINE_BYTES, Drawing, Reading, parse_drawing
from pipeline.drawings.reject import Ambiguous, Reject
from pipeline.drawings.shapes import LISTS

_CHUNK_BYTES = 1 << 18  # read at once, about 600 drawings
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line or record of the input: a drawing, or an error."""

    place: str  # file:line, in other forms file: drawing N; of a file in an archive archive/file
    drawing: Drawing | None
    error: str = ""


def read_lines(
    file: BinaryIO, name: str, reading: Reading, *, may_wait: bool
) -> Iterator[Line | None]:
    """Yield the drawings of an open file of lines, without empty ones.

    Where nothing tells whether strokes are points, they are read as upstream's are, and it is said.

    Args:
      file: at its beginning.
      name: of the file, for places.
      reading: how.
      may_wait: the file is a pipe or a terminal: None is yielded where reading on would wait.
    """
    number = 0
    for line in _split_lines(file, may_wait):
        if line is None:
            yield None
            continue
        number += 1
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line or line.isspace():
            continue
        place = f"{name}:{number}"
        try:
            try:
                drawing = parse_drawing(line, reading)
            except Ambiguous as ambiguous:
                print(f"{place}: {ambiguous} Read as lists of x and of y.", file=sys.stderr)
                reading = reading._replace(layout=LISTS)
                drawing = parse_drawing(line, reading)
        except Reject as reject:
            yield Line(place, None, str(reject))
        else:
            yield Line(place, drawing)


def _split_lines(file: BinaryIO, may_wait: bool) -> Iterator[bytes | None]:
    """Yield the lines of an open file, and None where reading on would wait, if it may.

    A line longer than MAX_LINE_BYTES is cut to one byte more than that.
    """
    read = getattr(file, "read1", file.read)  # what is there, no more
    rest = b""  # of the current line
    while True:
        if may_wait and not select.select([file], [], [], 0)[0]:
            yield None
        chunk = read(_CHUNK_BYTES)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if not chunk:
            if rest:
                yield rest
            return
        rest = rest[: MAX_LINE_BYTES + 1]
