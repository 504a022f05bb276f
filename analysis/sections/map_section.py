"""Section of the report with the map of the drawings, which `map.js` draws."""

from collections.abc import Callable
from xml.etree.ElementTree import Element

import numpy as np

from analysis.sections import explorer
from analysis.sections.page import element, packed_script
from analysis.sections.run_sections import RunView
from pipeline.cli import UserError

TITLE = "Map of the drawings"
STEPS = 65_534  # of a place along the wider axis; the step after these: not on the map


def choose(view: RunView) -> dict[str, Callable[[RunView], list[Element]]]:
    """Return the section, if trainer.evaluate wrote a map with drawings on it."""
    try:
        found = view.evaluation.read_map()
        has_map = found is not None and bool(np.isfinite(found.places).any())
    except UserError:  # the section says why
        has_map = True
    return {TITLE: feature_map} if has_map else {}


def feature_map(view: RunView) -> list[Element]:
    """Return the map of the drawings that the explorer holds."""
    found = view.evaluation.read_map()
    assert found
    view.require_drawings()
    predictions = view.evaluation.read_predictions()
    indices = explorer.mistakes_first(predictions)
    first, second = found.variance
    text = (
        "The features of the last layer before the classifier, in their first two principal "
        f"components: {first:.0%} and {second:.0%} of the variance. Blue: recognized; orange: "
        "mistakes. Point at a drawing to see it, click to see those around it, or draw a rectangle "
        "with the mouse."
    )
    canvas = element(
        "div",
        packed_script(_steps(found.places[indices])),
        class_="drawing-map",
        data_run=view.name,
        aria_label=f"Map of {len(indices):,} {predictions.split} drawings",
    )
    return [element("p", text), canvas]


def _steps(places: np.ndarray) -> bytes:
    """Return places, [N, 2] float32, as uint16, little-endian, [2, N], both axes in one scale."""
    low, high = np.nanmin(places, axis=0), np.nanmax(places, axis=0)
    scaled = np.rint((places - low) / (max(high - low) or 1) * STEPS)
    scaled[:, 1] = np.nanmax(scaled[:, 1]) - scaled[:, 1]  # up is the positive direction
    return np.nan_to_num(scaled, nan=STEPS + 1).T.astype("<u2").tobytes()
