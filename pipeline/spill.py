"""Large elements on disk instead of in memory, on a local run.

Beam's runner for one machine keeps everything that is grouped in memory, several times over. So
drawings wait in files beside the output, and what is grouped are their places. Remote runners
shuffle by themselves: there nothing is spilled.
"""

import functools
import os
import pickle
import uuid
from io import FileIO
from typing import BinaryIO, NamedTuple, TypeVar

from pipeline.errors import RunError

T = TypeVar("T")


class Spilled(NamedTuple):
    """Where a value lies."""

    path: str
    offset: int
    size: int  # bytes


class Spill:
    """Stores values in files of a directory, one file for each process and DoFn."""

    def __init__(self, directory: str | None) -> None:
        """`directory`: on this machine; None: values are handed on as they are."""
        self._directory = directory
        self._file: FileIO | None = None  # opened by the first value, after DoFns were pickled
        self._size = 0

    def store(self, value: T) -> T | Spilled:
        """Raises RunError where the directory cannot be written."""
        if self._directory is None:
            return value
        data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        try:
            if self._file is None:
                path = os.path.join(self._directory, uuid.uuid4().hex)
                self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - lives as the DoFn does
            rest = memoryview(data)
            while rest:  # a disk that is nearly full takes some of it
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise RunError(f"cannot write {self._directory}: {error.strerror}") from error
        self._size += len(data)
        return Spilled(str(self._file.name), self._size - len(data), len(data))


def load(value: T | Spilled) -> T:
    """The value that `Spill.store` was given; raises RunError where its file cannot be read."""
    if not isinstance(value, Spilled):
        return value
    try:
        data = os.pread(_open(value.path).fileno(), value.size, value.offset)
    except OSError as error:
        raise RunError(f"cannot read {value.path}: {error.strerror}") from error
    return pickle.loads(data)


@functools.lru_cache(maxsize=64)  # closed when they fall out
def _open(path: str) -> BinaryIO:
    return open(path, "rb")
