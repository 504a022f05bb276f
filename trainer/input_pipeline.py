"""tf.data from a data set's shards to batches of packed bitmaps.

Bitmaps stay packed, eight pixels to a byte, until the model's device unpacks them: parsing then
handles whole batches at once, and the device is sent 904 bytes an image instead of 28,900.
"""

import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.dataset import Manifest
from pipeline.records import IMAGE_SIZE, PACKED_BYTES

# The shuffle's memory: a record is 904 bytes of image and about 100 of key, label and framing, so
# 65,536 of them are 65 MB. Smaller splits are shuffled completely.
SHUFFLE_BUFFER_RECORDS = 65_536
# Shards read in turns, so that a buffer smaller than the split still mixes far-apart records; some
# records at a time, which is faster than one by one (`make bench-trainer`).
INTERLEAVED_SHARDS = 16
INTERLEAVED_RECORDS = 32
# Fixed, not left to tf.data's autotuning: that feeds no faster here, and now and then it kept the
# end of an epoch waiting for ten seconds, without work for any core.
PARALLEL_READS = 4
PARALLEL_PARSES = 2
PREFETCHED_BATCHES = 8

_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
}


class Batch(NamedTuple):
    """Examples for one step."""

    images: tf.Tensor  # [B, 904] uint8, packed
    labels: tf.Tensor  # [B] int64


BATCH_SPEC = Batch(
    tf.TensorSpec([None, PACKED_BYTES], tf.uint8),
    tf.TensorSpec([None], tf.int64),
)


def training_batches(
    directory: str, manifest: Manifest, batch_size: int, *, seed: int, epoch: int, skip: int = 0
) -> tf.data.Dataset:
    """One epoch over the training split: every example once, the last batch may be smaller.

    The order depends on `seed` and `epoch` (from 1) alone, so an epoch can be repeated exactly;
    TensorFlow mixes its global seed in, which a run sets from the same `seed`. The first `skip`
    batches, which a resumed run has seen, are read and shuffled but not parsed.

    Returns:
      `Batch`es.
    """
    split = manifest.splits["train"]
    # Two independent numbers out of (seed, epoch): seeds that differ by one share no orders.
    shard_seed, record_seed = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint64)
    shards = np.random.default_rng(shard_seed).permutation([shard.file for shard in split.shards])
    paths = [os.path.join(directory, shard) for shard in shards]
    records = (
        tf.data.Dataset.from_tensor_slices(paths)
        .interleave(
            lambda path: tf.data.TFRecordDataset(path).batch(INTERLEAVED_RECORDS),
            cycle_length=min(INTERLEAVED_SHARDS, len(paths)),
            num_parallel_calls=min(PARALLEL_READS, len(paths)),
            deterministic=True,
        )
        .unbatch()
    )
    shuffled = records.shuffle(
        min(SHUFFLE_BUFFER_RECORDS, split.records), seed=int(record_seed >> np.uint64(1))
    )
    return _batches(shuffled, batch_size, skip)


def evaluation_batches(
    directory: str, manifest: Manifest, split: str, batch_size: int
) -> tf.data.Dataset:
    """Every example of a split once, in the order of the files, as `Batch`es."""
    files = [os.path.join(directory, shard.file) for shard in manifest.splits[split].shards]
    return _batches(tf.data.TFRecordDataset(files), batch_size)


def unpack_bitmaps(packed: tf.Tensor, dtype: tf.DType | str) -> tf.Tensor:
    """[B, 904] uint8 → [B, 85, 85, 1] of 0 and 1 in `dtype`; runs on the model's device."""
    shifts = tf.range(7, -1, -1)  # numpy.packbits: the most significant bit comes first
    bits = tf.cast(packed, tf.int32)[:, :, tf.newaxis]  # [B, 904, 1]
    bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, shifts), 1)  # [B, 904, 8]
    bits = tf.reshape(bits, [-1, PACKED_BYTES * 8])[:, : IMAGE_SIZE * IMAGE_SIZE]
    return tf.cast(tf.reshape(bits, [-1, IMAGE_SIZE, IMAGE_SIZE, 1]), dtype)


def _batches(records: tf.data.Dataset, batch_size: int, skip: int = 0) -> tf.data.Dataset:
    def parse(serialized: tf.Tensor) -> Batch:  # serialized: [B] string
        features = tf.io.parse_example(serialized, _FEATURES)
        images = tf.io.decode_raw(features["image"], tf.uint8)
        return Batch(tf.ensure_shape(images, [None, PACKED_BYTES]), features["label"])

    batches = (
        records.batch(batch_size)
        .skip(skip)
        .map(parse, num_parallel_calls=PARALLEL_PARSES, deterministic=True)
        .prefetch(PREFETCHED_BATCHES)
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)
