"""The input files: globs → files → byte ranges → lines.

A work item is a byte range of a file; a line belongs to the range in which it starts. So however
the files are cut up, every line is read exactly once.
"""

import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline.drawing import MAX_LINE_BYTES
from pipeline.errors import RunError, UserError

RANGE_BYTES = 8 << 20  # about 20,000 drawings: many ranges for every core, few elements for Beam
_UPSTREAM_PREFIXES = ("full_simplified_", "full_raw_", "full_binary_")


class InputFile(NamedTuple):
    path: str
    bytes: int


class ByteRange(NamedTuple):
    path: str
    start: int
    end: int  # exclusive


def match_files(patterns: Sequence[str]) -> list[InputFile]:
    """The files that match any of the globs, each once, sorted by path.

    Raises:
      UserError: a pattern matches no file or its directory cannot be listed.
    """
    files: dict[str, int] = {}
    for pattern in patterns:
        if os.path.isdir(pattern):
            raise UserError(
                f"--input: {pattern} is a directory; say which files: {pattern}/*.ndjson"
            )
        try:
            (match,) = FileSystems.match([pattern])
        except (BeamIOError, ValueError) as error:
            raise UserError(f"--input: {pattern}: {error}") from None
        if not match.metadata_list:
            raise UserError(f"--input: no file matches {pattern}")
        for metadata in match.metadata_list:
            if os.path.exists(metadata.path) and not os.access(metadata.path, os.R_OK):
                raise UserError(f"--input: no permission to read {metadata.path}")
            files[metadata.path] = metadata.size_in_bytes
    return [InputFile(path, files[path]) for path in sorted(files)]


def byte_ranges(files: Sequence[InputFile], range_bytes: int = RANGE_BYTES) -> list[ByteRange]:
    """Cuts every file into ranges of at most `range_bytes`; an empty file has none."""
    return [
        ByteRange(file.path, start, min(start + range_bytes, file.bytes))
        for file in files
        for start in range(0, file.bytes, range_bytes)
    ]


def category_of(path: str) -> str:
    """The category that a file's name states: without upstream's prefix and the extension."""
    name = os.path.basename(path).split(".ndjson")[0]
    for prefix in _UPSTREAM_PREFIXES:
        name = name.removeprefix(prefix)
    return " ".join(name.split())  # one line, whatever the file system allows


def read_range(byte_range: ByteRange) -> Iterator[tuple[int, bytes]]:
    """The lines that start in a range, blank ones left out: (byte offset in the file, line).

    Raises:
      RunError: the file cannot be read (any more).
    """
    try:
        with FileSystems.open(
            byte_range.path, compression_type=CompressionTypes.UNCOMPRESSED
        ) as file:
            yield from _read_lines(file, byte_range.start, byte_range.end)
    except OSError as error:  # BeamIOError is one
        raise RunError(f"cannot read {byte_range.path}: {error.strerror or error}") from error


def _read_lines(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    # One byte before the range tells whether a line starts at its first byte.
    position = max(start - 1, 0)
    file.seek(position)
    data = file.read(end - position)
    if start > 0:
        newline = data.find(b"\n")
        if newline < 0:
            return  # the inside of a very long line
        data = data[newline + 1 :]
        position += newline + 1
    elif data.startswith(b"\xef\xbb\xbf"):  # a byte order mark
        data = data[3:]
        position = 3
    *lines, last = data.split(b"\n")
    if last:
        last += _rest_of_line(file, MAX_LINE_BYTES + 1 - len(last))
    for line in (*lines, last):
        if line and not line.isspace():
            yield position, line
        position += len(line) + 1


def _rest_of_line(file: BinaryIO, limit: int) -> bytes:
    """Reads up to the next newline, the file's end, or about `limit` bytes: enough to reject it."""
    rest = bytearray()
    while len(rest) < limit and (chunk := file.read(1 << 14)):
        head, newline, _ = chunk.partition(b"\n")
        rest += head
        if newline:
            break
    return bytes(rest)
