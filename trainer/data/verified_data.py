"""A data set for training, evaluation and export, verified before, during and after reading."""

import contextlib
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from pipeline.cli import RunError, UserError
from pipeline.dataset import records
from pipeline.dataset.manifests import DataSet, Shard, read_manifest
from trainer.data.readers import MAX_READERS, deal
from trainer.hardware import storage
from trainer.hardware.hosts import ONE_HOST, Hosts

TRAINING_SPLITS = ("train", "validation")

# Files of shards whose SHA-256 was compared with the manifest. They are not read again while their
# length and time stay the same. By file name: [bytes, time in ns, SHA-256]
Seen = dict[str, list[Any]]

# Errors of TensorFlow's file systems, after their own retries, for a file that was there before.
_UNREADABLE = (
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnauthenticatedError,
    tf.errors.UnavailableError,
)


class VerifiedData(DataSet):
    """Splits of a data set, whose shards are compared with the manifest while they are read.

    A record's own checksums find damage, but not a shard of another data set of the same length. No
    score and no checkpoint counts before `raise_if_damaged(wait=True)`.
    """

    def __init__(self, directory: str, splits: Sequence[str], hosts: Hosts = ONE_HOST) -> None:
        """Check what can be checked without reading the shards.

        Asks each file once for its length and time, kept in `times` by name: on gs:// that is a
        request.

        Args:
          directory: of the data set.
          splits: to verify.
          hosts: that read; each verifies its own shards only.

        Raises:
          UserError: there is no data set, a split is empty, the images have an unknown encoding, or
            a shard is missing or has another length.
        """
        super().__init__(directory, read_manifest(directory, storage.read_file), storage.read_file)
        encoding = self.manifest.image["encoding"]
        if encoding not in records.DECODERS:
            raise UserError(f"{directory}: images of an unknown encoding, {encoding}")
        self.hosts = hosts
        self.seen: Seen = {}
        self._shards: list[Shard] = []
        for split in splits:
            self._shards += itertools.chain(*hosts.local(deal(self.split(split).shards)))
        self.times = {shard.file: self._check_length(shard) for shard in self._shards}
        self._problems: list[str] = []
        self._is_compared = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def check_trainable(self, batch_size: int) -> None:
        """Check the training split against a batch size and the number of hosts.

        Raises:
          UserError: it is smaller than a batch, or there are more hosts than readers or rows in a
            batch.
        """
        split, hosts = self.split("train"), self.hosts.count
        readers = len(deal(split.shards))
        if batch_size < hosts:
            raise UserError(f"--batch_size={batch_size}: less than the number of hosts, {hosts}")
        if hosts > readers:
            raise UserError(
                f"{hosts} hosts, but {readers} readers of the training shards in {self.directory} "
                f"(one a shard, at most {MAX_READERS}, whatever the number of hosts)"
            )
        if batch_size > split.records:
            raise UserError(
                f"--batch_size={batch_size} is larger than the training split of "
                f"{self.directory}, {split.records} drawings; "
                f"give --batch_size={split.records} or less"
            )

    def start(self, seen: Mapping[str, Sequence[Any]] | None = None) -> "VerifiedData":
        """Start to compare the shards, in a thread; it takes a core about a second per GB.

        `seen`: of an earlier object; files that have not changed since are not read.
        """
        self.seen = {name: list(each) for name, each in (seen or {}).items()}
        self._thread.start()
        return self

    @property
    def is_verified(self) -> bool:
        """True once every shard was found to be the manifest's."""
        return self._is_compared and not self._problems

    @property
    def is_damaged(self) -> bool:
        """True if a shard was found not to be the manifest's."""
        return bool(self._problems)

    def raise_if_damaged(self, wait: bool) -> None:
        """Report what was found so far, or wait for the end.

        Raises:
          RunError: a shard is not the manifest's.
        """
        if wait:
            self._thread.join()
        if self._failure:
            raise self._failure
        if self._problems:
            raise RunError("; ".join(self._problems))

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Turn TensorFlow's errors of reading the shards into one line.

        Raises:
          RunError: a shard is damaged, of another data set, or missing.
        """
        try:
            yield
        except tf.errors.DataLossError as error:
            self.raise_if_damaged(wait=True)  # which names it
            raise RunError(f"{self.directory}: damaged ({error.message})") from None
        except _UNREADABLE as error:
            reason = f"can no longer be read ({error.message})"
            raise RunError(f"{self.directory}: {reason}") from None
        except tf.errors.InvalidArgumentError as error:  # maybe of a record that is no example
            self.raise_if_damaged(wait=True)
            if "IteratorGetNext" not in str(error):
                raise
            reason = error.message.splitlines()[0].rpartition("Iterator::")[2].partition(": ")[2]
            raise RunError(
                f"{self.directory}: has a record that is not a valid example ({reason})"
            ) from None

    def _run(self) -> None:
        try:
            self._compare()
        except Exception as error:  # raised again where it is asked for
            self._failure = error

    def _compare(self) -> None:
        for shard in self._shards:
            path = self.path(shard)
            try:
                if self.seen.get(shard.file) == [*self.times[shard.file], shard.sha256]:
                    continue
                found = storage.sha256(path)
            except OSError as error:
                self._problems.append(f"{path}: can no longer be read: {error.strerror}")
                continue
            if found != shard.sha256:
                self._problems.append(f"{path}: damaged, or of another data set")
            else:
                self.seen[shard.file] = [*self.times[shard.file], found]
        self._is_compared = True

    def _check_length(self, shard: Shard) -> list[int]:
        """Return length and time of a shard's file: see `storage.length_and_time`."""
        try:
            actual_bytes, time_ns = storage.length_and_time(self.path(shard))
        except OSError as error:
            raise UserError(f"{self.path(shard)}: {error.strerror}") from None
        if actual_bytes != shard.bytes:
            raise UserError(
                f"{self.path(shard)}: {actual_bytes} bytes long, but {shard.bytes} by the "
                "manifest; copy or prepare the data set again"
            )
        return [actual_bytes, time_ns]
