"""Commands in processes forked from one that has imported TensorFlow, Beam and Matplotlib.

Importing them takes six seconds. None of them has started in that process: a fork of it is as a
process that has just imported them. What has to show what a command imports, or what it prints
meanwhile, takes a process of its own.
"""

import atexit
import contextlib
import functools
import io
import json
import multiprocessing
import os
import pathlib
import resource
import runpy
import shlex
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from typing import Any

from tests.support import warm_python_client

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("keras", "tensorflow", "apache_beam", "matplotlib.pyplot"),
        # What nearly every command imports of others besides.
        "apache_beam.runners.portability.fn_api_runner",
        "apache_beam.runners.worker.sdk_worker_main",
        *("cv2", "google_crc32c", "orjson", "pyarrow.parquet", "requests", "tqdm"),
    ]
)
TIMEOUT_SECONDS = 300


class WarmProcess:
    """`python -m NAME ARGUMENTS` in the background; killed when nothing refers to this any more."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[object] = (),
        directory: str | os.PathLike[str] = ".",
        variables: Mapping[str, str] | None = None,
        stdin: str = "",
        limit_bytes: int = -1,
    ) -> None:
        """Start it.

        Args:
          name: of the module, or "-c": the one argument is a program then.
          arguments: its words.
          directory: to run it in.
          variables: all of its environment variables; this process' if there are none.
          stdin: what it reads there.
          limit_bytes: no file that it writes may become larger, if positive.
        """
        self.args = [name, *map(str, arguments)]
        self._files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115 - as long as this
        self._files[0].write(stdin.encode())
        self._files[0].flush()
        # The process is no child of this one and inherits no files: it opens them by name.
        files = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in self._files]
        self._process = _fork(self.args, directory, variables or os.environ, files, limit_bytes)
        weakref.finalize(self, _kill, self._process)  # else pytest would wait for it in the end

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        _kill(self._process)

    def finish(self, seconds: float = TIMEOUT_SECONDS) -> "subprocess.CompletedProcess[str]":
        """Wait for its end; return its status, negative for a signal, and what it printed.

        Raises:
          subprocess.TimeoutExpired: it has not ended after so many seconds, and is killed.
        """
        self._process.join(seconds)
        if self.returncode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.args, seconds)
        return subprocess.CompletedProcess(self.args, self.returncode, self._read(1), self._read(2))

    def wait_for_line(self, start: str) -> None:
        """Return when it has printed a whole line that starts so.

        Raises:
          AssertionError: it ends before.
        """
        while True:
            has_ended = self.returncode is not None
            lines = self._read(1).splitlines(keepends=True)
            if any(line.startswith(start) and line.endswith("\n") for line in lines):
                return
            assert not has_ended, self.finish()
            time.sleep(0.05)

    def _read(self, number: int) -> str:
        self._files[number].seek(0)
        return self._files[number].read().decode(errors="surrogateescape")


def run_module(
    name: str, arguments: Sequence[object] = (), **settings: Any
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m NAME ARGUMENTS` to its end; `settings`: see WarmProcess."""
    return WarmProcess(name, arguments, **settings).finish()


def run_code(code: str) -> str:
    """Run `python -c CODE`, which has to succeed; return what it printed."""
    done = run_module("-c", [code])
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def warm_python() -> pathlib.Path:
    """Return an executable whose `-m COMMAND` of the project is forked, too; all else it runs.

    The forked commands have it as `sys.executable`: what they start is forked as well, be it a
    command, a worker of a local run or a program of a benchmark.
    """
    directory = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, directory)
    address, executable = f"{directory}/socket", pathlib.Path(directory, "python")
    words = [sys.executable, "-S", "-E", warm_python_client.__file__, address, sys.executable]
    executable.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    executable.chmod(0o755)
    server = socketserver.ThreadingUnixStreamServer(address, _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return executable


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        words, directory, variables, client, limit_bytes = json.loads(self.rfile.readline())
        files = [f"/proc/{client}/fd/{number}" for number in range(3)]
        process = _fork(words, directory, variables, files, limit_bytes)
        self.wfile.write(f"{process.pid}\n".encode())
        connection.wait([process.sentinel, self.connection])  # its end, or the client's
        _kill(process)
        process.join()
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(f"{process.exitcode}\n".encode())


def _fork(
    words: list[str],
    directory: str | os.PathLike[str],
    variables: Mapping[str, str],
    files: list[str],
    limit_bytes: int,
) -> ForkServerProcess:
    """Start the words of `python -m`; `files`: paths of stdin, stdout and stderr."""
    # As trainer.hardware.quiet_tensorflow does, but before it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    python = str(warm_python())
    settings = (os.path.abspath(directory), dict(variables), files, limit_bytes, python)
    process = _CONTEXT.Process(target=_run, args=(words, *settings))
    process.start()
    return process


def _kill(process: ForkServerProcess) -> None:
    if process.exitcode is None:
        process.kill()


def _open(number: int, *arguments: Any, **options: Any) -> io.TextIOWrapper:
    return open(number, *arguments, encoding="utf-8", closefd=False, **options)  # type: ignore


def _run(
    words: list[str],
    directory: str,
    variables: dict[str, str],
    files: list[str],
    limit_bytes: int,
    python: str,
) -> None:
    for target, path in enumerate(files):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND if target else os.O_RDONLY), target)
    sys.stdin = _open(0)
    sys.stdout, sys.stderr = _open(1, "w"), _open(2, "w", buffering=1, errors="backslashreplace")
    multiprocessing.set_start_method(None, force=True)  # what it starts starts as usual
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(variables)
    if limit_bytes > 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    sys.executable = python
    sys.argv = ["-c", *words[2:]] if words[0] == "-c" else words
    if words[0] == warm_python_client.WORKER:  # its launcher is the parent of its client
        os.getppid = lambda: int(words[1])  # type: ignore[assignment]
    if words[0] == "-c":
        exec(compile(words[1], "<code>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
