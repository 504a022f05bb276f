"""Whose files an output directory holds: a user's are never a pattern's, and never deleted."""

import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job, verify
from pipeline.cli import UserError
from pipeline.dataset.manifests import Manifest, read_manifest
from pipeline.files import storage
from pipeline.graph.sampling import Quotas
from pipeline.output import staging
from pipeline.sources import input_files
from tests.support.ndjson import line
from tests.support.warm_process import warm_python

Writer = Callable[[str, Sequence[str]], str]
ONE_WORKER = PipelineOptions(["--direct_num_workers=1"])


def run(patterns: Sequence[str], output: Any, **settings: Any) -> Manifest:
    settings = {"quotas": Quotas(20, 10), "options": ONE_WORKER, **settings}
    return job.run(patterns=list(patterns), output=str(output), **settings)[1]


def contents(directory: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


CATS = [line("cat", n) for n in range(50)]


@pytest.fixture
def cats(write_lines: Writer) -> str:
    return write_lines("cat.ndjson", CATS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A data set of the same drawings, to copy where a test begins with one."""
    directory = tmp_path_factory.mktemp("prepared")
    path = directory / "cat.ndjson"
    path.write_text("".join(f"{text}\n" for text in CATS), encoding="utf-8")
    run([str(path)], directory / "data")
    return directory / "data"


@pytest.mark.parametrize("name", ["data[12]", "d*", "dat?1", "~a b;{c,d}"])
def test_an_output_s_name_is_never_a_pattern(
    name: str, cats: str, prepared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "out"
    for neighbour in ("data1", "data2"):
        shutil.copytree(prepared, out / neighbour)
    before = contents(out)
    run([cats], out / name)
    manifest = run([cats], out / name, overwrite=True, quotas=Quotas(25, 5))
    assert verify.check_dataset(str(out / name), manifest) == []
    after = {path: data for path, data in contents(out).items() if not path.startswith(name + "/")}
    assert after == before
    with pytest.raises(UserError, match="already holds a data set"):
        run([cats], out / name)


def test_a_file_that_is_there_is_not_a_pattern(write_lines: Writer, tmp_path: pathlib.Path) -> None:
    for name in ("cat[1].ndjson", "cat1.ndjson", "a,b.ndjson", "cat?.ndjson"):
        write_lines(name, [line(name, n) for n in range(50)])
    for name in ("cat[1].ndjson", "a,b.ndjson", "cat?.ndjson"):
        (found,) = input_files.match_files([f"{tmp_path}/{name}"])
        assert found.path == f"{tmp_path}/{name}"
    assert len(input_files.match_files([f"{tmp_path}/cat*.ndjson"])) == 3
    manifest = run([f"{tmp_path}/cat[1].ndjson"], tmp_path / "data")
    assert manifest.labels == ("cat[1].ndjson",)


# In a data set they have names of its own.
NAMED_ALIKE = [
    "labels.txt",
    "features.json",
    "manifest.json",
    "rejects/rejects-00000-of-00001.jsonl",
]
USERS_FILES = [
    "quickdraw-train.tfrecord-00000-of-00007",
    "rejects/rejects-mine.jsonl",
    "_incomplete/mine.txt",
    "_incomplete/0123abcd/mine.txt",
    "notes/deep/below.md",
    ".hidden",
]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", [*NAMED_ALIKE, *USERS_FILES])
def test_a_directory_with_files_of_a_user_is_refused_and_left_as_it_was(
    name: str, overwrite: bool, cats: str, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "data"
    (output / name).parent.mkdir(parents=True)
    (output / name).write_text('{"mine": 1}')
    with pytest.raises(UserError, match=rf"holds files that are not a data set's: {name};"):
        run([cats], output, overwrite=overwrite)
    assert contents(output) == {name: b'{"mine": 1}'}


@pytest.mark.parametrize("name", USERS_FILES)
def test_a_data_set_with_files_of_a_user_is_not_overwritten(
    name: str, cats: str, prepared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = shutil.copytree(prepared, tmp_path / "data")
    (output / name).parent.mkdir(parents=True, exist_ok=True)
    (output / name).write_text("mine")
    before = contents(output)
    with pytest.raises(UserError, match=rf"holds files that are not a data set's: {name};"):
        run([cats], output, overwrite=True)
    assert contents(output) == before


def test_more_than_a_few_files_of_a_user_are_counted(cats: str, tmp_path: pathlib.Path) -> None:
    for n in range(12):
        (tmp_path / f"{n:02}.txt").write_text("")
    with pytest.raises(UserError, match=r": 00\.txt, 01\.txt, 02\.txt and 10 more; name a new"):
        run([cats], tmp_path)  # cat.ndjson is there, too


def test_a_data_set_of_the_version_before_is_replaced(
    cats: str, prepared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = shutil.copytree(prepared, tmp_path / "data")
    text = (output / "manifest.json").read_text()
    for path in list(output.glob("quickdraw-*")):  # whose shards had no generation in their names
        text = text.replace(path.name, path.stem)
        path.rename(path.with_name(path.stem))
    (output / "manifest.json").write_text(text)
    (output / "rejects").mkdir()
    (output / "rejects" / "rejects-00000-of-00001.jsonl").write_text("")
    manifest = run([cats], output, overwrite=True, quotas=Quotas(25, 5))
    shards = {shard.file for split in manifest.splits.values() for shard in split.shards}
    names = {"manifest.json", "labels.txt", "label.labels.txt", "features.json", "croissant.json"}
    assert contents(output).keys() == {*names, "dataset_info.json", *shards}


def test_an_output_behind_a_link_stays_behind_it(cats: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    run([cats], tmp_path / "link")
    run([cats], tmp_path / "link", overwrite=True, quotas=Quotas(25, 5))
    assert (tmp_path / "link").is_symlink()
    assert read_manifest(str(tmp_path / "real")).splits["train"].records == 25
    assert {path.name for path in tmp_path.iterdir()} == {"real", "link", "cat.ndjson"}


def test_names_that_are_not_utf_8_are_escaped_or_refused(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"\xff")
    os.mkdir(folder)
    with open(os.path.join(folder, b"\xfe.ndjson"), "w") as file:
        file.write("".join(line("cat", n) + "\n" for n in range(50)) + "bad\n")
    command: list[str | bytes] = [
        *(str(warm_python()), "-m", "pipeline.main", "--direct_num_workers=2"),
        *("--train_per_category=20", "--validation_per_category=10", "--max_reject_fraction=1"),
        b"--input=" + folder + b"/*.ndjson",
        b"--output=" + folder + b"/out\xfd",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    output = os.path.join(folder, b"out\xfd")
    with open(os.path.join(output, b"manifest.json"), encoding="utf-8") as file:
        (entry,) = json.load(file)["inputs"]
    assert entry["file"].endswith("\udcff/\udcfe.ndjson")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_job_that_another_run_deletes_meanwhile_is_no_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`refuse_foreign` lists the output before the run has its lock."""
    job = staging.begin(str(tmp_path), {})
    names = storage.list_files(str(tmp_path))
    monkeypatch.setattr(storage, "list_files", lambda _: names)
    staging.remove(job)
    staging.refuse_foreign(str(tmp_path))
