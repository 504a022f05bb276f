"""The whole command on a distributed engine's terms: Beam's job service, workers that have nothing.

The job service is Beam's own in Python. The workers are processes of a worker pool, started in an
empty directory, with an interpreter that refuses to import what a worker should not need.
"""

import base64
import bz2
import gzip
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import (
    beam_job_api_pb2,
    beam_job_api_pb2_grpc,
    beam_runner_api_pb2,
)
from apache_beam.runners.runner import PipelineResult, PipelineRunner

from pipeline import job
from pipeline.cli import ContactLost, RunError
from pipeline.dataset.manifests import read_manifest
from pipeline.graph.sampling import Quotas
from pipeline.runners.remote_runner import is_remote_run
from tests.pipeline.test_job import contents
from tests.support.ndjson import ROOT, line
from tests.support.warm_process import run_module, warm_python
from tests.support.worker_pool import job_service_at, running_job_service, running_worker_pool

QUOTAS = ("--train_per_category=100", "--validation_per_category=50")
# A module that Python imports as it starts.
SITECUSTOMIZE = """
import sys

class Refuse:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "matplotlib", "trainer", "analysis"):
            raise ModuleNotFoundError(f"a worker has no {name}")

sys.meta_path.insert(0, Refuse)
"""


class Engine(NamedTuple):
    job_endpoint: str
    flags: tuple[str, ...]  # with which the command runs there


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE)
    without = {"PYTHONPATH": str(site)}
    refused = subprocess.run(
        [sys.executable, "-c", "import tensorflow"],
        env={**os.environ, **without},
        stderr=subprocess.PIPE,
        check=False,
    )
    assert b"a worker has no tensorflow" in refused.stderr
    with (
        running_worker_pool(empty, environment=without) as pool,
        running_job_service(empty) as endpoint,
    ):
        yield Engine(
            endpoint,
            (
                "--runner=PortableRunner",
                f"--job_endpoint={endpoint}",
                "--environment_type=EXTERNAL",
                f"--environment_config={pool}",
            ),
        )


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    """A working directory with two files of drawings in it, and one that ends early."""
    (tmp_path / "drawings").mkdir()
    for number, word in enumerate(("cat", "sun")):
        lines = [line(word, 1000 * number + n) for n in range(300)] + ["bad"]
        (tmp_path / "drawings" / f"{word}.ndjson").write_text("\n".join(lines))
    compressed = gzip.compress("\n".join(line("cat", n) for n in range(50)).encode())
    (tmp_path / "early.ndjson.gz").write_bytes(compressed[:-20])
    return tmp_path


