"""Standard errors and confidence intervals of shares, and the scores of guessing."""

import math
from statistics import NormalDist

CONFIDENCE = 0.95


def standard_error(share: float, examples: int) -> float:
    """Return √(p (1 - p) / n) of a share of independent examples, at least one."""
    return math.sqrt(share * (1 - share) / examples)


def chance(classes: int) -> tuple[float, float, float]:
    """Return top-1, top-3 and MAP@3 expected of guesses in a random order of all classes."""
    ranks = range(1, min(3, classes) + 1)
    return 1 / classes, len(ranks) / classes, sum(1 / rank for rank in ranks) / classes


def wilson_interval(hits: int, examples: int) -> tuple[float, float]:
    """Return the interval that holds the true share with CONFIDENCE, by Wilson's score.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927): of n examples with a share p of hits, with z of the normal distribution,
    (p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n). Good for small n and for shares near 0
    and 1, unlike the standard error (L. D. Brown, T. T. Cai and A. DasGupta, "Interval estimation
    for a binomial proportion", Statistical Science 16 (2001)).

    Args:
      hits: of `examples`, which are at least one.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, z2 = hits / examples, z * z / examples
    middle = share + z2 / 2
    half = z * math.sqrt(share * (1 - share) / examples + z2 / (4 * examples))
    # Exact at the ends, where rounding could pass them.
    low = 0.0 if hits == 0 else (middle - half) / (1 + z2)
    high = 1.0 if hits == examples else (middle + half) / (1 + z2)
    return low, high
