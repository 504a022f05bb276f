"""The real command on an engine, as its user starts it."""

import contextlib
import hashlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

from pipeline.output.staging import STAGING
from tests.engines.java import temporary_files_in
from tests.support.worker_pool import running_group

_DEADLINE_SECONDS = 240


class Run:
    """A run of `python -m pipeline.main` that has been started."""

    def __init__(self, process: subprocess.Popen[bytes], output: pathlib.Path) -> None:
        self._process = process
        self._output = output

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def wait_for_shards(self) -> None:
        """Returns as soon as the first shard is being written."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not any((self._output / STAGING).glob("*/quickdraw-*")):
            assert not self.is_over, "\n".join(self.stderr())
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def wait(self) -> int:
        """Exit status, when it has ended."""
        return self._process.wait(_DEADLINE_SECONDS)

    def stderr(self) -> list[str]:
        """Lines on standard error so far."""
        return _stderr_file(self._output).read_text().splitlines()


@contextlib.contextmanager
def running_pipeline(drawings: pathlib.Path, output: pathlib.Path, *flags: str) -> Iterator[Run]:
    """Makes a data set of all `drawings`; in the end nothing that was started is left running."""
    files = (f"--input={drawings}/*.ndjson", f"--output={output}")
    quotas = ("--train_per_category=all", "--validation_per_category=100")
    with (
        _stderr_file(output).open("wb") as stderr,
        running_group(
            [sys.executable, "-m", "pipeline.main", *files, *quotas, *flags],
            env={**os.environ, **temporary_files_in(output.parent)},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        ) as process,
    ):
        yield Run(process, output)


def prepare(drawings: pathlib.Path, output: pathlib.Path, *flags: str) -> list[str]:
    """Makes a data set of all `drawings`; returns the lines on standard error."""
    with running_pipeline(drawings, output, *flags) as run:
        assert run.wait() == 0, "\n".join(run.stderr())
        return run.stderr()


def files_of(data_set: pathlib.Path) -> dict[str, str]:
    """Checksum of every file, the manifest's too, by its path in the data set."""
    return {
        str(path.relative_to(data_set)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in data_set.rglob("*")
        if path.is_file()
    }


def _stderr_file(output: pathlib.Path) -> pathlib.Path:
    return output.with_name(f"{output.name}.stderr")
