"""Form of a file, recognised by how it begins; what is none of ours is named."""

import collections
import os
import re
from typing import BinaryIO

from pipeline.drawings.binary_record import begins_with_record
from pipeline.drawings.reject import Reject
from pipeline.forms import csv_rows
from pipeline.forms.compression import ZIP
from pipeline.forms.parquet_rows import ERRORS as PARQUET_ERRORS
from pipeline.forms.parquet_rows import drawing_columns
from pipeline.forms.readers import BINARY, CSV, JSON, NDJSON, PARQUET
from pipeline.forms.texts import BYTE_ORDER_MARK

HEAD_BYTES = 64 << 10  # enough to tell, but for a first line that is longer still
_BITMAP_BYTES = 28 * 28  # a pixel a byte, as the public numpy bitmaps have it

_STROKES = "drawings are read as strokes"
_FORMS = f"{_STROKES}: ndjson, JSON, csv, parquet, or upstream's .bin, also as .gz, .bz2 or .zip"
_UPSTREAM = f"{_STROKES}: take the .ndjson or .bin of full/simplified, full/raw or full/binary"
_FILL = "pack the files of drawings into it"
_UNPACK = "unpack it, or compress it as .gz, .bz2 or .zip"
_BITMAPS = ("numpy bitmaps of 28×28 pixels", _UPSTREAM)
_ZIP_END = b"PK\x05\x06"  # which ends an archive, and is all of an empty one
# How files begin that are none of ours: what they look like, and what to do.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x93NUMPY", *_BITMAPS),
    (b"\xfd7zXZ\x00", "an xz-compressed file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd-compressed file", _UNPACK),
    (_ZIP_END, "a zip archive without files", _FILL),
    (ZIP, "a zip archive in a compressed file", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a", "a rar archive", _UNPACK),
    (b"\x89PNG", "a PNG picture", _FORMS),
    (b"\xff\xd8\xff", "a JPEG picture", _FORMS),
    (b"GIF8", "a GIF picture", _FORMS),
    (b"%PDF", "a PDF document", _FORMS),
    (b"\x89HDF", "an HDF5 file", _FORMS),
    (b"ARROW1", "an Arrow (Feather) file", _FORMS),
)
_TAR_AT = 257  # where its mark is
_UTF16 = ("text in UTF-16, as PowerShell's > writes it", "write UTF-8: … | Out-File -Encoding utf8")
_UNFINISHED = (".crdownload", ".part", ".partial", ".download", ".opdownload")
_ARRAY = re.compile(rb'\[(\s*\[){0,4}\s*[-\d"{\]]')


class Unreadable(ValueError):  # noqa: N818 - not an error of the program
    """A file that is no form of drawings. The message says what it looks like and what to do."""

    def __init__(self, looks_like: str, mend: str) -> None:
        super().__init__(f"looks like {looks_like}; {mend}")


def check_name(name: str) -> None:
    """Raise Unreadable for the name of a download that a browser has not finished."""
    if name.lower().endswith(_UNFINISHED):
        raise Unreadable(
            "a download that is not finished", "finish it, and give the file without its ending"
        )


def recognise(head: bytes, name: str, size: int | None = None) -> str:
    """Return the form of a file; what has none of a known one is taken for ndjson.

    Args:
      head: its first HEAD_BYTES, decompressed; empty for an empty file.
      name: of the file, for what content alone does not tell.
      size: of all of it in bytes, if that is known.

    Raises:
      Unreadable: it is no form of drawings.
    """
    for magic, looks_like, mend in _OTHERS:
        if head.startswith(magic):
            raise Unreadable(looks_like, mend)
    if head[_TAR_AT:].startswith(b"ustar"):
        raise Unreadable("a tar archive", _UNPACK)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _has_wide_characters(head):
        raise Unreadable(*_UTF16)
    if head.startswith(b"PAR1"):
        return PARQUET
    if begins_with_record(head) and (b"\0" in head[:64] or _is_named(name, ".bin")):
        return BINARY
    if _is_named(name, ".bin"):
        if size and size % _BITMAP_BYTES == 0:
            raise Unreadable(*_BITMAPS)
        return BINARY
    return _recognise_text(head.removeprefix(BYTE_ORDER_MARK).lstrip())


