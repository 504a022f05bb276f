"""tf.data from a data set's shards to batches of packed bitmaps.

Bitmaps stay packed, eight pixels to a byte, until the model's device unpacks them: parsing then
handles many records at once, and the device is sent 904 bytes an image instead of 28,900.

A batch is put together from the rows of several readers, whatever the number of hosts: see
`trainer.readers`.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.dataset import Manifest, Shard, Split
from pipeline.records import IMAGE_SIZE, PACKED_BYTES
from trainer.hosts import ONE_HOST, Hosts
from trainer.readers import deal, reader_rows
from trainer.replicas import Share

# The shuffle's memory: all readers together hold blocks of so many parsed records, 912 bytes each,
# and shuffle each block. Smaller splits are shuffled completely.
SHUFFLED_RECORDS = 65_536
# About so many records of all readers at a time are put in the order of the batches.
GROUPED_RECORDS = 4_096
# Fixed, not left to tf.data's autotuning: that feeds no faster here, and now and then it kept the
# end of an epoch waiting for ten seconds, without work for any core.
PARALLEL_READS = 4
PREFETCHED_BATCHES = 8

_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
}


class Batch(NamedTuple):
    """Examples for one step, those that this host reads.

    Where it reads none of a batch, there is one blank row, which is not in its share.
    """

    images: tf.Tensor  # [B, 904] uint8, packed
    labels: tf.Tensor  # [B] int64
    share: Share


BATCH_SPEC = Batch(
    tf.TensorSpec([None, PACKED_BYTES], tf.uint8),
    tf.TensorSpec([None], tf.int64),
    Share(*[tf.TensorSpec([], tf.int32)] * 3),
)


class _Examples(NamedTuple):
    images: tf.Tensor  # [N, 904] uint8, packed
    labels: tf.Tensor  # [N] int64


_EXAMPLES_SPEC = _Examples(*BATCH_SPEC[:2])


class _Reading(NamedTuple):
    """What a reader reads in an epoch, from where on; the fields of several are stacked."""

    paths: list[str]  # of its shards, in the order in which it reads them
    skipped: int  # records before the first block that is read
    block_size: int
    block: int  # number of the first block that is read, from 0
    used: int  # records of that block that are in batches before
    seed: int  # of the shuffle


def training_batches(
    directory: str,
    manifest: Manifest,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    skip: int = 0,
    hosts: Hosts = ONE_HOST,
) -> tf.data.Dataset:
    """One epoch over the training split: every example once, in batches of even sizes.

    The batches depend on `batch_size`, `seed` and `epoch` (from 1) alone, so an epoch can be
    repeated exactly, on any number of hosts. The first `skip` batches, which a resumed run has
    seen, are not read, but for the block of the shuffle in which they end.

    Returns:
      `Batch`es.
    """
    readers = deal(manifest.splits["train"].shards)
    rows = reader_rows(_records(readers), batch_size)
    starts = rows[:skip].sum(axis=0, dtype=np.int64)  # [readers]
    largest = -(-SHUFFLED_RECORDS // len(readers))
    readings = [
        _shuffled_reading(directory, readers[reader], int(starts[reader]), largest, (seed, epoch, reader))
        for reader in hosts.own(range(len(readers)))
    ]
    return _batches(readings, rows[skip:], manifest, hosts, is_shuffled=True)


def evaluation_batches(
    directory: str, manifest: Manifest, split: str, batch_size: int, hosts: Hosts = ONE_HOST
) -> tf.data.Dataset:
    """Every example of a split once, as `Batch`es; `evaluation_order` says in which order."""
    readers = deal(manifest.splits[split].shards)
    rows = reader_rows(_records(readers), batch_size)
    size = -(-GROUPED_RECORDS // len(readers))
    readings = [
        _Reading([os.path.join(directory, shard.file) for shard in shards], 0, size, 0, 0, 0)
        for shards in hosts.own(readers)
    ]
    return _batches(readings, rows, manifest, hosts, is_shuffled=False)


def evaluation_order(split: Split, batch_size: int) -> np.ndarray:
    """Where in the split's files the examples of its batches stand: [N] int64."""
    ends = np.cumsum([shard.records for shard in split.shards])
    of_shards = [np.arange(end - s.records, end) for s, end in zip(split.shards, ends, strict=True)]
    of_readers = np.concatenate([place for shards in deal(of_shards) for place in shards])
    rows = reader_rows(_records(deal(split.shards)), batch_size)
    return of_readers[_order(tf.constant(rows, tf.int32)).numpy()]


