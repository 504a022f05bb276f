"""gs:// as input, as output and under the trainer, against an emulator on the loopback."""

import bz2
import gc
import gzip
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from apache_beam.io.filesystem import BeamIOError
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job, verify
from pipeline.cli import RunError, UserError
from pipeline.dataset import manifests
from pipeline.dataset.manifests import DataSet, read_manifest
from pipeline.dataset.tfds_metadata import SIDE_FILES
from pipeline.files import storage
from pipeline.graph.sampling import Quotas
from pipeline.output import staging
from pipeline.sources import input_files
from pipeline.sources.input_files import InputFile
from tests.support.ndjson import line
from tests.support.trainer_data import tiny_experiment, write_dataset
from tests.support.warm_process import run_module
from trainer.config import TrainConfig
from trainer.runs.state import State
from trainer.train import train

pytest.importorskip("google.cloud.storage", reason="gs:// needs the gcp extra")
pytest.importorskip("gcp_storage_emulator", reason="gs:// is tested with gcp-storage-emulator")
from google.api_core.exceptions import Forbidden, GoogleAPIError

from tests.support import gcs_emulator
from tests.support.gcs_emulator import Bucket

ONE_WORKER = PipelineOptions(["--direct_num_workers=1"])
QUOTAS = Quotas(train=400, validation=100)
DRAWINGS = {
    f"{word}.ndjson": "".join(f"{line(word, 10_000 * index + n)}\n" for n in range(600)).encode()
    for index, word in enumerate(["cat", "ice cream"])
}


@pytest.fixture(scope="module")
def emulator_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with gcs_emulator.running_emulator(tmp_path_factory.mktemp("none")) as port:
        yield port


@pytest.fixture
def bucket(emulator_port: int) -> Bucket:
    """A bucket with drawings of two categories in `in/`."""
    bucket = Bucket()
    for name, data in DRAWINGS.items():
        bucket.write(f"in/{name}", data)
    return bucket


