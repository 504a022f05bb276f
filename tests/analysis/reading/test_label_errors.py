"""Likely label errors: those of confident learning, the likeliest first."""

import numpy as np
import pytest

from analysis.reading.evaluations import SplitPredictions, validation_of
from analysis.reading.label_errors import accuracy_without, likely_label_errors
from analysis.reading.runs import Run
from tests.support.analysis_data import HISTORY
from trainer.runs.predictions import Predictions

LABELS = ["cat", "cake", "car"]


def predictions(probabilities, labels):
    config = {"experiment": "small", "labels": LABELS, "dataset": "", "dataset_fingerprint": ""}
    logits = np.log(np.asarray(probabilities))
    arrays = Predictions.from_logits(logits, np.asarray(labels))
    return SplitPredictions(validation_of(Run("run", config, HISTORY)), 3, arrays)


def test_a_label_is_likely_wrong_where_another_category_reaches_its_threshold():
    # Thresholds: cat (0.9 + 0.2 + 0.4) / 3 = 0.5, cake (0.7 + 0.5) / 2 = 0.6, car 0.8.
    found = predictions(
        [
            (0.9, 0.05, 0.05),
            (0.2, 0.7, 0.1),  # cake reaches 0.6: likely a cake
            (0.4, 0.55, 0.05),  # predicted as cake, which does not reach 0.6
            (0.2, 0.7, 0.1),
            (0.45, 0.5, 0.05),
            (0.1, 0.1, 0.8),
        ],
        [0, 0, 0, 1, 1, 2],
    )
    assert likely_label_errors(found) == [1]
    assert accuracy_without(found, [1]) == pytest.approx(4 / 5)


def test_the_likeliest_errors_are_found_first_among_many_drawings():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    noise = rng.dirichlet((1, 1, 1), 600)
    probabilities = 0.3 * noise + 0.7 * np.eye(3)[truth]
    labels = truth.copy()
    wrong = np.arange(0, 600, 20)
    labels[wrong] = (truth[wrong] + 1) % 3
    found = predictions(probabilities, labels)
    errors = likely_label_errors(found)
    assert {*errors} <= {*wrong.tolist()}
    assert len(errors) > len(wrong) / 2
    margins = [
        found.arrays.label_probabilities[i] - found.arrays.top_probabilities[i, 0] for i in errors
    ]
    assert margins == sorted(margins)
