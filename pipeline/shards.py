"""A shard's drawings → a TFRecord file: sort, drop repetitions, rasterize, encode, write."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline import records
from pipeline.dataset import Shard
from pipeline.drawing import Drawing
from pipeline.errors import RunError
from pipeline.rasterize import rasterize_packed


class Placed(NamedTuple):
    """Drawings of one category that go to the same shard."""

    label: int  # class index
    orders: bytes  # [N] uint64: places in the shard
    entries: list[bytes]  # [N], see pack_entry


class WrittenShard(NamedTuple):
    """A shard under its temporary name, to be renamed when the whole data set is there."""

    split: str
    shard_index: int
    temporary_path: str
    shard: Shard
    label_counts: dict[int, int]


def pack_entry(drawing: Drawing) -> bytes:
    """key_id (its length in a byte, 0 for none) and strokes, as one byte string."""
    key = (drawing.key_id or "").encode()
    return bytes((len(key),)) + key + drawing.strokes


def unpack_entry(entry: bytes) -> tuple[bytes, bytes]:
    """The record's key_id and the strokes of an entry.

    A drawing without key_id gets `strokes:` and 32 hexadecimal digits of its strokes' BLAKE2b, so
    that every record can be told from every other.
    """
    start = 1 + entry[0]
    strokes = entry[start:]
    key_id = entry[1:start]
    if not key_id:
        key_id = b"strokes:" + hashlib.blake2b(strokes, digest_size=16).hexdigest().encode()
    return key_id, strokes


def write_shard(
    directory: str,
    name: str,
    split: str,
    index: int,
    placed: Iterable[Placed],
    image_encoding: str = "packed",
) -> WrittenShard:
    """Writes the TFRecord file of a shard under a temporary name in `directory`.

    Raises:
      RunError: the file cannot be written.
    """
    encode = records.ENCODERS[image_encoding]
    # Every attempt has a name of its own: a runner may try a shard twice, even at the same time.
    path = FileSystems.join(directory, f"{name}.{uuid.uuid4().hex}")
    checksum = hashlib.sha256()
    size = 0
    label_counts: Counter[int] = Counter()
    try:
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            for label, entry in _in_order(list(placed)):
                key_id, strokes = unpack_entry(entry)
                image = encode(rasterize_packed(strokes))
                record = records.frame_record(records.encode_example(image, label, key_id))
                checksum.update(record)
                size += len(record)
                label_counts[label] += 1
                file.write(record)
    except OSError as error:
        raise RunError(f"cannot write {directory}: {error.strerror or error}") from error
    shard = Shard(name, label_counts.total(), size, checksum.hexdigest())
    return WrittenShard(split, index, path, shard, dict(label_counts))


def _in_order(placed: Sequence[Placed]) -> Iterator[tuple[int, bytes]]:
    """(label, entry) by order. Of several entries of one order, one drawing's, the lowest stays."""
    orders = np.concatenate([np.frombuffer(batch.orders, np.uint64) for batch in placed])
    labels = np.repeat([batch.label for batch in placed], [len(batch.entries) for batch in placed])
    entries = [entry for batch in placed for entry in batch.entries]
    ascending = np.argsort(orders)
    _, starts = np.unique(orders[ascending], return_index=True)
    for same in np.split(ascending, starts[1:]):
        first = min(same.tolist(), key=entries.__getitem__) if len(same) > 1 else int(same[0])
        yield int(labels[first]), entries[first]
