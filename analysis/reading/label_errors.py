"""Likely label errors, by confident learning on predictions for drawings not trained on."""

import numpy as np

from analysis.reading.evaluations import SplitPredictions


def likely_label_errors(predictions: SplitPredictions) -> list[int]:
    """Return the indices of drawings whose label is likely wrong, the likeliest first.

    Confident learning of C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating
    uncertainty in dataset labels", JAIR 70 (2021), equation 1: a category's threshold is the mean
    of its probability over the drawings labelled with it. A drawing belongs confidently to the most
    probable of the categories whose thresholds it reaches; where that is not its label, the label
    is likely wrong. They are ranked by the probability of the label less that of this category.

    Of each drawing the three highest probabilities are known, and that of its label; a category
    beyond these is taken not to reach its threshold.
    """
    arrays = predictions.arrays
    labels = arrays.labels.astype(np.intp)
    counts = np.bincount(labels, minlength=len(predictions.labels))
    sums = np.bincount(labels, arrays.label_probabilities, len(predictions.labels))
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reach = arrays.top_probabilities >= thresholds[arrays.top_labels]  # [N, 3], descending
    first = reach.argmax(axis=1)[:, np.newaxis]
    category = np.take_along_axis(arrays.top_labels, first, axis=1)[:, 0]
    probability = np.take_along_axis(arrays.top_probabilities, first, axis=1)[:, 0]
    suspects = np.flatnonzero(reach.any(axis=1) & (category != labels))
    margins = (arrays.label_probabilities - probability)[suspects]
    return suspects[np.argsort(margins, kind="stable")].tolist()


def accuracy_without(predictions: SplitPredictions, indices: list[int]) -> float:
    """Return the share of the other drawings that are recognized; NaN where none is left."""
    others = np.delete(predictions.correct, indices)
    return float(others.mean()) if len(others) else float("nan")