def unpack_bitmaps(packed: tf.Tensor, dtype: tf.DType | str) -> tf.Tensor:
    """[B, 904] uint8 → [B, 85, 85, 1] of 0 and 1 in `dtype`; runs on the model's device."""
    shifts = tf.range(7, -1, -1)  # numpy.packbits: the most significant bit comes first
    bits = tf.cast(packed, tf.int32)[:, :, tf.newaxis]  # [B, 904, 1]
    bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, shifts), 1)  # [B, 904, 8]
    bits = tf.reshape(bits, [-1, PACKED_BYTES * 8])[:, : IMAGE_SIZE * IMAGE_SIZE]
    return tf.cast(tf.reshape(bits, [-1, IMAGE_SIZE, IMAGE_SIZE, 1]), dtype)


def _records(readers: Sequence[Sequence[Shard]]) -> list[int]:
    return [sum(shard.records for shard in shards) for shards in readers]


def _shuffled_reading(
    directory: str, shards: Sequence[Shard], start: int, largest: int, key: tuple[int, ...]
) -> _Reading:
    """Of a reader that begins with record `start` of its order, which follows from `key`."""
    # Independent numbers out of the key: seeds that differ by one share no orders.
    shard_seed, record_seed = np.random.SeedSequence(key).generate_state(2, np.uint64)
    order = np.random.default_rng(shard_seed).permutation(len(shards))
    records = sum(shard.records for shard in shards)
    blocks = max(-(-records // largest), 1)
    block_size = max(-(-records // blocks), 1)
    block, used = divmod(start, block_size)
    # Shards before the block are not opened, and of the one where it begins, records are passed over.
    ends = np.cumsum([shards[index].records for index in order])
    first = int(np.searchsorted(ends, block * block_size, "right"))
    skipped = block * block_size - (int(ends[first - 1]) if first else 0)
    paths = [os.path.join(directory, shards[index].file) for index in order[first:]]
    return _Reading(paths, skipped, block_size, block, used, int(record_seed >> np.uint64(1)))


def _batches(
    readings: Sequence[_Reading],
    rows: np.ndarray,
    manifest: Manifest,
    hosts: Hosts,
    is_shuffled: bool,
) -> tf.data.Dataset:
    """`readings`: of this host's readers; `rows`: of all readers, [batches, readers]."""
    first, stop = (hosts.own(range(rows.shape[1])).start, hosts.own(range(rows.shape[1])).stop)
    own = rows[:, first:stop]  # [batches, readers of this host]
    of_host = own.sum(axis=1, dtype=np.int64)
    shares = Share(
        rows[:, :first].sum(axis=1, dtype=np.int32),
        of_host.astype(np.int32),
        rows.sum(axis=1, dtype=np.int32),
    )
    examples = _arranged(readings, own, manifest.image["encoding"], is_shuffled).rebatch(of_host)
    batches = (
        tf.data.Dataset.zip((examples, tf.data.Dataset.from_tensor_slices(shares)))
        .map(lambda examples, share: Batch(*examples, share))
        .prefetch(PREFETCHED_BATCHES)
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def _arranged(
    readings: Sequence[_Reading], rows: np.ndarray, encoding: str, is_shuffled: bool
) -> tf.data.Dataset:
    """The examples of some readers in the order of the batches, as `_Examples` of any size."""
    batches = max(GROUPED_RECORDS // int(rows.sum(axis=1).max()), 1)  # of a group
    groups = np.add.reduceat(rows, range(0, len(rows), batches), axis=0, dtype=np.int64)
    longest = max(len(reading.paths) for reading in readings)
    padded = [r._replace(paths=r.paths + [""] * (longest - len(r.paths))) for r in readings]
    columns = _Reading(*(tf.constant(column) for column in zip(*padded, strict=True)))
    parts = tf.data.Dataset.from_tensor_slices((columns, np.ascontiguousarray(groups.T))).interleave(
        lambda reading, sizes: _read(reading, sizes, encoding, is_shuffled),
        cycle_length=len(readings),
        num_parallel_calls=min(PARALLEL_READS, len(readings)),
        deterministic=True,
    )
    of_groups = parts.rebatch(groups.sum(axis=1))  # reader after reader in each
    of_batches = tf.data.Dataset.from_tensor_slices(rows).batch(batches)
    return tf.data.Dataset.zip((of_groups, of_batches)).map(_arrange)


def _read(
    reading: _Reading, sizes: tf.Tensor, encoding: str, is_shuffled: bool
) -> tf.data.Dataset:
    """A reader's examples, so many at a time as `sizes` says, [groups] int64."""
    paths = tf.boolean_mask(reading.paths, reading.paths != "")
    block_size = tf.cast(reading.block_size, tf.int64)
    blocks = (
        tf.data.Dataset.from_tensor_slices(paths).flat_map(tf.data.TFRecordDataset)
        .skip(tf.cast(reading.skipped, tf.int64))
        .batch(block_size)
        .map(_PARSERS[encoding])
    )
    if is_shuffled:
        blocks = blocks.enumerate(tf.cast(reading.block, tf.int64)).map(
            lambda number, examples: _shuffle(examples, tf.stack([reading.seed, number]))
        )
    blank = _Examples(tf.zeros([1, PACKED_BYTES], tf.uint8), tf.zeros([1], tf.int64))
    # With one more after them: past the last record there would be no empty parts.
    endless = blocks.concatenate(tf.data.Dataset.from_tensors(blank))
    parts = endless.rebatch(tf.concat([[tf.cast(reading.used, tf.int64)], sizes], 0))
    return parts.skip(1).take(tf.size(sizes, tf.int64)).map(_copy)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def _parse_packed(serialized: tf.Tensor) -> _Examples:
    features = tf.io.parse_example(serialized, _FEATURES)
    images = tf.io.decode_raw(features["image"], tf.uint8)
    return _Examples(tf.ensure_shape(images, [None, PACKED_BYTES]), features["label"])


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def _parse_png(serialized: tf.Tensor) -> _Examples:
    features = tf.io.parse_example(serialized, _FEATURES)
    shape = tf.TensorSpec([IMAGE_SIZE, IMAGE_SIZE, 1], tf.uint8)
    pixels = tf.map_fn(
        lambda png: tf.ensure_shape(tf.io.decode_png(png, channels=1), shape.shape),
        features["image"],
        fn_output_signature=shape,
    )  # [N, 85, 85, 1] of 0 and 255
    bits = tf.reshape(pixels // 255, [-1, IMAGE_SIZE * IMAGE_SIZE])
    bits = tf.pad(bits, [[0, 0], [0, PACKED_BYTES * 8 - IMAGE_SIZE * IMAGE_SIZE]])
    bits = tf.reshape(bits, [-1, PACKED_BYTES, 8])
    powers = tf.constant([128, 64, 32, 16, 8, 4, 2, 1], tf.uint8)
    return _Examples(tf.reduce_sum(bits * powers, axis=2), features["label"])


# By the name that the manifest has for what an image is encoded as.
_PARSERS = {"packed": _parse_packed, "png": _parse_png}


@tf.function(input_signature=[_EXAMPLES_SPEC, tf.TensorSpec([2], tf.int64)])
def _shuffle(examples: _Examples, seed: tf.Tensor) -> _Examples:
    """Another order, which follows from `seed` alone; TensorFlow's global seed plays no part."""
    order = tf.random.experimental.stateless_shuffle(
        tf.range(tf.size(examples.labels)), seed, alg="philox"
    )
    return _Examples(*(tf.gather(column, order) for column in examples))


@tf.function(input_signature=[_EXAMPLES_SPEC])
def _copy(examples: _Examples) -> _Examples:
    """For `rebatch`, which complains about slices that it gets, the more so as it made them."""
    return _Examples(*(tf.raw_ops.DeepCopy(x=column) for column in examples))


@tf.function
def _arrange(examples: _Examples, rows: tf.Tensor) -> _Examples:
    """From reader after reader to batch after batch.

    Args:
      examples: of a group.
      rows: [batches of the group, readers] uint, of this host's readers.
    """
    order = _order(tf.cast(rows, tf.int32))
    return _Examples(*(tf.gather(column, order) for column in examples))


def _order(rows: tf.Tensor) -> tf.Tensor:
    """The places of rows that lie reader after reader, batch after batch: [sum of rows] int32.

    Args:
      rows: [batches, readers] int32.
    """
    by_reader = tf.transpose(rows)
    starts = tf.cumsum(tf.reshape(by_reader, [-1]), exclusive=True)
    starts = tf.transpose(tf.reshape(starts, tf.shape(by_reader)))  # [batches, readers]
    starts = tf.reshape(starts, [-1])
    return tf.ragged.range(starts, starts + tf.reshape(rows, [-1])).flat_values
