"""Which rows of a batch the replica that this runs on works on.

Every replica is handed its host's whole part of a packed batch (90 kB for 100 images). What is
random in training, dropout and augmentation, is drawn for the batch of all hosts and cut as the
images are; so neither the number of replicas nor that of hosts changes anything.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf


class Share(NamedTuple):
    """A host's part of a batch, rows that follow one another; int32 scalars."""

    first: tf.Tensor  # place of its first row in the batch
    rows: tf.Tensor  # that it has
    count: tf.Tensor  # rows of all hosts together


class Rows(NamedTuple):
    """`start` to `stop` of a host's share, int32 scalars; its replicas differ by one row at most.

    A replica without a row of its own, in a share smaller than the number of replicas, computes on
    one that counts on another: oneDNN's convolutions fail on none. `own` says how many count here.
    """

    share: Share
    start: tf.Tensor
    stop: tf.Tensor
    own: tf.Tensor

    def of(self, part: tf.Tensor) -> tf.Tensor:
        """What the host has: [share.rows, …] → [stop - start, …]"""
        return part[self.start : self.stop]

    def of_all(self, drawn: tf.Tensor) -> tf.Tensor:
        """What was drawn for all hosts: [share.count, …] → [stop - start, …]"""
        size = self.stop - self.start
        start = tf.minimum(self.share.first + self.start, self.share.count - size)
        return drawn[start : start + size]


def own_rows(share: Share) -> Rows:
    """The rows of this replica."""
    context = tf.distribute.get_replica_context()
    replicas = _replicas_of_host(context.strategy)
    replica = context.replica_id_in_sync_group % replicas
    start, stop = share.rows * replica // replicas, share.rows * (replica + 1) // replicas
    return Rows(share, start, tf.maximum(stop, start + 1), own=stop - start)


def all_rows(count: tf.Tensor) -> Rows:
    """The rows of a batch that is not divided."""
    return Rows(Share(tf.constant(0), count, count), tf.constant(0), count, own=count)


def of_all_replicas(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    """What replicas have of a batch, put together in the order of its rows, on every host."""
    of_host = tf.concat(strategy.experimental_local_results(value), axis=0)
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return strategy.gather(of_host, axis=0)
    return of_host


def _replicas_of_host(strategy: tf.distribute.Strategy) -> int:
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return len(strategy.extended.worker_devices)
    return strategy.num_replicas_in_sync


@contextlib.contextmanager
def working_on(rows: Rows) -> Iterator[None]:
    """Tells the layers called inside that their input is these rows of a batch."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


def current_rows(inputs: tf.Tensor) -> Rows:
    """For a layer: which rows its inputs are; a whole batch where nothing was said."""
    return _rows.get() or all_rows(tf.shape(inputs)[0])


_rows: contextvars.ContextVar[Rows | None] = contextvars.ContextVar("rows", default=None)
