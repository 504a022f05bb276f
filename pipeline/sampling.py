"""Which drawings go to which split and shard.

Every drawing has an *identity*, a keyed hash of its key_id, or of its strokes where it has none,
and in its category a *rank*. The splits take the drawings of lowest rank, one split after the
other. What the rank is, is the sampling method:

- hash: the identity itself. An unbiased choice that depends on the drawings alone, not on the order
  or cutting-up of the input nor on other files. Validation takes its drawings first, then test,
  then training, so that a larger training quota leaves the other two as they were.
- first: the place in the input, as the study chose. Training comes first.

A second hash, mixed from the identity, is a drawing's *order*: the shard (high bits) and the place
in it.
"""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

HASH_KEY = b"quickdraw"  # another key draws another sample
_RANK_BITS = 62  # so that every bound, the highest rank + 1 too, fits an int64
_OFFSET_BITS = 40  # of a rank by place: files of up to a terabyte, four million of them
MAX_SHARD_DRAWINGS = 500_000  # 500 MB; 200 MB of memory while it is sorted

# In this order the splits take their drawings, by method.
PRIORITY = {"hash": ("validation", "test", "train"), "first": ("train", "validation", "test")}


@dataclasses.dataclass(frozen=True)
class Quotas:
    """How many drawings of every category to put into each split; None is all that remain."""

    train: int | None = 2000
    validation: int = 1000
    test: int = 0

    def of(self, split: str) -> int | None:
        return dataclasses.asdict(self)[split]

    @property
    def bounded(self) -> int:
        """How many of a category's lowest ranks decide where its splits end."""
        return self.validation + self.test + (self.train or 0)


class CategorySplits(NamedTuple):
    """Where the splits of one category end."""

    available: int  # distinct drawings
    bounds: tuple[int, ...]  # exclusive upper rank of each split
    counts: tuple[int, ...]  # drawings in each split


@dataclasses.dataclass(frozen=True)
class Selection:
    """The choice for a whole data set: what the second pass needs to place every drawing."""

    labels: tuple[str, ...]
    splits: tuple[str, ...]  # in the order in which they take their drawings
    available: Mapping[str, int]  # by label: distinct drawings
    bounds: Mapping[str, Sequence[int]]  # by label: exclusive upper rank of each split
    counts: Mapping[str, Sequence[int]]  # by label: drawings in each split
    # By label, ascending, and only where there are any: ranks of drawings that are kept elsewhere.
    excluded: Mapping[str, np.ndarray]
    num_shards: Sequence[int]  # of each split

    def splits_of(self, label: str, ranks: np.ndarray) -> np.ndarray:
        """[N] int64 ranks → [N] indices into `splits`, or len(splits) for those not chosen."""
        chosen = np.searchsorted(np.asarray(self.bounds[label]), ranks, side="right")
        if (excluded := self.excluded.get(label)) is not None:
            places = np.minimum(np.searchsorted(excluded, ranks), len(excluded) - 1)
            chosen[excluded[places] == ranks] = len(self.splits)
        return chosen


def identity_of(key_id: str | None, strokes: bytes) -> int:
    """62 bits of a keyed BLAKE2b of the key_id, or of the strokes where there is none."""
    content = b"key:" + key_id.encode() if key_id else b"strokes:" + strokes
    digest = hashlib.blake2b(content, digest_size=8, key=HASH_KEY).digest()
    return int.from_bytes(digest, "little") >> (64 - _RANK_BITS)


def rank_by_place(file_index: int, byte_offset: int) -> int:
    """The rank of a drawing by its place in the input."""
    return file_index << _OFFSET_BITS | byte_offset


def order_of(identities: np.ndarray) -> np.ndarray:
    """[N] int64 identities → [N] uint64, as random, distinct for distinct identities.

    Splits are intervals of the identity; intervals of its order are shards of any split.

    This is the finalizer of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom
    number generators").
    """
    x = identities.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def shard_of(orders: np.ndarray, num_shards: int) -> np.ndarray:
    """[N] uint64 orders → [N] shard indices: the high 32 bits, scaled to the number of shards."""
    return ((orders >> np.uint64(32)) * np.uint64(num_shards) >> np.uint64(32)).astype(np.int64)


def num_shards_for(drawings: int) -> int:
    """16 shards where they hold 1,000 to 50,000 drawings (1 to 50 MB); fewer or more otherwise.

    Sixteen are enough to interleave and to keep the cores busy. A thousand, with 50 million
    drawings, grow to MAX_SHARD_DRAWINGS before there are more of them, because every batch sends
    something to every shard. They grow no further: a shard is sorted in memory.
    """
    return max(
        min(16, math.ceil(drawings / 1_000)),
        min(1_000, math.ceil(drawings / 50_000)),
        math.ceil(drawings / MAX_SHARD_DRAWINGS),
    )


def lowest(arrays: Iterable[np.ndarray], limit: int) -> np.ndarray:
    """The `limit` lowest values of all the arrays together, ascending."""
    merged = np.concatenate([np.empty(0, np.int64), *arrays])
    if len(merged) > limit:
        merged = np.partition(merged, limit)[:limit] if limit else merged[:0]
    return np.sort(merged)


def fix_splits(
    method: str, quotas: Quotas, available: int, lowest_ranks: np.ndarray
) -> CategorySplits:
    """Fixes where the splits of a category end.

    Args:
      method: hash or first.
      quotas: drawings of each split.
      available: the number of the category's distinct drawings.
      lowest_ranks: its `quotas.bounded` lowest distinct ranks, ascending.
    """
    bounds, counts = [], []
    left, taken = available, 0
    for split in PRIORITY[method]:
        quota = quotas.of(split)
        count = left if quota is None else min(quota, left)
        left -= count
        taken += count
        counts.append(count)
        bounds.append(_upper_bound(lowest_ranks, taken))
    return CategorySplits(available, tuple(bounds), tuple(counts))


def select(
    method: str,
    labels: Sequence[str] | None,
    splits: Mapping[str, CategorySplits],
    excluded: Mapping[str, np.ndarray],
) -> Selection:
    """Puts the categories together.

    Args:
      method: hash or first.
      labels: the labels in the order of their class indices; None: the sorted categories.
      splits: by category; a label without a drawing has none.
      excluded: by category, the ranks of drawings that are kept elsewhere.
    """
    names = tuple(labels) if labels is not None else tuple(sorted(splits))
    none = CategorySplits(0, (0, 0, 0), (0, 0, 0))
    chosen = {label: splits.get(label, none) for label in names}
    totals = [sum(counts) for counts in zip(*(c.counts for c in chosen.values()), strict=True)]
    return Selection(
        labels=names,
        splits=PRIORITY[method],
        available={label: category.available for label, category in chosen.items()},
        bounds={label: category.bounds for label, category in chosen.items()},
        counts={label: category.counts for label, category in chosen.items()},
        excluded={category: np.sort(ranks) for category, ranks in excluded.items() if len(ranks)},
        num_shards=[num_shards_for(total) for total in totals or (0, 0, 0)],
    )


def _upper_bound(ranks: np.ndarray, taken: int) -> int:
    """The bound above which none of the first `taken` ranks lies; the highest beyond the ranks."""
    if taken > len(ranks):
        return 1 << _RANK_BITS
    return int(ranks[taken - 1]) + 1 if taken else 0
