"""Sections of the report about parts of the drawings: by recognition, country, number of strokes.

Only records that pipeline.main --keep_fields was told to keep these in have them.
"""

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from analysis.reading.evaluations import SplitPredictions
from analysis.sections.page import Column, TableCell, element, number_cell, table
from analysis.sections.prediction_sections import interval_cell
from analysis.sections.run_sections import RunView
from pipeline.cli import UserError, counted
from pipeline.dataset.manifests import read_manifest
from trainer.runs.uncertainty import CONFIDENCE

TITLE = "Accuracy by subset"
MAX_COUNTRIES = 12  # the most frequent; the others are one row
STROKES = (1, 2, 3, 4, 5, 7, 10)  # where a row of numbers of strokes begins
_RECOGNIZED = {1: "recognized in the game", 0: "not recognized in the game"}
_UNKNOWN = "not known"

Names = Sequence[str]  # of the part that each drawing is in


def choose(view: RunView) -> dict[str, Callable[[RunView], list[Element]]]:
    """Return the section, if the evaluated data set has fields to divide the drawings by."""
    if isinstance(view.evaluated, UserError) or not _fields(view.evaluated):
        return {}
    return {TITLE: slices}


def slices(view: RunView) -> list[Element]:
    """Return a table of accuracies for each field that the data set's records hold."""
    directory = view.require_drawings()
    predictions = view.evaluation.read_predictions()
    values = predictions.read_fields(directory, _fields(directory))
    text = (
        f"Accuracy on subsets of the {predictions.split} drawings, by fields of their records, "
        f"with its {CONFIDENCE:.0%} interval (Wilson's)."
    )
    tables = [
        accuracy_table(title, divide(values[name]), predictions)
        for name, (title, divide) in _DIVISIONS.items()
        if name in values
    ]
    return [element("p", text), *tables]


def accuracy_table(title: str, names: Names, predictions: SplitPredictions) -> Element:
    """Return a table of the parts in the order of their names, [N] for N predictions."""
    drawings = Counter(names)
    correct = Counter(
        name for name, is_right in zip(names, predictions.correct, strict=True) if is_right
    )
    columns = [
        Column(title.lower(), is_number=False),
        *map(Column, ("drawings", "accuracy", "95% interval")),
    ]
    rows = [
        [
            TableCell(name), number_cell(count, ",d"), number_cell(correct[name] / count),
            interval_cell(correct[name], count),
        ]
        for name, count in sorted(drawings.items(), key=lambda item: _sort_key(item[0], item[1]))
    ]  # fmt: skip
    return table(title, columns, rows)


def _fields(directory: str) -> list[str]:
    return [name for name in read_manifest(directory).fields if name in _DIVISIONS]


def _by_recognition(values: Sequence[str | int]) -> Names:
    return [_RECOGNIZED.get(int(value), _UNKNOWN) for value in values]


def _by_country(values: Sequence[str | int]) -> Names:
    """Return the countries; all but the MAX_COUNTRIES most frequent ones are "others"."""
    countries = [str(value) or _UNKNOWN for value in values]
    ranked = sorted(Counter(countries).items(), key=lambda item: (-item[1], item[0]))
    shown = {name for name, _ in ranked[:MAX_COUNTRIES]}
    rest = counted(len(ranked) - MAX_COUNTRIES, "other")
    return [name if name in shown else rest for name in countries]


def _by_strokes(values: Sequence[str | int]) -> Names:
    names = [
        f"{first}" if end - first == 1 else f"{first} to {end - 1}"
        for first, end in itertools.pairwise(STROKES)
    ]
    names.append(f"{STROKES[-1]} or more")
    return [names[bisect.bisect_right(STROKES, int(value)) - 1] for value in values]


def _sort_key(name: str, count: int) -> tuple[int, int, str]:
    """Order numbers of strokes by number, other parts by how many drawings they have."""
    first = name.split()[0]
    if first.isdecimal() and not name.endswith("others"):
        return (0, int(first), name)
    return (1, -count, name)


_DIVISIONS: dict[str, tuple[str, Callable[[Sequence[str | int]], Names]]] = {
    "recognized": ("Recognition", _by_recognition),
    "countrycode": ("Country", _by_country),
    "strokes": ("Number of strokes", _by_strokes),
}
