"""Beam's worker pool, which starts the workers of an EXTERNAL environment, and its job service."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import psutil

_START_SECONDS = 60  # importing Beam takes a few


def free_port() -> int:
    """A port of the loopback at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextlib.contextmanager
def running_worker_pool(
    directory: pathlib.Path,
    python: str | pathlib.Path = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """A worker pool for as long as the context lasts; yields its address, "localhost:PORT".

    Each worker that an engine asks for is a process of its own, started as the pool itself is:
    with the interpreter `python`, in `directory`, and with this process' environment variables
    (without PYTHONPATH) and those of `environment`. In the end all of them are killed.

    Raises:
      RuntimeError: the pool does not start; with what it printed.
    """
    port = free_port()
    command = [str(python), "-m", "apache_beam.runners.worker.worker_pool_main"]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # The pool starts its workers as `python`.
    variables["PATH"] = os.pathsep.join([str(pathlib.Path(python).parent), os.environ["PATH"]])
    with (
        tempfile.TemporaryFile() as log,
        running_group(
            [*command, f"--service_port={port}"],
            cwd=directory,
            env={**variables, **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_for_port(port, process)
        except RuntimeError as error:
            log.seek(0)
            raise RuntimeError(f"{error}: {log.read().decode()}") from None
        yield f"localhost:{port}"


@contextlib.contextmanager
def running_job_service(directory: pathlib.Path) -> Iterator[str]:
    """Beam's own job service in Python, in a process of its own; yields its address."""
    port = free_port()
    module = "apache_beam.runners.portability.local_job_service_main"
    command = [sys.executable, "-m", module, f"--port={port}"]
    with running_group(command, cwd=directory, stderr=subprocess.DEVNULL) as process:
        wait_for_port(port, process)
        yield f"localhost:{port}"


def job_service_at(endpoint: str) -> psutil.Process:
    """Process of a job service, by its address."""
    flag = f"--port={endpoint.rpartition(':')[2]}"
    (service,) = [p for p in psutil.process_iter(["cmdline"]) if flag in (p.info["cmdline"] or [])]
    return service


@contextlib.contextmanager
def running_group(command: list[str], **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group of its own; all of the group are killed in the end."""
    process = subprocess.Popen(command, start_new_session=True, **settings)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):  # none of them is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Returns when something listens at `port` of the loopback.

    Raises:
      RuntimeError: `process`, which should, has ended, or does not within a minute.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        try:
            socket.create_connection(("localhost", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen at port {port}")


def workers_of(address: str) -> list[psutil.Process]:
    """Processes that a pool has started and that have not ended."""
    flag = f"--service_port={address.rpartition(':')[2]}"
    pools = [p for p in psutil.process_iter(["cmdline"]) if flag in (p.info["cmdline"] or [])]
    return [child for pool in pools for child in pool.children()]
