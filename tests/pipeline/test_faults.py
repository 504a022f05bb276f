"""Kills, full disks and vanishing files leave no data set, and the old one as it was."""

import errno
import hashlib
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job
from pipeline.cli import RunError, UserError
from pipeline.dataset.manifests import read_manifest
from pipeline.drawings.drawing import MAX_LINE_BYTES
from pipeline.files import storage
from pipeline.graph.sampling import Quotas
from pipeline.sources.input_files import InputFile
from tests.support.ndjson import line
from tests.support.warm_process import WarmProcess, warm_python

Writer = Callable[[str, Sequence[str]], str]
ONE_WORKER = PipelineOptions(["--direct_num_workers=1"])


def start(path: str, output: pathlib.Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline.main", f"--input={path}", f"--output={output}"),
            *("--train_per_category=all", "--validation_per_category=100", *flags),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def contents(directory: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def data_set(directory: pathlib.Path) -> dict[str, str]:
    """`contents` without what a killed run has left in its own directory."""
    return {n: h for n, h in contents(directory).items() if not n.startswith("_incomplete")}


@pytest.mark.slow
def test_kill_9_at_many_moments_leaves_no_data_set_and_the_next_run_is_as_if_nothing_was(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(30_000)])
    began = time.monotonic()
    assert start(path, tmp_path / "whole").wait() == 0
    whole_seconds = time.monotonic() - began
    expected = contents(tmp_path / "whole")

    output = tmp_path / "killed"
    killed = 0
    for moment in range(100):
        process = start(path, output)
        began = time.monotonic()
        try:
            assert process.wait(whole_seconds * (moment % 14 + 1) / 17) == 0
            whole_seconds = time.monotonic() - began  # the machine is faster now
        except subprocess.TimeoutExpired:
            # Every other time the workers are left behind.
            os.kill(process.pid, signal.SIGKILL) if moment % 2 else os.killpg(process.pid, 9)
            process.wait()
        if (output / "manifest.json").exists():  # it came too late
            assert data_set(output) == expected
            output.rename(tmp_path / f"finished-{moment}")
            continue
        killed += 1
        with pytest.raises(UserError, match=r"no (complete data set|such directory)"):
            read_manifest(str(output))
        if killed == 12:
            break
    assert killed == 12
    assert start(path, output).wait() == 0
    assert contents(output) == expected


def test_a_killed_overwrite_leaves_the_old_data_set_whole(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    small = write_lines("small.ndjson", [line("cat", n) for n in range(300)])
    large = write_lines("large.ndjson", [line("cat", n) for n in range(30_000)])
    output = tmp_path / "data"

    def begin(path: str, *flags: str) -> WarmProcess:
        """Start a run, all in one process: there are few drawings."""
        paths = (f"--input={path}", f"--output={output}")
        quotas = ("--train_per_category=all", "--validation_per_category=100")
        return WarmProcess("pipeline.main", [*paths, *quotas, *flags])

    assert begin(small).finish().returncode == 0
    before = contents(output)
    process = begin(large, "--overwrite")
    while not (output / "_incomplete").exists():
        assert process.returncode is None
        time.sleep(0.02)
    time.sleep(0.5)
    process.kill()
    assert process.finish().returncode == -signal.SIGKILL
    assert data_set(output) == before
    assert begin(small, "--overwrite").finish().returncode == 0
    assert contents(output) == before


def test_a_disk_that_fills_up_at_the_very_end_leaves_the_old_data_set_whole(
    write_lines: Writer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(300)])
    output = tmp_path / "data"
    quotas = Quotas(train=100, validation=100)
    job.run(patterns=[path], output=str(output), quotas=quotas, options=ONE_WORKER)
    before = contents(output)

    write = storage.write_text

    def no_space(path: str, text: str) -> None:
        if path.endswith("labels.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text)

    monkeypatch.setattr(storage, "write_text", no_space)
    quotas = Quotas(train=150, validation=100)
    with pytest.raises(RunError, match=r"cannot complete the data set in .*: No space left"):
        job.run(
            patterns=[path], output=str(output), quotas=quotas, overwrite=True, options=ONE_WORKER
        )
    assert data_set(output) == before


def test_an_input_that_vanishes_is_named_and_no_data_set_is_written(
    write_lines: Writer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(50)])
    gone = InputFile(f"{tmp_path}/gone.ndjson", 1000)
    monkeypatch.setattr(job, "match_files", lambda _: [InputFile(path, 5000), gone])
    with pytest.raises(RunError, match=r"^cannot read .*gone\.ndjson: No such file or directory$"):
        job.run(patterns=[path], output=str(tmp_path / "data"), quotas=Quotas(), options=ONE_WORKER)
    with pytest.raises(UserError, match="no complete data set"):
        read_manifest(str(tmp_path / "data"))


def test_a_hole_of_zeros_in_an_input_is_named_and_no_data_set_is_written(
    write_lines: Writer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(warm_python()))  # of the workers
    path = pathlib.Path(write_lines("cat.ndjson", [line("cat", n) for n in range(2_000)]))
    content = path.read_bytes()
    path.write_bytes(content[:81_920] + bytes(4096) + content[86_016:])
    options = PipelineOptions(["--direct_num_workers=2"])
    with pytest.raises(RunError, match=r"^/.*cat.ndjson: zeros at byte 81,920: the file is dam.*"):
        job.run(patterns=[str(path)], output=f"{tmp_path}/data", quotas=Quotas(), options=options)
    assert contents(tmp_path / "data") == {}


def test_a_line_of_100_mb_and_deep_brackets_cost_bounded_memory_and_a_reject_each(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [line("cat", n) for n in range(300)]
    lines[100] = '{"word": "cat", "drawing": [' + "[[1,2],[3,4]]," * 7_500_000  # 105 MB
    lines[200] = '{"drawing": ' + "[" * 1_000 + "]" * 1_000 + "}"
    path = write_lines("cat.ndjson", lines)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, manifest = job.run(
        patterns=[path], output=str(tmp_path / "data"), quotas=Quotas(100, 100), options=ONE_WORKER
    )
    growth_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert growth_bytes < 100 << 20
    assert manifest.drawings["rejected"] == 2
    assert f"line longer than {MAX_LINE_BYTES >> 20} MiB" in manifest.rejects
    assert manifest.splits["train"].records == 100
