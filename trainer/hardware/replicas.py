"""Slices of a batch: the rows of a host, and of each of its replicas.

Every replica receives its host's whole slice of a packed batch (90 kB for 100 images). The random
numbers of training, for dropout and augmentation, are drawn for the global batch and cut as the
images are: neither the number of replicas nor that of hosts changes the result.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf


class BatchSlice(NamedTuple):
    """Consecutive rows of a global batch; int32 scalars.

    Where it has none, in a batch smaller than the number of replicas, a replica computes on a row
    that counts elsewhere: oneDNN's convolutions fail on none.
    """

    start: tf.Tensor  # its first row, in the global batch
    rows: tf.Tensor
    global_rows: tf.Tensor

    def of_global(self, drawn: tf.Tensor) -> tf.Tensor:
        """Cut what was drawn for the global batch: [global_rows, …] → [max(rows, 1), …]."""
        size = tf.maximum(self.rows, 1)
        start = tf.minimum(self.start, self.global_rows - size)
        return drawn[start : start + size]


def whole_batch(rows: tf.Tensor) -> BatchSlice:
    """Return the slice that is the global batch."""
    return BatchSlice(tf.constant(0), rows, rows)


def replica_slice(host: BatchSlice) -> tuple[BatchSlice, slice]:
    """Return the slice of this replica, and where it lies in the rows of its host.

    Replicas of a host differ by one row at most.
    """
    context = tf.distribute.get_replica_context()
    strategy = context.strategy
    replicas = strategy.num_replicas_in_sync
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        replicas = len(strategy.extended.worker_devices)
    replica = context.replica_id_in_sync_group % replicas
    start, stop = host.rows * replica // replicas, host.rows * (replica + 1) // replicas
    local = BatchSlice(host.start + start, stop - start, host.global_rows)
    return local, slice(start, tf.maximum(stop, start + 1))


def gather_rows(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    """Concatenate the rows of all replicas, in the order of the global batch, on every host."""
    of_host = tf.concat(strategy.experimental_local_results(value), axis=0)
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return strategy.gather(of_host, axis=0)
    return of_host


@contextlib.contextmanager
def computing(batch_slice: BatchSlice) -> Iterator[None]:
    """Tell the layers called inside which slice their inputs are."""
    token = _current.set(batch_slice)
    try:
        yield
    finally:
        _current.reset(token)


def current_slice(inputs: tf.Tensor) -> BatchSlice:
    """Return the slice that a layer's inputs are: the whole batch outside of `computing`."""
    return _current.get() or whole_batch(tf.shape(inputs)[0])


_current: contextvars.ContextVar[BatchSlice | None] = contextvars.ContextVar("slice", default=None)
