"""Confusion matrices that a reader explores, with the drawings of each cell and category.

The page holds the data, that of the drawings compressed; `explorer.js` draws the matrix and shows
what is chosen, `drawings.js` unpacks the drawings.
"""

import json
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree.ElementTree import Element

import numpy as np

from analysis.reading.evaluations import Evaluation, SplitPredictions, validation_of
from analysis.reading.runs import CHECKPOINTS
from analysis.reading.scores import Scores
from analysis.reading.similar_order import similar_order, similarity
from analysis.sections.page import element, note, packed_script
from analysis.sections.run_sections import RunView
from pipeline.cli import RunError, UserError

MAX_DRAWINGS = 20_000  # that a page holds: about 300 bytes each
PROBABILITY_STEPS = 1000


class _Choice(NamedTuple):
    """An evaluation that the reader can choose."""

    evaluation: Evaluation
    scores: Scores
    dataset: str | UserError  # the directory with its drawings, or why there is none
    title: str


class _Held(NamedTuple):
    """Drawings of an evaluation, as the page holds them, see `_drawings` and `_predicted`."""

    indices: list[int]
    drawings: bytes = b""
    predicted: bytes = b""


def matrix(view: RunView) -> list[Element]:
    """Return the confusion matrix of each evaluation, and where there are drawings, those."""
    orders: dict[tuple[str, ...], list[int]] = {}  # the first's, for all of the same categories
    written: dict[tuple[str, ...], _Held] = {}
    evaluations, scripts, notes = [], [], []
    for choice in _choices(view):
        labels, confusion = tuple(choice.evaluation.labels), choice.scores.confusion
        if labels not in orders:
            orders[labels] = similar_order(similarity(confusion))
        held, remarks = _held(choice, written)
        evaluations.append(
            {
                "title": choice.title,
                "labels": labels,
                "order": orders[labels],
                "cells": _cells(confusion),
                "count": len(held.indices),
            }
        )
        scripts += [packed_script(held.drawings), packed_script(held.predicted)]
        notes += remarks
    text = (
        "Rows are true categories, columns predicted ones; categories that the model confuses are "
        "neighbours. Select a cell or the name of a category to see its drawings; the page's "
        "address then links to them."
    )
    explorer = element(
        "div",
        element(
            "script",
            _json({"name": view.name, "evaluations": evaluations}),
            type="application/json",
        ),
        *scripts,
        class_="explorer",
        aria_label=f"Confusion matrix of {len(view.evaluation.labels)} categories",
    )
    return [element("p", text), *map(note, dict.fromkeys(notes)), explorer, *_map_hint(view)]


def _map_hint(view: RunView) -> list[Element]:
    """Return how to make the map of the drawings, if the run's own validation is shown."""
    if view.evaluation.path:
        return []
    command = f"python -m trainer.evaluate --run_dir={view.run.directory} --output=FILE.json"
    lead = "A map of the drawings, by the model's features, needs "
    end = " and --evaluation=FILE.json for the report."
    return [element("p", lead, element("code", command), end, class_="note")]


def _choices(view: RunView) -> list[_Choice]:
    """Return the shown evaluation and the run's own ones, each once.

    Raises:
      UserError: the scores of the shown one cannot be read.
    """
    candidates = [(view.evaluation, view.evaluated)]
    candidates += [(validation_of(view.run, each), view.dataset) for each in CHECKPOINTS]
    found: list[_Choice] = []
    for evaluation, dataset in candidates:
        try:
            scores = evaluation.read_scores()
        except UserError:  # of the run's own ones the section of the scores says why
            if not found:
                raise
            continue
        title = _title(view, evaluation, scores.epoch)
        own_epochs = {each.scores.epoch for each in found if not each.evaluation.path}
        is_new = evaluation.path or scores.epoch not in own_epochs
        if is_new and title not in {each.title for each in found}:
            found.append(_Choice(evaluation, scores, dataset, title))
    return found


