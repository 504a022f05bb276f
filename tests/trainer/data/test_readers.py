"""Which reader has how many rows of which batch."""

import numpy as np
import pytest

from trainer.data import readers
from trainer.data.readers import deal, even_sizes, reader_rows


def sorted_rows(records, batch_size):
    """Return the same as `reader_rows`, from all times."""
    times = sorted(
        ((number + (reader + 0.5) / len(records)) / count, reader)
        for reader, count in enumerate(records)
        for number in range(count)
    )
    batches = np.split(
        [reader for _, reader in times], np.cumsum(even_sizes(len(times), batch_size))
    )
    return [np.bincount(batch, minlength=len(records)).tolist() for batch in batches[:-1]]


@pytest.mark.parametrize("count", [1, 3, 15, 16, 17, 40])
def test_shards_are_dealt_to_at_most_sixteen_readers(count):
    dealt = deal(range(count))
    assert len(dealt) == min(count, 16)
    assert sorted(shard for shards in dealt for shard in shards) == list(range(count))
    assert np.ptp([len(shards) for shards in dealt]) <= 1


@pytest.mark.parametrize(
    ("total", "largest", "sizes"),
    [(10, 5, [5, 5]), (11, 5, [3, 4, 4]), (3, 5, [3]), (6, 5, [3, 3]), (2, 1, [1, 1]), (0, 5, [])],
)
def test_sizes_are_even_and_as_few_as_will_do(total, largest, sizes):
    assert even_sizes(total, largest).tolist() == sizes


@pytest.mark.parametrize("seed", range(60))
def test_every_reader_adds_its_records_evenly_to_batches_of_even_sizes(seed, monkeypatch):
    monkeypatch.setattr(readers, "_ENDS_AT_ONCE", 7)
    rng = np.random.default_rng(seed)
    # Readers with none, with one, with many; more readers than rows in a batch.
    records = [*rng.choice([0, 1, 2, 7, 50, 51, 300], rng.integers(1, 17)).tolist(), 1]
    batch_size = int(rng.integers(1, 60))
    rows = reader_rows(records, batch_size)
    assert rows.sum(axis=1, dtype=int).tolist() == even_sizes(sum(records), batch_size).tolist()
    assert rows.sum(axis=0, dtype=int).tolist() == records
    assert rows.tolist() == sorted_rows(records, batch_size)
    # At no time is a reader ahead of or behind its share by more than a record of each reader.
    done = np.cumsum(rows, axis=0, dtype=int)
    shares = np.outer(done.sum(axis=1), records) / sum(records)
    assert np.abs(done - shares).max() <= len(records)


def test_readers_of_one_size_differ_by_two_rows_at_most():
    rows = reader_rows([10_000] * 16, 100)
    assert rows.min() >= 5
    assert rows.max() <= 7


def test_fifty_million_drawings_take_eight_megabytes():
    rows = reader_rows([3_125_000] * 16, 100)
    assert rows.shape == (500_000, 16)
    assert rows.nbytes <= 8_000_000
