"""Thresholds of confidence, a category each, from which on predictions are as precise as wanted."""

import dataclasses

import numpy as np

from analysis.reading.evaluations import SplitPredictions


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Predictions of one category that are left if less probable ones are withheld."""

    confidence: float | None  # the least that is answered; None if no threshold is enough
    answered: int
    correct: int
    predicted: int  # all predictions of the category


def category_thresholds(predictions: SplitPredictions, precision: float) -> list[Threshold]:
    """Return the lowest threshold of each category at which its predictions are precise enough.

    It is found on the very drawings on which it is counted, so that it is optimistic, the more the
    fewer they are.

    Args:
      predictions: of N drawings.
      precision: the wanted share of correct ones among those answered, above 0.

    Returns:
      For each category, in the order of the labels.
    """
    predicted = predictions.arrays.top_labels[:, 0]
    return [
        _lowest(predictions.confidences[inside], predictions.correct[inside], precision)
        for inside in (predicted == index for index in range(len(predictions.labels)))
    ]


def _lowest(confidences: np.ndarray, correct: np.ndarray, precision: float) -> Threshold:
    """Return the lowest threshold of some predictions, [n] each; equal ones are kept together."""
    order = np.argsort(-confidences, kind="stable")
    ranked, hits = confidences[order], np.cumsum(correct[order])
    is_end = np.append(ranked[1:] < ranked[:-1], [True] * bool(len(ranked)))
    for end in np.flatnonzero(is_end)[::-1].tolist():
        if hits[end] / (end + 1) >= precision:
            return Threshold(float(ranked[end]), end + 1, int(hits[end]), len(ranked))
    return Threshold(None, 0, 0, len(ranked))
