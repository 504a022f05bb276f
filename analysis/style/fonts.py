"""Installed fonts for letters that Matplotlib's own font lacks: Chinese, emoji and others."""

import contextlib
import functools
import logging
import sys
import unicodedata
import warnings

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

FONT = "DejaVu Sans"  # comes with matplotlib: the same picture on every machine
_LAST_RESORT = "Last Resort"  # its glyphs are boxes
_INVISIBLE = ("Cc", "Cf", "Zl", "Zp", "Zs")  # controls, joiners, spaces
_NAMED = 5  # letters in a warning
_named: set[str] = set()  # letters of warnings so far

# `apply` says it, in one line.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # weights that a font lacks
warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)


def families(text: str) -> list[str]:
    """Return the font families that a text takes: FONT, and those with the letters it lacks."""
    return [FONT, *sorted(filter(None, map(_fallback, _lacking(text))), key=_fallbacks().index)]


def apply(figure: Figure) -> None:
    """Give each text of a figure, which is about to be drawn, the fonts that have its letters.

    Letters that no installed font has are named on stderr, once.
    """
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_ticklabels(which="both")  # makes them, which is else done by drawing
    unknown: dict[str, str] = {}  # letter → text
    for artist in figure.findobj(Text):
        text = artist.get_text()
        if lacking := _lacking(text):
            artist.set_fontfamily(families(text))
            unknown |= {letter: text for letter in lacking if not _fallback(letter)}
    _warn({letter: text for letter, text in unknown.items() if letter not in _named})


def _warn(unknown: dict[str, str]) -> None:
    if not unknown:
        return
    _named.update(unknown)
    letters = ", ".join([*unknown][:_NAMED])
    if len(unknown) > _NAMED:
        letters += f" and {len(unknown) - _NAMED:,} other letters"
    first = next(iter(unknown.values()))
    print(
        f"no installed font has {letters} (as in {first!r}): pictures show boxes in their place; "
        "install a font that has them and draw again",
        file=sys.stderr,
    )


def _lacking(text: str) -> list[str]:
    """Return the visible letters of a text that FONT lacks, each once."""
    if text.isascii():
        return []
    return [
        letter
        for letter in dict.fromkeys(text)
        if ord(letter) not in _charmap(FONT) and unicodedata.category(letter) not in _INVISIBLE
    ]


@functools.cache
def _fallback(letter: str) -> str | None:
    """Return the first font family that has a letter and draws it; None if there is none."""
    return next((family for family in _fallbacks() if _draws(family, letter)), None)


@functools.cache
def _fallbacks() -> list[str]:
    """Return all other families: sans serif before others, then by the number of their letters.

    So a text takes few fonts. Fonts that were installed after Matplotlib's cache was written are
    found as well.
    """
    known = {entry.fname for entry in fontManager.ttflist}
    for path in sorted({*font_manager.findSystemFonts()} - known):
        # A damaged one, or one of bitmaps.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            fontManager.addfont(path)
    found = {entry.name for entry in fontManager.ttflist if _LAST_RESORT not in entry.name}
    return sorted(found - {FONT}, key=lambda name: ("Sans" not in name, -len(_charmap(name)), name))


def _draws(family: str, letter: str) -> bool:
    """Tell whether a font has outlines of a letter: one of coloured bitmaps has none."""
    if ord(letter) not in _charmap(family):
        return False
    font = _open(family)
    font.set_size(12, 72)
    left, bottom, right, top = font.load_char(ord(letter)).bbox
    return right > left and top > bottom


@functools.cache
def _charmap(family: str) -> frozenset[int]:
    """Return the code points that a font has."""
    return frozenset(_open(family).get_charmap())


def _open(family: str) -> FT2Font:
    path = fontManager.findfont(FontProperties(family=family), fallback_to_default=False)
    return font_manager.get_font(path)
