"""One run at a time on an output on gs://."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job
from pipeline.cli import RunError, UserError
from pipeline.files import storage
from pipeline.graph.sampling import Quotas
from pipeline.output import output_lock
from pipeline.output.output_lock import locked
from pipeline.output.staging import LOCK
from tests.support.ndjson import line
from tests.support.warm_process import run_module

pytest.importorskip("google.cloud.storage", reason="gs:// needs the gcp extra")
pytest.importorskip("gcp_storage_emulator", reason="gs:// is tested with gcp-storage-emulator")

from tests.support import gcs_emulator
from tests.support.gcs_emulator import Bucket

ONE_WORKER = PipelineOptions(["--direct_num_workers=1"])
QUOTAS = Quotas(train=30, validation=10)


@pytest.fixture(scope="module", autouse=True)
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with gcs_emulator.running_emulator(tmp_path_factory.mktemp("none")):
        yield


@pytest.fixture
def bucket() -> Bucket:
    """A bucket with drawings in `in/`."""
    bucket = Bucket()
    drawings = "".join(f"{line('cat', n)}\n" for n in range(60))
    bucket.write("in/cat.ndjson", drawings.encode())
    return bucket


def run(bucket: Bucket, **settings: Any) -> None:
    job.run(
        patterns=[f"{bucket.url}/in/*"],
        output=f"{bucket.url}/data",
        quotas=QUOTAS,
        options=ONE_WORKER,
        **settings,
    )


def write_lock(bucket: Bucket, **fields: object) -> None:
    """Leave the lock of another run."""
    content = {"holder": "process 7 on another", "boot": "another", "pid": 7, **fields}
    bucket.write(f"data/{LOCK}", json.dumps(content).encode())


def ended_process() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_a_second_run_is_refused_by_one_line_that_names_the_first(bucket: Bucket) -> None:
    output = f"{bucket.url}/data"
    run(bucket)
    with locked(output):
        before = bucket.contents("data")
        flags = ["--overwrite", f"--input={bucket.url}/in/*", f"--output={output}"]
        done = run_module("pipeline.main", flags)
        assert bucket.contents("data") == before
        holder = f"process {os.getpid()} on {os.uname().nodename}"
        message = f"error: {output}: another run is writing there ({holder})\n"
        assert (done.returncode, done.stderr) == (2, message)
    assert LOCK not in bucket.contents("data")


def test_a_store_without_preconditions_refuses_a_run_that_starts_later(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(f"{bucket.url}/data"):
        monkeypatch.setattr(gcs_emulator, "CHECKS_GENERATIONS", False)
        with pytest.raises(UserError, match="another run is writing there"):
            run(bucket)


def test_the_lock_of_a_process_that_has_ended_is_taken_over(bucket: Bucket) -> None:
    write_lock(bucket, boot=output_lock._boot(), pid=ended_process())
    with locked(f"{bucket.url}/data"):
        assert json.loads(bucket.contents("data")[LOCK])["pid"] == os.getpid()
    assert bucket.contents("data") == {}


@pytest.mark.parametrize("of_here", [True, False])
def test_a_lock_is_taken_over_when_it_was_not_renewed_for_ten_minutes(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, of_here: bool
) -> None:
    # Of here: the number of its process may be that of another one by now.
    write_lock(bucket, **({"boot": output_lock._boot(), "pid": os.getpid()} if of_here else {}))
    lease = output_lock._LEASE
    assert lease == timedelta(minutes=10)
    monkeypatch.setattr(output_lock, "_LEASE", lease - timedelta(minutes=9))  # nine later, that is
    with pytest.raises(UserError, match=r"another run .* \(process 7 on another\)"):
        run(bucket)
    monkeypatch.setattr(output_lock, "_LEASE", lease - timedelta(minutes=11))
    run(bucket)
    assert "manifest.json" in bucket.contents("data")
    assert LOCK not in bucket.contents("data")


def test_a_lock_is_renewed_while_its_run_goes_on(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_lock, "_RENEW_SECONDS", 0.01)
    path = f"{bucket.url}/data/{LOCK}"
    with locked(f"{bucket.url}/data"):
        first = storage.gcs_blob(path)
        first.reload()
        deadline = time.monotonic() + 60
        found = first
        while found.generation == first.generation and time.monotonic() < deadline:
            found = storage.gcs_blob(path)
            found.reload()
        assert found.updated > first.updated
    assert bucket.contents("data") == {}


@pytest.mark.parametrize("is_stale_there", [False, True])
def test_of_two_runs_that_begin_at_the_same_time_one_wins(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, is_stale_there: bool
) -> None:
    if is_stale_there:
        write_lock(bucket, boot=output_lock._boot(), pid=ended_process())
    find = output_lock._find
    both_have_looked, both_are_done = threading.Barrier(2), threading.Barrier(2)
    looked: set[int] = set()
    results: list[str] = []

    def find_with_the_other(path: str) -> tuple[Any, str]:
        found = find(path)
        if threading.get_ident() not in looked:
            looked.add(threading.get_ident())
            both_have_looked.wait(60)
        return found

    def take() -> None:
        try:
            with locked(f"{bucket.url}/data"):
                results.append("won")
                both_are_done.wait(60)
        except UserError as error:
            results.append(str(error))
            both_are_done.wait(60)

    monkeypatch.setattr(output_lock, "_find", find_with_the_other)
    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (refusal,) = [result for result in results if result != "won"]
    assert len(results) == 2
    assert "another run is writing there" in refusal
    assert bucket.contents("data") == {}


def test_a_lock_whose_answer_was_lost_is_known_as_ones_own(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.storage import Blob

    upload = Blob.upload_from_string

    def upload_twice(blob: Blob, content: str, **settings: Any) -> None:
        upload(blob, content, **settings)
        upload(blob, content, **settings)  # as Google's client does after an answer of 503

    monkeypatch.setattr(Blob, "upload_from_string", upload_twice)
    with locked(f"{bucket.url}/data"):
        assert LOCK in bucket.contents("data")
    assert bucket.contents("data") == {}


def test_no_lock_stays_after_a_failed_run(bucket: Bucket) -> None:
    bucket.write("in/dog.ndjson", b"bad\n" * 60)
    with pytest.raises(RunError, match="rejected"):
        run(bucket)
    assert LOCK not in bucket.contents("data")


def test_no_lock_stays_after_ctrl_c(bucket: Bucket) -> None:
    flags = [f"--input={bucket.url}/in/*", f"--output={bucket.url}/data", "--direct_num_workers=1"]
    code = (
        "import runpy, signal, os\n"
        "from pipeline import job\n"
        "job.run_locally = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "runpy.run_module('pipeline.main', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *flags], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")
    assert bucket.contents("data") == {}
