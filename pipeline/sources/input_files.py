"""Input files: globs → files, recognised → work items → drawings, each once.

A work item is a byte range of a file that has a drawing a line; a line belongs to the range in
which it starts, so however the files are cut up, every line is read exactly once. Compressed files
and other forms cannot be entered in the middle: they are one work item each, read as a stream, so
of a large input they should be many. The files in a zip archive are files of their own.
"""

import contextlib
import fnmatch
import io
import math
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from apache_beam.io.filesystem import FileMetadata, FileSystem
from apache_beam.io.filesystems import FileSystems

from pipeline.cli import RunError, UserError, is_remote
from pipeline.drawings.drawing import UPSTREAM, Reading
from pipeline.drawings.shapes import LISTS, UNKNOWN
from pipeline.files import storage
from pipeline.forms import compression, readers, recognition
from pipeline.forms.readers import BINARY, CAN_BE_CUT, NDJSON, PARQUET, Part
from pipeline.forms.texts import Parsed

RANGE_BYTES = 8 << 20  # about 20,000 drawings: many ranges for every core, few elements for Beam
# Above 168 GB ranges grow instead of becoming more, because every range sends something to every
# shard. At 2.2 TB, 5 billion drawings, one has 110 MB, 10 seconds of work.
MAX_RANGES = 20_000
# What a drawing takes in a file, about and rather less: the size of groups is chosen by it.
_NDJSON_DRAWING_BYTES = 350
_COMPACT_DRAWING_BYTES = 80  # compressed, binary or both
_READ_ERRORS: tuple[type[Exception], ...] = (*storage.ERRORS, *compression.ERRORS)
# So much of a file is searched for a drawing that tells the layout of its strokes.
_LAYOUT_BYTES = RANGE_BYTES
_FEW_BYTES = 8 << 10  # of most the first drawings tell


class InputFile(NamedTuple):
    """A file of drawings, and what was recognised in it."""

    path: str  # of one in a zip archive, the archive's and its name in there
    bytes: int  # as it is stored
    form: str = NDJSON  # see forms.readers
    layout: str = LISTS  # of strokes, see drawings.shapes
    is_compressed: bool = False
    archive: str = ""  # path of the zip archive that it is in


class WorkItem(NamedTuple):
    """A part of a file, in bytes of the file; `end` is None for all that follows."""

    file: InputFile
    file_index: int = 0  # in the sorted list of inputs
    start: int = 0
    end: int | None = None

    @property
    def bytes(self) -> int:
        return (self.file.bytes if self.end is None else self.end) - self.start


