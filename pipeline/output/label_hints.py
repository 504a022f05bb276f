"""Hints for labels of --labels that the input does not have."""

import difflib
from collections.abc import Collection, Sequence

_SHOWN = 5  # categories of the input


def hint(label: str, labels: Sequence[str], seen: Collection[str]) -> str:
    """Return what may be wrong with a label, to follow its error.

    Args:
      label: one that no drawing has.
      labels: all of --labels.
      seen: the categories of the input, at least one.
    """
    parts = {part.strip() for part in label.split(",")}
    if label.startswith("#"):
        return "; every line is a label: remove comments"
    if "," in label and parts & set(seen):
        return "; write one label a line"
    spellings = {_spelling(category): category for category in sorted(seen)}
    if same := spellings.get(_spelling(label)):
        others = sum(
            other not in seen and _spelling(other) in spellings
            for other in labels
            if other != label
        )
        more = f", and {others:,} more labels alike" if others else ""
        return f"; it is spelled {same!r} there{more}"
    if close := difflib.get_close_matches(label, seen, n=1):
        return f"; did you mean {close[0]!r}?"
    names = ", ".join(sorted(seen)[:_SHOWN])
    more = f" and {len(seen) - _SHOWN:,} more" if len(seen) > _SHOWN else ""
    spaces = "" if "_" not in label or any("_" in name for name in seen) else " (no underscores)"
    return f"; its categories{spaces} are {names}{more}"


def _spelling(label: str) -> str:
    """Return a label without case, spaces, underscores and other signs."""
    return "".join(character for character in label.casefold() if character.isalnum())
