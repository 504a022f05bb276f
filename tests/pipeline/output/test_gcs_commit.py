"""Completing a data set on gs://, with requests that change something failing, each in turn."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job, verify
from pipeline.cli import RunError, UserError
from pipeline.dataset.manifests import Manifest, read_manifest
from pipeline.dataset.tfds_metadata import SIDE_FILES, side_files
from pipeline.graph.sampling import Quotas
from pipeline.output.staging import LOCK
from tests.support.ndjson import line

pytest.importorskip("google.cloud.storage", reason="gs:// needs the gcp extra")
pytest.importorskip("gcp_storage_emulator", reason="gs:// is tested with gcp-storage-emulator")

from tests.support import gcs_emulator
from tests.support.gcs_emulator import Bucket

Writer = Callable[[str, Sequence[str]], str]
ONE_WORKER = PipelineOptions(["--direct_num_workers=1"])
QUOTAS = Quotas(train=30, validation=10)


@pytest.fixture(scope="module", autouse=True)
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with gcs_emulator.running_emulator(tmp_path_factory.mktemp("none")), gcs_emulator.one_client():
        yield


def run(path: str, output: str, **settings: Any) -> Manifest:
    return job.run(patterns=[path], output=output, quotas=QUOTAS, options=ONE_WORKER, **settings)[1]


class Cut:
    """Outputs whose job is done and whose launching process is gone, with an old data set or not.

    Attributes:
      start: what is in such an output, by name.
      old, new: the manifests of both data sets; `old` is None where there is none.
      new_contents: the files of the new data set.
    """

    def __init__(self, directory: pathlib.Path, write_lines: Writer, *, has_old: bool) -> None:
        bucket = Bucket()
        output = f"{bucket.url}/data"
        cats = write_lines("cat.ndjson", [line("cat", n) for n in range(60)])
        self.old = run(cats, output) if has_old else None
        lines = [line("dog" if n < 160 else "sun", n) for n in range(100, 220)]
        path = write_lines("other.ndjson", [*lines, "bad"])
        self.new = run(path, str(directory / "new"))
        files = [path for path in (directory / "new").rglob("*") if path.is_file()]
        self.new_contents = {
            str(path.relative_to(directory / "new")): path.read_bytes() for path in files
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(job, "commit", _lose_contact)
            with pytest.raises(ConnectionError):
                run(path, output, overwrite=True)
        self.start = bucket.contents("data")

    def again(self) -> Bucket:
        gcs_emulator.wipe()
        bucket = Bucket()
        for name, data in self.start.items():
            bucket.write(f"data/{name}", data)
        return bucket

    def check(self, bucket: Bucket) -> None:
        """Check that each reader finds all of one data set."""
        output = f"{bucket.url}/data"
        contents = bucket.contents("data")
        both = [manifest for manifest in (self.old, self.new) if manifest is not None]
        try:
            found = read_manifest(output)
        except UserError:
            assert self.old is None  # and then the new one is not there yet
        else:
            assert found in both
            faults = verify.check_dataset(output, found)
            assert faults == [f for f in faults if f in verify.check_side_files(output, found)]
            assert all("no such bucket or file" in fault for fault in faults)
        tfds = {name: contents[name].decode() for name in SIDE_FILES if name in contents}
        if SIDE_FILES[-1] not in tfds:  # then TensorFlow Datasets finds none
            return
        (owner,) = [manifest for manifest in both if side_files(manifest) == tfds]
        for split in owner.splits.values():
            for shard in split.shards:
                assert len(contents[shard.file]) == shard.bytes


def _lose_contact(*_: object) -> None:
    raise ConnectionError


@pytest.fixture
def cut(request: pytest.FixtureRequest, write_lines: Writer, tmp_path: pathlib.Path) -> Cut:
    return Cut(tmp_path, write_lines, has_old=request.param == "old")


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["one", "all from there"])
@pytest.mark.parametrize("cut", ["new", "old"], indirect=True)
def test_at_every_request_the_old_or_the_new_data_set_is_there_whole(
    cut: Cut, failure: str
) -> None:
    bucket = cut.again()
    with gcs_emulator.failing(lambda _: False) as numbers:
        job.finish(f"{bucket.url}/data")
    assert bucket.contents("data") == cut.new_contents
    assert len(numbers) > 30
    # Every request fails once; a store that stays away from there on takes every third.
    for at in numbers if failure == "one" else numbers[::3]:
        bucket = cut.again()
        to_fail = range(at, at + 1) if failure == "one" else range(at, 10**6)
        with (
            gcs_emulator.failing(to_fail.__contains__),
            contextlib.suppress(RunError, UserError),
        ):
            job.finish(f"{bucket.url}/data")
        cut.check(bucket)
        if LOCK in bucket.contents("data"):  # its process is gone
            bucket.delete(f"data/{LOCK}")
        # The next run finishes, or has nothing left to do but to delete.
        if bucket.contents("data") != cut.new_contents:
            with contextlib.suppress(UserError):
                job.finish(f"{bucket.url}/data")
        assert bucket.contents("data") == cut.new_contents
    with pytest.raises(UserError, match="the data set is already complete"):
        job.finish(f"{bucket.url}/data")
