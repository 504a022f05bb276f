"""Everything that training changes, to a file and back."""

import os
from typing import Any

import keras
import tensorflow as tf

from pipeline.errors import RunError
from trainer import storage
from trainer.optimizer import averaged_weights
from trainer.run_directory import CHECKPOINTS
from trainer.steps import Trainee


def save(run_dir: str, name: str, trainee: Trainee) -> None:
    """Writes the checkpoint `name`; it counts only once the run's state names it.

    Raises:
      RunError: it cannot be written, or a weight is not finite; the checkpoints that were there
        before still are.
    """
    path = os.path.join(run_dir, CHECKPOINTS, name)
    for variable in trainee.model.variables:
        if not tf.reduce_all(tf.math.is_finite(tf.cast(variable.value, tf.float32))):
            raise RunError(
                f"{name}: {variable.path} is not finite; a lower --learning_rate may help"
            )
    try:
        tf.train.Checkpoint(**trainee.variable_groups()).write(path)
    except tf.errors.OpError as error:
        # Without the names of the graph.
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
        raise RunError(f"{path}: cannot be written: {reason}") from None
    for ending in (".index", ".data-00000-of-00001"):
        with open(path + ending, "rb") as file:
            os.fsync(file.fileno())


def restore_trainee(run_dir: str, name: str, trainee: Trainee) -> None:
    """Reads the checkpoint `name` into what training changes.

    Raises:
      RunError: it is missing, damaged, or of another model.
    """
    _read(run_dir, name, is_partial=False, **trainee.variable_groups())


def restore(run_dir: str, name: str, model: keras.Model, *, raw: bool = False) -> None:
    """Reads the weights that were validated: those of the checkpoint, or their average if it has
    one.

    Args:
      run_dir: the run directory.
      name: of the checkpoint.
      model: takes the weights.
      raw: whether to read the weights themselves even where there is an average.

    Raises:
      RunError: it is missing, damaged, or of another model.
    """
    _read(run_dir, name, is_partial=True, model=[each.value for each in model.variables])
    if raw:
        return
    with storage.literal(os.path.join(run_dir, CHECKPOINTS)) as directory:
        names = [key for key, _ in tf.train.list_variables(os.path.join(directory, name))]
    if any(key.startswith("average/") for key in names):
        _read(run_dir, name, is_partial=True, average=averaged_weights(model))


def _read(run_dir: str, name: str, is_partial: bool, **groups: Any) -> None:
    path = os.path.join(run_dir, CHECKPOINTS, name)
    try:
        with storage.literal(os.path.dirname(path)) as directory:
            status = tf.train.Checkpoint(**groups).read(os.path.join(directory, name))
        status.assert_existing_objects_matched()
        if is_partial:
            status.expect_partial()
    except (tf.errors.OpError, AssertionError, ValueError) as error:
        raise RunError(f"{path}: cannot be restored: {str(error).splitlines()[0]}") from None
