"""A TensorBoard profile of some training steps."""

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf

WARM_UP_STEPS = 10  # while TensorFlow still traces, allocates and fills its queues
STEPS = 10


@contextlib.contextmanager
def profiled(directory: str) -> Iterator[Callable[[], None]]:
    """Yields what to call after every step; writes a profile of steps 11 to 20 to `directory`.

    Where there are fewer, of those from the 11th on.
    """
    steps = 0

    def after_step() -> None:
        nonlocal steps
        steps += 1
        if steps == WARM_UP_STEPS:
            tf.profiler.experimental.start(directory)
        elif steps == WARM_UP_STEPS + STEPS:
            tf.profiler.experimental.stop()
            print(f"profile of {STEPS} steps in {directory}", flush=True)

    try:
        yield after_step
    finally:
        if WARM_UP_STEPS <= steps < WARM_UP_STEPS + STEPS:
            tf.profiler.experimental.stop()
