"""Log of a run: sums over steps, lines on the screen, metrics.jsonl, TensorBoard, profile."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from pipeline.cli import RunError, counted
from pipeline.dataset.manifests import Manifest
from trainer.config import TrainConfig
from trainer.models import costs
from trainer.runs import run_directory
from trainer.runs.state import State, Totals
from trainer.training.optimizer import MAX_SKIPPED_IN_A_ROW
from trainer.training.session import Session
from trainer.training.steps import StepResult

PROFILE_START = 10  # steps, in which TensorFlow still traces, allocates and fills its queues
PROFILE_STEPS = 10


class Meter:
    """Sums over the steps of an epoch, and over those since the last line of the log.

    Results stay on their device until they are collected: asking for a value after every step
    would make a GPU wait for Python. Losses are added one by one, so an epoch's sum does not depend
    on when that happens.
    """

    def __init__(self, step: int, epoch: Totals) -> None:
        """Start the clock.

        Args:
          step: the number of steps that the run has finished.
          epoch: the sums over those of this epoch.
        """
        self.step = step
        self.epoch = epoch
        self.learning_rate = math.nan  # of the last collected step
        self.interval = Totals()
        self._results: list[StepResult] = []
        self._input_wait_seconds = 0.0
        self._collected = self._interval_start = time.perf_counter()

    def add(self, result: StepResult, input_wait_seconds: float) -> None:
        """Add a step."""
        self.step += 1
        self._results.append(result)
        self._input_wait_seconds += input_wait_seconds

    @property
    def interval_seconds(self) -> float:
        """Return the time since the interval began."""
        return time.perf_counter() - self._interval_start

    def collect(self) -> None:
        """Add the steps so far to `epoch` and `interval`.

        Raises:
          RunError: a loss is not finite, or float16's gradients overflow in every step.
        """
        first_step = self.step - len(self._results) + 1
        steps = [
            self._totals(step, result) for step, result in enumerate(self._results, first_step)
        ]
        now = time.perf_counter()
        seconds, self._collected = now - self._collected, now
        steps.append(Totals(seconds=seconds, input_wait_seconds=self._input_wait_seconds))
        for totals in steps:
            self.epoch += totals
            self.interval += totals
        self._results = []
        self._input_wait_seconds = 0.0

    def _totals(self, step: int, result: StepResult) -> Totals:
        loss, examples = float(result.loss), int(result.examples)
        skipped = int(result.skipped_in_a_row)
        if not math.isfinite(loss):
            raise RunError(f"step {step}: the loss is {loss}; a lower --learning_rate may help")
        if skipped > MAX_SKIPPED_IN_A_ROW:
            raise RunError(
                f"step {step}: the gradients of --precision=mixed_float16 overflowed in {skipped} "
                "steps in a row, which were skipped; a lower --learning_rate may help, or "
                "--precision=float32"
            )
        # The shortest decimal of this float32: 0.001, not 0.0010000000474974513.
        self.learning_rate = float(str(result.learning_rate.numpy()))
        return Totals(
            loss * examples, int(result.correct), examples, skipped_steps=int(skipped > 0)
        )

    def exclude(self, seconds: float) -> None:
        """Subtract a pause that just ended, such as for a checkpoint."""
        self._collected += seconds

    def end_interval(self) -> Totals:
        """Collect, and return the sums since the last call."""
        self.collect()
        interval, self.interval = self.interval, Totals()
        self._interval_start = time.perf_counter()
        return interval


class Log:
    """Log of one run; silent on every host but the first."""

    def __init__(self, config: TrainConfig, manifest: Manifest, is_silent: bool = False) -> None:
        self._config = config
        self._manifest = manifest
        self._is_silent = is_silent
        self._steps_per_epoch = config.steps_per_epoch(manifest.splits["train"].records)
        if not is_silent:
            directory = os.path.join(config.run_dir, run_directory.TENSORBOARD)
            self._events = tf.summary.create_file_writer(directory)

    def start(self, session: Session, changes: Sequence[str], state: State, source: str) -> None:
        """Print what is trained on what.

        Args:
          session: the hardware.
          changes: since the last session, see `trainer.training.session.changes`.
          state: to resume from.
          source: of weights that another run has trained; empty if there is none.
        """
        if self._is_silent:
            return
        config, splits, labels = self._config, self._manifest.splits, self._manifest.labels
        where = ", ".join(session.device_names)
        if session.hosts > 1:
            where += f" of each of {session.hosts} hosts"
        architecture, classes = config.experiment.architecture, len(labels)
        parameters = f"{costs.total(costs.stages(architecture, classes)).parameters:,} parameters"
        if config.freeze:
            trained = costs.trained_parameters(architecture, classes, config.freeze)
            parameters += f", {trained:,} of them trained"
        print(
            f"experiment  {config.experiment.name} ({config.experiment.change}), {parameters}\n"
            + (f"starts from {source}\n" if source else "")
            + f"data set    {config.dataset}: {classes} classes, "
            f"{splits['train'].records:,} training and "
            f"{splits['validation'].records:,} validation drawings\n"
            f"training    {counted(config.epochs, 'epoch')} of "
            f"{counted(self._steps_per_epoch, 'step')}, "
            f"batch {config.batch_size}, learning rate {config.learning_rate:g}, "
            f"seed {config.seed}\n"
            f"computing   {session.precision} on {where}\n"
            f"run         {config.run_dir}"
            + (f", resumed after step {state.newest_step:,}" if state.newest else "")
            + (
                f"\nchanged     {'; '.join(changes)}: sums may round differently" if changes else ""
            ),
            flush=True,
        )

    def interval(self, epoch: int, step: int, totals: Totals, learning_rate: float) -> None:
        """Log some steps of an epoch.

        Args:
          epoch: from 1.
          step: the last of them, counted over all epochs.
          totals: of these steps.
          learning_rate: of the last one.
        """
        if self._is_silent or not totals.examples:  # a checkpoint has just ended an interval
            return
        metrics = _training_metrics(totals) | {"learning_rate": learning_rate}
        self._write("step", epoch, step, metrics)
        step_of_epoch = step - (epoch - 1) * self._steps_per_epoch
        images_left = (self._config.epochs * self._steps_per_epoch - step) * self._config.batch_size
        seconds_left = images_left / totals.images_per_second  # without validation
        left = f"{seconds_left / 60:.0f} min" if seconds_left >= 90 else f"{seconds_left:.0f} s"
        skipped = (
            f"{counted(totals.skipped_steps, 'step')} skipped  " if totals.skipped_steps else ""
        )
        print(
            f"epoch {epoch}/{self._config.epochs}  step {step_of_epoch}/{self._steps_per_epoch}  "
            f"loss {totals.loss:.4f}  accuracy {totals.accuracy:.4f}  "
            f"{totals.images_per_second:,.0f} images/s  "
            f"{totals.input_wait_share:.1%} waiting for input  {skipped}{left} left",
            flush=True,
        )

    def epoch(self, state: State, trained: Totals) -> None:
        """Log a finished epoch with its validation."""
        if self._is_silent:
            return
        assert state.last
        metrics = {key: values[-1] for key, values in state.history.items()}
        metrics["val_top3"] = state.last.evaluation["top3"]
        self._write("epoch", state.epoch, state.step, _training_metrics(trained) | metrics)
        self._events.flush()
        is_best = state.best == state.last
        print(
            f"epoch {state.epoch}/{self._config.epochs}  loss {metrics['loss']:.4f}  "
            f"accuracy {metrics['accuracy']:.4f}  validation loss {metrics['val_loss']:.4f}  "
            f"accuracy {metrics['val_accuracy']:.4f}{'  (best)' if is_best else ''}",
            flush=True,
        )

    def _write(self, kind: str, epoch: int, step: int, metrics: dict[str, Any]) -> None:
        line = {"kind": kind, "step": step, "epoch": epoch} | metrics
        run_directory.append_metrics(self._config.run_dir, line)
        with self._events.as_default(step):
            for name, value in metrics.items():
                tf.summary.scalar(f"{kind}/{name}", value)


def _training_metrics(totals: Totals) -> dict[str, float]:
    skipped = {"skipped_steps": totals.skipped_steps} if totals.skipped_steps else {}
    return skipped | {
        "loss": totals.loss,
        "accuracy": totals.accuracy,
        "images_per_second": totals.images_per_second,
        "input_wait_share": totals.input_wait_share,
    }


@contextlib.contextmanager
def profiled(directory: str) -> Iterator[Callable[[], None]]:
    """Write a TensorBoard profile of steps 11 to 20, or of those there are from the 11th on.

    Yields:
      A function to call after every step.
    """
    steps = 0

    def after_step() -> None:
        nonlocal steps
        steps += 1
        if steps == PROFILE_START:
            tf.profiler.experimental.start(directory)
        elif steps == PROFILE_START + PROFILE_STEPS:
            tf.profiler.experimental.stop()
            print(f"profile of {PROFILE_STEPS} steps in {directory}", flush=True)

    try:
        yield after_step
    finally:
        if PROFILE_START <= steps < PROFILE_START + PROFILE_STEPS:
            tf.profiler.experimental.stop()
    profiled_steps = min(steps - PROFILE_START, PROFILE_STEPS)
    if profiled_steps <= 0:
        print(f"no profile: it begins after {PROFILE_START} steps, and only {steps} were left")
    elif profiled_steps < PROFILE_STEPS:
        print(f"profile of {counted(profiled_steps, 'step')} in {directory}", flush=True)
