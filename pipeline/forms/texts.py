"""Texts of a file, a drawing each, → drawings, in the order of the file.

A text is a line, an object of a JSON array or a row; where it stands and what it holds is its
form's affair, and the rest is the same for all.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pipeline.cli import RunError
from pipeline.drawings.drawing import Drawing, RawDrawing, simplify_drawings
from pipeline.drawings.reject import Reject
from pipeline.forms.compression import HOLE

CHUNK_BYTES = 1 << 20  # read at once
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Raw drawings are simplified many at once, and wait for that: so many texts, or so many bytes.
_RAW_TEXTS = 64
_RAW_BYTES = 1 << 20  # real lines have 4 kB


class Parsed(NamedTuple):
    """A text or record of a file, parsed."""

    byte_offset: int  # after decompression
    drawing: Drawing | Reject
    head: bytes  # of the text or record


class RawBatch:
    """Drawings of a file that wait to be simplified, many at once, and what follows them."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Drawing | RawDrawing | Reject, bytes]] = []
        self._bytes = 0

    def add(
        self, byte_offset: int, drawing: Drawing | RawDrawing | Reject, head: bytes
    ) -> list[Parsed]:
        """Add what was found in a file; returns all of the batch where that is enough."""
        self.waiting.append((byte_offset, drawing, head))
        self._bytes += len(head)
        is_enough = len(self.waiting) == _RAW_TEXTS or self._bytes > _RAW_BYTES
        return self.flush() if is_enough else []

    def flush(self) -> list[Parsed]:
        """Return all that waits, simplified, in its order."""
        waiting, self.waiting, self._bytes = self.waiting, [], 0
        drawings = simplify_drawings([drawing for _, drawing, _ in waiting])
        return [
            Parsed(offset, drawing, head)
            for (offset, _, head), drawing in zip(waiting, drawings, strict=True)
        ]


def parse_texts(
    texts: Iterable[tuple[int, bytes]],
    parse: Callable[[bytes], Drawing | RawDrawing],
    name: str,
) -> Iterator[Parsed]:
    """Yield what `parse` makes of each (byte offset, text).

    Args:
      texts: of a file.
      parse: raises Reject for a text without a usable drawing.
      name: of the file.

    Raises:
      RunError: a text has a hole of zeros, which may hide any number of texts.
    """
    batch = RawBatch()
    for offset, text in texts:
        line = text if offset else text.removeprefix(BYTE_ORDER_MARK)
        drawing: Drawing | RawDrawing | Reject
        try:
            drawing = parse(line)
        except Reject as reject:  # only of these: no other text can hold a zero
            if (hole := text.find(HOLE)) >= 0:
                at = f"zeros at byte {offset + hole:,}"
                raise RunError(f"{name}: {at}: the file is damaged; fetch it again") from None
            drawing = reject
        if isinstance(drawing, RawDrawing) or batch.waiting:
            yield from batch.add(offset, drawing, line)
        else:
            yield Parsed(offset, drawing, line)
    yield from batch.flush()
