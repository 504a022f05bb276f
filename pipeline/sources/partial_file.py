"""A partly downloaded file, and the count of the drawings in it."""

import glob
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import google_crc32c

from pipeline.drawings.binary_record import record_strokes

FIRST_BYTES = 1 << 16  # about 150 drawings, to tell how many bytes a drawing has
BLOCK_BYTES = 1 << 20  # read at a time from the disk
_NO_RECORD = bytes(17)  # no drawing of the binary format begins so: no key, no time, no strokes


class DrawingCounter:
    """Counts the drawings in a file that comes piece by piece, up to `limit`; None for all.

    A disk that lost power may leave zeros in the middle of a file, and a proxy may answer with a
    page of its own: so it also says whether what is counted looks like drawings.
    """

    def __init__(self, suffix: str, limit: int | None) -> None:
        self.limit = limit
        self.count = 0
        self.end = 0  # offset at which the last one counted ends
        self.is_sound = True  # all that was counted, or should have been, looks like drawings
        self._is_binary = suffix == ".bin"
        self._rest = bytearray()  # of the file from there on

    @property
    def is_enough(self) -> bool:
        """Tell whether there are `limit` drawings."""
        return self.count == self.limit

    def feed(self, data: bytes) -> None:
        """Count the drawings in the next bytes of the file."""
        if self.is_enough:
            return
        self._rest += data
        start = self.end
        for length in (_record_ends if self._is_binary else _line_ends)(self._rest):
            self.count += 1
            self.end = start + length
            if self.is_enough:
                break
        counted = self._rest[: self.end - start]
        del self._rest[: self.end - start]
        if self._is_binary:
            self.is_sound = self.is_enough or not self._rest.startswith(_NO_RECORD)
        elif counted:
            self.is_sound = self.is_sound and _are_lines_of_drawings(counted)

    def finish(self) -> bool:
        """End the file; returns whether that is after a drawing, not inside one."""
        if not self._is_binary:
            self.is_sound = self.is_sound and b"\0" not in self._rest
            if _are_lines_of_drawings(self._rest + b"\n"):  # the last line of raw files
                self.count += 1
                self.end += len(self._rest)
                self._rest.clear()
        return not self._rest


def _line_ends(data: bytearray) -> Iterator[int]:
    """Yield the offsets at which the lines of ndjson end."""
    end = 0
    while end := data.find(b"\n", end) + 1:
        yield end


def _are_lines_of_drawings(lines: bytearray) -> bool:
    """Tell whether all lines look like drawings; a minute for the 22 GB of all categories."""
    count = lines.count(b"\n")
    return (
        lines.startswith(b"{")
        and lines.count(b"}\n{") == count - 1
        and lines.endswith(b"}\n")
        and lines.count(b'"drawing"') >= count
        and b"\0" not in lines
    )


def _record_ends(data: bytearray) -> Iterator[int]:
    """Yield the offsets at which complete binary records end, up to a _NO_RECORD."""
    end = 0
    while not data.startswith(_NO_RECORD, end):
        try:
            _, end = record_strokes(data, end)
        except IndexError:
            return
        yield end


def count_drawings(path: Path, limit: int | None) -> DrawingCounter:
    """Counts the drawings of the file at `path`, of up to `limit` as far as it is sound."""
    drawings = DrawingCounter(path.suffix, limit)
    with path.open("rb") as file:
        while drawings.is_sound and not drawings.is_enough and (data := file.read(BLOCK_BYTES)):
            drawings.feed(data)
    return drawings


def crc32c_of(path: Path) -> int:
    """Return the CRC-32C of the file at `path`."""
    crc32c = 0
    with path.open("rb") as file:
        while data := file.read(BLOCK_BYTES):
            crc32c = google_crc32c.extend(crc32c, data)
    return crc32c


class PartialFile:
    """First bytes of a file, on disk as `<name>.<version>.part` until there are enough.

    The version is in the name, and the file made after an answer has told it, so that a run killed
    at any moment leaves nothing that a later one could continue with another version's bytes.
    """

    def __init__(self, target: Path, limit: int | None) -> None:
        """Finds what is there of `target`; `limit` drawings are enough, None for all."""
        self._target = target
        self._file: FileIO | None = None
        self._clear(limit)
        for path in target.parent.glob(f"{glob.escape(target.name)}.*.part"):  # never more than one
            self._open(path)
            break

    def _clear(self, limit: int | None) -> None:
        self.size_bytes = self.crc32c = 0
        self.drawings = DrawingCounter(self._target.suffix, limit)

    def _open(self, path: Path) -> None:
        path.touch()
        self._path = path
        # Unbuffered: whatever ends this process, what came is on disk. Not for appending: two runs
        # that download the same at the same time write the same bytes to the same places.
        self._file = path.open("r+b", buffering=0)
        while data := self._file.read(BLOCK_BYTES):
            self._account(data)

    def _account(self, data: bytes) -> None:
        self.size_bytes += len(data)
        self.crc32c = google_crc32c.extend(self.crc32c, data)
        self.drawings.feed(data)

    def reset_unless_version(self, version: str) -> None:
        """Discard the file unless it is of this version."""
        path = self._target.with_name(f"{self._target.name}.{version}.part")
        if self._file and self._path != path:
            self.discard()
        if not self._file:
            self._open(path)

    def append(self, data: bytes) -> None:
        """Writes the bytes that follow; the version must be known."""
        assert self._file
        rest = memoryview(data)
        while rest:  # a disk that is nearly full takes some of it
            rest = rest[self._file.write(rest) :]
        self._account(data)

    def discard(self) -> None:
        """Starts anew with nothing."""
        self.close()
        self._path.unlink()
        self._clear(self.drawings.limit)

    def finish(self) -> None:
        """Cuts after the last drawing that is wanted and gives the file its name."""
        assert self._file
        if self.drawings.is_enough:
            self._file.truncate(self.drawings.end)
        os.fsync(self._file.fileno())  # or it may have its name, but not its bytes
        self._path.replace(self._target)
        directory = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Leaves what is there for another run."""
        if self._file:
            self._file.close()
            self._file = None

    def expected_end(self) -> int | None:
        """Estimate from the drawings so far the offset by which all that are wanted have ended."""
        limit, count, end = self.drawings.limit, self.drawings.count, self.drawings.end
        if limit is None:
            return None
        if count == 0:
            return self.size_bytes + max(self.size_bytes, FIRST_BYTES)
        # A few more, as drawings are not all of one size.
        return max(self.size_bytes, end) + int(1.02 * (limit - count + 3) * end / count)
