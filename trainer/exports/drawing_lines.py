"""Drawings from ndjson files or standard input, a batch of lines at a time, as they arrive."""

import bz2
import contextlib
import gzip
import os
import select
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple, cast

from pipeline.cli import UserError
from pipeline.drawings.drawing import MAX_LINE_BYTES, Drawing, Reject, parse_drawing

STANDARD_INPUT = "-"
_CHUNK_BYTES = 1 << 18  # read at once, about 600 drawings
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_READ_ERRORS = (OSError, EOFError, zlib.error)


class Line(NamedTuple):
    """One line of the input: a drawing, or why it is none."""

    place: str  # file:line
    drawing: Drawing | None
    error: str = ""


def check_files(paths: Sequence[str]) -> None:
    """Raises UserError for a file that cannot be read; opens none, since one may be a pipe."""
    for path in paths:
        if path == STANDARD_INPUT:
            continue
        if os.path.isdir(path):
            raise UserError(f"{path} is a directory; say which files: {path}/*.ndjson")
        if not os.path.exists(path):
            raise UserError(f"{path}: no such file")
        if not os.access(path, os.R_OK):
            raise UserError(f"{path}: no permission to read it")


def read_batches(paths: Sequence[str], size: int) -> Iterator[list[Line]]:
    """The lines of all files, `-` being standard input; empty ones are left out.

    A batch has `size` lines; fewer at the end, and where the input is a pipe or a terminal from
    which no more has arrived yet: whoever waits for an answer before writing on gets one.

    Raises:
      UserError: a file cannot be read (any more); the lines before it come first.
    """
    batch: list[Line] = []
    try:
        for path in paths:
            for line in _read_file(path):
                if line is not None:
                    batch.append(line)
                if len(batch) == size or (line is None and batch):
                    yield batch
                    batch = []
    except UserError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _read_file(path: str) -> Iterator[Line | None]:
    """The lines of a file, and None where reading on means to wait."""
    name = "standard input" if path == STANDARD_INPUT else path
    number = 0
    try:
        with _open(path) as file:
            for line in _split_lines(file):
                if line is None:
                    yield None
                    continue
                number += 1
                if number == 1:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if line and not line.isspace():
                    yield _parse(line, f"{name}:{number}")
    except _READ_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name}: cannot be read: {reason}") from None


def _split_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of an open file, and None where reading on means to wait.

    Of a line longer than MAX_LINE_BYTES only the beginning is returned, one byte more than that.
    """
    rest = b""  # of the line at hand
    while True:
        if not select.select([file], [], [], 0)[0]:
            yield None
        chunk = file.read1(_CHUNK_BYTES)  # type: ignore[attr-defined] # what is there, no more
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if not chunk:
            if rest:
                yield rest
            return
        rest = rest[: MAX_LINE_BYTES + 1]


def _parse(line: bytes, place: str) -> Line:
    try:
        return Line(place, parse_drawing(line))
    except Reject as reject:
        return Line(place, None, str(reject))


def _open(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == STANDARD_INPUT:
        return contextlib.nullcontext(sys.stdin.buffer)
    if path.endswith(".gz"):
        return cast(BinaryIO, gzip.open(path))
    return cast(BinaryIO, bz2.open(path)) if path.endswith(".bz2") else open(path, "rb")
