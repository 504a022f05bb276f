"""Texts of pictures and tables: their widths, their lines, numbers and durations in words."""

import functools
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from analysis.style import figures, fonts

MAX_NAME = 32  # characters of a name in a picture: a longer one would leave no room for the data
SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}  # in sentences


def elide(text: str, most: int = MAX_NAME) -> str:
    """Return the text without its middle if it has more than `most` characters."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"


def elide_names(names: Sequence[str], most: int = MAX_NAME) -> list[str]:
    """Return names that `elide` shortened, those that became alike with a number at the end."""
    short = [elide(name, most) for name in names]
    places = [short[:i].count(each) + 1 for i, each in enumerate(short)]
    return [
        f"{each} ({place})" if each != name and short.count(each) > 1 else each
        for each, name, place in zip(short, names, places, strict=True)
    ]


def text_width(texts: Sequence[str], font_size: float, **style: Any) -> float:
    """Return the width of the widest of `texts` in inches; `font_size` in points."""
    figure, renderer = _ruler()
    look: dict[str, Any] = {"fontsize": font_size, "parse_math": False, **style}
    drawn = [figure.text(0, 0, text, family=fonts.families(text), **look) for text in texts]
    widths = [text.get_window_extent(renderer).width for text in drawn]
    figure.texts.clear()
    return max(widths, default=0) / figures.DPI


@functools.cache
def _ruler() -> tuple[Figure, RendererAgg]:
    """Return a figure in which to measure texts: one for all, as making it takes a millisecond."""
    figure = Figure(figsize=(0.1, 0.1), dpi=figures.DPI)
    return figure, FigureCanvasAgg(figure).get_renderer()


def wrap(text: str, characters: int, lines: int) -> list[str]:
    """Return the text in at most `lines` lines, of `characters` where that is enough.

    A very long word loses its middle.
    """
    text = " ".join(map(elide, text.split()))
    while len(wrapped := textwrap.wrap(text, characters)) > lines:
        characters += 1
    return wrapped


def wrap_to_width(text: str, width: float, font_size: float, weight: str = "normal") -> list[str]:
    """Return the text in lines of at most `width` inches; a longer word has its own line.

    A very long word loses its middle.

    Args:
      text: words with spaces between.
      width: inches.
      font_size: points.
      weight: of the font.
    """
    font = FontProperties(family=fonts.families(text), size=font_size, weight=weight)
    lines = [""]
    for word in map(elide, text.split()):
        longer = f"{lines[-1]} {word}".strip()
        points, _, _ = TextToPath().get_text_width_height_descent(longer, font, ismath=False)
        if lines[-1] and points / 72 > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def number_range(numbers: Sequence[int]) -> str:
    """Return 1,500, or 20 to 1,500 where they differ."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def of_each_category(count: int) -> str:
    """Return the end of "8 drawings of …"."""
    return "one category" if count == 1 else f"each of {count:,} categories"


def probability(value: float) -> str:
    """Return two digits, or <0.01."""
    return "<0.01" if value < 0.005 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Return at most two units: 8 s, 2 min 05 s, 3 h 12 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
