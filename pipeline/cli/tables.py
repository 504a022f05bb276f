"""Numbers and tables in plain text: one layout for all commands."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return "1 category" or "1,200 categories"."""
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun}"


def align(rows: Sequence[Sequence[str]], alignment: str, gap: str = "  ") -> list[str]:
    """Return rows of cells as lines whose columns line up.

    Args:
      rows: of as many cells each as `alignment` has characters; a header is a row like any other.
      alignment: of each column, `<` for words and `>` for numbers.
      gap: between columns.
    """
    widths = [
        max((len(row[column]) for row in rows), default=0) for column in range(len(alignment))
    ]
    return [
        gap.join(
            f"{cell:{side}{width}}"
            for cell, side, width in zip(row, alignment, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
