"""Large elements on disk instead of in memory, on a local run.

Beam's runner for one machine keeps everything that is grouped in memory, several times over. So
drawings wait in files beside the output, and what is grouped are their places. Remote runners
shuffle by themselves: there nothing is spilled.
"""

import os
import pickle
import uuid
from typing import NamedTuple, TypeVar

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
        self._path = ""
        self._size = 0

    def store(self, value: T) -> T | Spilled:
        """Raises RunError where the directory cannot be written."""
        if self._directory is None:
            return value
        data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        self._path = self._path or os.path.join(self._directory, uuid.uuid4().hex)
        try:
            with open(self._path, "ab") as file:
                file.write(data)
        except OSError as error:
            raise RunError(f"cannot write {self._directory}: {error.strerror}") from error
        self._size += len(data)
        return Spilled(self._path, self._size - len(data), len(data))


def load(value: T | Spilled) -> T:
    """The value that `Spill.store` was given."""
    if not isinstance(value, Spilled):
        return value
    with open(value.path, "rb") as file:
        file.seek(value.offset)
        return pickle.loads(file.read(value.size))