@pytest.fixture
def tensorflow_proxy(
    emulator_port: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """TensorFlow's own gs:// is the emulator, too."""
    with gcs_emulator.running_proxy(emulator_port, tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def local_contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of a data set that was made of the same drawings on this machine."""
    directory = tmp_path_factory.mktemp("local")
    for name, data in DRAWINGS.items():
        (directory / name).write_bytes(data)
    output = directory / "data"
    job.run(
        patterns=[f"{directory}/*.ndjson"], output=str(output), quotas=QUOTAS, options=ONE_WORKER
    )
    return {path.name: path.read_bytes() for path in output.iterdir()}


def without_manifest(contents: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files but the manifest, which names the paths of the inputs."""
    return {name: data for name, data in contents.items() if name != manifests.MANIFEST}


def flags_of_run(bucket: Bucket) -> list[str]:
    return [
        *("--no_auth", "--direct_num_workers=2"),
        *(f"--input={bucket.url}/in/*.ndjson", f"--output={bucket.url}/data"),
        *(f"--train_per_category={QUOTAS.train}", "--validation_per_category=100"),
    ]


def run_job(bucket: Bucket, output: str = "data", **settings: object) -> manifests.Manifest:
    patterns = [f"{bucket.url}/in/*"]
    settings = {"quotas": QUOTAS, "options": ONE_WORKER, "patterns": patterns, **settings}
    _, manifest = job.run(output=f"{bucket.url}/{output}", **settings)  # type: ignore[arg-type]
    return manifest


def test_two_workers_killed_and_run_again_write_what_a_local_run_writes(
    bucket: Bucket, local_contents: dict[str, bytes]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.main", *flags_of_run(bucket)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not bucket.contents("data"):  # the job starts right after
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    with pytest.raises(UserError, match=r"^gs://.*: no complete data set \(no manifest.json\)"):
        read_manifest(f"{bucket.url}/data")

    done = run_module("pipeline.main", flags_of_run(bucket))
    progress = [text for text in done.stderr.splitlines() if "  read " in text]  # of a busy machine
    assert (done.returncode, done.stderr.splitlines()) == (0, progress)
    assert done.stdout.splitlines()[-1].startswith(f"Wrote {bucket.url}/data in ")
    written = bucket.contents("data")
    assert written.keys() == local_contents.keys()
    assert without_manifest(written) == without_manifest(local_contents)

    manifest = read_manifest(f"{bucket.url}/data")
    assert manifest.inputs[0]["file"] == f"{bucket.url}/in/cat.ndjson"
    assert verify.check_dataset(f"{bucket.url}/data", manifest) == []
    labels = {
        example.label for example in DataSet(f"{bucket.url}/data", manifest).examples("train")
    }
    assert labels == {0, 1}


def test_a_data_set_is_replaced_only_when_told(bucket: Bucket) -> None:
    run_job(bucket)
    with pytest.raises(UserError, match=r"^gs://.*/data/ already holds a data set; --overwrite"):
        run_job(bucket, "data/")
    with pytest.raises(UserError, match=r"/dat\[a\]: \* \? \[ are not allowed on gs://"):
        run_job(bucket, "dat[a]", overwrite=True)
    bucket.write("data/labels-of-mine.txt", b"mine")
    with pytest.raises(
        UserError, match=r"/data holds files that are not a .*: labels-of-mine\.txt;"
    ):
        run_job(bucket, overwrite=True)
    bucket.delete("data/labels-of-mine.txt")
    manifest = run_job(bucket, quotas=Quotas(train=50, validation=0), overwrite=True)
    shards = [shard.file for split in manifest.splits.values() for shard in split.shards]
    written = bucket.contents("data")
    assert sorted(name for name in written if name.startswith("quickdraw-")) == sorted(shards)
    assert not [name for name in written if name.startswith("_incomplete")]


def test_a_failed_run_leaves_the_old_data_set_and_the_list_of_rejects(bucket: Bucket) -> None:
    run_job(bucket)
    before = bucket.contents("data")
    bucket.write("in/bad.ndjson", b"bad\n" * 500)
    with pytest.raises(RunError, match=r"500 lines rejected.*gs://.*/data/_incomplete/\w+/rejects"):
        run_job(bucket, overwrite=True)
    after = bucket.contents("data")
    left = {name for name in after if name.startswith("_incomplete/")}
    assert {name: after[name] for name in after if name not in left} == before
    assert [name for name in left if name.endswith("/rejects/rejects-00000-of-00003.jsonl")]
    assert not [name for name in left if "quickdraw-" in name]


def test_compressed_files_and_byte_ranges_are_read_whole(bucket: Bucket) -> None:
    data = DRAWINGS["cat.ndjson"]
    bucket.write("in/cat.ndjson.gz", gzip.compress(data))
    bucket.write("in/", b"")  # how Google's console keeps an empty folder
    files = input_files.match_files([f"{bucket.url}/in/cat*", f"{bucket.url}/in/*"])
    assert [(file.path.rpartition("/")[2], file.bytes) for file in files] == [
        ("cat.ndjson", len(data)),
        ("cat.ndjson.gz", len(gzip.compress(data))),
        ("ice cream.ndjson", len(DRAWINGS["ice cream.ndjson"])),
    ]
    for file in files[:2]:
        items = input_files.work_items([file], range_bytes=20_000)
        found = [found.head for item in items for found in input_files.read_drawings(item)]
        assert found == data.splitlines()


def long_lines(count: int, line_bytes: int = 5000) -> bytes:
    """ndjson that is large and soon parsed, and does not become much smaller when compressed."""
    texts = random.Random(0)
    lines = (line("cat", n, note=texts.randbytes(line_bytes // 2).hex()) for n in range(count))
    return "".join(f"{text}\n" for text in lines).encode()


def binary_records(count: int) -> bytes:
    """Upstream's binary format, of drawings of 500 points."""
    body = struct.pack("<HH", 1, 500) + bytes(range(250)) * 4
    return b"".join(struct.pack("<Q2sbI", n, b"DE", 1, 1488000000) + body for n in range(count))


LARGE = long_lines(4200)  # 20 MiB: three ranges


@pytest.mark.parametrize(
    ("name", "data", "drawings"),
    [
        ("large.ndjson", LARGE, 4200),
        ("small.ndjson", long_lines(20), 20),
        ("long lines.ndjson", long_lines(40, line_bytes=500_000), 40),  # lines past a range's end
        ("large.ndjson.gz", gzip.compress(LARGE, 0), 4200),
        ("small.ndjson.gz", gzip.compress(long_lines(20)), 20),
        ("some.ndjson.bz2", bz2.compress(long_lines(400)), 400),
        ("large.bin", binary_records(18_000), 18_000),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_input_on_gs_is_fetched_about_once_in_few_requests(
    bucket: Bucket, name: str, data: bytes, drawings: int
) -> None:
    bucket.write(f"in/{name}", data)
    (file,) = input_files.match_files([f"{bucket.url}/in/{name}"])
    with gcs_emulator.counting_downloads() as sizes:
        found = [
            found
            for item in input_files.work_items([file])
            for found in input_files.read_drawings(item)
        ]
    assert len(found) == drawings
    assert len({(at, head) for at, _, head in found}) == drawings
    assert sum(sizes) <= 1.1 * len(data)
    # Of compressed files Python asks for more to see that they have ended: those bring nothing.
    assert len([size for size in sizes if size]) <= 1 + len(data) / (2 << 20)


def test_every_line_of_gs_is_read_once_however_the_file_is_cut_and_fetched(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "FETCH_BYTES", 1000)
    monkeypatch.setattr(storage, "_PAST_END_BYTES", 30)
    data = DRAWINGS["cat.ndjson"][:8000].rpartition(b"\n")[0]  # no newline after the last line
    bucket.write("in/cut.ndjson", data)
    file = InputFile(f"{bucket.url}/in/cut.ndjson", len(data))
    line_bytes = data.index(b"\n") + 1
    for range_bytes in (line_bytes - 1, line_bytes, 5 * line_bytes, 5000, len(data), len(data) + 1):
        items = input_files.work_items([file], range_bytes)
        found = [found for item in items for found in input_files.read_drawings(item)]
        assert [found.head for found in found] == data.splitlines()


def test_a_job_fetches_its_input_once(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    bucket.write("large/cat.ndjson", LARGE)
    with gcs_emulator.counting_downloads() as sizes:
        job.run(
            patterns=[f"{bucket.url}/large/*"],
            output=str(tmp_path / "data"),
            quotas=QUOTAS,
            options=ONE_WORKER,
        )
    assert len(LARGE) <= sum(sizes) <= 1.1 * len(LARGE)


def test_a_data_set_on_gs_is_fetched_once_with_one_request_a_file(
    bucket: Bucket, tmp_path: pathlib.Path
) -> None:
    write_dataset(tmp_path / "data")
    total = 0
    for path in (tmp_path / "data").iterdir():
        bucket.write(f"data/{path.name}", path.read_bytes())
        total += path.stat().st_size
    with gcs_emulator.counting_downloads() as sizes:
        manifest = read_manifest(f"{bucket.url}/data")
        assert verify.check_dataset(f"{bucket.url}/data", manifest) == []
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    assert sum(shard.bytes for shard in shards) < sum(sizes) <= 1.1 * total
    assert len(sizes) == 1 + len(SIDE_FILES) + len(shards)
    with gcs_emulator.counting_downloads() as sizes:
        list(DataSet(f"{bucket.url}/data", manifest).examples("train"))
    assert sorted(sizes) == sorted(shard.bytes for shard in manifest.splits["train"].shards)


def test_a_bucket_that_is_not_there_is_one_line(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = "gs://no-such-bucket"
    with pytest.raises(UserError, match=rf"^--input: {missing}/\*: no such bucket or file$"):
        run_job(bucket, patterns=[f"{missing}/*"])
    with pytest.raises(UserError, match=r"^--input: no file matches gs://.*/none\.ndjson$"):
        run_job(bucket, patterns=[f"{bucket.url}/none.ndjson"])
    with pytest.raises(UserError, match=f"^cannot write to {missing}/x: no such bucket or file$"):
        job.run(patterns=[f"{bucket.url}/in/*"], output=f"{missing}/x", quotas=QUOTAS)
    with pytest.raises(UserError, match=r"^gs://: which bucket\?"):
        job.run(patterns=[f"{bucket.url}/in/*"], output="gs://", quotas=QUOTAS)
    # What is lost while the job runs.
    gone = InputFile(f"{bucket.url}/in/gone.ndjson", 1000)
    with monkeypatch.context() as patch:
        patch.setattr(job, "match_files", lambda _: [gone])
        with pytest.raises(RunError, match=r"^cannot read gs://.*/gone\.ndjson: no such bucket"):
            run_job(bucket)
    with monkeypatch.context() as patch:
        lost = staging.Job(missing, "0123abcd", {})
        patch.setattr(staging, "begin", lambda _, settings: lost._replace(settings=settings))
        with pytest.raises(
            RunError, match=f"^cannot write {missing}/_incomplete/.*: no such bucket"
        ):
            run_job(bucket)


def test_missing_permission_says_how_to_get_credentials() -> None:
    error = Forbidden("GET https://…: Anonymous caller\n may not list")
    assert storage.reason(error) == (
        "no permission (403 GET https://…: Anonymous caller may not list); "
        "`gcloud auth application-default login` gives credentials"
    )


def test_an_answer_of_which_beam_keeps_the_number_only_is_named() -> None:
    error = BeamIOError("Rename operation failed", {("gs://b/one", "gs://b/other"): 503})
    assert storage.reason(error) == "503 Service Unavailable"


def test_a_file_that_could_not_be_written_is_not_written_later(bucket: Bucket) -> None:
    for failing in range(1, 3):  # what begins the upload, and what ends it
        with gcs_emulator.failing(failing.__eq__), pytest.raises(GoogleAPIError):
            storage.write_text(f"{bucket.url}/data/file", "late")
        gc.collect()
        assert bucket.contents("data") == {}


def test_without_the_gcp_extra_one_line_says_what_to_install() -> None:
    code = (
        "import runpy, sys\n"
        "sys.modules['google.cloud.storage'] = None  # as if it were not installed\n"
        "sys.argv[1:] = ['--input=gs://bucket/*', '--output=gs://bucket/data']\n"
        "runpy.run_module('pipeline.main', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: gs://bucket/*: gs:// needs pip install '.[gcp]'\n"


def run_trainer(directory: str, run_dir: pathlib.Path) -> State:
    experiment = tiny_experiment()
    return train(
        TrainConfig(
            directory, str(run_dir), experiment, epochs=1, batch_size=10, precision="float32"
        )
    )


def test_the_trainer_reads_from_gs_what_it_reads_from_a_directory(
    bucket: Bucket, tensorflow_proxy: None, tmp_path: pathlib.Path
) -> None:
    write_dataset(tmp_path / "data")
    for path in (tmp_path / "data").iterdir():
        bucket.write(f"data/{path.name}", path.read_bytes())
    remote = run_trainer(f"{bucket.url}/data", tmp_path / "remote")
    local = run_trainer(str(tmp_path / "data"), tmp_path / "local")
    assert remote == local
    assert f'"dataset": "{bucket.url}/data"' in (tmp_path / "remote" / "config.json").read_text()


def test_the_trainer_names_what_it_cannot_read_on_gs(
    bucket: Bucket,
    tensorflow_proxy: None,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = write_dataset(tmp_path / "data")
    shard = manifest.splits["train"].shards[0].file
    files = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    for name, data in files.items():
        bucket.write(f"damaged/{name}", data[:-9] + bytes(9) if name == shard else data)
        if name != shard:
            bucket.write(f"missing/{name}", data)

    with pytest.raises(UserError, match=r"^gs://.*/none: no complete data set"):
        run_trainer(f"{bucket.url}/none", tmp_path / "none")
    with pytest.raises(RunError, match=rf"^{bucket.url}/damaged/{shard}: damaged"):
        run_trainer(f"{bucket.url}/damaged", tmp_path / "damaged")
    with pytest.raises(UserError, match=f"^{bucket.url}/missing/{shard}: No such file"):
        run_trainer(f"{bucket.url}/missing", tmp_path / "missing")
    # It vanishes later.
    monkeypatch.setattr("trainer.data.verified_data.VerifiedData._check_length", lambda *_: [0, 0])
    with pytest.raises(RunError, match=rf"^{bucket.url}/missing: can no longer be read \("):
        run_trainer(f"{bucket.url}/missing", tmp_path / "vanished")
