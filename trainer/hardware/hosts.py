"""Machines that train together, and what they exchange besides gradients.

Each runs the same command with its own TF_CONFIG, as TensorFlow's MultiWorkerMirroredStrategy
expects it, and has its own readers of shards. Only the first one uses the run directory; it sends
the others what is in it. All take the same decisions after the same step.
"""

import contextlib
import dataclasses
import json
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from pipeline.cli import RunError, UserError
from trainer.hardware.cluster import VARIABLE, read_cluster

T = TypeVar("T")

SYNC_SECONDS = 1.0  # between two exchanges of whether to stop, about
# Parts of TensorFlow's errors, of several kinds, when another host no longer responds.
_LOST = ("Collective ops is aborted", "CoordinationService")


@dataclasses.dataclass(frozen=True)
class Hosts:
    """This host among all hosts; by default the only one."""

    count: int = 1
    index: int = 0  # of this one
    strategy: tf.distribute.Strategy | None = None  # of several hosts

    @property
    def is_first(self) -> bool:
        """True on the host that has the run directory."""
        return self.index == 0

    def local(self, items: Sequence[T]) -> Sequence[T]:
        """Return this host's part of items that all hosts divide among them."""
        return items[self.local_slice(len(items))]

    def local_slice(self, length: int) -> slice:
        """Return where this host's part of `length` items lies."""
        return slice(length * self.index // self.count, length * (self.index + 1) // self.count)

    def sum(self, values: np.ndarray | Sequence[int]) -> np.ndarray:
        """Add up numbers of all hosts, which must call this in the same order; wait for them.

        `values`: of a type that TensorFlow reduces: int32, int64, float32.
        """
        if self.strategy is None:
            return np.asarray(values)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, tf.constant(values), None).numpy()

    def from_first(self, value: Any) -> Any:
        """Return the first host's value, of JSON types; those of the others are ignored."""
        return self._from_host(0, value)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all hosts, of JSON types."""
        return [self._from_host(index, value) for index in range(self.count)]

    def _from_host(self, index: int, value: Any) -> Any:
        if self.strategy is None:
            return value
        data = json.dumps(value).encode() if self.index == index else b""
        (size,) = self.sum([len(data)])
        numbers = np.zeros(size, np.int32)
        numbers[: len(data)] = np.frombuffer(data, np.uint8)
        return json.loads(self.sum(numbers).astype(np.uint8).tobytes())

    def copy_variables(self, variables: Sequence[tf.Variable]) -> None:
        """Assign the first host's values on all hosts."""
        if self.strategy is None:
            return
        for variable in variables:
            value = variable.numpy()
            wide = value if value.dtype.kind == "f" else value.astype(np.int64)
            summed = self.sum(wide if self.is_first else np.zeros_like(wide))
            variable.assign(summed.astype(value.dtype))


ONE_HOST = Hosts()


class HostSync:
    """Decisions that all hosts take after the same step, about once a second.

    The first host decides each time how many steps lie before the next exchange: clocks differ, and
    an exchange after every step would keep GPUs waiting.
    """

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._steps_left = self._steps = 1  # to the next exchange, and in all
        self._synced = time.monotonic()

    def sync(self, stop: bool, checkpoint: bool = False) -> tuple[bool, bool]:
        """Return whether to stop and whether to save; every host calls it after every step.

        Args:
          stop: whether this host was asked to stop.
          checkpoint: whether a checkpoint is due; the first host decides.
        """
        if self._hosts.count == 1:
            return stop, checkpoint
        self._steps_left -= 1
        if self._steps_left:
            return False, False
        now = time.monotonic()
        steps = int(self._steps * SYNC_SECONDS / max(now - self._synced, 1e-3))
        values = [checkpoint, min(max(steps, 1), 1000)] if self._hosts.is_first else [0, 0]
        stops, checkpoints, self._steps = self._hosts.sum([int(stop), *map(int, values)]).tolist()
        self._steps_left, self._synced = self._steps, now
        return stops > 0, checkpoints > 0


def join_hosts() -> Hosts:
    """Wait for the hosts that TF_CONFIG names; call it before TensorFlow starts.

    Raises:
      UserError: TF_CONFIG is invalid, or this machine cannot be reached at its address there.
    """
    addresses, index = read_cluster()
    if len(addresses) < 2:
        return Hosts()
    print(f"host {index + 1} of {len(addresses)}, waiting for the others", flush=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)  # only this ends TensorFlow's wait
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{VARIABLE}: cannot join as {addresses[index]}: {reason}") from None
    finally:
        signal.signal(signal.SIGINT, handler)
    return Hosts(len(addresses), index, strategy)


@contextlib.contextmanager
def lost_hosts(hosts: Hosts) -> Iterator[None]:
    """Turn TensorFlow's errors of a lost host into one line.

    Raises:
      RunError: another host failed.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if hosts.count == 1 or not any(words in error.message for words in _LOST):
            raise
        # TensorFlow leaves a pool of threads in them, which complains if it goes at the very end.
        traceback.clear_frames(error.__traceback__)
        raise RunError(
            "another host has failed or cannot be reached; rerun the command on all hosts to "
            "resume from the newest checkpoint"
        ) from None
