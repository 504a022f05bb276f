"""`python -m pipeline.verify` says which shards are not as the manifest says."""

import json
import pathlib
import shutil

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job, verify
from pipeline.dataset import records
from pipeline.dataset.manifests import Manifest, read_manifest
from pipeline.graph.sampling import Quotas
from tests.support.ndjson import line
from tests.support.warm_process import run_module


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A data set of 40 training and 10 validation drawings, a shard each."""
    directory = tmp_path_factory.mktemp("whole")
    lines = [line(word, 100 * i + n) for i, word in enumerate(["cat", "sun"]) for n in range(30)]
    (directory / "all.ndjson").write_text("".join(f"{each}\n" for each in lines))
    job.run(
        patterns=[f"{directory}/all.ndjson"],
        output=str(directory / "data"),
        quotas=Quotas(train=20, validation=5),
        options=PipelineOptions(["--direct_num_workers=1"]),
    )
    return directory / "data"


@pytest.fixture
def data(whole: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of it, to damage."""
    return shutil.copytree(whole, tmp_path / "data")


@pytest.fixture
def train(data: pathlib.Path) -> str:
    """Name of the training shard."""
    return read_manifest(str(data)).splits["train"].shards[0].file


def faults(directory: pathlib.Path) -> str:
    return "\n".join(verify.check_dataset(str(directory), read_manifest(str(directory))))


def test_a_sound_data_set_has_no_faults(data: pathlib.Path) -> None:
    assert faults(data) == ""


def test_a_missing_shard_is_named(data: pathlib.Path, train: str) -> None:
    (data / train).unlink()
    assert f"{train}: No such file" in faults(data)
    assert "train has 0 of 'cat' instead of 20" in faults(data)


def test_a_truncated_shard_is_named(data: pathlib.Path, train: str) -> None:
    content = (data / train).read_bytes()
    (data / train).write_bytes(content[:-7])
    assert f"{train}: {len(content) - 7:,} bytes instead of {len(content):,}" in faults(data)
    assert f"{train}: truncated at byte" in faults(data)
    assert f"{train}: 39 records instead of 40" in faults(data)


def test_a_flipped_bit_is_named_with_its_record(data: pathlib.Path, train: str) -> None:
    content = bytearray((data / train).read_bytes())
    content[len(content) // 2] ^= 4
    (data / train).write_bytes(content)
    assert f"{train}: its SHA-256 does not match" in faults(data)
    assert f"{train}: damaged at byte" in faults(data)


def test_records_that_are_sound_but_others_are_named(data: pathlib.Path, train: str) -> None:
    framed = []
    for record in records.read_records((data / train).open("rb"), train):
        example = records.decode_example(record)
        framed.append(
            records.frame_record(records.encode_example(example.image, 0, example.key_id))
        )
    (data / train).write_bytes(b"".join(framed))
    assert f"{train}: its SHA-256 does not match" in faults(data)
    assert "train has 40 of 'cat' instead of 20" in faults(data)
    assert "train has 0 of 'sun' instead of 20" in faults(data)


@pytest.mark.parametrize(
    "name",
    ["labels.txt", "croissant.json", "label.labels.txt", "features.json", "dataset_info.json"],
)
def test_what_others_read_is_what_the_manifest_says(data: pathlib.Path, name: str) -> None:
    text = (data / name).read_text()
    (data / name).write_text(text.replace("cat", "dog").replace("50", "40").replace("2", "3"))
    assert f"{name}: the content is not what the manifest says" in faults(data)
    (data / name).unlink()
    assert f"{name}: No such file" in faults(data)


@pytest.fixture
def earlier(data: pathlib.Path) -> pathlib.Path:
    """Data set as 0.1.0 wrote it."""
    (data / "croissant.json").unlink()
    info = json.loads((data / "dataset_info.json").read_text())
    del info["supervisedKeys"]
    (data / "dataset_info.json").write_text(json.dumps(info, indent=1) + "\n")
    return data


def test_a_data_set_of_an_earlier_version_passes_and_it_is_said(earlier: pathlib.Path) -> None:
    done = run_module("pipeline.verify", [f"--dataset={earlier}"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [
        f"{earlier}: version 0.1.0 wrote its description: croissant.json is missing, and "
        "dataset_info.json lacks supervisedKeys; to renew them, rerun pipeline.main as it was run, "
        "with --overwrite"
    ]


def test_damage_to_a_data_set_of_an_earlier_version_is_named(
    earlier: pathlib.Path, train: str
) -> None:
    for name in ("features.json", "label.labels.txt", train):
        content = (earlier / name).read_bytes()
        (earlier / name).write_bytes(content[:-1])
        assert f"{earlier / name}: " in faults(earlier)
        (earlier / name).write_bytes(content)
    assert faults(earlier) == ""
    (earlier / "croissant.json").write_text("{}")  # which 0.1.0 did not write
    assert f"{earlier / 'croissant.json'}: the content is not" in faults(earlier)


def test_the_command_exits_with_1_for_faults(data: pathlib.Path, train: str) -> None:
    sound = run_module("pipeline.verify", [f"--dataset={data}"])
    assert (sound.returncode, sound.stderr) == (0, "")
    assert sound.stdout == f"{data}: 2 shards with 50 drawings: all as the manifest says\n"
    (data / train).unlink()
    broken = run_module("pipeline.verify", [f"--dataset={data}"])
    assert broken.returncode == 1
    assert train in broken.stderr
    assert "Traceback" not in broken.stderr


def test_a_manifest_survives_being_written_and_read(data: pathlib.Path) -> None:
    manifest = read_manifest(str(data))
    assert Manifest.from_json(manifest.to_json()) == manifest
