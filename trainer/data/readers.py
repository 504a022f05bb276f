"""Readers of a split, and their rows in each batch: the same on any number of hosts.

The shards of a split are dealt to a fixed number of readers. Each reader adds a number of rows to
each batch; a batch is the rows of its readers, reader after reader. A host has consecutive readers
and therefore consecutive rows. This is the "elastic determinism" of MosaicML Streaming.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# A data set of a thousand drawings or more has 16 shards or more (pipeline.graph.sampling), and
# each host needs a reader. The order of the drawings depends on this number.
MAX_READERS = 16
_ENDS_AT_ONCE = 16_384  # 2 MB for each array of 16 readers


def deal(shards: Sequence[T]) -> list[Sequence[T]]:
    """Divide the shards of a split among its readers, at most `MAX_READERS`."""
    readers = min(MAX_READERS, len(shards))
    return [shards[reader::readers] for reader in range(readers)]


def even_sizes(total: int, largest: int) -> np.ndarray:
    """Cut `total` into as few parts of at most `largest` as will do: [parts] int64.

    The parts differ by one at most. Adam's steps are of one length whatever the batch, so a last
    batch of two drawings would move the weights as far as all the others.
    """
    parts = -(-total // largest)
    return np.diff(np.arange(parts + 1) * total // max(parts, 1))


def reader_rows(records: Sequence[int], batch_size: int) -> np.ndarray:
    """Count the rows of each reader in each batch of an epoch: [batches, readers].

    Args:
      records: how many each reader has.
      batch_size: the largest size of a batch; see `even_sizes`.

    Returns:
      Numbers of the smallest unsigned type that holds them: 8 MB for 50 million drawings.
    """
    ends = np.append(0, np.cumsum(even_sizes(sum(records), batch_size)))
    rows = np.empty((len(ends) - 1, len(records)), np.min_scalar_type(batch_size))
    for start in range(0, len(rows), _ENDS_AT_ONCE):
        some = ends[start : start + _ENDS_AT_ONCE + 1]
        rows[start : start + _ENDS_AT_ONCE] = np.diff(records_before(some, records), axis=0)
    return rows


def records_before(ends: np.ndarray, records: Sequence[int]) -> np.ndarray:
    """Count each reader's records among the first ones of an epoch: [len(ends), readers] int64.

    Readers are spread evenly: record k of the n of reader r of R has the time
    (k + (r + 1/2) / R) / n, and records come in the order of their times, of equal ones the lower
    reader first.

    Args:
      ends: [E] int64, how many come first.
      records: how many each reader has.
    """
    readers, total = len(records), max(sum(records), 1)
    sizes = np.array(records, np.int64)
    offsets = (np.arange(readers) + 0.5) / readers
    # Up to a time t come ceil(t n - offset) records of a reader, of all together at most
    # t total + readers / 2. So all records before this time are among the first ones, and at most
    # readers + 1 are missing.
    times = (ends - readers / 2 - 1) / total  # [E]
    counts = np.ceil(np.outer(times, sizes) - offsets).astype(np.int64).clip(0, sizes)
    missing = ends - counts.sum(axis=1)  # [E]
    next_times = _times(counts, sizes, offsets)
    every = np.arange(len(ends))
    while (missing > 0).any():
        chosen = next_times.argmin(axis=1)  # of equal ones the first
        counts[every, chosen] += missing > 0
        missing -= missing > 0
        next_times[every, chosen] = _times(counts[every, chosen], sizes[chosen], offsets[chosen])
    return counts


def _times(numbers: np.ndarray, sizes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the times of records; infinite beyond a reader's last one."""
    return np.where(numbers < sizes, (numbers + offsets) / np.maximum(sizes, 1), np.inf)
