"""A local run ends whatever is killed, at any moment, and leaves no process behind."""

import contextlib
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
import psutil
import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from pipeline.cli import RunError
from pipeline.runners import local_runner, local_worker
from pipeline.runners.local_runner import FEW_DRAWINGS, run_locally
from tests.support.ndjson import line

Writer = Callable[[str, Sequence[str]], str]
END_SECONDS = 10  # for a run to end after a kill
DRAWINGS = 3_000


class Run:
    """`python -m pipeline.main` with two workers, in a session of its own."""

    def __init__(self, path: str, output: pathlib.Path) -> None:
        self.output = output
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pipeline.main", f"--input={path}", f"--output={output}"),
                *("--direct_num_workers=2", "--overwrite"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def workers(self) -> list[int]:
        """Process ids of those that there are now."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    command = " ".join(child.cmdline())  # or still that of the shell before it
                    if local_worker.__name__ in command and "trap" not in command:
                        found.append(child.pid)
        return found

    def wait_for_workers(self) -> list[int]:
        """Returns as soon as both have started; they import Beam then."""
        while len(found := self.workers()) < 2:
            assert self.process.poll() is None
            time.sleep(0.05)
        return found

    def wait_for_summary(self) -> None:
        """Returns when the job's last step has written; Beam ends its workers after that."""
        while not list(self.output.glob("_incomplete/*/summary.json")):
            assert self.process.poll() is None
            time.sleep(0.001)

    def end(self) -> tuple[int, list[str]]:
        """Exit status and the lines of standard error but progress, when it has ended."""
        _, errors = self.process.communicate(timeout=END_SECONDS)
        return self.process.returncode, [
            text for text in errors.splitlines() if " s  read " not in text
        ]

    def processes(self) -> list[int]:
        """Process ids of all that this run has started and that have not ended."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                is_of_run = os.getsid(process.pid) == self.process.pid
                if is_of_run and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found

    def leaves_no_process(self) -> bool:
        deadline = time.monotonic() + 3
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


@pytest.fixture
def start(write_lines: Writer, tmp_path: pathlib.Path) -> Iterator[Callable[[], Run]]:
    """Starts runs on a small file; in the end nothing of them is left."""
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(DRAWINGS)])
    runs: list[Run] = []

    def start_one() -> Run:
        runs.append(Run(path, tmp_path / "data"))
        return runs[-1]

    yield start_one
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


def kill(process: int) -> bool:
    """Return whether there was still something to kill."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def cpu_seconds(process: int) -> float:
    """Return its processor time: its progress on a busy machine, too; infinite after its end."""
    try:
        times = psutil.Process(process).cpu_times()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return math.inf
    return float(times.user + times.system)


KILLED = (1, ["error: a worker process was killed by SIGKILL; out of memory?"])


@pytest.mark.slow
def test_a_worker_killed_at_any_moment_ends_the_run_in_one_line(start: Callable[[], Run]) -> None:
    whole = start()
    worker = whole.wait_for_workers()[0]
    whole_seconds = 0.0
    while (seconds := cpu_seconds(worker)) < math.inf:
        whole_seconds = seconds
        time.sleep(0.02)
    assert whole.end() == (0, [])

    ends = []
    for moment in range(20):
        run = start()
        worker = run.wait_for_workers()[moment % 2]
        while cpu_seconds(worker) < whole_seconds * moment / 20:
            time.sleep(0.02)
        kill(worker)
        ends.append(run.end())
        assert ends[-1] in (KILLED, (0, [])), moment
        assert run.leaves_no_process(), moment
    assert ends.count(KILLED) >= 15  # the others may have come after the job's end


def test_a_worker_killed_when_the_job_is_done_fails_the_run_or_is_not_missed(
    start: Callable[[], Run],
) -> None:
    for wait_seconds in (0, 0.01, 0.1):
        run = start()
        workers = run.wait_for_workers()
        run.wait_for_summary()
        time.sleep(wait_seconds)
        kill(workers[0])
        end = run.end()
        assert end in (KILLED, (0, []))
        assert (run.output / "manifest.json").exists() or end == KILLED
        assert run.leaves_no_process()


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_both_workers_killed_end_the_run_in_one_line(
    seconds: float, start: Callable[[], Run]
) -> None:
    run = start()
    workers = run.wait_for_workers()
    time.sleep(seconds)
    for worker in workers:
        kill(worker)
    assert run.end() == KILLED
    assert run.leaves_no_process()
    assert not [path for path in run.output.rglob("*") if path.is_file()]


@pytest.mark.parametrize("seconds", [0, 0.5, 2])
def test_workers_end_with_a_launching_process_that_is_killed(
    seconds: float, start: Callable[[], Run]
) -> None:
    run = start()
    run.wait_for_workers()
    time.sleep(seconds)
    assert kill(run.process.pid)
    assert run.leaves_no_process()


def test_a_worker_whose_launching_process_has_ended_before_it_ends() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    command = [sys.executable, "-m", local_worker.__name__, str(gone.pid)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("to_all", [False, True])
def test_sigterm_ends_the_workers_and_deletes_what_they_wrote(
    number: signal.Signals, to_all: bool, start: Callable[[], Run]
) -> None:
    run = start()
    run.wait_for_workers()
    time.sleep(1)
    (os.killpg if to_all else os.kill)(run.process.pid, number)
    assert run.end() == (1, [f"error: stopped by {number.name}"])
    assert run.leaves_no_process()
    assert not [path for path in run.output.rglob("*") if path.is_file()]


@pytest.mark.parametrize("seconds", [0, 1.5])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_or_twice_is_one_line_at_most(
    seconds: float, times: int, start: Callable[[], Run]
) -> None:
    run = start()
    run.wait_for_workers()
    time.sleep(seconds)
    for _ in range(times):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGINT)
        time.sleep(0.05)
    end = run.end()
    assert end in ((130, ["error: interrupted"]), (-signal.SIGINT, ["error: interrupted"])) or (
        times == 2 and end == (-signal.SIGINT, [])
    )
    assert run.leaves_no_process()


def test_sigterm_to_a_worker_alone_ends_the_run(start: Callable[[], Run]) -> None:
    run = start()
    worker = run.wait_for_workers()[0]
    time.sleep(1.5)
    os.kill(worker, signal.SIGTERM)
    assert run.end() == (1, ["error: a worker process was killed by SIGTERM (status -15)"])
    assert run.leaves_no_process()


def test_ctrl_c_to_a_worker_alone_is_ignored(start: Callable[[], Run]) -> None:
    run = start()
    os.kill(run.wait_for_workers()[0], signal.SIGINT)
    assert run.process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGINT, pytest.raises(KeyboardInterrupt)),
        (signal.SIGTERM, pytest.raises(RunError, match=r"^stopped by SIGTERM$")),
    ],
)
def test_a_signal_in_a_step_of_a_run_with_one_worker_ends_it(
    number: signal.Signals, error: contextlib.AbstractContextManager[object]
) -> None:
    before = signal.getsignal(number)

    def stop(_: int) -> None:
        os.kill(os.getpid(), number)

    def build(pipeline: beam.Pipeline) -> None:
        _ = pipeline | beam.Create([1]) | beam.Map(stop)

    with error:
        run_locally(build, PipelineOptions(["--direct_num_workers=1"]))
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("flag", "drawings", "starts_workers"),
    [
        ("--direct_num_workers=0", FEW_DRAWINGS, False),
        ("--direct_num_workers=0", FEW_DRAWINGS + 1, True),
        ("--direct_num_workers=2", 1, True),
        ("--direct_num_workers=1", math.inf, False),
    ],
)
def test_few_drawings_take_no_workers_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, flag: str, drawings: float, starts_workers: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    started: list[object] = []
    monkeypatch.setattr(local_runner, "_run_with_workers", started.append)
    options = PipelineOptions([flag])
    run_locally(lambda pipeline: pipeline | beam.Create([1]), options, drawings)
    assert bool(started) == starts_workers
    assert f"--direct_num_workers={options.view_as(DirectOptions).direct_num_workers}" == flag