def match_files(patterns: Sequence[str]) -> list[InputFile]:
    """Return the files that match any of the globs, each once, sorted by path, and their forms.

    A file of exactly a pattern's name is that file, whatever characters are in it.

    Raises:
      UserError: a pattern matches no file, its directory cannot be listed, or a file cannot be read
        or is of no form of drawings.
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
            raise UserError(f"--input: no file matches {pattern}{_hint(pattern, len(patterns))}")
        for metadata in matching:
            if os.path.exists(metadata.path) and not os.access(metadata.path, os.R_OK):
                raise UserError(f"--input: no permission to read {metadata.path}")
            files[metadata.path] = metadata.size_in_bytes
    return _recognised(sorted(files.items()))


def _recognised(files: list[tuple[str, int]]) -> list[InputFile]:
    """Recognise files by their content; see `match_files`."""
    if any(is_remote(path) for path, _ in files):
        found = storage.in_parallel(_recognise, files)
    else:
        found = list(map(_recognise, files))
    each = [file for of_path in found for file in of_path]
    # Where all drawings of a file are ambiguous, they are what those of the other files are.
    layouts = {file.layout for file in each if file.form != BINARY} - {UNKNOWN}
    if len(layouts) == 1:
        (layout,) = layouts
        each = [file._replace(layout=layout) for file in each]
    return each


def _recognise(path_and_bytes: tuple[str, int]) -> list[InputFile]:
    """Recognise a file, or those in a zip archive; raises UserError for one of no form."""
    path, size = path_and_bytes
    name = path
    try:
        recognition.check_name(path)
        with storage.open_range(path, recognition.HEAD_BYTES) as file:
            head = _read_head(file)
        if not head.startswith(compression.ZIP):
            return [_with_form(InputFile(path, size), head)]
        with storage.open_file(path) as file, zipfile.ZipFile(file) as archive:
            members = compression.members(archive)
        recognition.check_archive([name for name, _ in members])
        found = []
        for member, member_bytes in members:
            name = f"{path}/{member}"
            recognition.check_name(name)
            file_in_archive = InputFile(name, member_bytes, archive=path)
            with _open(file_in_archive) as content:
                found.append(_with_form(file_in_archive, _read_head(content)))
        return found
    except recognition.Unreadable as unreadable:
        raise UserError(f"--input: {name} {unreadable}") from None
    except _READ_ERRORS as error:
        raise UserError(f"--input: cannot read {name}: {storage.reason(error)}") from error


def _read_head(file: BinaryIO) -> bytes:
    head = b""
    while chunk := file.read(recognition.HEAD_BYTES - len(head)):
        head += chunk
    return head


def _with_form(file: InputFile, head: bytes) -> InputFile:
    """Add form and layout to a file that begins with `head`; damage is left to its reader."""
    size = None if file.archive else file.bytes
    if compression.is_compressed(head):
        file, size = file._replace(is_compressed=True), None
        head = compression.decompressed_head(head, recognition.HEAD_BYTES)
    form = recognition.recognise(head, file.path, size)
    file = file._replace(form=form)
    if form == PARQUET:
        with _open(file) as content:
            recognition.check_columns(content)
            return file._replace(layout=readers.layout(content, form, _LAYOUT_BYTES))
    layout = readers.layout(io.BytesIO(head[:_FEW_BYTES]), form, len(head))
    if layout == UNKNOWN and size != len(head[:_FEW_BYTES]):
        with contextlib.suppress(RunError, *_READ_ERRORS), _open(file) as content:
            layout = readers.layout(content, form, _LAYOUT_BYTES)
    return file._replace(layout=layout)


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
    """Return the files that a glob matches; one with brackets may be meant as it is written."""
    with storage.errors_as(UserError, f"--input: {pattern}"):
        if not is_remote(pattern):
            paths = [pattern] if os.path.isfile(pattern) else list(_local_paths(pattern))
            if not paths and "[" in pattern:
                paths = list(_local_paths(pattern.replace("[", "[[]")))
            return list(map(_metadata, paths))
        if storage.is_pattern(pattern) and storage.exists(pattern):
            system = FileSystems.get_filesystem(pattern)
            return [FileMetadata(pattern, system.size(pattern), system.last_updated(pattern))]
        (match,) = FileSystems.match([pattern])
    # On gs:// an empty folder may be kept as an object whose name ends in a slash.
    return [metadata for metadata in match.metadata_list if metadata.path[-1] != "/"]


def _local_paths(pattern: str) -> Iterator[str]:
    """Yield the paths on this machine that a glob matches, which means what it means to Beam.

    Beam itself, and Python's glob, pass over what they cannot read without a word.

    Raises:
      OSError: a directory where files may match cannot be listed.
    """
    parts = pattern.split("/")
    first = next((index for index, part in enumerate(parts) if storage.is_pattern(part)), None)
    top = "/".join([*parts[:first], ""])
    if first is None or not os.path.isdir(top or "."):
        return
    matches = None
    if "**" in pattern:  # Beam's `*` matches no backslash, which a name may have here
        whole = FileSystem.translate_pattern(pattern).replace(r"[^/\\]", "[^/]")
        matches = re.compile(whole).match

    def walk(directory: str, level: int, above: frozenset[str]) -> Iterator[str]:
        crosses_slashes = "**" in "/".join(parts[first : level + 1])
        is_last = level == len(parts) - 1
        for entry in os.scandir(directory or "."):
            path = directory + entry.name
            fits = crosses_slashes or fnmatch.fnmatchcase(entry.name, parts[level])
            if not entry.is_dir():
                if matches(path) if matches else is_last and fits:
                    yield path
            elif fits and (crosses_slashes or not is_last):
                where = os.path.realpath(path)  # a link may lead back up
                if where not in above:
                    yield from walk(f"{path}/", level + 1, above | {where})

    yield from walk(top, first, frozenset([os.path.realpath(top or ".")]))


def _metadata(path: str) -> FileMetadata:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise UserError(f"--input: {path} leads to no file") from None
    return FileMetadata(path, status.st_size, status.st_mtime)


def _hint(pattern: str, patterns: int) -> str:
    """Tell how to write a name that was read as something else."""
    if patterns > 1:
        return "; a comma separates globs: write ? for one in a name"
    return "; [ begins a set of characters: write [[] for one in a name" if "[" in pattern else ""


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
    file = item.file
    if file.is_compressed or file.archive or file.form not in CAN_BE_CUT:
        return [item]
    starts = range(0, file.bytes, range_bytes)
    return [item._replace(start=at, end=min(at + range_bytes, file.bytes)) for at in starts]


def estimated_drawings(files: Sequence[InputFile]) -> int:
    """Estimate the number of drawings in files of such sizes, rather too high than too low."""
    return sum(
        file.bytes // _COMPACT_DRAWING_BYTES
        if file.is_compressed or file.archive or file.form in (BINARY, PARQUET)
        else file.bytes // _NDJSON_DRAWING_BYTES
        for file in files
    )


def read_drawings(item: WorkItem, reading: Reading = UPSTREAM) -> Iterator[Parsed]:
    """Yield the drawings and rejects of a work item, in the order of the file, but no blank lines.

    Args:
      item: a file or a part of one.
      reading: how; its layout is the file's.

    Raises:
      RunError: the file cannot be read (any more), is damaged, or its compressed data ends early.
    """
    path, form, layout = item.file.path, item.file.form, item.file.layout
    part = Part(path, item.start, item.end)
    try:
        with _open(item.file, item.end) as file:
            yield from readers.read(file, form, part, reading._replace(layout=layout))
    except _READ_ERRORS as error:
        raise RunError(f"cannot read {path}: {storage.reason(error)}") from error


@contextlib.contextmanager
def _open(file: InputFile, end: int | None = None) -> Iterator[BinaryIO]:
    """Open a file, decompressed, or as it is to read little past an offset."""
    with contextlib.ExitStack() as stack:
        path = file.archive or file.path
        if end is not None:
            yield stack.enter_context(storage.open_range(path, end))
            return
        content = stack.enter_context(storage.open_file(path))
        if file.archive:
            archive = stack.enter_context(zipfile.ZipFile(content))
            content = compression.member(archive, file.path.removeprefix(f"{path}/"))
        yield compression.decompressed(content) if file.is_compressed else content
