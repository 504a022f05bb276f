"""Completing a data set, with the launching process killed or failing at every file operation."""

import contextlib
import functools
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job, verify
from pipeline.cli import RunError, UserError
from pipeline.dataset.manifests import Manifest, read_manifest
from pipeline.dataset.tfds_metadata import side_files
from pipeline.files import storage
from pipeline.graph.sampling import Quotas
from tests.support.cut_commit import CommitCutter
from tests.support.ndjson import line

Writer = Callable[[str, Sequence[str]], str]
ONE_WORKER = PipelineOptions(["--direct_num_workers=1"])
QUOTAS = Quotas(train=30, validation=10)
TFDS_FILES = ("dataset_info.json", "features.json", "label.labels.txt")


def run(path: str, output: pathlib.Path, **settings: Any) -> Manifest:
    return job.run(
        patterns=[path], output=str(output), quotas=QUOTAS, options=ONE_WORKER, **settings
    )[1]


def contents(directory: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


class Cut:
    """Output whose job is done and whose launching process is gone."""

    def __init__(self, directory: pathlib.Path, prepared: pathlib.Path) -> None:
        """`prepared`: what `prepare` made, which stays as it is."""
        self.output = directory / "parent" / "data"
        self.input = str(prepared / "other.ndjson")
        self._start = prepared / "start"
        self.new = read_manifest(str(prepared / "new"))
        self.new_contents = contents(prepared / "new")
        has_old = (self._start / "manifest.json").exists()
        self.old = read_manifest(str(self._start)) if has_old else None

    def reset(self) -> None:
        shutil.rmtree(self.output.parent, ignore_errors=True)
        shutil.copytree(self._start, self.output)

    def check(self, *, can_be_none: bool) -> None:
        """Check that each reader finds all of one data set."""
        both = [manifest for manifest in (self.old, self.new) if manifest is not None]
        directory = str(self.output)
        try:
            found = read_manifest(directory)
        except UserError:
            assert self.old is None  # and then the new one is not there yet
        else:
            assert found in both
            faults = verify.check_dataset(directory, found)
            sides = verify.check_side_files(directory, found)
            assert faults == sides  # every shard is whole
            assert can_be_none or not sides
            assert all("No such file" in fault for fault in sides)
        tfds = {
            name: (self.output / name).read_text()
            for name in TFDS_FILES
            if (self.output / name).exists()
        }
        if "dataset_info.json" not in tfds:
            assert can_be_none or self.old is None
            return
        (owner,) = [m for m in both if {n: side_files(m)[n] for n in TFDS_FILES} == tfds]
        for split in owner.splits.values():
            for shard in split.shards:
                assert (self.output / shard.file).stat().st_size == shard.bytes


@pytest.fixture(scope="module")
def cutter() -> Iterator[CommitCutter]:
    cutter = CommitCutter()
    yield cutter
    cutter.close()


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], pathlib.Path]:
    """Makes, once for each name, a directory with what a Cut needs; see `cut`."""

    @functools.cache
    def make(name: str) -> pathlib.Path:
        directory = tmp_path_factory.mktemp(name)
        if name == "old":
            cats = directory / "cat.ndjson"
            cats.write_text("".join(f"{line('cat', n)}\n" for n in range(60)))
            run(str(cats), directory / "start")
        dogs = [line("dog", 100 + n) for n in range(60)]
        suns = [line("sun", 200 + n) for n in range(60)]
        path = directory / "other.ndjson"
        path.write_text("".join(f"{each}\n" for each in [*dogs, *suns, "bad"]))
        run(str(path), directory / "new")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(job, "commit", _lose_contact)
            with pytest.raises(ConnectionError):
                run(str(path), directory / "start", overwrite=True)
        return directory

    return make


@pytest.fixture
def cut(
    request: pytest.FixtureRequest,
    prepare: Callable[[str], pathlib.Path],
    tmp_path: pathlib.Path,
) -> Cut:
    """An old data set of cats, with "new" none; a job of dogs and suns that is done."""
    return Cut(tmp_path, prepare(request.param))


def _lose_contact(*_: object) -> None:
    raise ConnectionError


@pytest.mark.parametrize("failure", ["kill", "fail"])
@pytest.mark.parametrize(
    ("cut", "can_exchange"), [("new", True), ("old", True), ("old", False)], indirect=["cut"]
)
def test_at_every_file_operation_the_old_or_the_new_data_set_is_there_whole(
    cut: Cut, cutter: CommitCutter, failure: str, can_exchange: bool
) -> None:
    cut.reset()
    operations = cutter.finish(cut.output, -1, failure, can_exchange=can_exchange)
    assert contents(cut.output) == cut.new_contents
    assert operations > 20
    for number in range(1, operations + 1):
        cut.reset()
        cutter.finish(cut.output, number, failure, can_exchange=can_exchange)
        cut.check(can_be_none=not can_exchange)
        # The next run finishes, or has nothing left to do.
        with contextlib.suppress(UserError):
            job.finish(str(cut.output))
        with pytest.raises(UserError, match="the data set is already complete"):
            job.finish(str(cut.output))
        assert contents(cut.output) == cut.new_contents
        assert {path.name for path in cut.output.parent.iterdir()} == {"data"}


