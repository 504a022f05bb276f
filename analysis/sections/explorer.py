"""Confusion matrix that a reader explores, with the drawings of each cell and category.

The page holds the data as JSON; `explorer.js` draws the matrix and shows what is chosen.
"""

import base64
import json
import zlib
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element

import numpy as np

from analysis.reading.evaluations import SplitPredictions
from analysis.reading.similar_order import similar_order, similarity
from analysis.sections.page import element, note
from analysis.sections.run_sections import RunView
from pipeline.cli import RunError, UserError

MAX_DRAWINGS = 20_000  # that a page holds: about 300 bytes each
PROBABILITY_STEPS = 1000


def matrix(view: RunView) -> list[Element]:
    """Return the confusion matrix, and where there are predictions and drawings, those."""
    scores = view.evaluation.read_scores()
    labels = view.evaluation.labels
    content = {
        "name": view.name,
        "split": view.evaluation.split,
        "labels": list(labels),
        "order": similar_order(similarity(scores.confusion)),
        "cells": _cells(scores.confusion),
    }
    bitmaps, reasons = "", []
    try:
        predictions = view.evaluation.read_predictions()
        drawings, bitmaps = _drawings(predictions, view.require_drawings())
        content |= drawings
        held = len(drawings["keys"])
        if held < predictions.count:
            text = f"The page holds {held:,} of {predictions.count:,} drawings: mistakes first."
            reasons = [note(text)]
    except (UserError, RunError) as error:
        reasons = [note(f"Without drawings: {error}")]
    text = (
        "Rows are true categories, columns predicted ones; categories that the model confuses are "
        "neighbours. Select a cell or the name of a category to see its drawings."
    )
    explorer = element(
        "div",
        element("script", _script_text(content), type="application/json"),
        element("script", bitmaps, type="text/plain"),
        class_="explorer",
        aria_label=f"Confusion matrix of {len(labels)} categories",
    )
    return [element("p", text), *reasons, explorer]


def link(view: RunView, label: str, predicted: str | None = None) -> str:
    """Return the address on the page of a category, or of its drawings taken for another."""
    parts = [view.name, label, *([predicted] if predicted is not None else [])]
    return "#/" + "/".join(quote(part, safe="") for part in parts)


def _cells(confusion: np.ndarray) -> list[int]:
    """Return row, column and number of each cell that is not empty, one after another."""
    rows, columns = np.nonzero(confusion)
    return np.stack([rows, columns, confusion[rows, columns]], axis=1).ravel().tolist()


def _drawings(predictions: SplitPredictions, directory: str) -> tuple[dict[str, Any], str]:
    """Return what the page holds of each drawing, and all bitmaps.

    The bitmaps are [N, 85, 11] bytes, a row's 85 pixels in eleven bytes, compressed by zlib, in
    base64. Beyond MAX_DRAWINGS it is all mistakes, then the first of the others.
    """
    arrays = predictions.arrays
    order = np.argsort(predictions.correct, kind="stable")[:MAX_DRAWINGS]
    chosen = np.sort(order).tolist()
    found = predictions.read_drawings(directory, chosen)
    keys = predictions.read_keys(directory)
    rows = np.packbits(np.stack([found[index] for index in chosen]), axis=2)
    probabilities = np.concatenate(
        [arrays.label_probabilities[:, np.newaxis], arrays.top_probabilities], axis=1
    )
    steps = np.rint(probabilities[chosen] * PROBABILITY_STEPS).astype(int)
    content = {
        "truth": arrays.labels[chosen].tolist(),
        "guesses": arrays.top_labels[chosen].ravel().tolist(),
        "probabilities": steps.ravel().tolist(),
        "keys": [keys[index] for index in chosen],
        "files": [*map(file_address, predictions.strokes_files(directory))],
    }
    return content, base64.b64encode(zlib.compress(rows.tobytes(), 9)).decode()


def file_address(path: str) -> str:
    """Return the address of a file that a browser can open; empty for others."""
    if path.startswith("/"):
        return f"file://{quote(path)}"
    if path.startswith("gs://"):
        return "https://storage.googleapis.com/" + quote(path.removeprefix("gs://"))
    return ""


def _script_text(content: dict[str, Any]) -> str:
    """Return JSON that cannot end the element that holds it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
