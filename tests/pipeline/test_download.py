"""`python -m pipeline.download`: what a user sees of it, and that it may be killed."""

import fcntl
import os
import pathlib
import pty
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from pipeline import synthetic
from tests.support.download_server import Bucket, Fault, serving

SUN = b"".join(synthetic.drawing_line("sun", index, seed=0) for index in range(1200))  # 540 kB
OTHER = b"".join(synthetic.drawing_line("sun", index, seed=1) for index in range(1200))

COMMAND = """
import pipeline.download as d
d.FIRST_DELAY_SECONDS = 0.001
d.define_flags()
d.cli.run(d.main)
"""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        server.files["full/simplified/sun.ndjson"] = SUN
        yield server


def start(*flags: str, limit_bytes: int = -1) -> "subprocess.Popen[str]":
    """Starts it; no file that it writes may become larger than `limit_bytes`."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
    )


def run(*flags: str, limit_bytes: int = -1) -> tuple[int, str, str]:
    """(exit status, standard output, standard error)"""
    process = start(*flags, limit_bytes=limit_bytes)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


def contents(directory: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_says_what_it_did(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    bucket.files["full/simplified/cat.ndjson"] = SUN
    (tmp_path / "labels.txt").write_text("sun\n")
    output = tmp_path / "drawings"
    flags = [f"--output={output}", "--drawings_per_category=900", f"--base_url={bucket.url}/"]
    status, out, err = run(f"--labels={tmp_path}/labels.txt", *flags)
    assert (status, err) == (0, "1 of 1 files: sun.ndjson\n")
    assert out == f"{output}: 1 file downloaded, 0 already there\n"
    status, out, err = run("--categories=all", *flags)
    assert (status, out) == (0, f"{output}: 1 file downloaded, 1 already there\n")
    assert contents(output).keys() == {"cat.ndjson", "sun.ndjson"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--categories=sun"], "--output is needed"),
        (["--output=OUT"], "--categories or --labels"),
        (["--output=OUT", "--categories=sun", "--base_url=gs://bucket"], "--base_url"),
        (["--output=OUT", "--categories=sunn"], "no such category in the data set"),
        (["--output=/dev/null", "--categories=sun"], "--output=/dev/null: cannot write there"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    bucket: Bucket, tmp_path: pathlib.Path, flags: list[str], message: str
) -> None:
    given = [flag.replace("OUT", str(tmp_path / "out")) for flag in flags]
    status, out, err = run(f"--base_url={bucket.url}", *given)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_no_network_is_one_error_and_status_1(tmp_path: pathlib.Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        status, _, err = run(f"--base_url={url}", "--categories=sun", f"--output={tmp_path}")
        *notes, last = err.splitlines()
        assert status == 1
        assert all(note.startswith("sun.ndjson: Connection refused; next try") for note in notes)
        assert last.startswith(
            f"error: cannot download {url}/full/simplified/sun.ndjson: Connection refused (6 tries)"
        )
        status, _, err = run(f"--base_url={url}", "--categories=all", f"--output={tmp_path}")
        assert (status, err) == (1, f"error: cannot list {url}: Connection refused\n")


def test_a_listing_without_files_is_one_error_and_status_1(
    bucket: Bucket, tmp_path: pathlib.Path
) -> None:
    bucket.files.clear()
    flags = [f"--base_url={bucket.url}", "--categories=all", f"--output={tmp_path}"]
    message = f"cannot list {bucket.url}: no full/simplified/*.ndjson in the answer"
    assert run(*flags) == (1, "", f"error: {message}\n")


def test_a_full_disk_is_one_line_and_what_came_is_used_later(
    bucket: Bucket, tmp_path: pathlib.Path
) -> None:
    flags = [f"--base_url={bucket.url}", "--categories=sun", f"--output={tmp_path}"]
    status, _, err = run(*flags, limit_bytes=300_001)
    assert (status, err) == (1, f"error: cannot write {tmp_path}/sun.ndjson: File too large\n")
    assert run(*flags)[0] == 0
    assert bucket.asked[-1] == "bytes=300000-"
    assert contents(tmp_path) == {"sun.ndjson": SUN}


def wait_for_part(directory: pathlib.Path, size: int) -> None:
    deadline = time.monotonic() + 10
    while not any(path.stat().st_size >= size for path in directory.glob("*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "changed"), [(signal.SIGINT, False), (signal.SIGKILL, False), (signal.SIGKILL, True)]
)
def test_an_ended_run_is_taken_up_by_the_next(
    bucket: Bucket, tmp_path: pathlib.Path, number: signal.Signals, changed: bool
) -> None:
    bucket.faults = [Fault(stall_after=200_000)]
    flags = [f"--base_url={bucket.url}", "--categories=sun", f"--output={tmp_path}"]
    process = start(*flags)
    wait_for_part(tmp_path, 180_000)
    process.send_signal(number)
    _, err = process.communicate(timeout=10)  # although the server has not answered
    if number == signal.SIGINT:
        assert (process.returncode, err) == (130, "error: interrupted\n")
    assert not list(tmp_path.glob("*.ndjson"))
    if changed:
        bucket.files["full/simplified/sun.ndjson"] = OTHER
    assert run(*flags)[0] == 0
    assert int(bucket.asked[1].removeprefix("bytes=").rstrip("-")) >= 180_000
    assert contents(tmp_path) == {"sun.ndjson": OTHER if changed else SUN}


def test_two_runs_at_the_same_time_do_no_harm(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    bucket.faults = [Fault(stall_after=200_000)]
    flags = [f"--base_url={bucket.url}", "--categories=sun", f"--output={tmp_path}"]
    first = start(*flags)
    wait_for_part(tmp_path, 180_000)
    assert run(*flags)[0] == 0
    first.kill()
    first.communicate(timeout=10)
    assert contents(tmp_path) == {"sun.ndjson": SUN}


def test_progress_is_a_bar_on_a_terminal(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    bucket.faults = [Fault(status=503)]
    bucket.pause_seconds = 0.3
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    flags = [f"--base_url={bucket.url}", "--categories=sun", f"--output={tmp_path}"]
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *flags], stderr=theirs)
    os.close(theirs)
    shown = ""
    while True:
        try:
            shown += os.read(ours, 1 << 16).decode()
        except OSError:  # so ends what a terminal says on Linux
            break
    os.close(ours)
    assert process.wait(timeout=5) == 0
    assert re.search(r"\r  0%\| +\| 0\.0 of 1 files, 00:00", shown)
    assert "\rsun.ndjson: the server answers 503 Service Unavailable; next try in 0.0 s" in shown
