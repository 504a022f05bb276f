"""The input files: globs → files → work items → lines or records, each once.

A work item is a byte range of an ndjson file; a line belongs to the range in which it starts, so
however the files are cut up, every line is read exactly once. Compressed and binary files cannot
be entered in the middle: they are one work item each, read as a stream, so of a large input they
should be many.
"""

import bz2
import gzip
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple, cast

from apache_beam.io.filesystems import FileSystems

from pipeline import storage
from pipeline.drawing import (
    MAX_LINE_BYTES,
    Drawing,
    RawDrawing,
    Reject,
    parse_binary,
    parse_line,
    simplify_drawings,
)
from pipeline.errors import RunError, UserError

RANGE_BYTES = 8 << 20  # about 20,000 drawings: many ranges for every core, few elements for Beam
# Above 168 GB ranges grow instead of becoming more, because every range sends something to every
# shard. At 2.2 TB, 5 billion drawings, one has 110 MB, 10 seconds of work.
MAX_RANGES = 20_000
# What a drawing takes in a file, about and rather less: the size of groups is chosen by it.
_NDJSON_DRAWING_BYTES = 350
_COMPACT_DRAWING_BYTES = 80  # compressed, binary or both
_CHUNK_BYTES = 1 << 20  # read at once
# Raw drawings are simplified many at once, and wait for that: so many lines, or so many bytes.
_RAW_LINES = 64
_RAW_BYTES = 1 << 20  # real lines have 4 kB
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UPSTREAM_PREFIXES = ("full_simplified_", "full_raw_", "full_binary_")
_COMPRESSIONS = (".gz", ".bz2")
_READ_ERRORS: tuple[type[Exception], ...] = (*storage.ERRORS, EOFError, zlib.error)


class InputFile(NamedTuple):
    path: str
    bytes: int


class WorkItem(NamedTuple):
    """A part of a file, in bytes of the file; `end` is None for all that follows."""

    file: InputFile
    file_index: int = 0  # in the sorted list of inputs
    start: int = 0
    end: int | None = None

    @property
    def bytes(self) -> int:
        return (self.file.bytes if self.end is None else self.end) - self.start


class Found(NamedTuple):
    """What stood at one place of a file."""

    byte_offset: int  # after decompression
    drawing: Drawing | Reject
    head: bytes  # of the line or record


def match_files(patterns: Sequence[str]) -> list[InputFile]:
    """The files that match any of the globs, each once, sorted by path.

    Raises:
      UserError: a pattern matches no file or its directory cannot be listed.
    """
    files: dict[str, int] = {}
    for pattern in patterns:
        storage.check_path(pattern)
        if os.path.isdir(pattern):
            raise UserError(
                f"--input: {pattern} is a directory; say which files: {pattern}/*.ndjson"
            )
        try:
            (match,) = FileSystems.match([pattern])
        except storage.ERRORS as error:
            raise UserError(f"--input: {pattern}: {storage.reason(error)}") from None
        # On gs:// an empty folder may be kept as an object whose name ends in a slash.
        matching = [metadata for metadata in match.metadata_list if metadata.path[-1] != "/"]
        if not matching:
            raise UserError(f"--input: no file matches {pattern}")
        for metadata in matching:
            if os.path.exists(metadata.path) and not os.access(metadata.path, os.R_OK):
                raise UserError(f"--input: no permission to read {metadata.path}")
            files[metadata.path] = metadata.size_in_bytes
    return [InputFile(path, files[path]) for path in sorted(files)]


def range_bytes_for(files: Sequence[InputFile]) -> int:
    """The length of a work item, such that there are at most MAX_RANGES and one a file."""
    return max(RANGE_BYTES, math.ceil(sum(file.bytes for file in files) / MAX_RANGES))


def work_items(
    files: Sequence[InputFile], range_bytes: int = RANGE_BYTES, *, whole_files: bool = False
) -> list[WorkItem]:
    """Ranges of at most `range_bytes`; whole files if asked or where they cannot be cut."""
    items = [WorkItem(file, index) for index, file in enumerate(files)]
    return items if whole_files else [part for item in items for part in cut(item, range_bytes)]


def cut(item: WorkItem, range_bytes: int) -> list[WorkItem]:
    """The ranges of at most `range_bytes` of a whole file; the file itself if it cannot be cut."""
    path, size = item.file
    if _is_compressed(path) or _is_binary(path):
        return [item]
    starts = range(0, size, range_bytes)
    return [item._replace(start=at, end=min(at + range_bytes, size)) for at in starts]


