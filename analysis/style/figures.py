"""Shared style of all pictures, placement of their parts, and picture files."""

import contextlib
import io
import logging
import math
import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from analysis.style import fonts
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

FAINT = 0.6  # how white a faint colour is

TITLE_SIZE = 10  # points
LABEL_SIZE = 8

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every table of every font

_STYLE: dict[Any, Any] = {
    "font.family": fonts.FONT,
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
    "svg.fonttype": "none",  # text that can be selected, searched and read aloud
    "svg.hashsalt": "quickdraw",  # with the date left out: the same bytes every time
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "ps.fonttype": 42,
}


def style() -> AbstractContextManager[None]:
    """Return the shared style, a context in which to make a figure."""
    return matplotlib.rc_context(_STYLE)


def new_axes(ax: Axes | None) -> Axes:
    """Return `ax`, or the axes of a new figure if it is None."""
    if ax is not None:
        return ax
    with style():
        return Figure().add_subplot()


def add_axes(
    figure: Figure, left: float, top: float, width: float, height: float, **options: Any
) -> Axes:
    """Add axes to a figure, placed in inches from its upper left corner."""
    full_width, full_height = figure.get_size_inches()
    bottom = full_height - top - height
    box = (left / full_width, bottom / full_height, width / full_width, height / full_height)
    return figure.add_axes(box, **options)


def add_text(
    figure: Figure, left: float, top: float, text: str, size: float = TITLE_SIZE, **options: Any
) -> None:
    """Add text below a point in inches from the upper left corner; `size` in points."""
    width, height = figure.get_size_inches()
    options = {"va": "top"} | options
    figure.text(left / width, 1 - top / height, text, fontsize=size, **options)


def add_legend(
    figure: Figure, left: float, top: float, handles: Sequence[Artist], **options: Any
) -> None:
    """Add a legend without a frame at a point in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    look = {"fontsize": LABEL_SIZE, "frameon": False, "borderpad": 0, "borderaxespad": 0}
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(left / width, 1 - top / height),
        **look | options,
    )  # fmt: skip


def tooltip(text: str) -> str:
    """Return the gid of an artist about which an SVG says `text` where the pointer rests."""
    return f"tooltip:{text}"


def faint(colour: str) -> str:
    """Return the colour mixed with white, as EPS has no transparency."""
    red, green, blue = (part + FAINT * (1 - part) for part in matplotlib.colors.to_rgb(colour))
    return matplotlib.colors.to_hex((red, green, blue))


def best_columns(count: int, width: float, height: float) -> int:
    """Return in how many columns `count` blocks of that size come nearest to ASPECT."""

    def distance(columns: int) -> float:
        return abs(math.log(columns * width / (math.ceil(count / columns) * height) / ASPECT))

    return min(range(1, count + 1), key=distance)


def check_outputs(paths: Sequence[str], formats: Sequence[str] = FORMATS) -> None:
    """Check the paths of pictures, to be called before the work.

    Raises:
      UserError: the extension of a path is not one of `formats`, or no file can be written there.
    """
    for path in paths:
        check_output_file("output", path)
        if _format(path) not in formats:
            known = f".{', .'.join(formats[:-1])} or .{formats[-1]}"
            raise UserError(f"--output={path}: the name must end in {known}")


def write(figure: Figure, paths: Sequence[str]) -> None:
    """Write a figure to each path, as one of FORMATS by its extension; see `write_file`.

    The same figure gives the same bytes.

    Raises:
      UserError: an unknown extension, a PNG file of too many pixels, or one that cannot be written.
    """
    check_outputs(paths)
    for path in paths:
        write_file(path, render(figure, _format(path)))


def write_file(path: str, content: bytes) -> None:
    """Write a file that is complete or not there; makes missing directories.

    Raises:
      UserError: it cannot be written.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.tmp")
    try:
        os.makedirs(directory or ".", exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise UserError(f"{path}: cannot write it: {error.strerror}") from None


def render(figure: Figure, file_format: str) -> bytes:
    """Return the bytes of a file of one of FORMATS, without the time of writing."""
    with style():
        fonts.apply(figure)
        if file_format == "png":
            return _render_png(figure)
        date = {"svg": "Date", "pdf": "CreationDate"}.get(file_format)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=file_format, dpi=DPI, metadata={date: None} if date else None)
    picture = buffer.getvalue()
    if file_format == "svg":
        picture = re.sub(rb'<g id="tooltip:([^"]*)">', rb"<g><title>\1</title>", picture)
    if file_format == "eps":  # matplotlib has no way to leave it out
        picture = re.sub(rb"%%CreationDate: .*\n", b"", picture, count=1)
    return picture


def _render_png(figure: Figure) -> bytes:
    """Return an opaque PNG, gray where there are no colours: two thirds of the bytes."""
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
