"""The look that all pictures share, and writing them to files."""

import contextlib
import io
import logging
import math
import os
import re
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from absl import flags
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pipeline import cli
from pipeline.cli import UserError, check_output_file

FORMATS = ("png", "svg", "pdf", "eps")
DPI = 200  # of PNG: pixels an inch
MAX_PIXELS = 2**16 - 1  # of PNG in one direction: Matplotlib draws no more
ASPECT = 4 / 3  # width to height of pictures that can be cut up, as nearly as whole columns allow

TEXT = "#222222"
MUTED = "#6b6b6b"  # 5:1 against white: still legible as text
GRID = "#e4e4e4"
# Okabe and Ito's colours, made for colour-blind readers, without the yellow: too faint for lines.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}  # in sentences

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every table of every font
flags.disclaim_key_flags()  # --output belongs to the command that asks for it

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 9,
    "figure.dpi": DPI,
    "text.color": TEXT,
    "text.parse_math": False,  # a label may hold a dollar sign
    "axes.edgecolor": MUTED,
    "axes.labelcolor": TEXT,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "svg.hashsalt": "quickdraw",  # with the date left out: the same bytes every time
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "ps.fonttype": 42,
}


def style() -> AbstractContextManager[None]:
    """The shared look, for the block in which a figure is made."""
    return matplotlib.rc_context(_STYLE)


def text_width(texts: Sequence[str], font_size: float) -> float:
    """The width of the widest of `texts` in inches; `font_size` in points."""
    with style():
        figure = Figure()
        renderer = FigureCanvasAgg(figure).get_renderer()
        drawn = [figure.text(0, 0, text, fontsize=font_size) for text in texts]
        return max(text.get_window_extent(renderer).width for text in drawn) / DPI


def wrap(text: str, characters: int, lines: int) -> str:
    """The text in at most so many lines, of so many characters where that is enough for it."""
    while len(wrapped := textwrap.wrap(text, characters)) > lines:
        characters += 1
    return "\n".join(wrapped)


def best_columns(count: int, width: float, height: float) -> int:
    """In how many columns `count` blocks of that size come nearest to ASPECT."""

    def distance(columns: int) -> float:
        return abs(math.log(columns * width / (math.ceil(count / columns) * height) / ASPECT))

    return min(range(1, count + 1), key=distance)


def number_range(numbers: Sequence[int]) -> str:
    """1,500, or 20 to 1,500 where they differ."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def of_each_category(count: int) -> str:
    """The end of "8 drawings of …"."""
    return "one category" if count == 1 else f"each of {count:,} categories"


def define_output_flag() -> None:
    """--output, for a command that calls `check_outputs` and `write` with it."""
    cli.define_paths(
        "output",
        None,
        "Pictures to write, with commas between: .png, .svg, .pdf or .eps.",
        kind="FILE",
        required=True,
    )


def check_outputs(paths: Sequence[str]) -> None:
    """To be called before the work.

    Raises:
      UserError: the extension of a path is not one of FORMATS, or no file can be written there.
    """
    for path in paths:
        check_output_file("output", path)
        if _format(path) not in FORMATS:
            known = f".{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]}"
            raise UserError(f"--output={path}: the name must end in {known}")


def write(figure: Figure, paths: Sequence[str]) -> None:
    """Writes a figure to each path, as one of FORMATS by its extension; makes missing directories.

    The same figure gives the same bytes. A file is complete or not there.

    Raises:
      UserError: an unknown extension, a PNG file of too many pixels, or one that cannot be written.
    """
    check_outputs(paths)
    for path in paths:
        picture = render(figure, _format(path))
        try:
            _write_whole(path, picture)
        except OSError as error:
            raise UserError(f"{path}: cannot write it: {error.strerror}") from None


def render(figure: Figure, file_format: str) -> bytes:
    """The figure as the bytes of a file of one of FORMATS, without the time of writing."""
    with style():
        if file_format == "png":
            return _render_png(figure)
        date = {"svg": "Date", "pdf": "CreationDate"}.get(file_format)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=file_format, dpi=DPI, metadata={date: None} if date else None)
    picture = buffer.getvalue()
    if file_format == "eps":  # matplotlib has no way to leave it out
        picture = re.sub(rb"%%CreationDate: .*\n", b"", picture, count=1)
    return picture


def _render_png(figure: Figure) -> bytes:
    """Opaque, and without colours where there are none: two thirds of the bytes."""
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    if max(width, height) > MAX_PIXELS:
        raise UserError(
            f"the picture would have {width:,} x {height:,} pixels, more than {MAX_PIXELS:,} in "
            "one direction: let it show less, or write .svg or .pdf"
        )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    is_gray = all((pixels[..., 0] == pixels[..., channel]).all() for channel in (1, 2))
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if is_gray else pixels))
    buffer = io.BytesIO()
    image.save(buffer, "png", dpi=(DPI, DPI))
    return buffer.getvalue()


def _format(path: str) -> str:
    return os.path.splitext(path)[1].lstrip(".").lower()


def _write_whole(path: str, content: bytes) -> None:
    directory, name = os.path.split(path)
    os.makedirs(directory or ".", exist_ok=True)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
