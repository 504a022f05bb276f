"""Thresholds by category: the lowest that is precise enough, and what is then answered."""

import numpy as np
import pytest

from analysis.reading.evaluations import SplitPredictions, validation_of
from analysis.reading.runs import Run
from analysis.reading.thresholds import Threshold, category_thresholds
from tests.support.analysis_data import HISTORY
from trainer.runs.predictions import Predictions

LABELS = ["cat", "cake", "car"]


def predictions(guesses, confidences, labels):
    config = {"experiment": "small", "labels": LABELS, "dataset": "", "dataset_fingerprint": ""}
    top = np.array(guesses)[:, np.newaxis]
    shares = np.array(confidences, np.float32)[:, np.newaxis]
    arrays = Predictions(np.array(labels), shares[:, 0], top, shares)
    return SplitPredictions(validation_of(Run("run", config, HISTORY)), 3, arrays)


def test_the_lowest_threshold_is_taken_at_which_enough_predictions_are_correct():
    found = predictions(
        [0, 0, 0, 0, 0, 1, 1],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.9, 0.4],
        [0, 1, 0, 0, 2, 1, 1],  # of cat: correct, wrong, correct, correct, wrong
    )
    cat, cake, car = category_thresholds(found, 0.75)
    assert cat == Threshold(pytest.approx(0.6), 4, 3, 5)  # 3 of 4; of the first two only one
    assert cake == Threshold(pytest.approx(0.4), 2, 2, 2)
    assert car == Threshold(None, 0, 0, 0)
    assert category_thresholds(found, 0.76)[0] == Threshold(pytest.approx(0.9), 1, 1, 5)


def test_equally_probable_predictions_are_answered_all_or_none():
    found = predictions([0, 0, 0], [0.8, 0.8, 0.5], [0, 1, 1])
    assert category_thresholds(found, 0.9)[0] == Threshold(None, 0, 0, 3)
    assert category_thresholds(found, 0.5)[0] == Threshold(pytest.approx(0.8), 2, 1, 3)


@pytest.mark.parametrize("precision", [0.95, 0.99])
def test_a_share_that_is_just_reached_is_enough(precision):
    for count in (100, 200, 300, 700):
        right = round(precision * count)
        labels = [0] * right + [1] * (count - right)
        confidences = np.linspace(0.9, 0.5, count)
        found = category_thresholds(predictions([0] * count, confidences, labels), precision)
        assert (found[0].answered, found[0].correct) == (count, right)