def start(
    directory: pathlib.Path, *flags: str, python: str | pathlib.Path
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-m", "pipeline.main", *QUOTAS, *flags],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(directory: pathlib.Path, *flags: str) -> tuple[int, str, str]:
    """Its exit status, standard output and standard error."""
    done = run_module("pipeline.main", [*QUOTAS, *flags], directory=directory)
    return done.returncode, done.stdout, done.stderr


def rejects(data_set: pathlib.Path) -> list[dict[str, object]]:
    """Rejects of a run in the directory above the data set, by absolute paths."""
    files = sorted((data_set / "rejects").iterdir())
    found = [json.loads(text) for file in files for text in file.read_text().splitlines()]
    return [{**reject, "file": str(data_set.parent / reject["file"])} for reject in found]


def test_relative_paths_and_workers_elsewhere_give_the_bytes_of_a_local_run(
    engine: Engine, directory: pathlib.Path
) -> None:
    flags = ("--input=drawings/*.ndjson", "--direct_num_workers=1")
    status, local_table, _ = command(directory, *flags, "--output=local")
    assert status == 0
    status, table, errors = command(directory, *flags, "--output=remote", *engine.flags)
    assert (status, table.splitlines()[:-1]) == (0, local_table.splitlines()[:-1])
    assert "Job state changed to DONE" in errors
    assert "warning: 2 lines rejected (0.33%), see remote/rejects" in errors.splitlines()
    assert contents(directory / "remote") == contents(directory / "local")
    assert rejects(directory / "remote") == rejects(directory / "local")
    local, remote = (read_manifest(str(directory / name)) for name in ("local", "remote"))
    assert remote.splits == local.splits
    assert remote.drawings == local.drawings


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ["--input=early.ndjson.gz"],
            "on a worker of PortableRunner: cannot read {directory}/early.ndjson.gz: "
            "Compressed file ended before the end-of-stream marker was reached",
        ),
        (  # the worker is a thread of the command itself
            ["--input=early.ndjson.gz", "--environment_type=LOOPBACK", "--environment_config="],
            "on a worker of PortableRunner: cannot read {directory}/early.ndjson.gz: ",
        ),
        # What /proc/self/cwd is depends on who asks: so workers do not see this machine's files.
        (
            ["--input=/proc/self/cwd/drawings/cat.ndjson"],
            "on a worker of PortableRunner: cannot read /proc/self/cwd/drawings/cat.ndjson: "
            "No such file or directory",
        ),
        (
            ["--output=/proc/self/cwd/elsewhere"],
            "the job is done, but /proc/self/cwd/elsewhere/_incomplete/",  # … is empty
        ),
        (
            ["--max_reject_fraction=0"],
            "2 lines rejected, 0.33% of all, more than --max_reject_fraction=0",
        ),
        (
            ["--environment_config=localhost:1"],
            "the job on PortableRunner failed: failed to connect to all addresses",
        ),
    ],
)
def test_a_run_that_fails_there_ends_in_one_line_and_leaves_no_data_set(
    flags: list[str], expected: str, engine: Engine, directory: pathlib.Path
) -> None:
    flags = ["--input=drawings/*.ndjson", "--output=data", *engine.flags, *flags]
    status, output, errors = command(directory, *flags)
    assert (status, output) == (1, "")
    *log, last = errors.splitlines()
    assert last.startswith(f"error: {expected.format(directory=directory)}")
    assert not [text for text in log if text.startswith("error:")]
    if "--environment_config=localhost:1" not in flags:  # that is Beam's to tell
        assert "Traceback" not in errors
    for path in directory.rglob("_incomplete"):
        assert not list(path.rglob("quickdraw-*"))
    assert not list(directory.rglob("manifest.json"))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--runner=Nowhere"], "--runner=Nowhere: Unexpected pipeline runner: Nowhere. Valid "),
        (["--job_endpoint="], "--runner=PortableRunner: You must specify a --job_endpoint "),
        (
            ["--job_endpoint=localhost:1", "--job_server_timeout=2"],
            "--job_endpoint=localhost:1: no job service answers there",
        ),
        (["--environment_type=BARE"], "--runner=PortableRunner: Unknown environment type: BARE"),
        (["--environment_config="], "--runner=PortableRunner: Option external_service_address is "),
        (["--no_wait_until_finish"], "--no_wait_until_finish: not supported, because "),
        (["--output=/proc/none/data"], "cannot write to /proc/none/data: "),
    ],
)
def test_wrong_flags_are_one_line_and_nothing_else(
    flags: list[str], expected: str, engine: Engine, directory: pathlib.Path
) -> None:
    flags = ["--input=drawings/*.ndjson", "--output=data", *engine.flags, *flags]
    status, output, errors = command(directory, *flags)
    assert (status, output) == (2, "")
    (only,) = errors.splitlines()
    assert only.startswith(f"error: {expected}")