def estimated_drawings(files: Sequence[InputFile]) -> int:
    """About how many drawings files of such sizes hold, rather too many than too few."""
    return sum(
        file.bytes // _COMPACT_DRAWING_BYTES
        if _is_compressed(file.path) or _is_binary(file.path)
        else file.bytes // _NDJSON_DRAWING_BYTES
        for file in files
    )


def category_of(path: str) -> str:
    """The category that a file's name states: without upstream's prefix and the extensions."""
    name = os.path.basename(path)
    for extension in (*_COMPRESSIONS, ".ndjson", ".bin"):
        name = name.removesuffix(extension)
    for prefix in _UPSTREAM_PREFIXES:
        name = name.removeprefix(prefix)
    return " ".join(name.split())  # one line, whatever the file system allows


def read_drawings(item: WorkItem) -> Iterator[Found]:
    """What stands in a work item, in the order of the file; blank lines are left out.

    Raises:
      RunError: the file cannot be read (any more), or its compressed data ends early.
    """
    path = item.file.path
    try:
        with _open(path) as file:
            yield from _read_binary(file) if _is_binary(path) else _read_ndjson(file, item)
    except _READ_ERRORS as error:
        raise RunError(f"cannot read {path}: {storage.reason(error)}") from error


def read_lines(
    file: BinaryIO, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """The lines that start in a range: (byte offset, line), blank ones left out.

    Of a line longer than MAX_LINE_BYTES only the beginning is returned, a little more than that.
    """
    # From one byte before the range on, which tells whether a line starts at its first byte.
    position = max(start - 1, 0)  # of the line at hand
    if position:
        file.seek(position)
    is_inside = start > 0  # of a line that does not count
    rest = b""
    while end is None or position < end:
        chunk = file.read(_CHUNK_BYTES)
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


def _read_ndjson(file: BinaryIO, item: WorkItem) -> Iterator[Found]:
    waiting: list[tuple[int, Drawing | RawDrawing | Reject, bytes]] = []  # a raw one, what follows
    waiting_bytes = 0
    for offset, line in read_lines(file, item.start, item.end):
        if offset == 0:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        drawing: Drawing | RawDrawing | Reject
        try:
            drawing = parse_line(line)
        except Reject as reject:
            drawing = reject
        if not waiting and not isinstance(drawing, RawDrawing):
            yield Found(offset, drawing, line)
            continue
        waiting.append((offset, drawing, line))
        waiting_bytes += len(line)
        if len(waiting) == _RAW_LINES or waiting_bytes > _RAW_BYTES:
            yield from _simplify_raw(waiting)
            waiting, waiting_bytes = [], 0
    yield from _simplify_raw(waiting)


def _simplify_raw(lines: list[tuple[int, Drawing | RawDrawing | Reject, bytes]]) -> Iterator[Found]:
    raw = [drawing for _, drawing, _ in lines if isinstance(drawing, RawDrawing)]
    simplified = iter(simplify_drawings(raw) if raw else [])
    for offset, drawing, line in lines:
        done = next(simplified) if isinstance(drawing, RawDrawing) else drawing
        yield Found(offset, done, line)


def _read_binary(file: BinaryIO) -> Iterator[Found]:
    """The records of an upstream `.bin` file. Nothing marks where one starts, so what follows a
    record that cannot be measured is lost: it is one Reject with the rest of the file."""
    data = b""
    data_offset = 0  # in the file
    start = 0  # of the record at hand, in data
    while True:
        try:
            drawing, end = parse_binary(data, start)
            yield Found(data_offset + start, drawing, data[start:end])
            start = end
        except Reject as reject:
            yield Found(data_offset + start, reject, data[start:])
            return
        except IndexError:  # more data needed
            chunk = file.read(_CHUNK_BYTES)
            data, data_offset, start = data[start:] + chunk, data_offset + start, 0
            if not chunk:
                if data:
                    yield Found(data_offset, Reject("the binary record ends early"), data)
                return


def _open(path: str) -> BinaryIO:
    file = storage.open_file(path)
    # Beam would decompress too, but takes a file that ends early for complete.
    if path.endswith(".gz"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    return cast(BinaryIO, bz2.BZ2File(file)) if path.endswith(".bz2") else file


def _is_compressed(path: str) -> bool:
    return path.endswith(_COMPRESSIONS)


def _is_binary(path: str) -> bool:
    return path.endswith((".bin", *(f".bin{extension}" for extension in _COMPRESSIONS)))
