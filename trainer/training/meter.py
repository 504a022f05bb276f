"""Sums over training steps: loss, accuracy, speed, waiting."""

import math
import time

from pipeline.cli import RunError
from trainer.runs.state import Totals
from trainer.training.loss_scale import MAX_SKIPPED_IN_A_ROW
from trainer.training.steps import StepResult


class Meter:
    """Collects the steps of one epoch, and those since the last line about them.

    Results stay on their device until they are collected: asking for a value after every step
    would make a GPU wait for Python. Losses are added up one by one, so that an epoch's sum does
    not depend on when that happens.
    """

    def __init__(self, step: int, epoch: Totals) -> None:
        """Starts the clock.

        Args:
          step: the number of steps that the run has finished.
          epoch: the sums over those of them that are of this epoch.
        """
        self.step = step
        self.epoch = epoch
        self.learning_rate = math.nan  # of the last collected step
        self.interval = Totals()
        self._results: list[StepResult] = []
        self._input_wait_seconds = 0.0
        self._collected = self._interval_start = time.perf_counter()

    def add(self, result: StepResult, input_wait_seconds: float) -> None:
        self.step += 1
        self._results.append(result)
        self._input_wait_seconds += input_wait_seconds

    @property
    def interval_seconds(self) -> float:
        """Since the interval began."""
        return time.perf_counter() - self._interval_start

    def collect(self) -> None:
        """Adds the steps so far to `epoch` and `interval`.

        Raises:
          RunError: a loss is not finite, or float16's gradients overflow in every step.
        """
        first_step = self.step - len(self._results) + 1
        steps = []
        for step, result in enumerate(self._results, first_step):
            loss, examples = float(result.loss), int(result.examples)
            if not math.isfinite(loss):
                raise RunError(f"step {step}: the loss is {loss}; a lower --learning_rate may help")
            skipped = int(result.skipped_in_a_row)
            if skipped > MAX_SKIPPED_IN_A_ROW:
                raise RunError(
                    f"step {step}: the gradients of --precision=mixed_float16 overflowed in "
                    f"{skipped} steps in a row, which were skipped; a lower --learning_rate may "
                    "help, or --precision=float32"
                )
            steps.append(
                Totals(
                    loss * examples, int(result.correct), examples, skipped_steps=int(skipped > 0)
                )
            )
            # The shortest decimal of this float32: 0.001, not 0.0010000000474974513.
            self.learning_rate = float(str(result.learning_rate.numpy()))
        now = time.perf_counter()
        steps.append(
            Totals(seconds=now - self._collected, input_wait_seconds=self._input_wait_seconds)
        )
        for totals in steps:
            self.epoch += totals
            self.interval += totals
        self._results = []
        self._input_wait_seconds = 0.0
        self._collected = now

    def exclude(self, seconds: float) -> None:
        """Takes out a pause, for a checkpoint say, that just ended."""
        self._collected += seconds

    def end_interval(self) -> Totals:
        """The sums since the last call; collects."""
        self.collect()
        interval, self.interval = self.interval, Totals()
        self._interval_start = time.perf_counter()
        return interval
