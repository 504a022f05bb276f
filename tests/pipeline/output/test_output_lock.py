"""One run at a time on an output directory of this machine."""

import pathlib
import time
from collections.abc import Callable, Sequence

import pytest

from pipeline import verify
from pipeline.cli import UserError
from pipeline.dataset.manifests import read_manifest
from pipeline.output.output_lock import locked
from tests.support.ndjson import line
from tests.support.warm_process import WarmProcess

Writer = Callable[[str, Sequence[str]], str]
# Imports all, says so, and begins when it is told; the job takes as long as the other run needs.
CODE = """
import os, runpy, sys, time
from pipeline import job
run_job = job._run_job
def run_and_wait(*arguments):
    run_job(*arguments)
    end = time.monotonic() + {seconds}
    while time.monotonic() < end and not os.path.exists({go!r} + ".end"):
        time.sleep(0.005)
job._run_job = run_and_wait
print("ready", flush=True)
while not os.path.exists({go!r}):
    time.sleep(0.001)
sys.argv = ["pipeline.main", *{flags!r}]
runpy.run_module("pipeline.main", run_name="__main__", alter_sys=True)
"""


def start(path: str, output: pathlib.Path, seconds: int = 0) -> WarmProcess:
    """Command, which has imported what it needs and waits for `go`."""
    flags = [
        *(f"--input={path}", f"--output={output}", "--direct_num_workers=1"),
        *("--train_per_category=30", "--validation_per_category=10"),
    ]
    process = WarmProcess("-c", [CODE.format(seconds=seconds, go=f"{output}.go", flags=flags)])
    process.wait_for_line("ready")
    return process


def go(output: pathlib.Path) -> None:
    """Lets all runs on this output begin, also those that are started later."""
    pathlib.Path(f"{output}.go").touch()


@pytest.fixture
def path(write_lines: Writer) -> str:
    return write_lines("cat.ndjson", [line("cat", n) for n in range(60)])


@pytest.mark.parametrize("attempt", range(2))
def test_of_two_runs_at_the_same_time_one_is_refused(
    path: str, tmp_path: pathlib.Path, attempt: int
) -> None:
    output = tmp_path / "data"
    processes = [start(path, output, seconds=60) for _ in range(2)]
    go(output)
    while all(process.returncode is None for process in processes):
        time.sleep(0.005)
    pathlib.Path(f"{output}.go.end").touch()  # one was refused
    results = {}
    for process in processes:
        done = process.finish(60)
        results[done.returncode] = (process.pid, done.stderr)
    assert results.keys() == {0, 2}
    message = f"error: {output}: another run is writing there (process {results[0][0]} on "
    just_begun = f"error: {output}: another run is writing there (it has just begun)"
    (refusal,) = results[2][1].splitlines()
    assert refusal.startswith((message, just_begun))
    assert verify.check_dataset(str(output), read_manifest(str(output))) == []
    assert not (output / "_incomplete").exists()


def test_a_run_after_one_that_was_killed_is_not_refused(path: str, tmp_path: pathlib.Path) -> None:
    output = tmp_path / "data"
    killed = start(path, output, seconds=60)
    go(output)
    while not list(output.glob("_incomplete/*/job.json")):
        assert killed.returncode is None
        time.sleep(0.005)
    with pytest.raises(UserError, match=f"another run is writing there .process {killed.pid} on"):
        locked(str(output)).__enter__()
    killed.kill()
    killed.finish()
    assert (output / "_incomplete" / "lock").exists()
    again = start(path, output).finish(60)
    assert (again.returncode, again.stderr) == (0, "")
    assert verify.check_dataset(str(output), read_manifest(str(output))) == []
    assert not (output / "_incomplete").exists()
