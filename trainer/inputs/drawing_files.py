"""Files of drawings, those in zip archives, and stdin → drawings, in batches."""

import contextlib
import functools
import os
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from pipeline.cli import RunError, UserError
from pipeline.drawings.drawing import Reading
from pipeline.drawings.reject import Reject
from pipeline.drawings.shapes import UNKNOWN
from pipeline.forms import compression, readers, recognition
from trainer.inputs.drawing_lines import Line, read_lines

STDIN = "-"
# A word is only repeated here, so that any will do.
READING = Reading(labels=None, layout=UNKNOWN)
_LAYOUT_BYTES = 8 << 20  # searched for a drawing that tells the layout of its strokes


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
    more lines yet: a process that waits for an output before its next line gets one. A file in an
    archive that is no form of drawings is an error in its place.

    Raises:
      UserError: a file cannot be read or is of no form of drawings; the lines before come first.
      RunError: a file is damaged; as above.
    """
    batch: list[Line] = []
    try:
        for path in paths:
            for line in _read_path(path, reading):
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


def _read_path(path: str, reading: Reading) -> Iterator[Line | None]:
    """Yield the drawings of a file or archive, and None where reading on would wait."""
    if path == STDIN:
        yield from read_lines(sys.stdin.buffer, "stdin", reading, may_wait=True)
        return
    with _errors_of(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            with _open(path) as file:
                yield from read_lines(file, path, reading, may_wait=True)
        elif _is_archive(path):
            with zipfile.ZipFile(path) as archive:
                yield from _read_archive(archive, path, reading)
        else:
            open_file = functools.partial(_open, path)
            form, layout = _recognise(open_file, path, os.path.getsize(path))
            yield from _read_file(open_file, path, form, reading._replace(layout=layout))


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


def _is_archive(path: str) -> bool:
    recognition.check_name(path)
    with _open(path) as file:
        return file.read(len(compression.ZIP)) == compression.ZIP


def _read_archive(archive: zipfile.ZipFile, path: str, reading: Reading) -> Iterator[Line | None]:
    """Yield the drawings of the files in an archive, and an error for each that has none."""
    names = [name for name, _ in compression.members(archive)]
    recognition.check_archive(names)
    for member in names:
        name = f"{path}/{member}"
        open_member = functools.partial(compression.member, archive, member)
        with _errors_of(name):
            try:
                form, layout = _recognise(open_member, name, None)
            except recognition.Unreadable as unreadable:
                yield Line(name, None, str(unreadable))
            else:
                yield from _read_file(open_member, name, form, reading._replace(layout=layout))


def _recognise(open_file: Callable[[], BinaryIO], name: str, size: int | None) -> tuple[str, str]:
    """Return the form of a file, and the layout of its strokes; raises recognition.Unreadable.

    Args:
      open_file: opens it, at its beginning.
      name: its name.
      size: bytes; None for a file in an archive, of which also text without drawings is none.
    """
    recognition.check_name(name)
    head = b""
    # Damage shows when the file is read.
    with contextlib.suppress(*compression.ERRORS), compression.decompressed(open_file()) as file:
        while (missing := recognition.HEAD_BYTES - len(head)) and (chunk := file.read(missing)):
            head += chunk
    form = recognition.recognise(head, name, size)
    if form == readers.NDJSON and size is None:
        recognition.check_text(head)
    with (
        contextlib.suppress(RunError, *compression.ERRORS),
        compression.decompressed(open_file()) as file,
    ):
        if form == readers.PARQUET:
            recognition.check_columns(file)
        return form, readers.layout(file, form, _LAYOUT_BYTES)
    return form, UNKNOWN


def _read_file(
    open_file: Callable[[], BinaryIO], name: str, form: str, reading: Reading
) -> Iterator[Line | None]:
    """Yield the drawings of a file of a known form."""
    with compression.decompressed(open_file()) as file:
        if form == readers.NDJSON:  # as an editor numbers the lines
            yield from read_lines(file, name, reading, may_wait=False)
            return
        found = readers.read(file, form, readers.Part(name), reading)
        for number, (_, drawing, _) in enumerate(found, start=1):
            place = f"{name}: drawing {number}"
            if isinstance(drawing, Reject):
                yield Line(place, None, str(drawing))
            else:
                yield Line(place, drawing)
