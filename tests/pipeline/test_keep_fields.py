"""`--keep_fields`: country, time, recognition and number of strokes of a drawing in its record."""

import csv
import json
import pathlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job
from pipeline.dataset import records
from pipeline.dataset.manifests import MANIFEST, SPLITS, DataSet, Manifest
from pipeline.graph.sampling import Quotas
from tests.support.ndjson import line
from tests.support.warm_process import run_module

Writer = Callable[[str, Sequence[str]], str]
ALL = tuple(records.FIELDS)
COUNTRIES = ["DE", "US", ""]
TIME = "2017-03-08 21:12:07.266040"


def lines(count: int = 60) -> list[str]:
    """Drawings of "cat", every second one recognized, of three countries, a second apart."""
    return [
        line(
            "cat",
            number,
            countrycode=COUNTRIES[number % 3],
            recognized=number % 2 == 0,
            timestamp=f"2017-03-08 21:12:{number:02} UTC",
        )
        for number in range(count)
    ]


def run(patterns: Sequence[str], output: pathlib.Path, **settings: Any) -> Manifest:
    settings = {"quotas": Quotas(40, 20), "keep_fields": ALL, **settings}
    options = PipelineOptions(["--direct_num_workers=1"])
    return job.run(patterns=list(patterns), output=str(output), options=options, **settings)[1]


def fields(output: pathlib.Path, manifest: Manifest) -> dict[str, dict[str, str | int]]:
    """Fields of every record by its key."""
    return {
        example.key_id.decode(): dict(example.fields)
        for split in SPLITS
        for example in DataSet(str(output), manifest).examples(split)
    }


