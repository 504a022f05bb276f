"""The drawings of ndjson files, as the pipeline reads them, for pictures of strokes."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pipeline.cli import UserError, printable
from pipeline.drawings.drawing import Drawing, Reject


class LabelledDrawing(NamedTuple):
    """A drawing of a file, in the simplified format."""

    label: str  # the drawing's word, or the category that the file's name states
    drawing: Drawing


def read_drawings(
    patterns: Sequence[str], warn: Callable[[str], None], per_file: int | None = None
) -> Iterator[LabelledDrawing]:
    """The drawings of the files that match any of the globs, file by file.

    Files may be all that `pipeline.main` reads: simplified, raw, binary, compressed, on gs://.
    What holds no valid drawing is left out.

    Args:
      patterns: the globs.
      warn: is called with one line for each file of which something was left out.
      per_file: read only so many drawings of each file, the first ones.

    Raises:
      UserError: a glob matches no file, or there is no drawing in any.
      RunError: a file cannot be read to its end.
    """
    logging.getLogger("apache_beam").setLevel(logging.WARNING)  # it tells of packages not found
    from pipeline.sources import (
        input_files,  # imports Beam, a second that other commands need not wait for
    )

    files = input_files.match_files(patterns)
    are_empty = True
    for item in input_files.work_items(files, whole_files=True):
        path = item.file.path
        category = printable(input_files.category_of(path))
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
            warn(f"{path}: left out what is no drawing, {len(rejects):,} times, first {rejects[0]}")
    if are_empty:
        raise UserError(f"--input: no drawing in {files[0].path}" + _others(len(files) - 1))


def print_warning(line: str) -> None:
    """What a command gives `read_drawings` as `warn`."""
    print("warning:", line, file=sys.stderr)


def _others(count: int) -> str:
    return f" and {count:,} other files" if count else ""
