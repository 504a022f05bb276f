"""Second pass of the graph: chosen drawings → slices of shards → TFRecord files."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam
import cv2
import numpy as np
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from pipeline.cli import RunError
from pipeline.dataset import records
from pipeline.dataset.manifests import Shard, shard_name
from pipeline.files import storage
from pipeline.graph import batches, sampling
from pipeline.graph.batches import Element, Spill
from pipeline.graph.exclusion import record_key
from pipeline.graph.sampling import Selection
from pipeline.graph.settings import PrepareSettings
from pipeline.rasterize import draw_packed

# What is rasterized at once: 1.8 MB of bitmaps, and of drawings of many points no more than this.
_CHUNK_DRAWINGS = 256
_CHUNK_BYTES = 1 << 20
# Of a whole shard: offsets of 32 bits would end at 2 GB of strokes.
_STROKES = pa.field("strokes", pa.large_binary())


class WrittenShard(NamedTuple):
    """A shard under its temporary name, to be renamed when the whole data set is there."""

    split: str
    shard_index: int
    temporary_path: str
    shard: Shard
    label_counts: dict[int, int]
    displaced: dict[int, int]  # by label: drawings outside of the frame, see rasterize.Drawn


class AssignShards(beam.DoFn):
    """Batch → ((split, shard index), slice) for every shard that gets some of its drawings."""

    def __init__(self, settings: PrepareSettings) -> None:
        self._slices = Spill("slices", settings.spill_directory)

    def process(
        self, element: Element, selection: Selection
    ) -> Iterator[tuple[tuple[str, int], Element]]:
        batch = batches.read_batch(element)
        identities = _identities(batch, selection.shared_keys)
        ranks = batches.ranks_of(batch, identities)
        categories = batch["category"]
        index_of = {label: index for index, label in enumerate(selection.labels)}
        indices = [index_of[category] for category in categories.dictionary.to_pylist()]
        labels = np.array(indices, np.int32)[categories.indices.to_numpy()]
        orders = sampling.order_of(identities)
        # All shards of all splits are numbered, so that one take sorts the drawings by shard.
        splits = selection.splits_of(labels, ranks)
        shards = np.full(len(labels), -1)
        first_shards = np.cumsum([0, *selection.num_shards])
        for split, num_shards in enumerate(selection.num_shards):
            chosen = splits == split
            shards[chosen] = first_shards[split] + sampling.shard_of(orders[chosen], num_shards)
        schema = batches.slice_schema("fields" in batch.schema.names)
        columns = [pa.array(labels), pa.array(orders), *map(batch.column, schema.names[2:])]
        assigned = pa.RecordBatch.from_arrays(columns, schema=schema)
        for number, part in batches.groups(assigned, shards):
            split = int(np.searchsorted(first_shards, number, "right")) - 1
            shard = (selection.splits[split], number - int(first_shards[split]))
            yield shard, self._slices.write(part.serialize())


def _identities(batch: pa.RecordBatch, shared_keys: np.ndarray) -> np.ndarray:
    """[N] int64: the keys' hashes, but where several drawings share a key.

    Args:
      batch: of N drawings.
      shared_keys: [K] int64, ascending.
    """
    keys = batch["identity"].to_numpy()
    shared = np.flatnonzero(sampling.is_in(keys, shared_keys))
    if not len(shared):
        return keys
    identities = keys.copy()
    strokes = map(sampling.strokes_hash, batch["strokes"].take(pa.array(shared)).to_pylist())
    identities[shared] = sampling.distinguish(keys[shared], np.array(list(strokes)), shared_keys)
    return identities


class WriteShard(beam.DoFn):
    """((split, shard index), [slice]) → WrittenShard."""

    def __init__(self, settings: PrepareSettings) -> None:
        self._staging = settings.staging
        self._image_encoding = settings.image_encoding
        self._has_fields = bool(settings.keep_fields)
        self._progress = settings.progress
        self._records = Metrics.distribution("pipeline", "shard_records")
        self._bytes = Metrics.distribution("pipeline", "shard_bytes")

    def setup(self) -> None:
        cv2.setNumThreads(0)  # OpenCV's threads only get in the way of one process a core

    def process(
        self, element: tuple[tuple[str, int], Iterable[Element]], selection: Selection
    ) -> Iterator[WrittenShard]:
        (split, index), slices = element
        num_shards = selection.num_shards[selection.splits.index(split)]
        parts = (batches.read_slice(element, self._has_fields) for element in slices)
        written = self._write(split, index, num_shards, _in_order(pa.Table.from_batches(parts)))
        number = written.shard.records
        Metrics.counter("pipeline", f"written_{split}").inc(number)
        self._records.update(number)
        self._bytes.update(written.shard.bytes)
        self._progress.add(shards_written=1, drawings_written=number)
        yield written

    def _write(
        self, split: str, index: int, num_shards: int, drawings: Iterable[pa.Table]
    ) -> WrittenShard:
        """Write a shard under a temporary name; raises RunError if it cannot be written.

        `drawings`: label, key_id, strokes and maybe fields, in the order of the records.
        """
        name = shard_name(split, index, num_shards)
        # Every attempt has its own name: a runner may try a shard twice, even at the same time.
        path = FileSystems.join(self._staging, f"{name}.{uuid.uuid4().hex}")
        encode = records.ENCODERS[self._image_encoding]
        checksum = hashlib.sha256()
        size = 0
        label_counts: Counter[int] = Counter()
        displaced: Counter[int] = Counter()
        failure = f"cannot write {self._staging}"
        with storage.errors_as(RunError, failure), storage.create_file(path) as file:
            for chunk in drawings:
                labels, key_ids, strokes = (
                    chunk[column].to_pylist() for column in ("label", "key_id", "strokes")
                )
                drawn = draw_packed(strokes)
                for row in np.flatnonzero(drawn.is_displaced).tolist():
                    displaced[labels[row]] += 1
                keys = map(record_key, key_ids, strokes)
                columns = [encode(drawn.bitmaps), labels, keys]
                if "fields" in chunk.schema.names:
                    columns.append(chunk["fields"].to_pylist())
                examples = map(records.encode_example, *columns)
                data = b"".join(map(records.frame_record, examples))
                checksum.update(data)
                size += len(data)
                label_counts.update(labels)
                file.write(data)
        shard = Shard(name, label_counts.total(), size, checksum.hexdigest())
        return WrittenShard(split, index, path, shard, dict(label_counts), dict(displaced))


def _in_order(drawings: pa.Table) -> Iterator[pa.Table]:
    """Yield the drawings of a shard by order, in chunks of a bounded number and size.

    Of several drawings of one order, which are copies of one, the lowest strokes and fields stay.
    """
    names = drawings.schema.names
    schema = drawings.schema.set(names.index("strokes"), _STROKES)
    drawings = drawings.combine_chunks().cast(schema).combine_chunks()
    columns = [name for name in ("order", "key_id", "strokes", "fields") if name in names]
    ascending = [(name, "ascending") for name in columns]
    rows = pa.compute.sort_indices(drawings, ascending).to_numpy()
    orders = drawings["order"].to_numpy()[rows]
    is_first = np.append(True, orders[1:] != orders[:-1])
    rows = rows[is_first]
    sizes = pa.compute.binary_length(drawings["strokes"]).to_numpy()[rows]
    for start, end in _chunks(sizes):
        yield drawings.take(pa.array(rows[start:end]))


def _chunks(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """[N] bytes of drawings → (start, end) of chunks; the last drawing may exceed _CHUNK_BYTES."""
    totals = np.append(0, np.cumsum(sizes))
    start = 0
    while start < len(sizes):
        enough = int(np.searchsorted(totals, totals[start] + _CHUNK_BYTES))
        end = min(start + _CHUNK_DRAWINGS, enough, len(sizes))
        yield start, end
        start = end
