"""Batches of drawings: Arrow record batches, how they are built, grouped, and spilled to disk.

All stages use pyarrow.RecordBatch, a row a drawing, with those of these columns that they need:

    category      dictionary of strings
    label         int32     class index, once the data set is selected
    identity      int64     see pipeline.graph.sampling
    rank          int64     left out where the identity is the rank
    strokes_hash  int64     see sampling.strokes_hash
    order         uint64    of the drawing in its shard
    key_id        binary    empty for a drawing without one
    strokes       binary    see pipeline.drawings.strokes
    fields        binary    see records.encode_fields; left out where none are kept

Beam's runner for one machine keeps everything that is grouped in memory, several times over. There
batches spill to files beside the output, and only their positions are grouped. Remote runners
shuffle by themselves: they get the bytes. Beam's counters give number, bytes and largest of each
kind of element: the same numbers on every runner.
"""

import functools
import os
import uuid
from array import array
from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from itertools import pairwise
from typing import BinaryIO, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics

from pipeline.cli import RunError
from pipeline.dataset import records
from pipeline.drawings.drawing import Drawing
from pipeline.graph import sampling


class Spilled(NamedTuple):
    """Position of an element in a spill file."""

    path: str
    offset: int
    size: int  # bytes


Element: TypeAlias = bytes | Spilled
# Of drawings on their way to a shard: many small elements, serialised without their schema.
SLICE_SCHEMA = pa.schema(
    {"label": pa.int32(), "order": pa.uint64(), "key_id": pa.binary(), "strokes": pa.binary()}
)
_SLICE_SCHEMA_WITH_FIELDS = SLICE_SCHEMA.append(pa.field("fields", pa.binary()))
_IPC_OPTIONS = pa.ipc.IpcWriteOptions()  # without it each stream asks the environment


class _BinaryColumn:
    """Byte strings one after the other, without a Python object for each."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._ends = array("i", [0])

    def append(self, value: bytes) -> None:
        self.data += value
        self._ends.append(len(self.data))

    def finish(self) -> pa.Array:
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(pa.binary(), len(self._ends) - 1, buffers)


class BatchBuilder:
    """Columns of a batch that grows drawing by drawing."""

    def __init__(self, keep_fields: Sequence[str] = ()) -> None:
        """Begin without drawings; `keep_fields` are of records.FIELDS."""
        self._keep_fields = keep_fields
        self._fields = _BinaryColumn()
        self._indices: dict[str, int] = {}  # of the categories, in the order in which they came
        self._categories = array("i")
        self._identities = array("q")
        self._ranks = array("q")
        self._strokes_hashes = array("q")
        self._key_ids = _BinaryColumn()
        self._strokes = _BinaryColumn()

    def __len__(self) -> int:
        return len(self._categories)

    @property
    def bytes(self) -> int:
        """Size of keys, strokes and fields."""
        return len(self._key_ids.data) + len(self._strokes.data) + len(self._fields.data)

    def add(self, category: str, identity: int, rank: int | None, drawing: Drawing) -> None:
        """Add a drawing; all ranks are None where the identity is the rank."""
        self._categories.append(self._indices.setdefault(category, len(self._indices)))
        self._identities.append(identity)
        if rank is not None:
            self._ranks.append(rank)
        self._strokes_hashes.append(sampling.strokes_hash(drawing.strokes))
        self._key_ids.append(drawing.key_id.encode() if drawing.key_id else b"")
        self._strokes.append(drawing.strokes)
        if self._keep_fields:
            values = fields_of(drawing)
            kept = {name: values[name] for name in self._keep_fields}
            self._fields.append(records.encode_fields(kept))

    def finish(self) -> pa.RecordBatch:
        """Return the batch: category, identity, rank, strokes_hash, key_id, strokes, fields."""
        columns = {
            "category": pa.DictionaryArray.from_arrays(
                np.array(self._categories), list(self._indices)
            ),
            "identity": pa.array(np.array(self._identities)),
            "strokes_hash": pa.array(np.array(self._strokes_hashes)),
            "key_id": self._key_ids.finish(),
            "strokes": self._strokes.finish(),
        }
        if self._ranks:
            columns["rank"] = pa.array(np.array(self._ranks))
        if self._keep_fields:
            columns["fields"] = self._fields.finish()
        return pa.RecordBatch.from_pydict(columns)


def fields_of(drawing: Drawing) -> dict[str, str | int]:
    """Return what a record may hold of a drawing besides, see records.FIELDS."""
    return {
        **drawing.origin._asdict(),
        "recognized": -1 if drawing.recognized is None else int(drawing.recognized),
        "strokes": drawing.strokes[0] + 256 * drawing.strokes[1],
    }


def ranks_of(batch: pa.RecordBatch | pa.Table, identities: np.ndarray) -> np.ndarray:
    """Return the column of ranks, [N] int64, or the identities where they are the ranks."""
    return batch["rank"].to_numpy() if "rank" in batch.schema.names else identities


def groups(batch: pa.RecordBatch, keys: np.ndarray) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield (key, its drawings), keys ascending.

    Args:
      batch: of N drawings.
      keys: [N] integers; drawings of negative keys are left out.
    """
    order = np.argsort(keys, kind="stable")
    order = order[np.searchsorted(keys, 0, sorter=order) :]
    ascending = keys[order]
    grouped = batch.take(pa.array(order))
    starts = np.flatnonzero(np.diff(ascending, prepend=-1)).tolist()
    for start, end in pairwise([*starts, len(order)]):
        yield int(ascending[start]), _compact(grouped.slice(start, end - start))


