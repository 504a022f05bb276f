"""A shard's drawings → a TFRecord file: sort, drop repetitions, rasterize, encode, write."""

import hashlib
import itertools
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from apache_beam.io.filesystems import FileSystems

from pipeline.cli import RunError
from pipeline.dataset import records
from pipeline.dataset.manifests import Shard
from pipeline.drawings.drawing import Drawing
from pipeline.files import storage
from pipeline.rasterize import draw_packed

# What is rasterized at once: 1.8 MB of bitmaps, and of drawings of many points no more than this.
_CHUNK_DRAWINGS = 256
_CHUNK_BYTES = 1 << 20


class Entries(NamedTuple):
    """Packed drawings (see pack_entry) as two byte strings.

    They are on their way in this form: a small object for each would take half as much again.
    """

    sizes: bytes  # [N] uint32
    data: bytes

    def ends(self) -> np.ndarray:
        """[N] int64: where each entry ends in the data."""
        return np.cumsum(np.frombuffer(self.sizes, np.uint32), dtype=np.int64)

    def take(self, places: np.ndarray, ends: np.ndarray) -> "Entries":
        """The entries at `places`, in that order; `ends` are those of all."""
        sizes = np.frombuffer(self.sizes, np.uint32)[places]
        ends = ends[places]
        slices = map(slice, (ends - sizes).tolist(), ends.tolist())
        return Entries(sizes.tobytes(), b"".join(map(self.data.__getitem__, slices)))


class Placed(NamedTuple):
    """Drawings that go to the same shard, one category after the other."""

    labels: bytes  # [C] int32: class indices
    counts: bytes  # [C] uint32: drawings of each
    orders: bytes  # [N] uint64: places in the shard
    entries: Entries  # [N]


class WrittenShard(NamedTuple):
    """A shard under its temporary name, to be renamed when the whole data set is there."""

    split: str
    shard_index: int
    temporary_path: str
    shard: Shard
    label_counts: dict[int, int]
    displaced: dict[int, int]  # by label: drawings outside of the frame, see rasterize.Drawn
    blank: dict[int, int]  # by label: of these, those without any ink


def pack_entry(drawing: Drawing) -> bytes:
    """key_id (its length in a byte, 0 for none) and strokes, as one byte string."""
    key = (drawing.key_id or "").encode()
    return bytes((len(key),)) + key + drawing.strokes


def strokes_of(entry: bytes) -> bytes:
    """The packed strokes of an entry."""
    return entry[1 + entry[0] :]


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
    displaced: Counter[int] = Counter()
    blank: Counter[int] = Counter()
    try:
        with storage.create_file(path) as file:
            for chunk in _chunks(_in_order(placed)):
                unpacked = [unpack_entry(entry) for _, entry in chunk]
                drawn = draw_packed([strokes for _, strokes in unpacked])
                for place in np.flatnonzero(drawn.is_displaced).tolist():
                    displaced[chunk[place][0]] += 1
                    if not drawn.bitmaps[place].any():
                        blank[chunk[place][0]] += 1
                images = encode(drawn.bitmaps)
                data = b"".join(
                    records.frame_record(records.encode_example(image, label, key_id))
                    for image, (label, _), (key_id, _) in zip(images, chunk, unpacked, strict=True)
                )
                checksum.update(data)
                size += len(data)
                label_counts.update(label for label, _ in chunk)
                file.write(data)
    except storage.ERRORS as error:
        raise RunError(f"cannot write {directory}: {storage.reason(error)}") from error
    shard = Shard(name, label_counts.total(), size, checksum.hexdigest())
    return WrittenShard(split, index, path, shard, dict(label_counts), dict(displaced), dict(blank))


def _chunks(entries: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """(label, entry) in lists of a bounded number and size."""
    chunk: list[tuple[int, bytes]] = []
    size = 0
    for label, entry in entries:
        chunk.append((label, entry))
        size += len(entry)
        if len(chunk) == _CHUNK_DRAWINGS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _in_order(placed: Iterable[Placed]) -> Iterator[tuple[int, bytes]]:
    """(label, entry) by order. Of several entries of one order, one drawing's, the lowest stays.

    The whole shard is in memory here, as packed bytes and four numbers a drawing.
    """
    data = bytearray()
    parts = []
    for part in placed:
        data += part.entries.data
        counts = np.frombuffer(part.counts, np.uint32)
        parts.append(
            (
                np.frombuffer(part.orders, np.uint64),
                np.repeat(np.frombuffer(part.labels, np.int32), counts),
                np.frombuffer(part.entries.sizes, np.uint32),
            )
        )
    orders, all_labels, sizes = map(np.concatenate, zip(*parts, strict=True))
    ascending = np.argsort(orders)
    _, firsts = np.unique(orders[ascending], return_index=True)
    # As memoryviews, which give Python's numbers one by one instead of an object for each.
    labels, places = all_labels.data, ascending.data
    bounds = np.append(firsts, len(orders)).data
    offsets = np.append(0, np.cumsum(sizes, dtype=np.int64)).data
    packed = memoryview(data)

    def entry_at(place: int) -> bytes:
        return packed[offsets[place] : offsets[place + 1]].tobytes()

    for start, end in itertools.pairwise(bounds):
        place = places[start] if end == start + 1 else min(places[start:end], key=entry_at)
        yield labels[place], entry_at(place)
