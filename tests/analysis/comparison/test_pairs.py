"""Two runs on the same drawings: what the one mends and breaks, and McNemar's test."""

import math

import numpy as np
import pytest

from analysis.comparison.pairs import different_settings, mcnemar, pair
from analysis.reading.evaluations import SplitPredictions, validation_of
from analysis.reading.runs import Run
from pipeline.cli import UserError
from tests.support.analysis_data import HISTORY
from trainer.runs.predictions import Predictions

LABELS = ["cat", "cake", "car"]


def predictions(correct, fingerprint="one", **config):
    truth = np.arange(len(correct)) % 3
    first = np.where(correct, truth, (truth + 1) % 3)
    top = np.stack([first, (first + 1) % 3, (first + 2) % 3], axis=1)
    shares = np.tile(np.array([0.6, 0.3, 0.1], np.float32), (len(correct), 1))
    settings = {"experiment": "small", "labels": LABELS, "dataset": "", "epochs": 4} | config
    run = Run("run", settings | {"dataset_fingerprint": fingerprint}, HISTORY)
    arrays = Predictions(truth.astype(np.int16), shares[:, 0], top.astype(np.int16), shares)
    return SplitPredictions(validation_of(run), 3, arrays)


def test_mended_and_broken_are_the_drawings_that_one_run_alone_recognizes():
    base = predictions([True, True, False, False, False])
    other = predictions([True, False, True, True, False])
    found = pair(base, other)
    assert found.mended.tolist() == [2, 3]
    assert found.broken.tolist() == [1]
    assert pair(other, base).mended.tolist() == [1]


@pytest.mark.parametrize(
    ("mended", "broken", "probability"),
    [
        (0, 0, 1),
        (5, 5, 1),
        (6, 0, 2 / 2**6),
        (1, 9, 2 * (1 + 10) / 2**10),
        (9, 1, 2 * (1 + 10) / 2**10),
        (86, 59, 0.03042),  # R: binom.test(59, 145)$p.value, about
    ],
)
def test_mcnemars_test_is_the_exact_one(mended, broken, probability):
    assert mcnemar(mended, broken) == pytest.approx(probability, abs=2e-3)


def test_many_drawings_have_a_probability_too():
    assert mcnemar(2000, 2100) == pytest.approx(0.122, abs=0.002)
    assert mcnemar(10_000, 4_000) < 1e-100
    exact = 2 * sum(math.comb(3000, k) for k in range(1451)) / 2**3000
    assert mcnemar(1450, 1550) == pytest.approx(exact, rel=1e-9)
    assert mcnemar(50_000, 50_500) == pytest.approx(0.115, abs=0.002)  # at once


def test_runs_on_other_drawings_are_no_pair():
    with pytest.raises(UserError, match="of different drawings than run: its best checkpoint"):
        pair(predictions([True, False]), predictions([True, False], "another"))
    with pytest.raises(UserError, match="of different drawings"):
        pair(predictions([True, False]), predictions([True, False, True]))


def test_only_settings_that_differ_are_named():
    base, other = (
        predictions([True], epochs=epochs, seed=1, learning_rate=rate).evaluation.run
        for epochs, rate in ((4, 0.1), (8, 0.2))
    )
    found = different_settings(base, other)
    assert found == {"epochs": ("4", "8"), "learning_rate": ("0.1", "0.2")}