def _compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Leave only the categories in the dictionary that the batch has."""
    if "category" not in batch.schema.names or len(batch["category"].dictionary) == 1:
        return batch
    categories = batch["category"].cast(pa.string()).dictionary_encode()
    return batch.set_column(batch.schema.get_field_index("category"), "category", categories)


def concat(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Return the drawings of all batches as one table."""
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()


def to_bytes(batch: pa.RecordBatch) -> pa.Buffer:
    """Serialise a batch as an Arrow stream, with its schema and dictionaries."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_IPC_OPTIONS) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def read_batch(element: Element) -> pa.RecordBatch:
    """Read a batch that `to_bytes` serialised and `Spill.write` wrote."""
    return pa.ipc.open_stream(read_element(element)).read_next_batch()


def slice_schema(has_fields: bool) -> pa.Schema:
    """Return SLICE_SCHEMA, with the column of fields where they are kept."""
    return _SLICE_SCHEMA_WITH_FIELDS if has_fields else SLICE_SCHEMA


def read_slice(element: Element, has_fields: bool = False) -> pa.RecordBatch:
    """Read a batch of `slice_schema`, serialised without its schema."""
    return pa.ipc.read_record_batch(pa.py_buffer(read_element(element)), slice_schema(has_fields))


class Spill:
    """A writer of elements of one kind: to a file for each process and DoFn, or to memory."""

    def __init__(self, kind: str, directory: str | None) -> None:
        """
        Args:
          kind: names the counter, `<kind>_bytes`.
          directory: on this machine; None: elements are the bytes themselves.
        """
        self._sizes = Metrics.distribution("pipeline", f"{kind}_bytes")
        self._directory = directory
        self._file: FileIO | None = None  # opened by the first element, after DoFns were pickled
        self._size = 0

    def write(self, data: pa.Buffer | bytes) -> Element:
        """Write an element; raises RunError if the directory cannot be written."""
        size = len(data)
        self._sizes.update(size)
        if self._directory is None:
            return bytes(data)
        try:
            if self._file is None:
                path = os.path.join(self._directory, uuid.uuid4().hex)
                self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - lives as the DoFn does
            rest = memoryview(data)
            while rest:  # a disk that is nearly full takes some of it
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise RunError(f"cannot write {self._directory}: {error.strerror}") from error
        self._size += size
        return Spilled(str(self._file.name), self._size - size, size)


def read_element(element: Element) -> bytes:
    """Return what `Spill.write` was given; raises RunError if its file cannot be read."""
    if isinstance(element, bytes):
        return element
    try:
        return os.pread(_open(element.path).fileno(), element.size, element.offset)
    except OSError as error:
        raise RunError(f"cannot read {element.path}: {error.strerror}") from error


@functools.lru_cache(maxsize=64)  # closed when they fall out
def _open(path: str) -> BinaryIO:
    return open(path, "rb")
