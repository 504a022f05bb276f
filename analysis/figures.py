"""The look that all pictures share, and writing them to files."""

import contextlib
import io
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.errors import UserError

FORMATS = ("png", "svg")
DPI = 200  # of PNG: pixels an inch

TEXT = "#222222"
MUTED = "#6b6b6b"  # 5:1 against white: still legible as text
GRID = "#e4e4e4"

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


def check_outputs(paths: Sequence[str]) -> None:
    """To be called before the work.

    Raises:
      UserError: the extension of a path is not one of FORMATS.
    """
    for path in paths:
        if _format(path) not in FORMATS:
            raise UserError(f"--output={path}: the name must end in .{' or .'.join(FORMATS)}")


def write(figure: Figure, paths: Sequence[str]) -> None:
    """Writes a figure to each path, as PNG or SVG by its extension; makes missing directories.

    The same figure gives the same bytes. A file is complete or not there.

    Raises:
      UserError: an unknown extension, or a file cannot be written.
    """
    check_outputs(paths)
    for path in paths:
        picture = render(figure, _format(path))
        try:
            _write_whole(path, picture)
        except OSError as error:
            raise UserError(f"{path}: cannot write it: {error.strerror}") from None


def render(figure: Figure, file_format: str) -> bytes:
    """The figure as the bytes of a file of one of FORMATS."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if file_format == "svg" else None
    with style():
        figure.savefig(buffer, format=file_format, dpi=DPI, metadata=metadata)
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