@pytest.mark.parametrize(("cut", "can_exchange"), [("old", True), ("old", False)], indirect=["cut"])
def test_tensorflow_datasets_opens_what_its_files_say(
    cut: Cut, cutter: CommitCutter, can_exchange: bool
) -> None:
    tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets needs 3.11")
    cut.reset()
    operations = cutter.finish(cut.output, -1, "kill", can_exchange=can_exchange)
    for number in range(1, operations + 1, 3):
        cut.reset()
        cutter.finish(cut.output, number, "kill", can_exchange=can_exchange)
        if not (cut.output / "dataset_info.json").exists():
            assert not can_exchange
            continue
        builder = tfds.builder_from_directory(str(cut.output))
        labels = tuple(builder.info.features["label"].names)
        (manifest,) = [m for m in (cut.old, cut.new) if m is not None and m.labels == labels]
        found = {
            (example["key_id"], example["label"])
            for example in tfds.as_numpy(builder.as_dataset(split="train"))
        }
        assert len(found) == manifest.splits["train"].records
        first = {"cat": 0, "dog": 100, "sun": 200}
        for key_id, label in found:
            assert int(key_id) - 10**15 in range(first[labels[label]], first[labels[label]] + 60)


@pytest.mark.parametrize("cut", ["old", "new"], indirect=True)
def test_the_same_command_completes_a_job_that_was_done(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the job is done again")

    cut.reset()
    monkeypatch.setattr(job, "_run_job", never)
    run(cut.input, cut.output, overwrite=True)
    assert contents(cut.output) == cut.new_contents
    with pytest.raises(UserError, match="the data set is already complete"):
        job.finish(str(cut.output))


@pytest.mark.parametrize("cut", ["old"], indirect=True)
def test_without_overwrite_a_job_that_is_done_does_not_replace_the_data_set(
    cut: Cut,
) -> None:
    cut.reset()
    assert cut.old is not None
    with pytest.raises(UserError, match="already holds a data set; --overwrite replaces it"):
        run(cut.input, cut.output)
    assert read_manifest(str(cut.output)) == cut.old
    run(cut.input, cut.output, overwrite=True)
    assert contents(cut.output) == cut.new_contents


def test_a_job_that_is_done_is_not_taken_for_that_of_another_command(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(60)])
    output = tmp_path / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "commit", _lose_contact)
        with pytest.raises(ConnectionError):
            run(path, output)
    manifest = run(path, output, image_encoding="png")
    assert manifest.image["encoding"] == "png"
    assert verify.check_dataset(str(output), manifest) == []
    assert not (output / "_incomplete").exists()


def test_what_an_engine_writes_after_its_job_was_deleted_is_deleted_by_the_next_run(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(60)])
    late = tmp_path / "data" / "_incomplete" / "0123abcd"
    late.mkdir(parents=True)
    (late / "summary.json").write_text("{}")
    (late / "quickdraw-train.tfrecord-00000-of-00001.1").write_bytes(b"late")
    run(path, tmp_path / "data")
    assert not (tmp_path / "data" / "_incomplete").exists()


@pytest.mark.parametrize("cut", ["old"], indirect=True)
def test_finish_names_what_the_job_has_lost(cut: Cut) -> None:
    cut.reset()
    shard = next((cut.output / "_incomplete").glob("*/quickdraw-*"))
    shard.unlink()
    with pytest.raises(RunError, match=r"cannot complete .*: 1 file of the job gone"):
        job.finish(str(cut.output))
    assert cut.old is not None
    assert read_manifest(str(cut.output)) == cut.old
    assert verify.check_dataset(str(cut.output), cut.old) == []


@pytest.mark.parametrize("cut", ["old"], indirect=True)
def test_what_a_user_puts_into_the_old_directory_meanwhile_stays(cut: Cut) -> None:
    cut.reset()
    exchange = storage.exchange_directories

    def put_and_exchange(one: str, other: str) -> None:
        (cut.output / "notes.txt").write_text("mine")
        exchange(one, other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "exchange_directories", put_and_exchange)
        job.finish(str(cut.output))
    assert contents(cut.output) == {**cut.new_contents, "notes.txt": b"mine"}


@pytest.mark.parametrize("cut", ["old"], indirect=True)
def test_a_shard_that_was_damaged_since_the_job_was_done_is_found(cut: Cut) -> None:
    cut.reset()
    shard = next((cut.output / "_incomplete").glob("*/quickdraw-*"))
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(RunError, match=r"quickdraw-.* is damaged; run the job again"):
        job.finish(str(cut.output))
    assert cut.old is not None
    assert read_manifest(str(cut.output)) == cut.old
    with pytest.raises(UserError, match="not finished yet, or failed"):
        job.finish(str(cut.output))


@pytest.mark.parametrize("cut", ["old"], indirect=True)
def test_the_new_directory_has_the_permissions_of_the_old_one(cut: Cut) -> None:
    cut.reset()
    cut.output.chmod(0o2775)
    job.finish(str(cut.output))
    assert cut.output.stat().st_mode & 0o7777 == 0o2775


@pytest.mark.parametrize("cut", ["old"], indirect=True)
def test_a_directory_in_which_one_works_stays_the_same(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut.reset()
    before = cut.output.stat().st_ino
    monkeypatch.chdir(cut.output)
    job.finish(".")
    assert cut.output.stat().st_ino == before
    assert contents(cut.output) == cut.new_contents


def test_shards_of_other_content_have_other_names_and_the_same_content_the_same(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    cats = write_lines("cat.ndjson", [line("cat", n) for n in range(60)])
    suns = write_lines("sun.ndjson", [line("sun", 100 + n) for n in range(60)])
    names = [
        {
            shard.file
            for split in run(path, tmp_path / name).splits.values()
            for shard in split.shards
        }
        for path, name in ((cats, "one"), (cats, "two"), (suns, "three"))
    ]
    assert names[0] == names[1]
    assert not names[0] & names[2]
