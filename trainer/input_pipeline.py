"""tf.data from a data set's shards to batches of packed bitmaps.

Bitmaps stay packed, eight pixels to a byte, until the model's device unpacks them: parsing then
handles whole batches at once, and the device is sent 904 bytes an image instead of 28,900.
"""

import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.dataset import Manifest, Split
from pipeline.records import IMAGE_SIZE, PACKED_BYTES, encode_example
from trainer.hosts import ONE_HOST, Hosts
from trainer.replicas import Share

# The shuffle's memory: a record is 904 bytes of image and about 100 of key, label and framing, so
# 65,536 of them are 65 MB. Smaller splits are shuffled completely.
SHUFFLE_BUFFER_RECORDS = 65_536
# Shards read in turns, so that a buffer smaller than the split still mixes far-apart records; some
# records at a time, which is faster than one by one (`make bench-trainer`).
INTERLEAVED_SHARDS = 16
INTERLEAVED_RECORDS = 32
READ_RECORDS = 64  # that go on together until they are cut into the shares of a host
# Fixed, not left to tf.data's autotuning: that feeds no faster here, and now and then it kept the
# end of an epoch waiting for ten seconds, without work for any core.
PARALLEL_READS = 4
PARALLEL_PARSES = 2
PREFETCHED_BATCHES = 8

_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
}
_BLANK = encode_example(bytes(PACKED_BYTES), 0, b"")


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
    """One epoch over the training split: every example once, the last batch may be smaller.

    The order depends on `seed`, `epoch` (from 1) and the number of hosts alone, so an epoch can be
    repeated exactly; TensorFlow mixes its global seed in, which a run sets from the same `seed`.
    The first `skip` batches, which a resumed run has seen, are read and shuffled but not parsed.

    Returns:
      `Batch`es.
    """
    split = manifest.splits["train"]
    own = hosts.own(split.shards)
    # Two independent numbers out of (seed, epoch): seeds that differ by one share no orders.
    shard_seed, record_seed = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint64)
    shards = np.random.default_rng(shard_seed).permutation([shard.file for shard in own])
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
        min(SHUFFLE_BUFFER_RECORDS, sum(shard.records for shard in own)),
        seed=int(record_seed >> np.uint64(1)),
    )
    return _batches(shuffled, batch_shares(split, batch_size, hosts.count), hosts.index, skip)


def evaluation_batches(
    directory: str, manifest: Manifest, split: str, batch_size: int, hosts: Hosts = ONE_HOST
) -> tf.data.Dataset:
    """Every example of a split once, in the order of this host's files, as `Batch`es."""
    shards = manifest.splits[split].shards
    files = [os.path.join(directory, shard.file) for shard in hosts.own(shards)]
    records = tf.data.TFRecordDataset(tf.constant(files, tf.string))
    shares = batch_shares(manifest.splits[split], batch_size, hosts.count)
    return _batches(records, shares, hosts.index)


def batch_shares(split: Split, batch_size: int, hosts: int) -> np.ndarray:
    """How many rows each host adds to each batch of an epoch: [batches, hosts] int64.

    A host's records are spread evenly over all batches, so that its shards last exactly as long as
    those of the others. A batch has `batch_size` rows, give or take one a host; the last one has
    what is left.
    """
    records = [sum(s.records for s in Hosts(hosts, h).own(split.shards)) for h in range(hosts)]
    batches = -(-split.records // batch_size)
    ends = np.minimum(np.arange(batches + 1) * batch_size, split.records)
    return np.diff(np.outer(ends, records) // split.records, axis=0)


def evaluation_order(split: Split, batch_size: int, hosts: int) -> np.ndarray:
    """Where in the split's files the examples of its batches stand, host after host in each: [N]
    int64."""
    ends = np.cumsum([shard.records for shard in split.shards])
    of_shards = [np.arange(end - s.records, end) for s, end in zip(split.shards, ends, strict=True)]
    shares = batch_shares(split, batch_size, hosts)
    parts = []
    for host in range(hosts):
        of_host = np.concatenate([np.arange(0), *Hosts(hosts, host).own(of_shards)])
        parts.append(np.split(of_host, np.cumsum(shares[:-1, host])))
    return np.concatenate([part for batch in zip(*parts, strict=True) for part in batch])


def unpack_bitmaps(packed: tf.Tensor, dtype: tf.DType | str) -> tf.Tensor:
    """[B, 904] uint8 → [B, 85, 85, 1] of 0 and 1 in `dtype`; runs on the model's device."""
    shifts = tf.range(7, -1, -1)  # numpy.packbits: the most significant bit comes first
    bits = tf.cast(packed, tf.int32)[:, :, tf.newaxis]  # [B, 904, 1]
    bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, shifts), 1)  # [B, 904, 8]
    bits = tf.reshape(bits, [-1, PACKED_BYTES * 8])[:, : IMAGE_SIZE * IMAGE_SIZE]
    return tf.cast(tf.reshape(bits, [-1, IMAGE_SIZE, IMAGE_SIZE, 1]), dtype)


def _batches(
    records: tf.data.Dataset, shares: np.ndarray, host: int, skip: int = 0
) -> tf.data.Dataset:
    """`shares`: see `batch_shares`; `host`: which of them is this one's."""

    def parse(serialized: tf.Tensor, share: Share) -> Batch:  # serialized: [B] string
        features = tf.io.parse_example(serialized, _FEATURES)
        images = tf.io.decode_raw(features["image"], tf.uint8)
        return Batch(tf.ensure_shape(images, [None, PACKED_BYTES]), features["label"], share)

    firsts = np.cumsum(shares, axis=1) - shares
    columns = (firsts[:, host], shares[:, host], shares.sum(axis=1))
    of_batches = tf.data.Dataset.from_tensor_slices(
        Share(*(column.astype(np.int32) for column in columns))
    )
    is_alone = (
        shares.shape[1] == 1
    )  # then all batches but the last are of one size, which is faster
    of_host = records.batch(shares[0, 0]) if is_alone else _in_shares(records, shares[:, host])
    batches = (
        tf.data.Dataset.zip((of_host, of_batches))
        .skip(skip)
        .map(parse, num_parallel_calls=PARALLEL_PARSES, deterministic=True)
        .prefetch(PREFETCHED_BATCHES)
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def _in_shares(records: tf.data.Dataset, rows: np.ndarray) -> tf.data.Dataset:
    """So many records at a time as `rows` says, [batches]; a blank one in the place of none."""
    # With one after them that is never read: past the last record there would be no empty batches.
    endless = records.batch(READ_RECORDS).concatenate(tf.data.Dataset.from_tensors([_BLANK]))
    return endless.rebatch(rows).map(
        lambda share: tf.concat(
            [share, tf.repeat(_BLANK, tf.cast(tf.size(share) == 0, tf.int32))], 0
        )
    )
