"""Converts a data set for other libraries: a directory of parquet files, one for each shard.

  python -m pipeline.convert --dataset=data --output=parquet --to=parquet

Hugging Face's `datasets` opens them with image and label features:

  load_dataset("parquet", data_files={"train": "parquet/train-*.parquet"})

A row is a record: image, a PNG as {bytes, path}, white ink on black; label, the class index;
key_id; and the fields that --keep_fields of pipeline.main kept.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet
from absl import flags

from pipeline import cli
from pipeline.cli import RunError, UserError, counted, is_remote
from pipeline.dataset import records
from pipeline.dataset.manifests import SPLITS, DataSet, Manifest, Shard, read_manifest
from pipeline.files import storage

_ROWS_OF_A_GROUP = 1000  # what is decoded to read one row: 0.3 MB


def write_parquet(directory: str, output: str) -> Manifest:
    """Write a data set's records as parquet files, all of them or none.

    Args:
      directory: of the data set.
      output: a new or empty directory; its files are SPLIT-00000-of-00016.parquet.

    Returns:
      The manifest of the data set.

    Raises:
      UserError: there is no data set, it is damaged, or `output` holds files already.
      RunError: `output` cannot be written.
    """
    data = DataSet(directory, read_manifest(directory))
    _check_output(output)
    with storage.errors_as(RunError, f"cannot write {output}"), _complete_or_gone(output) as new:
        for split in SPLITS:
            shards = data.manifest.splits[split].shards
            for index, shard in enumerate(shards):
                path = f"{new}/{split}-{index:05d}-of-{len(shards):05d}.parquet"
                pyarrow.parquet.write_table(
                    shard_table(data, shard), path, row_group_size=_ROWS_OF_A_GROUP
                )
    return data.manifest


def shard_table(data: DataSet, shard: Shard) -> pa.Table:
    """Return the records of a shard as rows, in their order; raises UserError for damage."""
    schema = schema_of(data.manifest)
    is_png = data.manifest.image["encoding"] == "png"
    rows: dict[str, list[object]] = {name: [] for name in schema.names}
    for example in data.shard_examples(shard):
        image = example.image if is_png else _png(example.image, data.path(shard))
        values = {
            "image": {"bytes": image, "path": None},
            "label": example.label,
            "key_id": example.key_id.decode(),
            **example.fields,
        }
        for name, column in rows.items():
            column.append(values[name])
    return pa.table(rows, schema=schema)


def schema_of(manifest: Manifest) -> pa.Schema:
    """Return the columns, and in the metadata what Hugging Face's `datasets` makes of them.

    The metadata are JSON under b"huggingface", as `datasets.Features.arrow_schema` writes them.
    """
    columns = {
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "label": pa.int64(),
        "key_id": pa.string(),
    }
    features: dict[str, dict[str, object]] = {
        "image": {"_type": "Image"},
        "label": {"names": list(manifest.labels), "_type": "ClassLabel"},
        "key_id": {"dtype": "string", "_type": "Value"},
    }
    for name in manifest.fields:
        columns[name] = pa.int64() if records.FIELDS[name] is int else pa.string()
        features[name] = {"dtype": str(columns[name]), "_type": "Value"}
    return pa.schema(columns, {"huggingface": json.dumps({"info": {"features": features}})})


def _png(packed: bytes, path: str) -> bytes:
    try:
        (image,) = records.encode_pngs(records.unpack_bitmap(packed)[None])
    except ValueError as error:
        raise UserError(f"{path}: an image has {error}") from None
    return image


def _check_output(output: str) -> None:
    if is_remote(output):
        raise UserError(f"--output={output}: it has to be a directory on this machine")
    if os.path.lexists(output) and not os.path.isdir(output):
        raise UserError(f"--output={output} is a file, not a directory")
    if os.path.isdir(output) and os.listdir(output):
        raise UserError(f"--output={output} already holds files; name a new directory")


@contextlib.contextmanager
def _complete_or_gone(output: str) -> Iterator[str]:
    """Yield a directory beside `output` that gets its name at the end, or is deleted."""
    parent, name = os.path.split(os.path.realpath(output))
    new = os.path.join(parent, f".{name}.{os.getpid()}")
    os.makedirs(new)
    try:
        yield new
        storage.sync([*(os.path.join(new, file) for file in os.listdir(new)), new])
        os.rename(new, os.path.realpath(output))
        storage.sync([parent])
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def define_flags() -> None:
    cli.define_path("dataset", None, "Data set directory.", required=True)
    cli.define_path("output", None, "Directory to write the files to.", required=True)
    flags.DEFINE_enum("to", "parquet", ["parquet"], "Format of the files.")


def main(argv: Sequence[str]) -> None:
    args = flags.FLAGS
    splits = write_parquet(args.dataset, args.output).splits
    numbers = ", ".join(
        f"{counted(splits[name].records, f'{name} drawing')} in {len(splits[name].shards)}"
        for name in SPLITS
        if splits[name].shards
    )
    print(f"Wrote {args.output}: {numbers} parquet files.")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
