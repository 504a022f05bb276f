"""Which drawings go to which split and shard.

Every drawing has an *identity*, a keyed hash of its key_id, or of its strokes where it has none, or
of both where drawings of other strokes have the same key_id; and in its category a *rank*. The
splits take the drawings of lowest rank, one split after the other. What the rank is, is the
sampling method:

- hash: the identity itself. An unbiased choice that depends on the drawings alone, not on the order
  or cutting-up of the input nor on other files. Validation takes its drawings first, then test,
  then training, so that a larger training quota leaves the other two as they were.
- first: the place in the input, as the study chose. Training comes first.

A second hash, mixed from the identity, is a drawing's *order*: the shard (high bits) and the place
in it.
"""

import dataclasses
import functools
import hashlib
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import google_crc32c
import numpy as np

HASH_KEY = b"quickdraw"  # of --seed=0; another key draws another sample
_RANK_BITS = 62  # so that every bound, the highest rank + 1 too, fits an int64
_OFFSET_BITS = 40  # of a rank by place: files of up to a terabyte, four million of them
MAX_SHARD_DRAWINGS = 500_000  # 500 MB; 200 MB of memory while it is sorted

# In this order the splits take their drawings, by method.
PRIORITY = {"hash": ("validation", "test", "train"), "first": ("train", "validation", "test")}


@dataclasses.dataclass(frozen=True)
class Quotas:
    """Number of drawings of each category for each split; None is all that remain.

    A share, above 0 and below 1, of the category's drawings takes the place of a number.
    """

    train: int | None = 2000
    validation: int = 1000
    test: int = 0
    validation_share: float | None = None
    test_share: float | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Quotas":
        """Read what `as_settings` gave."""
        train = settings["train_per_category"]
        return cls(
            None if train == "all" else train,
            settings["validation_per_category"],
            settings["test_per_category"],
            settings.get("validation_share"),
            settings.get("test_share"),
        )

    def as_settings(self) -> dict[str, Any]:
        """Write it as a manifest has it."""
        shares = {"validation_share": self.validation_share, "test_share": self.test_share}
        return {
            "train_per_category": "all" if self.train is None else self.train,
            "validation_per_category": self.validation,
            "test_per_category": self.test,
            **{name: share for name, share in shares.items() if share is not None},
        }

    def of(self, split: str, available: int) -> int | None:
        """Return the quota of a split in a category of so many distinct drawings."""
        share = {"validation": self.validation_share, "test": self.test_share}.get(split)
        if share is not None:
            return math.floor(share * available + 0.5)
        number: int | None = getattr(self, split)
        return number

    def asks_for(self, split: str) -> bool:
        """Tell whether the split may hold drawings."""
        return self.of(split, 1_000_000) != 0

    @property
    def ranks_needed(self) -> int | None:
        """Number of a category's lowest ranks that decide where its splits end; None: all."""
        if self.validation_share is not None or self.test_share is not None:
            return None
        return self.validation + self.test + (self.train or 0)


class CategorySplits(NamedTuple):
    """Ends of the splits of one category."""

    available: int  # distinct drawings
    bounds: tuple[int, ...]  # exclusive upper rank of each split
    counts: tuple[int, ...]  # drawings in each split


