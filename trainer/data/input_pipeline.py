"""tf.data from a data set's shards to batches of packed bitmaps.

Bitmaps stay packed, eight pixels to a byte, until the model's device unpacks them: parsing then
handles many records at once, and the device is sent 904 bytes an image instead of 28,900.

A batch consists of the rows of several readers, on any number of hosts: see
`trainer.data.readers`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.dataset.manifests import DataSet, Shard, Split
from pipeline.dataset.records import IMAGE_SIZE, PACKED_BYTES
from trainer.data.readers import deal, reader_rows
from trainer.hardware.hosts import ONE_HOST, Hosts
from trainer.hardware.replicas import BatchSlice

# The shuffle's memory: all readers together hold blocks of this many parsed records, 912 bytes
# each, and shuffle each block. Smaller splits are shuffled completely.
SHUFFLED_RECORDS = 65_536
# Records of all readers that are put in the order of the batches at a time, about.
GROUPED_RECORDS = 4_096
READ_RECORDS = 512  # parsed at a time
# Fixed, without tf.data's autotuning: that feeds no faster here, and at times the end of an epoch
# waited for ten seconds with all cores idle.
PARALLEL_READS = 2
PREFETCHED_BATCHES = 8

_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
}


class Examples(NamedTuple):
    """Bitmaps and their classes."""

    images: tf.Tensor  # [N, 904] uint8, packed
    labels: tf.Tensor  # [N] int64


class Batch(NamedTuple):
    """Examples of this host for one step.

    Without any, there is one blank row, which is not in its slice.
    """

    examples: Examples
    slice: BatchSlice


_EXAMPLES_SPEC = Examples(
    tf.TensorSpec([None, PACKED_BYTES], tf.uint8), tf.TensorSpec([None], tf.int64)
)
BATCH_SPEC = Batch(_EXAMPLES_SPEC, BatchSlice(*[tf.TensorSpec([], tf.int32)] * 3))


class _Reading(NamedTuple):
    """A reader's part of an epoch; in tensors, those of several readers are stacked."""

    paths: Sequence[str]  # of its shards, in the order of reading
    skipped: int = 0  # records before the first block to read
    block_size: int = READ_RECORDS
    block: int = 0  # number of the first block to read, from 0 in an epoch
    used: int = 0  # records of that block in earlier batches
    seed: int = 0  # of the shuffle


def training_batches(
    data: DataSet,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    skip: int = 0,
    hosts: Hosts = ONE_HOST,
) -> tf.data.Dataset:
    """Read an epoch of the training split: every example once, in batches of even sizes.

    The batches depend on `batch_size`, `seed` and `epoch` (from 1) alone, so an epoch can be
    repeated exactly, on any number of hosts. The first `skip` batches, which a resumed run has
    seen, are not read, but for the block of the shuffle in which they end.

    Returns:
      `Batch`es.
    """
    readers = deal(data.manifest.splits["train"].shards)
    rows = reader_rows(_records(readers), batch_size)
    starts = rows[:skip].sum(axis=0, dtype=np.int64)  # [readers]
    largest_block = -(-SHUFFLED_RECORDS // len(readers))
    readings = [
        _shuffled_reading(
            data, readers[index], int(starts[index]), largest_block, (seed, epoch, index)
        )
        for index in hosts.local(range(len(readers)))
    ]
    return _batches(readings, rows[skip:], data, hosts, is_shuffled=True)


def evaluation_batches(
    data: DataSet, split: str, batch_size: int, hosts: Hosts = ONE_HOST
) -> tf.data.Dataset:
    """Read every example of a split once, as `Batch`es in the order of `evaluation_order`."""
    readers = deal(data.manifest.splits[split].shards)
    rows = reader_rows(_records(readers), batch_size)
    readings = [_Reading([data.path(shard) for shard in shards]) for shards in hosts.local(readers)]
    return _batches(readings, rows, data, hosts, is_shuffled=False)


def evaluation_order(split: Split, batch_size: int) -> np.ndarray:
    """Return the positions, in the split's files, of the examples of its batches: [N] int64."""
    ends = np.cumsum([shard.records for shard in split.shards])
    of_shards = [np.arange(end - s.records, end) for s, end in zip(split.shards, ends, strict=True)]
    of_readers = np.concatenate([part for shards in deal(of_shards) for part in shards])
    rows = reader_rows(_records(deal(split.shards)), batch_size)
    return of_readers[_order(tf.constant(rows, tf.int32)).numpy()]


def unpack_bitmaps(packed: tf.Tensor, dtype: tf.DType | str) -> tf.Tensor:
    """Unpack bits on the model's device: [B, 904] uint8 → [B, 85, 85, 1] of 0 and 1 in `dtype`."""
    shifts = tf.range(7, -1, -1)  # numpy.packbits: the most significant bit comes first
    bits = tf.cast(packed, tf.int32)[:, :, tf.newaxis]  # [B, 904, 1]
    bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, shifts), 1)  # [B, 904, 8]
    bits = tf.reshape(bits, [-1, PACKED_BYTES * 8])[:, : IMAGE_SIZE * IMAGE_SIZE]
    return tf.cast(tf.reshape(bits, [-1, IMAGE_SIZE, IMAGE_SIZE, 1]), dtype)


