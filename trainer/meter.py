"""Sums over training steps: loss, accuracy, speed, waiting."""

import dataclasses
import math
import time

from pipeline.errors import RunError
from trainer.steps import StepResult


@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over some training steps."""

    loss_sum: float = 0.0  # over examples
    correct: int = 0
    examples: int = 0
    seconds: float = 0.0
    input_wait_seconds: float = 0.0

    def __add__(self, other: "Totals") -> "Totals":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Totals(*(a + b for a, b in pairs))

    @property
    def loss(self) -> float:
        return self.loss_sum / self.examples

    @property
    def accuracy(self) -> float:
        return self.correct / self.examples

    @property
    def images_per_second(self) -> float:
        return self.examples / self.seconds

    @property
    def input_wait_share(self) -> float:
        return self.input_wait_seconds / self.seconds


class Meter:
    """Collects steps between two readings.

    Results stay on their device until they are read: asking for a value after every step would
    make a GPU wait for Python.
    """

    def __init__(self, step: int) -> None:
        """Starts the clock. `step`: the number of steps that the run has finished."""
        self.step = step
        self._restart()

    def add(self, result: StepResult, input_wait_seconds: float) -> None:
        self.step += 1
        self._results.append(result)
        self._input_wait_seconds += input_wait_seconds

    @property
    def seconds(self) -> float:
        """Since the last reading."""
        return time.perf_counter() - self._start

    def read(self) -> Totals:
        """The steps since the last reading.

        Raises:
          RunError: a loss is not finite.
        """
        loss_sum, correct, examples = 0.0, 0, 0
        first_step = self.step - len(self._results) + 1
        for step, result in enumerate(self._results, first_step):
            loss = float(result.loss)
            if not math.isfinite(loss):
                raise RunError(f"step {step}: the loss is {loss}; a lower --learning_rate may help")
            loss_sum += loss * int(result.examples)
            correct += int(result.correct)
            examples += int(result.examples)
        totals = Totals(loss_sum, correct, examples, self.seconds, self._input_wait_seconds)
        self._restart()
        return totals

    def _restart(self) -> None:
        self._results: list[StepResult] = []
        self._input_wait_seconds = 0.0
        self._start = time.perf_counter()
