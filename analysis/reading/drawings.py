"""Drawings of files, as the pipeline reads them, for pictures of strokes."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pipeline.cli import UserError, printable
from pipeline.drawings.drawing import Drawing
from pipeline.drawings.reject import Reject


class LabelledDrawing(NamedTuple):
    """A drawing in the simplified format, and its category."""

    label: str  # the drawing's word, or the category that the file's name states
    drawing: Drawing


def read_drawings(
    patterns: Sequence[str],
    per_file: int | None = None,
    warn: Callable[[str], None] = lambda line: print("warning:", line, file=sys.stderr),
) -> Iterator[LabelledDrawing]:
    """Yield the drawings of the files that match any of the globs, file by file.

    Files may be all that `pipeline.main` reads: simplified, raw, binary, compressed, on gs://.
    Invalid drawings are skipped.

    Args:
      patterns: the globs.
      per_file: how many drawings of each file to read, the first ones; all by default.
      warn: called with one line for each file with invalid drawings.

    Raises:
      UserError: a glob matches no file, or there is no drawing in any.
      RunError: a file cannot be read to its end.
    """
    logging.getLogger("apache_beam").setLevel(logging.WARNING)  # it logs packages not found
    from pipeline.sources import (  # imports Beam, a second that other commands need not wait for
        categories,
        input_files,
    )

    files = input_files.match_files(patterns)
    are_empty = True
    for item in input_files.work_items(files, whole_files=True):
        path = item.file.path
        category = printable(categories.category_of(path))
        rejects: list[str] = []
        count = 0
        for byte_offset, drawing, _ in input_files.read_drawings(item):
            if isinstance(drawing, Reject):
                rejects.append(f"at byte {byte_offset}: {drawing}")
                continue
            yield LabelledDrawing(drawing.word or category, drawing)
            are_empty = False
            count += 1
            if count == per_file:
                break
        if rejects:
            warn(f"{path}: skipped invalid drawings: {len(rejects):,}, the first {rejects[0]}")
    if are_empty:
        others = f" and {len(files) - 1:,} other files" if len(files) > 1 else ""
        raise UserError(f"--input: no drawing in {files[0].path}{others}")
