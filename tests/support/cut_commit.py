"""`job.finish` in a process whose n-th file operation fails or kills it.

A process that has imported everything waits on its standard input, a JSON object a line, and forks
one for each: nothing that the tests have started, threads of gRPC say, is there when it forks.
"""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

from pipeline import job
from pipeline.cli import RunError
from pipeline.files import storage


class CommitCutter:
    """Waiting process, as the tests see it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def finish(self, output: pathlib.Path, number: int, failure: str, *, can_exchange: bool) -> int:
        """Finish the job in `output`.

        Args:
          output: the output directory.
          number: of the file operation that fails, from 1.
          failure: "kill" or "fail".
          can_exchange: whether directories can trade places there.

        Returns:
          how many operations there were.
        """
        told = [str(output), number, failure, can_exchange]
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def _serve() -> None:
    for line in sys.stdin:
        output, number, failure, can_exchange = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                _fail_at(number, failure, writer, can_exchange=can_exchange)
                job.finish(output)
            except RunError:
                pass
            finally:
                os._exit(0)
        os.close(writer)
        count = 0
        while data := os.read(reader, 1 << 16):  # a byte for each operation
            count += len(data)
        os.close(reader)
        os.waitpid(child, 0)
        print(count, flush=True)


def _fail_at(number: int, failure: str, writer: int, *, can_exchange: bool) -> None:
    """Count what changes files, in this process, and at the n-th do what is asked for."""
    count = 0

    def operation() -> None:
        nonlocal count
        count += 1
        os.write(writer, b".")
        if count == number:
            if failure == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def on_event(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
        if changes or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            operation()

    exchange = storage.exchange_directories

    def exchange_counted(one: str, other: str) -> None:
        operation()
        if not can_exchange:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        exchange(one, other)

    storage.exchange_directories = exchange_counted
    sys.addaudithook(on_event)


if __name__ == "__main__":
    _serve()