@dataclasses.dataclass(frozen=True)
class Selection:
    """Choice for a whole data set: all that assigns a drawing to its split and shard."""

    # Every worker gets it, and Beam measures each of its objects: arrays, whatever the categories.
    labels: tuple[str, ...]  # [L]
    splits: tuple[str, ...]  # [S], in the order in which they take their drawings
    available: np.ndarray  # [L] int64: distinct drawings
    bounds: np.ndarray  # [L, S] int64: exclusive upper rank of each split
    counts: np.ndarray  # [L, S] int64: drawings in each split
    # By class index, where there are any: ascending ranks of drawings that are kept elsewhere.
    excluded: Mapping[int, np.ndarray]
    shared_keys: np.ndarray  # [K] int64, ascending: what drawings of different strokes agree in
    num_shards: Sequence[int]  # of each split

    def splits_of(self, labels: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Find the split of each drawing.

        Args:
          labels: [N] int32 class indices.
          ranks: [N] int64.

        Returns:
          [N] int64 indices into `splits`, or len(splits) for those not chosen.
        """
        chosen = np.zeros(len(ranks), np.int64)
        for of_split in self.bounds.T:  # three, ascending
            chosen += ranks >= of_split[labels]
        for label in np.intersect1d(labels, list(self.excluded)).tolist() if self.excluded else ():
            rows = np.flatnonzero(labels == label)
            chosen[rows[is_in(ranks[rows], self.excluded[label])]] = len(self.splits)
        return chosen


def hash_key(seed: int) -> bytes:
    """Return the key of the hash that draws the sample."""
    return HASH_KEY + str(seed).encode() if seed else HASH_KEY


def identity_of(key_id: str | None, strokes: bytes, key: bytes = HASH_KEY) -> int:
    """62 bits of a keyed BLAKE2b of the key_id, or of the strokes where there is none."""
    content = b"key:" + key_id.encode() if key_id else b"strokes:" + strokes
    hashed = _keyed_hash(key).copy()  # in a third of the time of a new one
    hashed.update(content)
    return int.from_bytes(hashed.digest(), "little") >> (64 - _RANK_BITS)


@functools.lru_cache(maxsize=4)
def _keyed_hash(key: bytes) -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=8, key=key)


def strokes_hash(strokes: bytes) -> int:
    """62 bits of two CRCs, to tell drawings of one key apart."""
    return google_crc32c.value(strokes) << 30 | zlib.crc32(strokes) >> 2


def is_in(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """[N] int64, [K] int64 → [N] bool: which values are among the others."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    places = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.asarray(ascending[places] == values)


def distinguish(keys: np.ndarray, strokes: np.ndarray, shared_keys: np.ndarray) -> np.ndarray:
    """Make identities of hashes of keys: where a key is shared, of key and strokes.

    Args:
      keys: [N] int64, from `identity_of`.
      strokes: [N] int64, from `strokes_hash`.
      shared_keys: [K] int64, ascending.

    Returns:
      [N] int64, of 62 bits.
    """
    mixed = order_of(keys ^ (order_of(strokes) >> np.uint64(2)).astype(np.int64)) >> np.uint64(2)
    return np.where(is_in(keys, shared_keys), mixed.astype(np.int64), keys)


def rank_by_position(file_index: int, byte_offset: int) -> int:
    """Return the rank of a drawing by its position in the input."""
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


def lowest(arrays: Iterable[np.ndarray], limit: int | None) -> np.ndarray:
    """Return the `limit` lowest values of all arrays together, None for all, ascending."""
    merged = np.concatenate([np.empty(0, np.int64), *arrays])
    if limit is not None and len(merged) > limit:
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
      lowest_ranks: its `quotas.ranks_needed` lowest distinct ranks, ascending.
    """
    bounds, counts = [], []
    left, taken = available, 0
    for split in PRIORITY[method]:
        quota = quotas.of(split, available)
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
    shared_keys: np.ndarray | None = None,
) -> Selection:
    """Puts the categories together.

    Args:
      method: hash or first.
      labels: the labels in the order of their class indices; None: the sorted categories.
      splits: by category; a label without a drawing has none.
      excluded: by category, the ranks of drawings that are kept elsewhere.
      shared_keys: [K] int64, hashes of keys that drawings of different strokes have.
    """
    names = tuple(labels) if labels is not None else tuple(sorted(splits))
    none = CategorySplits(0, (0, 0, 0), (0, 0, 0))
    chosen = [splits.get(label, none) for label in names]
    counts = np.array([category.counts for category in chosen], np.int64).reshape(-1, 3)
    return Selection(
        labels=names,
        splits=PRIORITY[method],
        available=np.array([category.available for category in chosen], np.int64),
        bounds=np.array([category.bounds for category in chosen], np.int64).reshape(-1, 3),
        counts=counts,
        excluded={
            index: np.sort(excluded[label])
            for index, label in enumerate(names)
            if len(excluded.get(label, ()))
        },
        shared_keys=np.sort(np.empty(0, np.int64) if shared_keys is None else shared_keys),
        num_shards=[num_shards_for(total) for total in counts.sum(axis=0).tolist()],
    )


def _upper_bound(ranks: np.ndarray, taken: int) -> int:
    """Return the exclusive upper bound of the first `taken` ranks; the highest beyond the ranks."""
    if taken > len(ranks):
        return 1 << _RANK_BITS
    return int(ranks[taken - 1]) + 1 if taken else 0
