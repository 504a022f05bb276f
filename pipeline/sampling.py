"""Which drawings go to which split and shard: a function of the drawings alone.

Every drawing has an identity, its key_id, or its strokes where it has no key_id. A keyed hash of
the identity is its *rank*. In every category the drawings of lowest rank validate, the next test,
the next train; so a larger training quota leaves validation and test as they are. A second hash,
mixed from the rank, is its *order*: the shard (high bits) and the place in it.

Nothing depends on the order or the cutting-up of the input, or on the number of workers.
"""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

HASH_KEY = b"quickdraw"  # another key draws another sample
_RANK_BITS = 62  # so that every bound, the highest rank + 1 too, fits an int64

# In this order the splits take their drawings.
PRIORITY = ("validation", "test", "train")
UNUSED = len(PRIORITY)


@dataclasses.dataclass(frozen=True)
class Quotas:
    """How many drawings of every category to put into each split; None is all that remain."""

    train: int | None = 2000
    validation: int = 1000
    test: int = 0

    @property
    def bounded(self) -> int:
        """How many of a category's lowest ranks decide where its splits end."""
        return self.validation + self.test + (self.train or 0)


@dataclasses.dataclass(frozen=True)
class Selection:
    """The choice for a whole data set: what the second pass needs to place every drawing."""

    labels: tuple[str, ...]
    available: Mapping[str, int]  # by label: distinct drawings
    bounds: Mapping[str, Sequence[int]]  # by label: exclusive upper rank of each split
    counts: Mapping[str, Sequence[int]]  # by label: drawings in each split; PRIORITY's order
    excluded: Mapping[str, np.ndarray]  # by label: ranks of drawings that another label keeps
    num_shards: Sequence[int]  # of each split

    def splits_of(self, label: str, ranks: np.ndarray) -> np.ndarray:
        """[N] int64 ranks → [N] indices into PRIORITY, or UNUSED."""
        splits = np.searchsorted(np.asarray(self.bounds[label]), ranks, side="right")
        if label in self.excluded:
            splits[np.isin(ranks, self.excluded[label])] = UNUSED
        return splits


def rank_of(key_id: str | None, strokes: bytes) -> int:
    """The rank of a drawing: 62 bits of a keyed BLAKE2b of its identity."""
    identity = b"key:" + key_id.encode() if key_id else b"strokes:" + strokes
    digest = hashlib.blake2b(identity, digest_size=8, key=HASH_KEY).digest()
    return int.from_bytes(digest, "little") >> (64 - _RANK_BITS)


def order_of(ranks: np.ndarray) -> np.ndarray:
    """[N] int64 ranks → [N] uint64, independent of a rank's size, distinct for distinct ranks.

    This is the finalizer of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom
    number generators").
    """
    x = ranks.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def shard_of(orders: np.ndarray, num_shards: int) -> np.ndarray:
    """[N] uint64 orders → [N] shard indices: the high 32 bits, scaled to the number of shards."""
    return ((orders >> np.uint64(32)) * np.uint64(num_shards) >> np.uint64(32)).astype(np.int64)


def num_shards_for(drawings: int) -> int:
    """16 shards where they hold 1,000 to 50,000 drawings (1 to 48 MB); fewer or more otherwise.

    Sixteen are enough to interleave and to keep the cores busy; a shard is sorted in memory, so
    its size has a limit.
    """
    return max(min(16, math.ceil(drawings / 1_000)), math.ceil(drawings / 50_000))


def lowest(arrays: Iterable[np.ndarray], limit: int) -> np.ndarray:
    """The `limit` lowest values of all the arrays together, ascending."""
    merged = np.concatenate([np.empty(0, np.int64), *arrays])
    if len(merged) > limit:
        merged = np.partition(merged, limit)[:limit] if limit else merged[:0]
    return np.sort(merged)


def select(
    available: Mapping[str, int],
    lowest_ranks: Mapping[str, np.ndarray],
    excluded: Mapping[str, np.ndarray],
    quotas: Quotas,
    labels: Sequence[str] | None,
) -> Selection:
    """Fixes the splits of every category.

    Args:
      available: by category, the number of distinct drawings.
      lowest_ranks: by category, its `quotas.bounded` lowest distinct ranks, ascending.
      excluded: by category, the ranks of drawings that stand in another category too, which
        keeps them.
      quotas: drawings a category and split.
      labels: the labels in the order of their class indices; None: the sorted categories.
    """
    names = tuple(labels) if labels is not None else tuple(sorted(available))
    bounds, counts = {}, {}
    for label in names:
        count = available.get(label, 0)
        ranks = lowest_ranks.get(label, np.empty(0, np.int64))
        validation = min(quotas.validation, count)
        test = min(quotas.test, count - validation)
        train = count - validation - test
        if quotas.train is not None:
            train = min(quotas.train, train)
        ends = (validation, validation + test, validation + test + train)
        bounds[label] = tuple(
            1 << _RANK_BITS if end > len(ranks) else int(ranks[end - 1]) + 1 if end else 0
            for end in ends
        )
        counts[label] = (validation, test, train)
    totals = [sum(split_counts) for split_counts in zip(*counts.values(), strict=True)]
    return Selection(
        labels=names,
        available={label: available.get(label, 0) for label in names},
        bounds=bounds,
        counts=counts,
        excluded=excluded,
        num_shards=tuple(num_shards_for(total) for total in totals or (0, 0, 0)),
    )
