"""Files of JSON that is not a line a drawing: arrays, pretty-printed or concatenated objects.

Their brackets cut them into texts of a drawing each, in bounded memory, and a text is parsed like a
line of ndjson. Damage costs the drawing that it is in; where it could hide others it ends the run.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.cli import RunError
from pipeline.drawings.drawing import MAX_LINE_BYTES, Drawing, RawDrawing, Reading, parse_line
from pipeline.drawings.reject import Reject
from pipeline.forms.texts import BYTE_ORDER_MARK, CHUNK_BYTES

# Brackets, outside of strings; a quotation mark by itself begins a string that goes on.
_TOKEN = re.compile(rb'[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*"|"', re.DOTALL)
_BETWEEN = re.compile(rb"[\s,\]]*")  # drawings
_WORDS = re.compile(rb"[^\[{\n]+")  # what is none, up to the next bracket or line
# Three brackets and a number, or two and a point: an array that is a drawing by itself.
_STROKES = re.compile(rb'\[\s*\[\s*(?:\[\s*[-\d]|\{\s*"[xy]")')
_LOOK_BYTES = 1024  # to tell them, with their indentation
_BEGINNINGS = (  # of a drawing, of which a text has one
    re.compile(rb'"drawing"\s*:'),
    re.compile(rb'"image"\s*:'),
    re.compile(rb"\[\s*\[\s*\["),
)
_PAIRS = {ord("]"): ord("["), ord("}"): ord("{")}


def json_values(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the texts of the drawings of a file: (byte offset, text).

    A text is an object, an array of strokes, or what stands where these should.

    Args:
      file: at its beginning.

    Raises:
      RunError: a string does not end.
    """
    window = _Window(file)
    while window.fill(_LOOK_BYTES):
        if between := _match(_BETWEEN, window):
            window.start += between
            continue
        if window.data[window.start] == ord("[") and not _match(_STROKES, window):
            window.start += 1  # an array of drawings
            continue
        offset = window.offset_of(window.start)
        if window.data[window.start] not in b"[{":
            yield offset, window.take(window.start + _match(_WORDS, window)).rstrip()
            continue
        yield offset, _take_value(window)


def parse_value(text: bytes, reading: Reading) -> Drawing | RawDrawing:
    """Parse the text of a drawing, as drawing.parse_line does.

    Raises:
      Reject: as parse_line does.
      RunError: the text is broken such that it takes in other drawings.
    """
    try:
        return parse_line(text, reading)
    except Reject:
        if any(len(beginning.findall(text)) > 1 for beginning in _BEGINNINGS):
            head = text[:60].decode("utf-8", "backslashreplace")
            raise RunError(
                f"the JSON that begins with {head!r} is broken and swallows other drawings; "
                "repair or remove it"
            ) from None
        raise


class _Window:
    """Part of a file that is at hand."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._is_at_end = False
        self._data_offset = 0  # of `data`, in the file
        self.data = b""
        self.start = 0  # of what is not done yet, in `data`

    def offset_of(self, position: int) -> int:
        """Return where in the file a position of `data` is."""
        return self._data_offset + position

    def take(self, end: int) -> bytes:
        """Return what is not done yet, up to a position of `data`; it is done then."""
        start, self.start = self.start, end
        return self.data[start:end]

    def fill(self, count: int) -> bool:
        """Have `count` bytes at hand, or all that are left; tells whether there are any."""
        while len(self.data) - self.start < count and self.more():
            pass
        return self.start < len(self.data)

    def more(self) -> bool:
        """Read on; tells whether the file went on. What is done is forgotten."""
        chunk = b"" if self._is_at_end else self._file.read(CHUNK_BYTES)
        self._is_at_end = not chunk
        self._data_offset += self.start
        self.data = self.data[self.start :] + chunk
        if not self._data_offset and not self.start and self.data.startswith(BYTE_ORDER_MARK):
            self.data = self.data.removeprefix(BYTE_ORDER_MARK)
            self._data_offset = len(BYTE_ORDER_MARK)
        self.start = 0
        return bool(chunk)


def _match(pattern: re.Pattern[bytes], window: _Window) -> int:
    """Return the length of what matches at the window's start."""
    match = pattern.match(window.data, window.start)
    return match.end() - match.start() if match else 0


def _take_value(window: _Window) -> bytes:
    """Take the value at the window's start: up to its last bracket, a wrong one, or the file's end.

    Of a value longer than MAX_LINE_BYTES only the beginning is returned.
    """
    opened = bytearray()
    kept = b""  # of a value that is too long
    scanned = window.start
    while True:
        for token in _TOKEN.finditer(window.data, scanned):
            character = window.data[token.start()]
            scanned = token.end()
            if character in b"[{":
                opened.append(character)
            elif character in b"]}":
                if opened.pop() != _PAIRS[character] or not opened:
                    taken = window.take(scanned)
                    return kept or taken
            elif token.end() - token.start() == 1:
                scanned = token.start()
                break
        else:
            scanned = len(window.data)
        if len(window.data) - scanned > MAX_LINE_BYTES:
            raise RunError(f"unterminated string at byte {window.offset_of(scanned):,}")
        if scanned - window.start > MAX_LINE_BYTES:
            kept = kept or window.data[window.start : window.start + MAX_LINE_BYTES + 1]
            window.start = scanned
        scanned -= window.start
        if not window.more():
            return kept or window.take(len(window.data))