def check_columns(file: BinaryIO) -> None:
    """Raise Unreadable for a parquet file that is damaged, or without a column of strokes.

    It is read from its end, which a file that is decompressed on the way does not offer.
    """
    if not hasattr(file, "seek"):
        raise Unreadable("a parquet file in a .gz or .bz2 file", "unpack it")
    try:
        columns, names = drawing_columns(file)
    except PARQUET_ERRORS:
        raise Unreadable("a parquet file that is damaged", "fetch it again") from None
    if not columns:
        some = ", ".join(names[:8])
        raise Unreadable(f"a parquet file without a column 'drawing' of strokes ({some})", _FORMS)


def check_text(head: bytes) -> None:
    """Raise Unreadable for a file that was taken for ndjson, if no line begins as JSON does.

    An empty file is not: it lacks nothing. `head`: its first HEAD_BYTES, decompressed.
    """
    lines = head.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    if head.strip() and not any(line.lstrip().startswith((b"{", b"[")) for line in lines):
        raise Unreadable("a file without drawings", _FORMS)


def check_archive(members: list[str]) -> None:
    """Raise Unreadable for a zip archive without files, of numpy arrays, or of a document.

    Of two files of one name only the last could be read.
    """
    if not members:
        raise Unreadable("a zip archive without files", _FILL)
    if twice := [name for name, count in collections.Counter(members).items() if count > 1]:
        raise Unreadable(
            f"a zip archive with several files named {twice[0]}", "zip them under different names"
        )
    if any(member.endswith(".npy") for member in members):
        if {"train.npy", "test.npy", "valid.npy"} & set(members):
            raise Unreadable("sketch-rnn's .npz", _UPSTREAM)
        raise Unreadable(*_BITMAPS)
    if "[Content_Types].xml" in members:
        raise Unreadable("an office document", "save its table as csv")


def _recognise_text(text: bytes) -> str:
    if text.startswith(b"<"):
        raise Unreadable("an HTML or XML page, such as a server's error", "download the file again")
    first_line, _, rest = text.partition(b"\n")
    if _ARRAY.match(text):
        # A part of an ndjson file may begin within a drawing.
        is_part = first_line.strip() != b"[" and sum(map(_is_an_object, rest.split(b"\n"))) > 1
        return NDJSON if is_part else JSON
    if text.startswith(b"{"):
        if rest and _is_an_object(first_line):
            return NDJSON
        *lines, last = text.split(b"\n")
        is_by_line = any(map(_is_an_object, lines or [last])) or (not lines and _goes_on(last))
        return NDJSON if is_by_line else JSON
    try:
        csv_rows.Header(first_line)
    except Reject:
        return NDJSON
    return CSV


def _is_an_object(line: bytes) -> bool:
    """Tell whether a line is one object and nothing else, by its brackets."""
    return line.startswith(b"{") and _object_end(line) == len(line.rstrip())


def _goes_on(line: bytes) -> bool:
    """Tell whether a line is so far the beginning of one object."""
    return _object_end(line) is None


def _object_end(line: bytes) -> int | None:
    """Return where the first object of a line ends; None if it does not."""
    depth = 0
    for token in re.finditer(rb'[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*"', line):
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
            if not depth:
                return token.end()
    return None


def _has_wide_characters(head: bytes) -> bool:
    """Tell whether every other byte is zero, as in UTF-16 without its mark."""
    sample = head[:64]
    return len(sample) >= 16 and any(
        not any(sample[first::2]) and all(sample[1 - first :: 2]) for first in (0, 1)
    )


def _is_named(name: str, extension: str) -> bool:
    stem, last = os.path.splitext(name.lower())
    return last == extension or (last in (".gz", ".bz2") and stem.endswith(extension))
