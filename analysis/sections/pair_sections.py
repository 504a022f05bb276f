"""Section of the report about what the best run mends and breaks of each other."""

from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from analysis.comparison.pairs import Pair, different_settings, pair
from analysis.sections.page import (
    Column,
    TableCell,
    drawings_image,
    element,
    facts,
    number_cell,
    table,
)
from analysis.sections.run_sections import RunView
from analysis.style import texts

TITLE = "The best run against the others"
SHOWN = 12  # drawings of each kind

Views = Sequence[RunView]


def choose(views: Views) -> dict[str, Callable[[Views], list[Element]]]:
    """Return the section, if any other run was evaluated on the drawings of the best."""
    return {TITLE: against_the_best} if len(comparable(views)) > 1 else {}


def comparable(views: Views) -> list[RunView]:
    """Return the best run and those on the same data set, the best first."""
    begun = [view for view in views if view.run.epochs]
    ranked = sorted(begun, key=lambda view: -view.run.best_epoch[1])
    data = [(view.evaluation.dataset_fingerprint, view.evaluation.labels) for view in ranked]
    return [view for view, each in zip(ranked, data, strict=True) if each == data[0]]


def pairs_of(views: Views) -> list[tuple[RunView, Pair]]:
    """Return each other run of `comparable` with the pair of it and the best one.

    Raises:
      UserError: predictions are missing or damaged, or not of the same drawings.
      RunError: a run's state is damaged.
    """
    best, *others = comparable(views)
    predictions = best.evaluation.read_predictions()
    return [(view, pair(view.evaluation.read_predictions(), predictions)) for view in others]


def against_the_best(views: Views) -> list[Element]:
    """Return a table of all pairs; of the best run and the next, settings and drawings."""
    best = comparable(views)[0]
    found = pairs_of(views)
    headers = ("top-1", "to the best", "mended", "broken", "p")
    columns = [Column("against", is_number=False), *map(Column, headers)]
    rows = [_row(view, each) for view, each in found]
    text = (
        f"{best.name} against each other run on the same {found[0][1].base.count:,} "
        f"{best.evaluation.split} drawings. Mended: drawings that only {best.name} recognizes; "
        "broken: drawings that only the other run recognizes. p: probability of a difference as "
        "large between equally good models (McNemar's exact test)."
    )
    next_view, nearest = found[0]
    return [
        *_settings(next_view, best),
        element("p", text),
        table("Pairs", columns, rows, sorted_by=(2, "descending")),
        *_drawings(next_view, best, nearest, nearest.mended, "mends"),
        *_drawings(next_view, best, nearest, nearest.broken, "breaks"),
    ]


def _row(view: RunView, each: Pair) -> list[TableCell]:
    top1, best = (float(part.correct.mean()) for part in each)
    return [
        TableCell(view.name), number_cell(top1), number_cell(top1 - best, "+.3f"),
        number_cell(len(each.mended), ",d"), number_cell(len(each.broken), ",d"),
        TableCell(show_probability(each.probability), each.probability),
    ]  # fmt: skip


def show_probability(value: float) -> str:
    """Return a p-value in two digits."""
    return "<0.0001" if value < 0.0001 else f"{value:.2g}"


def _settings(base: RunView, other: RunView) -> list[Element]:
    different = different_settings(base.run, other.run)
    text = f"Settings that differ, of {base.name} and of {other.name}:"
    values = [(name, f"{there} → {here}") for name, (there, here) in different.items()]
    return [element("p", text), facts(values)] if values else []


def _drawings(
    base: RunView, other: RunView, found: Pair, indices: np.ndarray, verb: str
) -> list[Element]:
    """Return some drawings on which the runs differ, those where both are surest first."""
    if not len(indices):
        return [element("p", f"{other.name} {verb} none of {base.name}.")]
    sureness = found.base.confidences[indices] + found.other.confidences[indices]
    shown = indices[np.argsort(-sureness, kind="stable")][:SHOWN].tolist()
    bitmaps = found.other.read_drawings(other.require_drawings(), shown)
    tiles = [_tile(found, index, bitmaps[index], (base.name, other.name)) for index in shown]
    text = (
        f"{other.name} {verb} {len(indices):,} of {base.name}; the surest {len(shown)}, below each "
        f"the prediction of {base.name}, then that of {other.name}:"
    )
    return [element("p", text), element("ul", *tiles, class_="gallery")]


def _tile(found: Pair, index: int, bitmap: np.ndarray, names: tuple[str, str]) -> Element:
    label = found.base.labels[found.base.arrays.labels[index]]
    below = [
        element(
            "p",
            element("span", part.labels[part.arrays.top_labels[index, 0]], title=name),
            " ",
            element("span", texts.probability(part.confidences[index])),
        )
        for part, name in zip(found, names, strict=True)
    ]
    image = drawings_image([bitmap], f"A drawing of {label}")
    return element("li", element("p", element("strong", label)), image, element("div", *below))