def test_ctrl_c_cancels_the_job_and_leaves_the_old_data_set(
    engine: Engine, directory: pathlib.Path
) -> None:
    flags = ("--input=drawings/*.ndjson", "--output=data")
    assert command(directory, *flags, "--direct_num_workers=1")[0] == 0
    before = contents(directory / "data")
    job_service = beam_job_api_pb2_grpc.JobServiceStub(grpc.insecure_channel(engine.job_endpoint))
    flags = (*flags, *engine.flags, "--overwrite", "--train_per_category=200")
    with start(directory, *flags, python=warm_python()) as process:
        assert process.stderr is not None
        log = []
        for text in process.stderr:
            log.append(text)
            if "Job state changed to RUNNING" in text:
                process.send_signal(signal.SIGINT)
                break
        log += process.stderr
        assert process.wait() == 130
    assert [text for text in log if "error: " in text] == ["error: interrupted\n"]
    assert any("the job was told to stop" in text for text in log)
    assert "Traceback" not in "".join(log)
    # This job service calls a job cancelled and lets it go on; then it is DONE, or FAILED.
    *_, last = job_service.GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info
    request = beam_job_api_pb2.GetJobStateRequest(job_id=last.job_id)
    states = {event.state for event in job_service.GetStateStream(request)}
    assert beam_job_api_pb2.JobState.CANCELLED in states
    assert contents(directory / "data") == before
    assert read_manifest(str(directory / "data")).splits["train"].records == 200


def test_a_job_service_that_goes_away_leaves_the_files_of_its_job(
    engine: Engine, directory: pathlib.Path
) -> None:
    with running_job_service(directory) as endpoint:
        flags = ("--input=drawings/*.ndjson", "--output=data", *engine.flags)
        flags = (*flags, f"--job_endpoint={endpoint}")
        with start(directory, *flags, python=warm_python()) as process:
            assert process.stderr is not None
            log = []
            for text in process.stderr:
                log.append(text)
                if "Job state changed to RUNNING" in text:
                    job_service_at(endpoint).kill()
                    break
            log += process.stderr
            assert process.wait() == 1
    (error,) = [text for text in log if "error: " in text]
    assert error.startswith("error: lost sight of the job on PortableRunner, which may go on (")
    assert "Traceback" not in "".join(log)
    assert list((directory / "data" / "_incomplete").glob("*/job.json"))
    status, output, errors = command(directory, "--finish", "--output=data")
    assert (status, output) == (2, "")
    assert errors == "error: data: its job is not finished yet, or failed\n"


class StubRunner(PipelineRunner):
    """Runs nothing: its job does what a test has told the class."""

    wait: BaseException
    cancel: BaseException | None
    state: str | Exception

    def run_portable_pipeline(
        self, pipeline: beam_runner_api_pb2.Pipeline, options: PipelineOptions
    ) -> PipelineResult:
        return StubResult("RUNNING")


class StubResult(PipelineResult):
    def wait_until_finish(self, duration: int | None = None) -> NoReturn:
        raise StubRunner.wait

    def cancel(self) -> None:
        if StubRunner.cancel:
            raise StubRunner.cancel

    @property
    def state(self) -> str:
        if isinstance(StubRunner.state, Exception):
            raise StubRunner.state
        return StubRunner.state


NO_ANSWER = RuntimeError("503 Service Unavailable")
CTRL_C = KeyboardInterrupt()


