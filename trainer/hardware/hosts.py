"""The machines that train together: who they are, and what they tell each other besides gradients.

Each runs the same command with a TF_CONFIG of its own, as TensorFlow's MultiWorkerMirroredStrategy
wants it. Each has its own readers of shards; only the first one touches the run directory, and
tells the others what is in it. All take the same decisions at the same step.
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

AGREE_SECONDS = 1.0  # about so often hosts ask each other whether to stop
# What TensorFlow says, in errors of several kinds, where another host does not answer any more.
_LOST = ("Collective ops is aborted", "CoordinationService")


@dataclasses.dataclass(frozen=True)
class Hosts:
    """This machine among all of them; by default the only one."""

    count: int = 1
    index: int = 0  # of this one
    strategy: tf.distribute.Strategy | None = None  # that joins several

    @property
    def is_first(self) -> bool:
        """Whether this is the host that has the run directory."""
        return self.index == 0

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """This host's part of what all divide among them."""
        return items[self.own_slice(len(items))]

    def own_slice(self, length: int) -> slice:
        """Where this host's part lies in what all divide among them."""
        return slice(length * self.index // self.count, length * (self.index + 1) // self.count)

    def sum(self, values: np.ndarray | Sequence[int]) -> np.ndarray:
        """Adds up numbers of all hosts, which have to call this in the same order; waits for them.

        Args:
          values: numbers of a type that TensorFlow reduces: int32, int64, float32.
        """
        if self.strategy is None:
            return np.asarray(values)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, tf.constant(values), None).numpy()

    def from_first(self, value: Any) -> Any:
        """The first host's value, made of what JSON knows; those of the others are ignored."""
        return self._from_host(0, value)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all hosts, made of what JSON knows."""
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
        """Gives all hosts the first one's values."""
        if self.strategy is None:
            return
        for variable in variables:
            value = variable.numpy()
            wide = value if value.dtype.kind == "f" else value.astype(np.int64)
            summed = self.sum(wide if self.is_first else np.zeros_like(wide))
            variable.assign(summed.astype(value.dtype))


ONE_HOST = Hosts()


class Agreement:
    """Decisions that all hosts take after the same step, about once a second.

    Which step that is, the first host says each time: clocks differ, and asking after every step
    would keep GPUs waiting.
    """

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._steps_left = self._steps = 1  # to the next time, and in all
        self._asked = time.monotonic()

    def reach(self, stop: bool, checkpoint: bool = False) -> tuple[bool, bool]:
        """Whether to stop, and whether to save; every host calls it after every step.

        Args:
          stop: whether this host was asked to stop.
          checkpoint: whether it is time for a checkpoint; the first host's word counts.
        """
        if self._hosts.count == 1:
            return stop, checkpoint
        self._steps_left -= 1
        if self._steps_left:
            return False, False
        now = time.monotonic()
        steps = int(self._steps * AGREE_SECONDS / max(now - self._asked, 1e-3))
        own = [checkpoint, min(max(steps, 1), 1000)] if self._hosts.is_first else [0, 0]
        stops, checkpoints, self._steps = self._hosts.sum([int(stop), *map(int, own)]).tolist()
        self._steps_left, self._asked = self._steps, now
        return stops > 0, checkpoints > 0


def join_hosts() -> Hosts:
    """Waits for the machines that TF_CONFIG names; comes before all else that TensorFlow does.

    Raises:
      UserError: TF_CONFIG makes no sense, or this machine cannot be reached at its address there.
    """
    addresses, index = read_cluster()
    if len(addresses) < 2:
        return Hosts()
    print(f"host {index + 1} of {len(addresses)}, waiting for the others", flush=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)  # TensorFlow's wait hears nothing else
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
    """One line where another host fails or goes away.

    Raises:
      RunError: it did.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if hosts.count == 1 or not any(words in error.message for words in _LOST):
            raise
        # TensorFlow leaves a pool of threads in them, which complains if it goes at the very end.
        traceback.clear_frames(error.__traceback__)
        raise RunError(
            "another host has failed or cannot be reached; the same command on all hosts goes on "
            "from the newest checkpoint"
        ) from None
