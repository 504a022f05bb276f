"""What a run tells on its way: lines on the screen, metrics.jsonl and TensorBoard."""

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipeline.dataset.manifests import Manifest
from trainer.config import TrainConfig
from trainer.models import costs
from trainer.runs import run_directory
from trainer.runs.state import State, Totals
from trainer.training.initial_weights import InitialWeights
from trainer.training.sessions import Session


class Report:
    """Reports of one run."""

    def __init__(self, config: TrainConfig, manifest: Manifest) -> None:
        self._config = config
        self._manifest = manifest
        self._steps_per_epoch = config.steps_per_epoch(manifest.splits["train"].records)
        directory = os.path.join(config.run_dir, run_directory.TENSORBOARD)
        self._events = tf.summary.create_file_writer(directory)

    def start(
        self,
        parameters: int,
        session: Session,
        changes: Sequence[str],
        state: State,
        weights: InitialWeights | None,
    ) -> None:
        """What is trained on what.

        Args:
          parameters: of the model.
          session: with which hardware.
          changes: since the last session, see `trainer.training.sessions.changes`.
          state: from where it goes on.
          weights: that others have trained.
        """
        config, splits, labels = self._config, self._manifest.splits, self._manifest.labels
        where = ", ".join(session.device_names)
        if session.hosts > 1:
            where += f" of each of {session.hosts} hosts"
        print(
            f"experiment  {config.experiment.name} ({config.experiment.change}), "
            f"{parameters:,} parameters{self._trained()}\n"
            + (f"starts from {weights.tell(labels)}\n" if weights else "")
            + f"data set    {config.dataset}: {len(labels)} classes, "
            f"{splits['train'].records:,} training and "
            f"{splits['validation'].records:,} validation drawings\n"
            f"training    {config.epochs} epochs of {self._steps_per_epoch:,} steps, "
            f"batch {config.batch_size}, learning rate {config.learning_rate:g}, "
            f"seed {config.seed}\n"
            f"computing   {session.precision} on {where}\n"
            f"run         {config.run_dir}"
            + (f", resumed after step {state.newest_step:,}" if state.newest else "")
            + (f"\nchanged     {'; '.join(changes)}: sums may round otherwise" if changes else ""),
            flush=True,
        )

    def _trained(self) -> str:
        """How many of the parameters are trained, where --freeze leaves some out."""
        freeze, architecture = self._config.freeze, self._config.experiment.architecture
        if not freeze:
            return ""
        trained = costs.trained_parameters(architecture, len(self._manifest.labels), freeze)
        return f", {trained:,} of them trained"

    def interval(self, epoch: int, step: int, totals: Totals, learning_rate: float) -> None:
        """Some steps of an epoch; `step` is the last of them, counted over all epochs, and
        `learning_rate` that of this one.
        """
        if not totals.examples:  # a checkpoint has just ended an interval
            return
        metrics = _training_metrics(totals) | {"learning_rate": learning_rate}
        self._write("step", epoch, step, metrics)
        step_of_epoch = step - (epoch - 1) * self._steps_per_epoch
        images_left = (self._config.epochs * self._steps_per_epoch - step) * self._config.batch_size
        seconds_left = images_left / totals.images_per_second  # without validation
        left = f"{seconds_left / 60:.0f} min" if seconds_left >= 90 else f"{seconds_left:.0f} s"
        skipped = f"{totals.skipped_steps} steps skipped  " if totals.skipped_steps else ""
        print(
            f"epoch {epoch}/{self._config.epochs}  step {step_of_epoch}/{self._steps_per_epoch}  "
            f"loss {totals.loss:.4f}  accuracy {totals.accuracy:.4f}  "
            f"{totals.images_per_second:,.0f} images/s  "
            f"{totals.input_wait_share:.1%} waiting for input  {skipped}{left} left",
            flush=True,
        )

    def epoch(self, state: State, trained: Totals) -> None:
        """A finished epoch with its validation."""
        metrics = {key: values[-1] for key, values in state.history.items()}
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


class NoReport(Report):
    """Of a host that is not the first: says and writes nothing."""

    def __init__(self) -> None:
        pass

    def start(self, *_: Any) -> None:
        pass

    def interval(self, *_: Any) -> None:
        pass

    def epoch(self, *_: Any) -> None:
        pass


def _training_metrics(totals: Totals) -> dict[str, float]:
    skipped = {"skipped_steps": totals.skipped_steps} if totals.skipped_steps else {}
    return skipped | {
        "loss": totals.loss,
        "accuracy": totals.accuracy,
        "images_per_second": totals.images_per_second,
        "input_wait_share": totals.input_wait_share,
    }