def _title(view: RunView, evaluation: Evaluation, epoch: int) -> str:
    """Return what tells an evaluation from the others of the run."""
    checkpoint = f"{evaluation.checkpoint} " if evaluation.checkpoint in CHECKPOINTS else ""
    parts = [evaluation.split, f"{checkpoint}epoch {epoch}"]
    if evaluation.is_mirrored:
        parts.append("mean with mirror images")
    if list(evaluation.labels) != view.run.labels:
        parts.append(f"{len(evaluation.labels)} categories")
    return ", ".join(parts)


def _held(choice: _Choice, written: dict[tuple[str, ...], _Held]) -> tuple[_Held, list[str]]:
    """Return what the page holds of the drawings of an evaluation, and remarks on the others.

    Args:
      choice: the evaluation.
      written: what the page holds of other evaluations, by their drawings; it is added to. One of
        the same drawings holds the same of them, so that they are written once.
    """
    try:
        predictions = choice.evaluation.read_predictions()
        if isinstance(choice.dataset, UserError):
            raise choice.dataset
        truth = predictions.arrays.labels.tobytes().hex()
        key = (choice.dataset, predictions.split, *predictions.labels, truth)
        if key not in written:
            indices = mistakes_first(predictions)
            written[key] = _Held(indices, _drawings(predictions, choice.dataset, indices))
        held = written[key]
    except (UserError, RunError) as error:
        return _Held([]), [f"Without drawings: {error}"]
    remarks = []
    if len(held.indices) < predictions.count:
        remarks = [
            f"The page holds {len(held.indices):,} of {predictions.count:,} {predictions.split} "
            "drawings: mistakes of the first evaluation first."
        ]
    return held._replace(predicted=_predicted(predictions, held.indices)), remarks


def mistakes_first(predictions: SplitPredictions) -> list[int]:
    """Return the indices of at most MAX_DRAWINGS: all mistakes, then the first of the others."""
    order = np.argsort(predictions.correct, kind="stable")[:MAX_DRAWINGS]
    return np.sort(order).tolist()


def link(view: RunView, label: str, predicted: str | None = None) -> str:
    """Return the address on the page of a category, or of its drawings taken for another."""
    parts = [view.name, label, *([predicted] if predicted is not None else [])]
    return "#/" + "/".join(quote(part, safe="") for part in parts)


def _cells(confusion: np.ndarray) -> list[int]:
    """Return row, column and number of each cell that is not empty, one after another."""
    rows, columns = np.nonzero(confusion)
    return np.stack([rows, columns, confusion[rows, columns]], axis=1).ravel().tolist()


def _drawings(predictions: SplitPredictions, directory: str, indices: list[int]) -> bytes:
    """Return some drawings: a line of JSON, then their bitmaps, [N, 85, 11], a row in 11 bytes."""
    found = predictions.read_drawings(directory, indices)
    keys = predictions.read_keys(directory)
    fields = {
        "truth": predictions.arrays.labels[indices].tolist(),
        "keys": [keys[index] for index in indices],
        "files": [*map(file_address, predictions.strokes_files(directory))],
    }
    rows = np.packbits(np.stack([found[index] for index in indices]), axis=2)
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n" + rows.tobytes()


def _predicted(predictions: SplitPredictions, indices: list[int]) -> bytes:
    """Return predictions for some drawings as uint16, little-endian, [3, N].

    The prediction, the probability of the truth and that of the prediction, in PROBABILITY_STEPS.
    """
    arrays = predictions.arrays
    probabilities = np.stack([arrays.label_probabilities, predictions.confidences])
    steps = np.rint(probabilities[:, indices] * PROBABILITY_STEPS)
    return np.vstack([arrays.top_labels[indices, 0], steps]).astype("<u2").tobytes()


def file_address(path: str) -> str:
    """Return the address of a file that a browser can open; empty for others."""
    if path.startswith("/"):
        return f"file://{quote(path)}"
    if path.startswith("gs://"):
        return "https://storage.googleapis.com/" + quote(path.removeprefix("gs://"))
    return ""


def _json(content: dict[str, Any]) -> str:
    """Return JSON that cannot end the element that holds it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
