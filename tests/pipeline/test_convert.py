"""`python -m pipeline.convert`: every record in parquet, as Hugging Face's `datasets` reads it."""

import io
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import convert, job
from pipeline.cli import RunError, UserError
from pipeline.dataset import records
from pipeline.dataset.manifests import SPLITS, DataSet, read_manifest
from pipeline.graph.sampling import Quotas
from tests.support.ndjson import line
from tests.support.warm_process import run_module

WORDS = ["The Great Wall of China", "éclair"]


@pytest.fixture(scope="module", params=["packed", "png"])
def whole(request: Any, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A data set of 80 training and 40 validation drawings with fields."""
    directory = tmp_path_factory.mktemp(request.param)
    lines = [
        line(word, 100 * i + n, countrycode="DE", recognized=n % 2 == 0)
        for i, word in enumerate(WORDS)
        for n in range(60)
    ]
    (directory / "all.ndjson").write_text("".join(f"{each}\n" for each in lines))
    job.run(
        patterns=[f"{directory}/all.ndjson"],
        output=str(directory / "data"),
        quotas=Quotas(40, 20),
        image_encoding=request.param,
        keep_fields=["countrycode", "recognized"] if request.param == "packed" else (),
        options=PipelineOptions(["--direct_num_workers=1"]),
    )
    return directory / "data"


@pytest.fixture
def data(whole: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return shutil.copytree(whole, tmp_path / "data")


def bitmap_of(png: bytes) -> np.ndarray:
    """[85, 85] of 0 and 1, by Pillow."""
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png))
    assert image.format == "PNG"
    return (np.asarray(image.convert("L")) // 255).astype(np.uint8)


def expected(data: pathlib.Path, split: str) -> list[dict[str, Any]]:
    """Rows that a split's records make, but that images are bitmaps as lists."""
    manifest = read_manifest(str(data))
    decode = records.DECODERS[manifest.image["encoding"]]
    return [
        {
            "image": decode(example.image).reshape(85, 85).tolist(),
            "label": example.label,
            "key_id": example.key_id.decode(),
            **example.fields,
        }
        for example in DataSet(str(data), manifest).examples(split)
    ]


def test_every_row_is_its_record(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    convert.write_parquet(str(data), str(tmp_path / "parquet"))
    splits = read_manifest(str(data)).splits
    for split in SPLITS:
        paths = sorted((tmp_path / "parquet").glob(f"{split}-*.parquet"))
        assert len(paths) == len(splits[split].shards)
        rows = [row for path in paths for row in pyarrow.parquet.read_table(path).to_pylist()]
        assert all(row["image"]["path"] is None for row in rows)
        rows = [{**row, "image": bitmap_of(row["image"]["bytes"]).tolist()} for row in rows]
        assert rows == expected(data, split)
        assert len(rows) == {"train": 80, "validation": 40, "test": 0}[split]


def test_the_metadata_are_hugging_faces_features(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    manifest = convert.write_parquet(str(data), str(tmp_path / "parquet"))
    (path,) = (tmp_path / "parquet").glob("train-*.parquet")
    found = json.loads(pyarrow.parquet.read_schema(path).metadata[b"huggingface"])
    fields = {
        "countrycode": {"dtype": "string", "_type": "Value"},
        "recognized": {"dtype": "int64", "_type": "Value"},
    }
    assert found == {
        "info": {
            "features": {
                "image": {"_type": "Image"},
                "label": {"names": WORDS, "_type": "ClassLabel"},
                "key_id": {"dtype": "string", "_type": "Value"},
                **{name: fields[name] for name in manifest.fields},
            }
        }
    }


def test_hugging_face_opens_it_with_images_and_labels(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")
    convert.write_parquet(str(data), str(tmp_path / "parquet"))
    found = datasets.load_dataset(
        "parquet", data_dir=str(tmp_path / "parquet"), cache_dir=str(tmp_path / "cache")
    )
    assert set(found) == {"train", "validation"}
    for split, rows in found.items():
        assert rows.features["label"].names == WORDS
        assert [
            {**row, "image": (np.asarray(row["image"].convert("L")) // 255).tolist()}
            for row in rows
        ] == expected(data, split)


def test_the_same_data_set_gives_the_same_bytes(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for name in ("one", "other"):
        convert.write_parquet(str(data), str(tmp_path / name))
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "other")
    )
    assert one == other


def test_a_run_that_fails_leaves_nothing(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    manifest = read_manifest(str(data))
    shard = data / manifest.splits["validation"].shards[0].file  # after those of training
    shard.write_bytes(shard.read_bytes()[:-7])
    before = {*tmp_path.iterdir()}
    with pytest.raises(UserError, match=f"{shard.name}: truncated at byte"):
        convert.write_parquet(str(data), str(tmp_path / "parquet"))
    assert {*tmp_path.iterdir()} == before


def test_an_output_that_cannot_be_written_is_one_line(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write .*/file/parquet: Not a directory"):
        convert.write_parquet(str(data), str(tmp_path / "file" / "parquet"))


def test_the_command_says_what_it_wrote_and_replaces_no_files(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "parquet"
    output.mkdir()  # empty
    arguments = [f"--dataset={data}", f"--output={output}", "--to=parquet"]
    done = run_module("pipeline.convert", arguments)
    assert (done.returncode, done.stderr) == (0, "")
    numbers = "80 train drawings in 1, 40 validation drawings in 1 parquet files"
    assert done.stdout == f"Wrote {output}: {numbers}.\n"
    again = run_module("pipeline.convert", arguments)
    assert again.returncode == 2
    assert f"--output={output} already holds files; name a new directory" in again.stderr
    for wrong, text in (
        (f"--output={data}/labels.txt", "is a file, not a directory"),
        ("--output=gs://bucket/data", "it has to be a directory on this machine"),
    ):
        refused = run_module("pipeline.convert", [arguments[0], wrong])
        assert refused.returncode == 2
        assert text in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
