"""Input files: globs → files → work items → lines or records, each once.

A work item is a byte range of an ndjson file; a line belongs to the range in which it starts, so
however the files are cut up, every line is read exactly once. Compressed and binary files cannot
be entered in the middle: they are one work item each, read as a stream, so of a large input they
should be many.
"""

import bz2
import gzip
import math
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import BinaryIO, NamedTuple, cast

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems

from pipeline.cli import RunError, UserError, is_remote
from pipeline.drawings.drawing import (
    MAX_LINE_BYTES,
    Drawing,
    RawDrawing,
    RecordReject,
    Reject,
    holds_binary_records,
    parse_binary,
    parse_line,
    simplify_drawings,
)
from pipeline.drawings.label_rule import clean_label
from pipeline.files import storage

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
_HOLE = bytes(512)  # a sector that was never written, as a power loss leaves
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


class Parsed(NamedTuple):
    """A line or record of a file, parsed."""

    byte_offset: int  # after decompression
    drawing: Drawing | Reject
    head: bytes  # of the line or record


def match_files(patterns: Sequence[str]) -> list[InputFile]:
    """Return the files that match any of the globs, each once, sorted by path.

    A file of exactly a pattern's name is that file, whatever characters are in it.

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
        matching = _match(pattern)
        if not matching:
            raise UserError(f"--input: no file matches {pattern}")
        for metadata in matching:
            if os.path.exists(metadata.path) and not os.access(metadata.path, os.R_OK):
                raise UserError(f"--input: no permission to read {metadata.path}")
            files[metadata.path] = metadata.size_in_bytes
    return [InputFile(path, files[path]) for path in sorted(files)]


def input_versions(patterns: Sequence[str]) -> dict[str, str]:
    """Tell the state of each file that matches: another text after any change of its content.

    On this machine size, time of change and inode; elsewhere size and time, which on gs:// is that
    of the object's generation.

    Raises:
      UserError: a directory cannot be listed.
    """
    versions = {}
    for metadata in (metadata for pattern in patterns for metadata in _match(pattern)):
        version = f"{metadata.size_in_bytes} {metadata.last_updated_in_seconds}"
        if not is_remote(metadata.path):
            status = os.stat(metadata.path)
            version = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
        versions[metadata.path] = version
    return versions


def _match(pattern: str) -> list[FileMetadata]:
    with storage.errors_as(UserError, f"--input: {pattern}"):
        if not is_remote(pattern) and os.path.isfile(pattern):
            status = os.stat(pattern)
            return [FileMetadata(pattern, status.st_size, status.st_mtime)]
        if is_remote(pattern) and storage.is_pattern(pattern) and storage.exists(pattern):
            system = FileSystems.get_filesystem(pattern)
            return [FileMetadata(pattern, system.size(pattern), system.last_updated(pattern))]
        (match,) = FileSystems.match([pattern])
    # On gs:// an empty folder may be kept as an object whose name ends in a slash.
    return [metadata for metadata in match.metadata_list if metadata.path[-1] != "/"]


def range_bytes_for(files: Sequence[InputFile]) -> int:
    """Return the length of a work item, such that there are at most MAX_RANGES and one a file."""
    return max(RANGE_BYTES, math.ceil(sum(file.bytes for file in files) / MAX_RANGES))


def work_items(
    files: Sequence[InputFile], range_bytes: int = RANGE_BYTES, *, whole_files: bool = False
) -> list[WorkItem]:
    """Return ranges of at most `range_bytes`; whole files if asked or if they cannot be cut."""
    items = [WorkItem(file, index) for index, file in enumerate(files)]
    return items if whole_files else [part for item in items for part in cut(item, range_bytes)]


def cut(item: WorkItem, range_bytes: int) -> list[WorkItem]:
    """Cut a whole file into ranges of at most `range_bytes`, or into one if it cannot be cut."""
    path, size = item.file
    if _is_compressed(path) or is_binary(path):
        return [item]
    starts = range(0, size, range_bytes)
    return [item._replace(start=at, end=min(at + range_bytes, size)) for at in starts]


def estimated_drawings(files: Sequence[InputFile]) -> int:
    """Estimate the number of drawings in files of such sizes, rather too high than too low."""
    return sum(
        file.bytes // _COMPACT_DRAWING_BYTES
        if _is_compressed(file.path) or is_binary(file.path)
        else file.bytes // _NDJSON_DRAWING_BYTES
        for file in files
    )


def category_of(path: str) -> str:
    """Return the category in a file's name: without upstream's prefix and the extensions.

    Empty where what is left can be no label.
    """
    name = os.path.basename(path)
    for extension in (*_COMPRESSIONS, ".ndjson", ".bin"):
        name = name.removesuffix(extension)
    for prefix in _UPSTREAM_PREFIXES:
        name = name.removeprefix(prefix)
    return _label(name)


def file_categories(paths: Sequence[str], labels: Collection[str] | None = None) -> list[str]:
    """Find the category of each file's drawings without a word; empty where none is sure.

    It is the name's; but of names without a letter in several folders, as cat/000.ndjson and
    dog/000.ndjson, it is the folder's. Where files in several folders share a name otherwise,
    nothing tells which of both it is, but --labels.

    Args:
      paths: of all files of the input.
      labels: those of --labels.
    """
    names = [category_of(path) for path in paths]
    folders = [os.path.dirname(path) for path in paths]
    places: defaultdict[str, set[str]] = defaultdict(set)  # by name, the folders it is in
    numbered: set[str] = set()  # the folders of names without a letter
    for name, folder in zip(names, folders, strict=True):
        places[name].add(folder)
        if not _has_letter(name):
            numbered.add(folder)

    def category(name: str, folder: str) -> str:
        of_folder = _label(os.path.basename(folder))
        if not name:
            return ""
        if not _has_letter(name) and len(numbered) > 1:
            return of_folder
        if len(places[name]) == 1 or (labels is not None and name in labels):
            return name
        return of_folder if labels is not None and of_folder in labels else ""

    return [category(name, folder) for name, folder in zip(names, folders, strict=True)]


def _label(name: str) -> str:
    try:
        return clean_label(" ".join(name.split()))
    except ValueError:
        return ""


def _has_letter(name: str) -> bool:
    return re.fullmatch(r"[0-9 ().,_-]*", name) is None


def read_drawings(item: WorkItem) -> Iterator[Parsed]:
    """Yield the drawings and rejects of a work item, in the order of the file, but no blank lines.

    Raises:
      RunError: the file cannot be read (any more), is damaged, or its compressed data ends early.
    """
    path = item.file.path
    try:
        with _open(item) as file:
            yield from _read_binary(file, path) if is_binary(path) else _read_ndjson(file, item)
    except _READ_ERRORS as error:
        raise RunError(f"cannot read {path}: {storage.reason(error)}") from error


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


def _read_ndjson(file: BinaryIO, item: WorkItem) -> Iterator[Parsed]:
    """Yield the lines of an ndjson file, parsed.

    Raises:
      RunError: a line has a hole of zeros, which may hide any number of lines.
    """
    waiting: list[tuple[int, Drawing | RawDrawing | Reject, bytes]] = []  # a raw one, what follows
    waiting_bytes = 0
    for offset, text in read_lines(file, item.start, item.end):
        line = text if offset else text.removeprefix(_BYTE_ORDER_MARK)
        drawing: Drawing | RawDrawing | Reject
        try:
            drawing = parse_line(line)
        except Reject as reject:  # only of these: no other line can hold a zero
            if (hole := text.find(_HOLE)) >= 0:
                at = f"zeros at byte {offset + hole:,}"
                raise RunError(
                    f"{item.file.path}: {at}: the file is damaged; fetch it again"
                ) from None
            drawing = reject
        if not waiting and not isinstance(drawing, RawDrawing):
            yield Parsed(offset, drawing, line)
            continue
        waiting.append((offset, drawing, line))
        waiting_bytes += len(line)
        if len(waiting) == _RAW_LINES or waiting_bytes > _RAW_BYTES:
            yield from _simplify_raw(waiting)
            waiting, waiting_bytes = [], 0
    yield from _simplify_raw(waiting)


def _simplify_raw(
    lines: list[tuple[int, Drawing | RawDrawing | Reject, bytes]],
) -> Iterator[Parsed]:
    raw = [drawing for _, drawing, _ in lines if isinstance(drawing, RawDrawing)]
    simplified = iter(simplify_drawings(raw) if raw else [])
    for offset, drawing, line in lines:
        done = next(simplified) if isinstance(drawing, RawDrawing) else drawing
        yield Parsed(offset, done, line)


def _read_binary(file: BinaryIO, path: str) -> Iterator[Parsed]:
    """Yield the records of an upstream `.bin` file.

    A record that holds no usable drawing is a Reject, and passed over by its own lengths. What is
    no record at all leaves nothing to go by: nothing marks where the next one starts.

    Raises:
      RunError: at some byte there is no record, or one so long that it takes in others.
    """

    def damage(at: int) -> RunError:
        text = f"at byte {data_offset + at:,} there is no record of upstream's binary format"
        return RunError(f"{path}: {text}; what follows cannot be read")

    data = b""
    data_offset = 0  # in the file
    start = 0  # of the record at hand, in data
    while True:
        try:
            drawing, end = parse_binary(data, start)
            yield Parsed(data_offset + start, drawing, data[start:end])
            start = end
        except RecordReject as reject:
            yield Parsed(data_offset + start, reject, data[start : reject.end])
            start = reject.end
        except Reject:
            raise damage(start) from None
        except IndexError:  # more data needed
            chunk = file.read(_CHUNK_BYTES)
            data, data_offset, start = data[start:] + chunk, data_offset + start, 0
            if len(data) > MAX_LINE_BYTES or (not chunk and holds_binary_records(data)):
                raise damage(0) from None
            if not chunk:
                if data:
                    yield Parsed(data_offset, Reject("the binary record ends early"), data)
                return


class _Bz2Streams:
    """A file of one bz2 stream after the other, as pbzip2 and `cat` make them.

    Python's own reader takes damage after the first stream for the end of the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompressor = bz2.BZ2Decompressor()
        self._is_started = False  # the stream at hand

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; none only at the end of the file, after a whole stream."""
        while True:
            data = b""
            if self._decompressor.eof:
                data = self._decompressor.unused_data
                self._decompressor = bz2.BZ2Decompressor()
                self._is_started = False
            if not data and self._decompressor.needs_input:
                data = self._file.read(size)
                if not data:
                    if self._is_started:
                        raise EOFError("Compressed file ended before the end-of-stream marker")
                    return b""
            self._is_started = self._is_started or bool(data)
            if found := self._decompressor.decompress(data, size):
                return found

    def __enter__(self) -> "_Bz2Streams":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _open(item: WorkItem) -> BinaryIO:
    path = item.file.path
    file = storage.open_file(path) if item.end is None else storage.open_range(path, item.end)
    # Beam would decompress too, but takes a file that ends early for complete.
    if path.endswith(".gz"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    return cast(BinaryIO, _Bz2Streams(file)) if path.endswith(".bz2") else file


def _is_compressed(path: str) -> bool:
    return path.endswith(_COMPRESSIONS)


def is_binary(path: str) -> bool:
    """Tell whether a file is of upstream's binary format, by its name."""
    return path.endswith((".bin", *(f".bin{extension}" for extension in _COMPRESSIONS)))
