"""Exact metrics from logits, added up batch by batch in float64."""

from typing import Any

import numpy as np


class Metrics:
    """Loss, top-1, top-3, MAP@3 and the confusion matrix of any number of examples.

    The rank of an example is that of its true class among the logits, from 1. Of equal logits the
    one with the lower class index comes first, as in `numpy.argmax`. MAP@3 is the mean of 1/rank,
    0 beyond rank 3 (mean average precision with one right answer, as in the Kaggle competition
    "Quick, Draw! Doodle Recognition").
    """

    def __init__(self, num_classes: int) -> None:
        self.confusion = np.zeros((num_classes, num_classes), np.int64)  # [true, predicted]
        self._rank_counts = np.zeros(num_classes + 1, np.int64)  # by rank
        self._loss_sum = 0.0

    def add(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Add examples: [B, classes] float logits and [B] class indices."""
        logits = logits.astype(np.float64)
        rows = np.arange(len(labels))
        true_logits = logits[rows, labels][:, np.newaxis]  # [B, 1]
        is_lower_class = np.arange(logits.shape[1]) < labels[:, np.newaxis]  # [B, classes]
        is_ahead = (logits > true_logits) | ((logits == true_logits) & is_lower_class)
        ranks = 1 + is_ahead.sum(axis=1)
        self._rank_counts += np.bincount(ranks, minlength=len(self._rank_counts))
        largest = logits.max(axis=1, keepdims=True)
        log_sums = largest + np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
        self._loss_sum += float((log_sums - true_logits).sum())
        np.add.at(self.confusion, (labels, logits.argmax(axis=1)), 1)

    def result(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """Return the content of evaluation.json, of at least one example, for classes `labels`."""
        examples = int(self.confusion.sum())
        within = np.cumsum(self._rank_counts)  # examples of at most this rank
        reciprocals = [1, 1 / 2, 1 / 3]
        return {
            "examples": examples,
            "loss": self._loss_sum / examples,
            "top1": within[1] / examples,
            "top3": within[min(3, len(labels))] / examples,
            "map3": float(np.dot(self._rank_counts[1:4], reciprocals[: len(labels)])) / examples,
            "per_class": self._per_class(labels),
            "confusion": self.confusion.tolist(),
        }

    def _per_class(self, labels: tuple[str, ...]) -> list[dict[str, Any]]:
        correct = self.confusion.diagonal().tolist()
        examples = self.confusion.sum(axis=1).tolist()
        predicted = self.confusion.sum(axis=0).tolist()
        return [
            {
                "label": label,
                "examples": examples[index],
                "correct": correct[index],
                "precision": _ratio(correct[index], predicted[index]),
                "recall": _ratio(correct[index], examples[index]),  # the class's accuracy
                "f1": _ratio(2 * correct[index], examples[index] + predicted[index]),
            }
            for index, label in enumerate(labels)
        ]


def _ratio(part: int, whole: int) -> float | None:
    """Divide; None if the denominator is zero."""
    return part / whole if whole else None
