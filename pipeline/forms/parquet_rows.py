"""Parquet files with a column of drawings, as pandas and Hugging Face's `datasets` write them."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet

_COLUMNS = ("word", "key_id", "recognized")  # besides the strokes
_BATCH_ROWS = 256
ERRORS: tuple[type[Exception], ...] = (pa.ArrowException, OSError, UnicodeDecodeError)


def drawing_columns(file: BinaryIO) -> tuple[list[str], list[str]]:
    """Return the columns of a file that describe drawings, and all its columns.

    There are none of drawings unless one holds strokes: lists, objects or JSON.

    Raises:
      pyarrow.ArrowException: it is no parquet file.
    """
    with contextlib.closing(pyarrow.parquet.ParquetFile(file)) as table:
        schema = table.schema_arrow
    strokes = [
        field.name
        for field in schema
        if field.name in ("drawing", "image") and _may_hold_strokes(field.type)
    ]
    if not strokes:
        return [], schema.names
    others = [name for name in schema.names if name in _COLUMNS]
    return [*others, strokes[0]], schema.names


def _may_hold_strokes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):  # {x, y}; an image is {bytes, path}
        return {"x", "y"} <= {field.name for field in kind}
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )


def parquet_rows(file: BinaryIO, columns: Sequence[str]) -> Iterator[tuple[int, bytes]]:
    """Yield the rows of a file as JSON texts: (number of the row, text)."""
    number = 0
    table = pyarrow.parquet.ParquetFile(file)
    for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
        for index, field in enumerate(batch.schema):
            is_bytes = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
            # Bytes are text that its writer did not mark; no time of Python's has nanoseconds.
            if is_bytes or pa.types.is_temporal(field.type):
                text = batch.column(index).cast(pa.string())
                batch = batch.set_column(index, field.name, text)
        for row in batch.to_pylist():
            yield number, orjson.dumps(row, default=str)
            number += 1
