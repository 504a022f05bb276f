"""The second pass of the job: the strokes of chosen drawings to their shards, shards to files."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import cv2
import numpy as np
from apache_beam.metrics import Metrics

from pipeline.dataset.manifests import shard_name
from pipeline.graph import arrays, sampling
from pipeline.graph.parse import Batch
from pipeline.graph.sampling import Selection
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.shards import Placed, WrittenShard, strokes_of, write_shard
from pipeline.graph.spill import Packer, Parcel, unpack


class Place(beam.DoFn):
    """Batch → ((split, shard index), Placed) for every shard that gets some of its drawings."""

    def __init__(self, settings: PrepareSettings) -> None:
        self._placed = Packer("placed", settings.spill_directory)

    def process(
        self, parcel: Parcel, selection: Selection
    ) -> Iterator[tuple[tuple[str, int], Parcel]]:
        batch: Batch = unpack(parcel)
        counts = np.frombuffer(batch.counts, np.uint32)
        ends = batch.entries.ends()
        identities = _identities(batch, ends, selection.shared_keys)
        ranks = np.frombuffer(batch.ranks, np.int64) if batch.ranks else identities
        indices = {label: index for index, label in enumerate(selection.labels)}
        labels = np.array([indices[category] for category in batch.categories], np.int32)
        splits = selection.splits_of(labels, counts, ranks)
        label_of = np.repeat(labels, counts)
        orders = sampling.order_of(identities)
        for index, split in enumerate(selection.splits):
            in_split = np.flatnonzero(splits == index)
            shards = sampling.shard_of(orders[in_split], selection.num_shards[index])
            for shard, members in arrays.groups(shards):
                chosen = in_split[members]
                of_labels, of_counts = arrays.runs(label_of[chosen])
                placed = Placed(
                    of_labels.tobytes(),
                    of_counts.tobytes(),
                    orders[chosen].tobytes(),
                    batch.entries.take(chosen, ends),
                )
                yield (split, shard), self._placed.pack(placed)


def _identities(batch: Batch, ends: np.ndarray, shared_keys: np.ndarray) -> np.ndarray:
    """[N] int64: the keys' hashes, but where several drawings share a key.

    Args:
      batch: of N drawings.
      ends: [N] int64, of its entries.
      shared_keys: [K] int64, ascending.
    """
    keys = np.frombuffer(batch.identities, np.int64)
    shared = np.flatnonzero(sampling.is_in(keys, shared_keys))
    if not len(shared):
        return keys
    identities = keys.copy()
    starts = ends - np.frombuffer(batch.entries.sizes, np.uint32)
    strokes = [
        sampling.strokes_hash(strokes_of(batch.entries.data[start:end]))
        for start, end in zip(starts[shared].tolist(), ends[shared].tolist(), strict=True)
    ]
    identities[shared] = sampling.told_apart(keys[shared], np.array(strokes), shared_keys)
    return identities


class WriteShard(beam.DoFn):
    """((split, shard index), [Placed]) → WrittenShard."""

    def __init__(self, settings: PrepareSettings) -> None:
        self._staging = settings.staging
        self._image_encoding = settings.image_encoding
        self._progress = settings.progress
        self._records = Metrics.distribution("pipeline", "shard_records")
        self._bytes = Metrics.distribution("pipeline", "shard_bytes")

    def setup(self) -> None:
        cv2.setNumThreads(0)  # OpenCV's threads only get in the way of one process a core

    def process(
        self, element: tuple[tuple[str, int], Iterable[Parcel]], selection: Selection
    ) -> Iterator[WrittenShard]:
        (split, index), parcels = element
        num_shards = selection.num_shards[selection.splits.index(split)]
        name = shard_name(split, index, num_shards)
        written = write_shard(
            self._staging, name, split, index, map(unpack, parcels), self._image_encoding
        )
        records = written.shard.records
        Metrics.counter("pipeline", f"written_{split}").inc(records)
        self._records.update(records)
        self._bytes.update(written.shard.bytes)
        self._progress.add(shards_written=1, drawings_written=records)
        yield written
