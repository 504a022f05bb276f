"""Compressed files, by their content: what a name says of it may be wrong either way."""

import bz2
import contextlib
import gzip
import io
import zipfile
import zlib
from typing import BinaryIO, cast

ZIP = b"PK\x03\x04"  # how an archive begins
_FINDER = "__MACOSX/"  # what macOS puts beside each file
_STEP_BYTES = 8 << 10
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"
HOLE = bytes(512)  # a sector that was never written, as a power loss leaves
ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


def is_compressed(head: bytes) -> bool:
    """Tell whether a file that begins so is compressed, as .gz or .bz2."""
    return head.startswith((_GZIP, _BZIP2))


def decompressed(file: BinaryIO) -> BinaryIO:
    """Return a file's content as a file: decompressed if it begins as a compressed one.

    Args:
      file: at its beginning, to which it can be sought.
    """
    magic = file.read(len(_BZIP2))
    if not is_compressed(magic):
        file.seek(0)
        return file
    # To seek in a file on gs:// would fetch its beginning again.
    whole = _Rejoined(magic, file)
    # Beam would decompress too, but takes a file that ends early for complete.
    return cast(BinaryIO, _GzipStreams(whole) if magic[:2] == _GZIP else _Bz2Streams(whole))


def decompressed_head(head: bytes, count: int) -> bytes:
    """Return the first `count` bytes, or fewer, that the beginning of a compressed file holds."""
    file = decompressed(io.BytesIO(head))
    found = b""
    with contextlib.suppress(*ERRORS):  # where it breaks off, or damage: its reader says so
        while len(found) < count and (chunk := file.read(_STEP_BYTES)):
            found += chunk
    return found[:count]


def members(archive: zipfile.ZipFile) -> list[tuple[str, int]]:
    """Return the files in a zip archive, sorted: (name, compressed bytes)."""
    return sorted(
        (member.filename, member.compress_size)
        for member in archive.infolist()
        if not (member.is_dir() or member.filename.startswith(_FINDER))
    )


def member(archive: zipfile.ZipFile, name: str) -> BinaryIO:
    """Open a file in a zip archive; raises one of ERRORS."""
    try:
        return cast(BinaryIO, archive.open(name))
    except RuntimeError as error:  # it has a password, or a compression that Python does not know
        raise OSError(str(error)) from error


class _Rejoined:
    """A file of which the first bytes were read already."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = head
        self._file = file
        self.last = b""  # bytes that were read, as many as a hole has

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, as of a file."""
        if not self._head:
            found = self._file.read(size)
            self.last = (self.last + found[-len(HOLE) :])[-len(HOLE) :]
            return found
        end = len(self._head) if size < 0 else size
        head, self._head = self._head[:end], self._head[end:]
        return head

    def close(self) -> None:
        self._file.close()


class _GzipStreams:
    """A file of one gzip stream after the other, as `cat` makes them.

    Python's own reader takes zeros after a stream for padding, also where the next one was lost.
    """

    def __init__(self, file: _Rejoined) -> None:
        self._file = file
        self._content = gzip.GzipFile(fileobj=cast(BinaryIO, file))

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; none only at the end of the file, after a whole stream."""
        found = self._content.read(size)
        if not found and size and self._file.last == HOLE:
            raise EOFError("Compressed file ends in zeros, as a power loss leaves them")
        return found

    def __enter__(self) -> "_GzipStreams":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _Bz2Streams:
    """A file of one bz2 stream after the other, as pbzip2 and `cat` make them.

    Python's own reader takes damage after the first stream for the end of the file.
    """

    def __init__(self, file: _Rejoined) -> None:
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