@pytest.mark.parametrize(
    ("wait", "cancel", "state", "expected"),
    [
        (NO_ANSWER, None, "RUNNING", "lost sight of the job on .*, which may go on (503 "),
        (NO_ANSWER, None, NO_ANSWER, "lost sight of the job on .*, which may go on (503 "),
        (NO_ANSWER, None, "FAILED", None),
        (CTRL_C, None, "RUNNING", None),
        (CTRL_C, NO_ANSWER, "RUNNING", "cannot cancel the job on .*, which may go on (503 "),
        (CTRL_C, CTRL_C, NO_ANSWER, "cannot cancel the job on .*, which may go on (interr"),
        (CTRL_C, NO_ANSWER, "DONE", None),
    ],
)
def test_the_files_of_a_job_that_may_go_on_are_kept(
    wait: BaseException,
    cancel: BaseException | None,
    state: str | Exception,
    expected: str | None,
    directory: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # which a run changes
    for name, value in (("wait", wait), ("cancel", cancel), ("state", state)):
        monkeypatch.setattr(StubRunner, name, value, raising=False)
    with pytest.raises((RunError, KeyboardInterrupt)) as raised:
        job.run(
            patterns=[f"{directory}/drawings/*.ndjson"],
            output=f"{directory}/data",
            quotas=Quotas(100, 50),
            options=PipelineOptions([f"--runner={__name__}.{StubRunner.__name__}"]),
        )
    assert isinstance(raised.value, ContactLost) == (expected is not None)
    kept = list((directory / "data").rglob("job.json"))
    assert len(kept) == (1 if expected else 0)
    if expected:
        assert re.match(expected.replace("(", r"\("), str(raised.value))


class RecordingRunner(PipelineRunner):
    """Runs nothing: writes the job to the file that the environment names."""

    def run_portable_pipeline(
        self, pipeline: beam_runner_api_pb2.Pipeline, options: PipelineOptions
    ) -> NoReturn:
        pathlib.Path(os.environ["RECORDED_JOB"]).write_bytes(pipeline.SerializeToString())
        raise NotImplementedError("only recorded")


UNPICKLE = """
import pickle, sys

for text in sys.stdin:
    pickle.loads(bytes.fromhex(text))
print(sorted({"tensorflow", "keras", "trainer", "analysis"} & set(sys.modules)))
"""


def test_what_workers_unpickle_names_nothing_of_main_and_imports_no_tensorflow(
    directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORDED_JOB", str(directory / "job"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    runner = f"--runner={__name__}.{RecordingRunner.__name__}"
    flags = ("--input=drawings/*.ndjson", "--output=data", runner)
    # It has imported no TensorFlow either.
    with start(directory, *flags, python=sys.executable) as process:
        assert "only recorded" in process.communicate(timeout=120)[1]
    payloads = pickled((directory / "job").read_bytes())
    together = b"".join(payloads)
    functions = (b"Parse", b"Deduplicate", b"LowestRanks", b"AssignShards", b"WriteShard")
    for name in (*functions, b"write_summary"):
        assert name in together
    assert b"__main__" not in together
    monkeypatch.delenv("PYTHONPATH")
    done = subprocess.run(
        [sys.executable, "-c", UNPICKLE],
        input="\n".join(payload.hex() for payload in payloads),
        capture_output=True,
        text=True,
        check=True,
        cwd=directory,
    )
    assert done.stdout == "[]\n"


def pickled(job: bytes) -> list[bytes]:
    """All that Beam has pickled into a job, in Base64 of zlib or bz2 each time."""
    decompress = {b"eN": zlib.decompress, b"Ql": bz2.decompress}
    found = re.findall(rb"(?:eN|QlpoO)[A-Za-z0-9+/]{20,}=*", job)
    return [decompress[text[:2]](base64.b64decode(text)) for text in found]


@pytest.mark.parametrize(
    ("flags", "remote"),
    [
        ([], False),
        (["--runner=DirectRunner"], False),
        (["--runner=direct"], False),  # Beam takes names without case and without "Runner", too
        (["--runner=PrismRunner"], True),
        (["--runner=apache_beam.runners.direct.direct_runner.SwitchingDirectRunner"], True),
    ],
)
def test_the_direct_runner_is_this_machine_s_own(flags: list[str], remote: bool) -> None:
    assert is_remote_run(PipelineOptions(flags)) == remote


def test_the_direct_runner_shows_nothing_of_beam(directory: pathlib.Path) -> None:
    flags = ("--input=drawings/*.ndjson", "--output=data", "--runner=directrunner")
    status, _, errors = command(directory, *flags)
    *progress, last = errors.splitlines()
    assert (status, last) == (0, "warning: 2 lines rejected (0.33%), see data/rejects")
    assert not [text for text in progress if " s  read " not in text]  # where it takes 5 s
