"""One run at a time on an output directory of this machine."""

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from pipeline import verify
from pipeline.cli import UserError
from pipeline.dataset.manifests import read_manifest
from pipeline.output.output_lock import locked
from tests.support.ndjson import line

Writer = Callable[[str, Sequence[str]], str]
# Imports all, says so, and begins when it is told; the job takes as long as the other run needs.
CODE = """
import runpy, sys, time
from pipeline import job
run_job = job._run_job
job._run_job = lambda *arguments: (run_job(*arguments), time.sleep({seconds}))
print("ready", flush=True)
sys.stdin.readline()
runpy.run_module("pipeline.main", run_name="__main__")
"""


def start(path: str, output: pathlib.Path, seconds: int = 0) -> subprocess.Popen[str]:
    """Command, which has imported what it needs and waits for a line."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", CODE.format(seconds=seconds)),
            *(f"--input={path}", f"--output={output}", "--direct_num_workers=1"),
            *("--train_per_category=30", "--validation_per_category=10"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture
def path(write_lines: Writer) -> str:
    return write_lines("cat.ndjson", [line("cat", n) for n in range(60)])


@pytest.mark.parametrize("attempt", range(2))
def test_of_two_runs_at_the_same_time_one_is_refused(
    path: str, tmp_path: pathlib.Path, attempt: int
) -> None:
    output = tmp_path / "data"
    processes = [start(path, output, seconds=2) for _ in range(2)]
    for process in processes:
        go(process)
    results = {}
    for process in processes:
        _, errors = process.communicate(timeout=60)
        results[process.returncode] = (process.pid, errors)
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
    go(killed)
    while not list(output.glob("_incomplete/*/job.json")):
        assert killed.poll() is None
    with pytest.raises(UserError, match=f"another run is writing there .process {killed.pid} on"):
        locked(str(output)).__enter__()
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert (output / "_incomplete" / "lock").exists()
    again = start(path, output)
    _, errors = again.communicate("\n", timeout=60)
    assert (again.returncode, errors) == (0, "")
    assert verify.check_dataset(str(output), read_manifest(str(output))) == []
    assert not (output / "_incomplete").exists()
