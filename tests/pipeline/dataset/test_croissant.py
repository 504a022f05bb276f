"""`croissant.json` describes the data set as it is; MLCommons' own library finds no fault in it."""

import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job
from pipeline.graph.sampling import Quotas
from tests.support.ndjson import line

RAI_FIELDS = {  # of https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html
    "dataAnnotationProtocol",
    "dataBiases",
    "dataCollection",
    "dataCollectionType",
    "dataLimitations",
    "dataPreprocessingProtocol",
    "dataReleaseMaintenancePlan",
    "dataSocialImpact",
    "dataUseCases",
    "personalSensitiveInformation",
}


@pytest.fixture
def directory(
    write_lines: Callable[[str, Sequence[str]], str], tmp_path: pathlib.Path
) -> pathlib.Path:
    words = ["The Great Wall of China", "éclair"]
    lines = [line(word, 100 * i + n) for i, word in enumerate(words) for n in range(60)]
    job.run(
        patterns=[write_lines("all.ndjson", lines)],
        output=str(tmp_path / "data"),
        quotas=Quotas(train=40, validation=20),
        options=PipelineOptions(["--direct_num_workers=1"]),
    )
    return tmp_path / "data"


def read(directory: pathlib.Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "croissant.json").read_text(encoding="utf-8"))
    return found


def test_files_labels_and_splits_are_those_of_the_data_set(directory: pathlib.Path) -> None:
    metadata = read(directory)
    files = {file["contentUrl"]: file for file in metadata["distribution"]}
    assert files.keys() == {path.name for path in directory.glob("quickdraw-*")}
    for name, file in files.items():
        content = (directory / name).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["contentSize"] == f"{len(content)} B"
    labels, splits = (record_set["data"] for record_set in metadata["recordSet"])
    names = (directory / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert labels == [{"labels/index": i, "labels/name": name} for i, name in enumerate(names)]
    assert [tuple(split.values()) for split in splits] == [
        ("train", 80),
        ("validation", 40),
        ("test", 0),
    ]


def test_it_has_the_fields_of_responsible_ai(directory: pathlib.Path) -> None:
    metadata = read(directory)
    assert "http://mlcommons.org/croissant/RAI/1.0" in metadata["conformsTo"]
    found = {name.removeprefix("rai:") for name in metadata if name.startswith("rai:")}
    assert found == RAI_FIELDS
    assert all(metadata[f"rai:{name}"] for name in found)


def test_mlcroissant_finds_no_fault(
    directory: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(jsonld=directory / "croissant.json")  # raises for errors
    assert dataset.metadata.ctx.issues.errors == set()
    assert dataset.metadata.ctx.issues.warnings == set()
    labels = [record["labels/name"] for record in dataset.records("labels")]
    assert labels == ["The Great Wall of China", "éclair"]