def test_every_record_holds_the_fields_of_its_drawing(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    manifest = run([write_lines("cat.ndjson", lines())], tmp_path / "data")
    assert manifest.fields == ALL == ("countrycode", "recognized", "strokes", "timestamp")
    found = fields(tmp_path / "data", manifest)
    assert len(found) == 60
    for text in lines():
        given = json.loads(text)
        assert found[given["key_id"]] == {
            "countrycode": given["countrycode"],
            "recognized": int(given["recognized"]),
            "strokes": len(given["drawing"]),
            "timestamp": given["timestamp"],
        }


def test_only_the_named_fields_are_kept_and_none_by_default(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", lines())
    some = run([path], tmp_path / "some", keep_fields=["strokes", "countrycode"])
    assert some.fields == ("countrycode", "strokes")
    assert {tuple(of) for of in fields(tmp_path / "some", some).values()} == {some.fields}
    default = run([path], tmp_path / "default", keep_fields=())
    assert set(map(len, fields(tmp_path / "default", default).values())) == {0}
    text = (tmp_path / "default" / MANIFEST).read_text()
    assert "fields" not in json.loads(text)
    assert Manifest.from_json((tmp_path / "some" / MANIFEST).read_text()) == some
    for split in SPLITS:  # the same drawings in the same order
        one, other = (
            [example[:3] for example in DataSet(f"{tmp_path}/{name}", each).examples(split)]
            for name, each in (("some", some), ("default", default))
        )
        assert one == other


def test_fields_that_a_drawing_lacks_are_empty_and_odd_ones_refuse_none(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    odd = [
        line("cat", 1, countrycode=None, recognized="perhaps", timestamp=["no", "text"]),
        line("cat", 2, countrycode="x" * 1000, timestamp=True),
        line("cat", 3, countrycode="DE", recognized="1", timestamp=1489007527),
    ]
    path = write_lines("cat.ndjson", odd)
    manifest = run([path], tmp_path / "data", quotas=Quotas(None, 0))
    assert manifest.drawings["rejected"] == 0
    nothing = {"countrycode": "", "recognized": -1, "strokes": 3, "timestamp": ""}
    assert fields(tmp_path / "data", manifest) == {
        str(10**15 + 1): nothing,
        str(10**15 + 2): nothing,
        str(10**15 + 3): {
            "countrycode": "DE", "recognized": 1, "strokes": 3, "timestamp": "1489007527",
        },
    }  # fmt: skip


def binary_record(key: int) -> bytes:
    """A record of upstream's binary format: one stroke of two points."""
    seconds = 1489007527  # 2017-03-08 21:12:07 UTC
    header = struct.pack("<Q2sbIH", key, b"DE", 1, seconds, 1)
    return header + struct.pack("<H", 2) + bytes([0, 255, 0, key % 251])


def test_csv_parquet_and_binary_files_have_them_too(tmp_path: pathlib.Path) -> None:
    row = {**json.loads(line("cat", 1)), "countrycode": "DE", "timestamp": TIME, "recognized": True}
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow({**row, "drawing": json.dumps(row["drawing"])})
    table = pa.Table.from_pylist([row])
    times = table["timestamp"].cast(pa.timestamp("us")).cast(pa.timestamp("ns"))
    table = table.set_column(table.column_names.index("timestamp"), "timestamp", times)
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    (tmp_path / "cat.bin").write_bytes(b"".join(map(binary_record, range(7, 9))))
    expected = {"countrycode": "DE", "recognized": 1, "strokes": 3, "timestamp": TIME}
    quotas = Quotas(None, 0)
    for name in ("a.csv", "b.parquet"):
        manifest = run([f"{tmp_path}/{name}"], tmp_path / "data" / name, quotas=quotas)
        (found,) = fields(tmp_path / "data" / name, manifest).values()
        assert {**found, "timestamp": str(found["timestamp"])[: len(TIME)]} == expected
    manifest = run([f"{tmp_path}/cat.bin"], tmp_path / "data" / "bin", quotas=quotas)
    of_binary = {**expected, "strokes": 1, "timestamp": "2017-03-08 21:12:07 UTC"}
    assert fields(tmp_path / "data" / "bin", manifest) == {"7": of_binary, "8": of_binary}


def test_of_copies_that_differ_in_their_fields_the_same_one_is_kept(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    ours = write_lines("a.ndjson", [line("cat", n, countrycode="US") for n in range(60)])
    theirs = write_lines("b.ndjson", [line("cat", n, countrycode="DE") for n in range(60)])
    found = []
    for name, patterns in (("one", [ours, theirs]), ("other", [theirs, ours])):
        manifest = run(patterns, tmp_path / name)
        found.append(fields(tmp_path / name, manifest))
        assert manifest.drawings["repeated"] == 60
    assert found[0] == found[1]
    assert {of["countrycode"] for of in found[0].values()} == {"DE"}


def test_tensorflow_datasets_reads_them(write_lines: Writer, tmp_path: pathlib.Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets", reason="needs Python 3.11")
    manifest = run([write_lines("cat.ndjson", lines())], tmp_path / "data")
    expected = fields(tmp_path / "data", manifest)
    builder = tfds.builder_from_directory(str(tmp_path / "data"))
    for split in ("train", "validation"):
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            found = {name: example[name] for name in ALL}
            texts = {name: v.decode() if isinstance(v, bytes) else v for name, v in found.items()}
            assert texts == expected[example["key_id"].decode()]


def test_croissant_says_what_the_records_hold_of_players(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", lines())
    run([path], tmp_path / "all")
    metadata = json.loads((tmp_path / "all" / "croissant.json").read_text())
    held = "these records hold the country and the time."
    assert held in metadata["rai:personalSensitiveInformation"]
    assert "Records also hold countrycode, recognized, strokes, time" in metadata["description"]
    run([path], tmp_path / "none", keep_fields=())
    metadata = json.loads((tmp_path / "none" / "croissant.json").read_text())
    assert "these records hold neither." in metadata["rai:personalSensitiveInformation"]


def test_the_command_keeps_fields_and_names_those_that_there_are(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", lines())
    output = tmp_path / "data"
    arguments = [f"--input={path}", f"--output={output}", "--direct_num_workers=1"]
    arguments += ["--train_per_category=40", "--validation_per_category=20"]
    wrong = run_module("pipeline.main", [*arguments, "--keep_fields=country"])
    assert wrong.returncode == 2
    assert "--keep_fields: countrycode, recognized, strokes, timestamp, not 'co" in wrong.stderr
    right = run_module("pipeline.main", [*arguments, "--keep_fields=timestamp,countrycode"])
    assert right.returncode == 0, right.stderr
    found = json.loads((output / MANIFEST).read_text())
    assert found["fields"] == ["countrycode", "timestamp"]
