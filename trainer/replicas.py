"""Which rows of a batch the replica that this runs on works on.

Every replica is handed the whole packed batch (90 kB for 100 images). What is random in training,
dropout and augmentation, is drawn for the whole batch and cut as the images are, so that the number
of replicas changes nothing.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf


class Rows(NamedTuple):
    """`start` to `stop` out of `count`, int32 scalars; replicas differ by one row at most.

    A replica without a row of its own, in a batch smaller than the number of replicas, computes on
    one that counts on another: oneDNN's convolutions fail on none. `own` says how many count here.
    """

    count: tf.Tensor
    start: tf.Tensor
    stop: tf.Tensor
    own: tf.Tensor

    def of(self, batch: tf.Tensor) -> tf.Tensor:
        """[count, …] → [stop - start, …]"""
        return batch[self.start : self.stop]


def own_rows(count: tf.Tensor) -> Rows:
    """The rows of this replica in a batch of `count`."""
    context = tf.distribute.get_replica_context()
    replicas, replica = context.num_replicas_in_sync, context.replica_id_in_sync_group
    start, stop = count * replica // replicas, count * (replica + 1) // replicas
    return Rows(count, start, tf.maximum(stop, start + 1), own=stop - start)


def all_rows(count: tf.Tensor) -> Rows:
    """The rows of a batch that is not divided."""
    return Rows(count, tf.constant(0), count, own=count)


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
