"""What is shuffled, as parcels: packed to bytes, counted, and on a local run kept on disk.

Every element that holds drawings is one, so that Beam's counters say of each kind how many there
were, how many bytes, and how large the largest: the same numbers on every runner.

Beam's runner for one machine keeps everything that is grouped in memory, several times over. There
parcels wait in files beside the output, and what is grouped are their places. Remote runners
shuffle by themselves: they get the bytes.
"""

import functools
import os
import pickle
import uuid
from io import FileIO
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from apache_beam.metrics import Metrics

from pipeline.cli import RunError


class Spilled(NamedTuple):
    """Where a parcel lies."""

    path: str
    offset: int
    size: int  # bytes


Parcel: TypeAlias = bytes | Spilled


class Packer:
    """Makes parcels of one kind; one file for each process and DoFn where they go to disk."""

    def __init__(self, kind: str, directory: str | None) -> None:
        """
        Args:
          kind: names the counter, `<kind>_bytes`.
          directory: on this machine; None: parcels are the bytes themselves.
        """
        self._sizes = Metrics.distribution("pipeline", f"{kind}_bytes")
        self._directory = directory
        self._file: FileIO | None = None  # opened by the first value, after DoFns were pickled
        self._size = 0

    def pack(self, value: Any) -> Parcel:
        """Raises RunError where the directory cannot be written."""
        data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        self._sizes.update(len(data))
        if self._directory is None:
            return data
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


def unpack(parcel: Parcel) -> Any:
    """The value that `Packer.pack` was given; raises RunError where its file cannot be read."""
    if isinstance(parcel, bytes):
        return pickle.loads(parcel)
    try:
        data = os.pread(_open(parcel.path).fileno(), parcel.size, parcel.offset)
    except OSError as error:
        raise RunError(f"cannot read {parcel.path}: {error.strerror}") from error
    return pickle.loads(data)


@functools.lru_cache(maxsize=64)  # closed when they fall out
def _open(path: str) -> BinaryIO:
    return open(path, "rb")