def _records(readers: Sequence[Sequence[Shard]]) -> list[int]:
    return [sum(shard.records for shard in shards) for shards in readers]


def _shuffled_reading(
    data: DataSet,
    shards: Sequence[Shard],
    start: int,
    largest_block: int,
    key: tuple[int, int, int],
) -> _Reading:
    """Order a reader's shards by `key`, and start at record `start`."""
    # Two independent numbers of the key: keys that differ by one have no orders in common.
    shard_seed, record_seed = np.random.SeedSequence(key).generate_state(2, np.uint64)
    order = np.random.default_rng(shard_seed).permutation(len(shards))
    ends = np.cumsum([shards[index].records for index in order])
    blocks = max(-(-int(ends[-1]) // largest_block), 1)
    block_size = max(-(-int(ends[-1]) // blocks), 1)
    block, used = divmod(start, block_size)
    # Shards that end before the block are not opened.
    first = int(np.searchsorted(ends, block * block_size, "right"))
    skipped = block * block_size - (int(ends[first - 1]) if first else 0)
    paths = [data.path(shards[index]) for index in order[first:]]
    return _Reading(paths, skipped, block_size, block, used, int(record_seed >> np.uint64(1)))


def _batches(
    readings: Sequence[_Reading],
    rows: np.ndarray,
    data: DataSet,
    hosts: Hosts,
    is_shuffled: bool,
) -> tf.data.Dataset:
    """`readings`: of this host's readers; `rows`: of all readers, [batches, readers]."""
    local = hosts.local_slice(rows.shape[1])
    local_rows = rows[:, local]  # [batches, readers of this host]
    slices = BatchSlice(
        rows[:, : local.start].sum(axis=1, dtype=np.int32),
        local_rows.sum(axis=1, dtype=np.int32),
        rows.sum(axis=1, dtype=np.int32),
    )
    group_size = max(GROUPED_RECORDS // int(slices.global_rows.max(initial=1)), 1)  # batches
    groups = np.add.reduceat(local_rows, range(0, len(rows), group_size), axis=0, dtype=np.int64)
    with tf.device("CPU"):
        return _dataset(
            _stack(readings),
            *map(tf.constant, (local_rows, groups)),
            BatchSlice(*map(tf.constant, slices)),
            tf.constant(group_size, tf.int64),
            data.manifest.image["encoding"],
            is_shuffled,
            has_gaps=bool((slices.rows == 0).any()),
        )


def _stack(readings: Sequence[_Reading]) -> _Reading:
    """Stack readings as tensors of a row for each reader; paths are padded with empty ones."""
    longest = max((len(reading.paths) for reading in readings), default=0)
    paths = [[*reading.paths, *[""] * (longest - len(reading.paths))] for reading in readings]
    numbers = np.array([reading[1:] for reading in readings], np.int64)
    numbers = numbers.reshape(len(readings), len(_Reading._fields) - 1)  # of no readings, too
    return _Reading(
        tf.constant(paths, tf.string, [len(readings), longest]), *map(tf.constant, numbers.T)
    )


# One graph for all epochs: building the dataset anew takes as long as reading 20,000 records.
@tf.function(reduce_retracing=True, autograph=False)
def _dataset(
    readings: _Reading,
    rows: tf.Tensor,
    groups: tf.Tensor,
    slices: BatchSlice,
    group_size: tf.Tensor,
    encoding: str,
    is_shuffled: bool,
    has_gaps: bool,
) -> tf.data.Dataset:
    """`Batch`es.

    Args:
      readings: of this host's readers, stacked.
      rows: [batches, readers of this host] unsigned; how many each adds to a batch.
      groups: [groups, readers of this host] int64; the same for groups of batches.
      slices: of this host, each field [batches].
      group_size: batches of a group, but for the last one.
      encoding: of the images, as the manifest has it.
      is_shuffled: whether readers shuffle their records.
      has_gaps: whether this host has no rows of some batches.
    """
    readers = tf.maximum(tf.shape(groups, tf.int64)[1], 1)
    parts = tf.data.Dataset.from_tensor_slices((readings, tf.transpose(groups))).interleave(
        lambda reading, sizes: _read(reading, sizes, encoding, is_shuffled),
        cycle_length=readers,
        num_parallel_calls=tf.minimum(readers, PARALLEL_READS),
        deterministic=True,
    )  # reader after reader of each group
    of_groups = _cut(parts, tf.reduce_sum(groups, axis=1))
    arranged = tf.data.Dataset.zip(
        (of_groups, tf.data.Dataset.from_tensor_slices(rows).batch(group_size))
    ).map(_arrange)
    examples = _cut(arranged, tf.cast(slices.rows, tf.int64))
    if has_gaps:
        examples = examples.map(_fill_gap)
    batches = tf.data.Dataset.zip(Batch(examples, tf.data.Dataset.from_tensor_slices(slices)))
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return batches.prefetch(PREFETCHED_BATCHES).with_options(options)


def _read(reading: _Reading, sizes: tf.Tensor, encoding: str, is_shuffled: bool) -> tf.data.Dataset:
    """Read a reader's examples in parts of these sizes, [groups] int64."""
    records = tf.data.TFRecordDataset(tf.boolean_mask(reading.paths, reading.paths != ""))
    blocks = records.skip(reading.skipped).batch(reading.block_size).enumerate(reading.block)
    parse = _PARSERS[encoding]
    if is_shuffled:
        examples = blocks.map(
            lambda number, block: _shuffle(parse(block), tf.stack([reading.seed, number]))
        )
    else:
        examples = blocks.map(lambda _, block: parse(block))
    parts = _cut(examples, tf.concat([[reading.used], sizes], axis=0)).skip(1)
    return tf.data.Dataset.zip((parts, tf.data.Dataset.from_tensor_slices(sizes))).map(_copy)


def _cut(examples: tf.data.Dataset, sizes: tf.Tensor) -> tf.data.Dataset:
    """Cut examples into parts of these sizes, [N] int64; `rebatch` omits empty parts at the end."""
    empty = Examples(tf.zeros([0, PACKED_BYTES], tf.uint8), tf.zeros([0], tf.int64))
    empties = tf.data.Dataset.from_tensors(empty).repeat()
    return examples.rebatch(sizes).concatenate(empties).take(tf.size(sizes, tf.int64))


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def _parse_packed(serialized: tf.Tensor) -> Examples:
    features = tf.io.parse_example(serialized, _FEATURES)
    images = tf.io.decode_raw(features["image"], tf.uint8)
    return Examples(tf.ensure_shape(images, [None, PACKED_BYTES]), features["label"])


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def _parse_png(serialized: tf.Tensor) -> Examples:
    features = tf.io.parse_example(serialized, _FEATURES)
    shape = tf.TensorSpec([IMAGE_SIZE, IMAGE_SIZE, 1], tf.uint8)
    pixels = tf.map_fn(
        lambda png: tf.ensure_shape(tf.io.decode_png(png, channels=1), shape.shape),
        features["image"],
        fn_output_signature=shape,
    )  # [N, 85, 85, 1] of 0 and 255
    return Examples(_pack_bitmaps(pixels), features["label"])


def _pack_bitmaps(pixels: tf.Tensor) -> tf.Tensor:
    """[N, 85, 85, 1] uint8 of 0 and 255 → [N, 904] uint8, the inverse of `unpack_bitmaps`."""
    pixels = tf.reshape(pixels, [-1, IMAGE_SIZE * IMAGE_SIZE])
    missing = PACKED_BYTES * 8 - IMAGE_SIZE * IMAGE_SIZE
    pixels = tf.concat([pixels, tf.zeros([tf.shape(pixels)[0], missing], tf.uint8)], axis=1)
    # Eight pixels as one number, of each its lowest bit. The product moves bit 8 i to bit 63 - i.
    eights = tf.bitcast(tf.reshape(pixels, [-1, PACKED_BYTES, 8]), tf.uint64)  # [N, 904]
    bits = tf.bitwise.bitwise_and(eights, tf.constant(0x0101010101010101, tf.uint64))
    products = bits * tf.constant(0x8040201008040201, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(products, tf.constant(56, tf.uint64)), tf.uint8)


# By the manifest's name of the encoding.
_PARSERS = {"packed": _parse_packed, "png": _parse_png}


@tf.function(input_signature=[_EXAMPLES_SPEC, tf.TensorSpec([2], tf.int64)], autograph=False)
def _shuffle(examples: Examples, seed: tf.Tensor) -> Examples:
    """Shuffle by `seed` alone; TensorFlow's global seed plays no part."""
    order = tf.random.experimental.stateless_shuffle(
        tf.range(tf.size(examples.labels)), seed, alg="philox"
    )
    return Examples(*(tf.gather(column, order) for column in examples))


@tf.function(input_signature=[_EXAMPLES_SPEC, tf.TensorSpec([], tf.int64)], autograph=False)
def _copy(examples: Examples, size: tf.Tensor) -> Examples:
    """Copy the examples; an InvalidArgumentError if they are not `size`.

    `rebatch` makes slices, and logs an error for each slice in its input.
    """
    images = tf.reshape(examples.images, [size, PACKED_BYTES])
    labels = tf.reshape(examples.labels, [size])
    return Examples(*(tf.raw_ops.DeepCopy(x=column) for column in (images, labels)))


@tf.function(input_signature=[_EXAMPLES_SPEC], autograph=False)
def _fill_gap(examples: Examples) -> Examples:
    """Add a blank row if there is none: oneDNN's convolutions fail on none."""
    missing = tf.cast(tf.size(examples.labels) == 0, tf.int32)
    return Examples(
        tf.pad(examples.images, [[0, missing], [0, 0]]), tf.pad(examples.labels, [[0, missing]])
    )


@tf.function(autograph=False)
def _arrange(examples: Examples, rows: tf.Tensor) -> Examples:
    """Reorder examples from reader after reader to batch after batch.

    Args:
      examples: of a group.
      rows: [batches of the group, readers] uint, of this host's readers.
    """
    order = _order(tf.cast(rows, tf.int32))
    return Examples(*(tf.gather(column, order) for column in examples))


def _order(rows: tf.Tensor) -> tf.Tensor:
    """Return the indices, batch after batch, of rows stored reader after reader: [sum] int32.

    Args:
      rows: [batches, readers] int32.
    """
    by_reader = tf.transpose(rows)
    starts = tf.cumsum(tf.reshape(by_reader, [-1]), exclusive=True)
    starts = tf.transpose(tf.reshape(starts, tf.shape(by_reader)))  # [batches, readers]
    starts = tf.reshape(starts, [-1])
    return tf.ragged.range(starts, starts + tf.reshape(rows, [-1])).flat_values
