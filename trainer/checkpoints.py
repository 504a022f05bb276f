"""Everything that training changes, to a file and back."""

import os

import keras
import tensorflow as tf

from pipeline.errors import RunError
from trainer.loss_scale import LossScale
from trainer.run_directory import CHECKPOINTS


def save(
    run_dir: str,
    name: str,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss_scale: LossScale | None,
) -> None:
    """Writes the checkpoint `name`; it counts only once the run's state names it.

    Raises:
      RunError: it cannot be written; those that were there before still are.
    """
    path = os.path.join(run_dir, CHECKPOINTS, name)
    try:
        _checkpoint(model, optimizer, loss_scale).write(path)
    except tf.errors.OpError as error:
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[
            0
        ]  # without the graph's names
        raise RunError(f"{path}: cannot be written: {reason}") from None


def restore(
    run_dir: str,
    name: str,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer | None = None,
    loss_scale: LossScale | None = None,
) -> None:
    """Reads the checkpoint `name` into the model, and what else is given.

    Raises:
      RunError: it is missing, damaged, or of another model.
    """
    path = os.path.join(run_dir, CHECKPOINTS, name)
    try:
        status = _checkpoint(model, optimizer, loss_scale).read(path)
        status.assert_existing_objects_matched()
        if optimizer is None:
            status.expect_partial()
    except (tf.errors.OpError, AssertionError, ValueError) as error:
        raise RunError(f"{path}: cannot be restored: {str(error).splitlines()[0]}") from None


def _checkpoint(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer | None,
    loss_scale: LossScale | None,
) -> tf.train.Checkpoint:
    """Variables by position: `model.variables` holds the dropout's random state too, which
    TensorFlow would not find by following the model's attributes."""
    groups = {"model": [variable.value for variable in model.variables]}
    if optimizer:
        groups["optimizer"] = [variable.value for variable in optimizer.variables]
    if loss_scale:
        groups["loss_scale"] = loss_scale.variables
    return tf.train.Checkpoint(**groups)
