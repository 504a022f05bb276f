"""Own drawings and other tools' files through the whole pipeline."""

import csv
import json
import pathlib
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job
from pipeline.cli import UserError
from pipeline.dataset.manifests import SPLITS, Manifest
from pipeline.graph.sampling import Quotas
from tests.support.ndjson import SQUARE, line

Writer = Callable[[str, Sequence[str]], str]
LINES = [line(word, 100 * i + n) for i, word in enumerate(["cat", "dog"]) for n in range(60)]
ROWS: list[dict[str, Any]] = [json.loads(text) for text in LINES]


def run(patterns: Sequence[str], output: pathlib.Path, **settings: Any) -> Manifest:
    settings = {"quotas": Quotas(40, 20), **settings}
    options = PipelineOptions(["--direct_num_workers=1"])
    return job.run(patterns=list(patterns), output=str(output), options=options, **settings)[1]


def shards(manifest: Manifest) -> list[str]:
    return [shard.sha256 for split in SPLITS for shard in manifest.splits[split].shards]


def write_forms(directory: pathlib.Path) -> list[str]:
    """Write the same drawings in many forms; returns the files' names."""
    (directory / "a.json").write_text(json.dumps(ROWS, indent=1))
    (directory / "b.ndjson").write_text("\n".join(json.dumps(row, indent=4) for row in ROWS))
    with (directory / "c.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows({**row, "drawing": json.dumps(row["drawing"])} for row in ROWS)
    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), directory / "d.parquet")
    with zipfile.ZipFile(directory / "e.zip", "w") as archive:
        archive.write(directory / "c.csv", "train/cat.csv")
    numbers = [{**row, "word": ["cat", "dog"].index(row["word"])} for row in ROWS]
    pyarrow.parquet.write_table(pa.Table.from_pylist(numbers), directory / "f.parquet")
    return ["a.json", "b.ndjson", "c.csv", "d.parquet", "e.zip", "f.parquet"]


def test_every_form_of_the_same_drawings_gives_the_same_bytes(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("all.ndjson", LINES)
    expected = run([path], tmp_path / "ndjson", labels=("cat", "dog"))
    names = write_forms(tmp_path)
    for name in names:
        manifest = run([f"{tmp_path}/{name}"], tmp_path / "data" / name, labels=("cat", "dog"))
        assert shards(manifest) == shards(expected)
        assert manifest.drawings == expected.drawings
    paths = [path, *(f"{tmp_path}/{name}" for name in names)]
    together = run(paths, tmp_path / "together", labels=("cat", "dog"))
    assert shards(together) == shards(expected)
    assert together.drawings["repeated"] == len(names) * len(LINES)
    forms = ["json", "ndjson", "json", "csv", "parquet", "csv", "parquet"]
    assert [entry["form"] for entry in together.inputs] == forms


def test_a_collection_from_a_canvas_is_prepared_whole(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    def on_canvas(number: int) -> str:
        x, y = 20 + number, 350 - 2.5 * number
        drawing = [[[x + v / 3 for v in xs], [y + v / 3 for v in ys]] for xs, ys in SQUARE]
        return json.dumps({"word": "box", "drawing": drawing})

    path = write_lines("box.ndjson", [on_canvas(n) for n in range(60)])
    manifest = run([path], tmp_path / "data", quotas=Quotas(None, 0))
    assert manifest.drawings["normalised"] == 60
    assert manifest.sampling["frame"] == "auto"
    # One square, wherever it was drawn; but for the rounding of resampled pixels one drawing.
    assert 1 <= manifest.splits["train"].records < 60
    with pytest.raises(
        UserError, match=r"no drawings to use .*; 60 lines rejected: a coordinate is"
    ):
        run([path], tmp_path / "kept", quotas=Quotas(None, 0), frame="keep")


def test_the_frame_of_a_run_is_part_of_its_settings(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("all.ndjson", LINES)
    kept = run([path], tmp_path / "keep", frame="keep")
    assert shards(kept) == shards(run([path], tmp_path / "auto"))
    normalised = run([path], tmp_path / "normalise", frame="normalise")
    assert normalised.drawings["normalised"] == len(LINES)
    assert normalised.sampling["frame"] == "normalise"
