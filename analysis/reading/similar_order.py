"""Orders of classes in which those that a model confuses are neighbours, and groups of them."""

import numpy as np

Order = list[int]


def similarity(confusion: np.ndarray) -> np.ndarray:
    """Return how much any two classes are confused.

    Args:
      confusion: [classes, classes] drawings of the row's class by predicted class.

    Returns:
      [classes, classes], symmetric, 0 on the diagonal: the share of the one's drawings predicted as
      the other, both ways added.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    both = shares + shares.T
    np.fill_diagonal(both, 0)
    return both


def similar_order(similarities: np.ndarray) -> Order:
    """Return an order of the classes in which similar ones are neighbours.

    Hierarchical clustering with average linkage; where two clusters are joined each is turned
    around so that the sum of similarity over distance is the largest.

    Args:
      similarities: [classes, classes], symmetric, 0 on the diagonal.
    """
    clusters: list[Order] = [[i] for i in range(len(similarities))]
    between = similarities.astype(np.float64)  # mean similarity of two clusters
    np.fill_diagonal(between, -np.inf)
    for _ in range(len(clusters) - 1):
        first, second = sorted(divmod(int(between.argmax()), len(between)))
        sizes = np.array([len(clusters[first]), len(clusters[second])])
        merged = sizes @ between[[first, second]] / sizes.sum()
        clusters[first] = _join(clusters[first], clusters[second], similarities)
        between[first], between[:, first] = merged, merged
        between[first, first] = -np.inf
        between[second], between[:, second] = -np.inf, -np.inf
    return clusters[0] if clusters else []


def cut_groups(similarities: np.ndarray, least: int, most: int) -> list[range]:
    """Cut classes that are in a similar order into groups of neighbours, similar among themselves.

    Of all ways to cut the one with the highest modularity, the similarity within groups beyond
    what chance would give (M. E. J. Newman, "Modularity and community structure in networks", PNAS
    103 (2006)), found by dynamic programming.

    Args:
      similarities: as of `similarity`, rows and columns in the order.
      least, most: how many classes a group has; fewer only if there are not so many.
    """
    count = len(similarities)
    least = min(least, count)
    degrees = similarities.sum(axis=1)
    excess = similarities - np.outer(degrees, degrees) / max(degrees.sum(), 1e-12)
    sums = np.zeros((count + 1, count + 1))
    sums[1:, 1:] = excess.cumsum(axis=0).cumsum(axis=1)
    best = [0.0, *[-np.inf] * count]  # of the first so many classes
    start_of_last = [0] * (count + 1)
    for end in range(least, count + 1):
        for start in range(max(0, end - most), end - least + 1):
            within = sums[end, end] - sums[start, end] - sums[end, start] + sums[start, start]
            if best[start] + within > best[end]:
                best[end], start_of_last[end] = best[start] + within, start
    groups: list[range] = []
    end = count
    while end:
        groups.append(range(start_of_last[end], end))
        end = start_of_last[end]
    return groups[::-1]


def _join(first: Order, second: Order, similarities: np.ndarray) -> Order:
    distances = np.arange(len(first), 0, -1)[:, np.newaxis] + np.arange(len(second))
    ways = [(a, b) for a in (first, first[::-1]) for b in (second, second[::-1])]
    a, b = max(ways, key=lambda way: (similarities[np.ix_(*way)] / distances).sum())
    return a + b
