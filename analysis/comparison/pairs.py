"""Two runs on the same drawings: which the one mends and which it breaks, and McNemar's test."""

import math
from typing import NamedTuple

import numpy as np

from analysis.comparison.run_table import SETTINGS, setting
from analysis.reading.evaluations import SplitPredictions
from analysis.reading.runs import Run
from pipeline.cli import UserError

_EXACT_DRAWINGS = 1000  # up to which whole numbers are quick


class Pair(NamedTuple):
    """Predictions of two runs for the same N drawings."""

    base: SplitPredictions
    other: SplitPredictions

    @property
    def mended(self) -> np.ndarray:
        """Return the indices of drawings that only `other` recognizes."""
        return np.flatnonzero(~self.base.correct & self.other.correct)

    @property
    def broken(self) -> np.ndarray:
        """Return the indices of drawings that only `base` recognizes."""
        return np.flatnonzero(self.base.correct & ~self.other.correct)

    @property
    def probability(self) -> float:
        """Return the p-value of McNemar's test."""
        return mcnemar(len(self.mended), len(self.broken))


def pair(base: SplitPredictions, other: SplitPredictions) -> Pair:
    """Return two runs' predictions as a pair.

    Raises:
      UserError: they are not of the same drawings.
    """
    first, second = base.evaluation, other.evaluation
    if (
        first.dataset_fingerprint != second.dataset_fingerprint
        or first.split != second.split
        or list(base.labels) != list(other.labels)
        or not np.array_equal(base.arrays.labels, other.arrays.labels)
    ):
        raise UserError(f"{second.description}: of different drawings than {first.description}")
    return Pair(base, other)


def mcnemar(mended: int, broken: int) -> float:
    """Return the p-value of McNemar's exact test, two-sided.

    Of the drawings on which two models differ, each is equally likely to favour either if they are
    equally good: Q. McNemar, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 12 (1947); exact by the binomial distribution.
    """
    number, fewer = mended + broken, min(mended, broken)
    if number <= _EXACT_DRAWINGS:
        return min(1.0, 2 * sum(math.comb(number, k) for k in range(fewer + 1)) / 2**number)
    k = np.arange(1, fewer + 1)
    # Logarithms of the number of ways to choose 0, 1, …, `fewer` drawings: it has 100,000 digits.
    ways = np.concatenate([[0.0], np.cumsum(np.log((number - k + 1) / k))])
    share = np.exp(ways - number * math.log(2)).sum()
    return min(1.0, float(2 * share))


def different_settings(base: Run, other: Run) -> dict[str, tuple[str, str]]:
    """Return the settings in which two runs differ, by name: the value of each."""
    values = {
        "experiment": (base.experiment, other.experiment),
        "epochs": (base.planned_epochs, other.planned_epochs),
        **{name: (setting(base, name), setting(other, name)) for name in SETTINGS},
    }
    return {
        name: (str(first), str(second))
        for name, (first, second) in values.items()
        if first != second
    }
