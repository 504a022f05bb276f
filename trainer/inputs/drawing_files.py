"""Files of drawings, those in zip archives, and stdin → drawings, in batches."""

import contextlib
import functools
import os
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from pipeline.cli import RunError, UserError
from pipeline.drawings.drawing import Reading
from pipeline.drawings.reject import Reject
from pipeline.drawings.shapes import UNKNOWN
from pipeline.forms import compression, readers, recognition
from trainer.inputs.drawing_lines import Line, read_lines

STDIN = "-"
# A word is only repeated here, so that any will do.
READING = Reading(labels=None, layout=UNKNOWN)
_EMPTY = "no drawings in the file"
_LAYOUT_BYTES = 8 << 20  # searched for a drawing that tells the layout of its strokes


class _File(NamedTuple):
    """A file, or one in a zip archive."""

    name: str  # of one in an archive, the archive's and its own
    open: Callable[[], BinaryIO]  # at its beginning; raises one of compression.ERRORS
    bytes: int | None  # None in an archive

    @property
    def is_in_archive(self) -> bool:
        return self.bytes is None


def check_files(paths: Sequence[str]) -> None:
    """Raise UserError for a file that cannot be read; open none, since one may be a pipe."""
    for path in paths:
        if path == STDIN:
            continue
        if os.path.isdir(path):
            raise UserError(f"{path} is a directory; name files: {path}/*.ndjson")
        if not os.path.exists(path):
            raise UserError(f"{path}: no such file")
        if not os.access(path, os.R_OK):
            raise UserError(f"{path}: no permission to read it")


def read_batches(
    paths: Sequence[str], size: int, reading: Reading = READING
) -> Iterator[list[Line]]:
    """Read the drawings of all files, `-` being stdin, and of stdin lines without empty ones.

    A batch has `size` lines; fewer at the end, and when the input is a pipe or a terminal without
    more lines yet: a process that waits for an output before its next line gets one. A file
    without drawings, or in an archive one of no form of drawings, is an error in its place. Where
    nothing in a file tells whether strokes are points, the others tell.

    Raises:
      UserError: a file cannot be read or is of no form of drawings; the lines before come first.
      RunError: a file is damaged; as above.
    """
    batch: list[Line] = []
    shared_layout = functools.cache(functools.partial(_shared_layout, paths))
    try:
        for path in paths:
            for line in _read_path(path, reading, shared_layout):
                if line is not None:
                    batch.append(line)
                if len(batch) == size or (line is None and batch):
                    yield batch
                    batch = []
    except (UserError, RunError):
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _read_path(
    path: str, reading: Reading, shared_layout: Callable[[], str]
) -> Iterator[Line | None]:
    """Yield the drawings of a file or archive, and None where reading on would wait."""
    if path == STDIN:
        yield from read_lines(sys.stdin.buffer, "stdin", reading, may_wait=True)
        return
    with _errors_of(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            with _open(path) as pipe:
                yield from read_lines(pipe, path, reading, may_wait=True)
            return
        for file in _files(path):
            with _errors_of(file.name):
                yield from _read_file(file, reading, shared_layout)


@contextlib.contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Raise UserError with the name of a file that cannot be read or is no form of drawings."""
    try:
        yield
    except recognition.Unreadable as unreadable:
        raise UserError(f"{name} {unreadable}") from None
    except compression.ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name}: cannot be read: {reason}") from None


def _open(path: str) -> BinaryIO:
    return open(path, "rb")


def _files(path: str) -> Iterator[_File]:
    """Yield a file, or those in a zip archive."""
    recognition.check_name(path)
    with _open(path) as content:
        is_archive = content.read(len(compression.ZIP)) == compression.ZIP
    if not is_archive:
        yield _File(path, functools.partial(_open, path), os.path.getsize(path))
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name, _ in compression.members(archive)]
        recognition.check_archive(names)
        for name in names:
            opener = functools.partial(compression.member, archive, name)
            yield _File(f"{path}/{name}", opener, None)


def _shared_layout(paths: Sequence[str]) -> str:
    """Return the layout of the files whose drawings tell it; UNKNOWN unless it is one.

    As the pipeline, which reads ambiguous files so.
    """
    found = set()
    for path in paths:
        if path != STDIN and stat.S_ISREG(os.stat(path).st_mode):
            # What is wrong with a file is said when it is read.
            with contextlib.suppress(recognition.Unreadable, *compression.ERRORS):
                for file in _files(path):
                    with contextlib.suppress(recognition.Unreadable):
                        form, layout = _recognise(file)
                        found |= {layout} - {UNKNOWN} if form != readers.BINARY else set()
    return found.pop() if len(found) == 1 else UNKNOWN


def _recognise(file: _File) -> tuple[str, str]:
    """Return the form of a file, and the layout of its strokes; raises recognition.Unreadable."""
    recognition.check_name(file.name)
    head = b""
    # Damage shows when the file is read.
    with contextlib.suppress(*compression.ERRORS), _decompressed(file) as content:
        while (missing := recognition.HEAD_BYTES - len(head)) and (chunk := content.read(missing)):
            head += chunk
    form = recognition.recognise(head, file.name, file.bytes)
    if form == readers.NDJSON and file.is_in_archive:
        recognition.check_text(head)
    with contextlib.suppress(RunError, *compression.ERRORS), _decompressed(file) as content:
        if form == readers.PARQUET:
            recognition.check_columns(content)
        return form, readers.layout(content, form, _LAYOUT_BYTES)
    return form, UNKNOWN


def _decompressed(file: _File) -> BinaryIO:
    return compression.decompressed(file.open())


def _read_file(
    file: _File, reading: Reading, shared_layout: Callable[[], str]
) -> Iterator[Line | None]:
    """Yield the drawings of a file, or an error if it has none; see `read_batches`."""
    try:
        form, layout = _recognise(file)
    except recognition.Unreadable as unreadable:
        if not file.is_in_archive:
            raise
        yield Line(file.name, None, str(unreadable))
        return
    reading = reading._replace(layout=shared_layout() if layout == UNKNOWN else layout)
    is_empty = True
    with _decompressed(file) as content:
        for line in _read_content(content, file.name, form, reading):
            is_empty = False
            yield line
    if is_empty:
        yield Line(file.name, None, _EMPTY)


def _read_content(
    content: BinaryIO, name: str, form: str, reading: Reading
) -> Iterator[Line | None]:
    """Yield the drawings of an open file."""
    if form == readers.NDJSON:  # as an editor numbers the lines
        yield from read_lines(content, name, reading, may_wait=False)
        return
    found = readers.read(content, form, readers.Part(name), reading)
    for number, (_, drawing, _) in enumerate(found, start=1):
        place = f"{name}: drawing {number}"
        if isinstance(drawing, Reject):
            yield Line(place, None, str(drawing))
        else:
            yield Line(place, drawing)
