"""Breaks texts into lines by their width as they are drawn."""

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

_FAMILY = "DejaVu Sans"  # of analysis.style.figures
_MEASURE = TextToPath()


def wrap_to_width(text: str, width: float, font_size: float, weight: str = "normal") -> list[str]:
    """The text in lines of at most so many inches; a longer word has a line of its own.

    Args:
      text: words with spaces between.
      width: inches.
      font_size: points.
      weight: of the font.
    """
    font = FontProperties(family=_FAMILY, size=font_size, weight=weight)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        points, _, _ = _MEASURE.get_text_width_height_descent(longer, font, ismath=False)
        if lines[-1] and points / 72 > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
