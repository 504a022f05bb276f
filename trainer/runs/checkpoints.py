"""Everything that training changes, to a file and back.

A variable's name in a checkpoint is that of its layer and its own in it (`model/logits/kernel`), or
what the optimizer calls it; nothing depends on the order in which Keras lists variables.
"""

import os
from collections.abc import Mapping

import keras
import tensorflow as tf

from pipeline.cli import RunError
from trainer.runs import storage
from trainer.runs.run_directory import CHECKPOINTS
from trainer.training.optimizer import averaged_weights
from trainer.training.steps import Trainee

Variables = Mapping[str, tf.Variable]  # by name

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # what TensorFlow's names of values end in
_SLASH = ".S"  # how it writes a slash in a name
_NOT_OF_MODEL = ("optimizer/", "average/", "loss_scale/", "save_counter")


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
        tf.train.Checkpoint(**variable_groups(trainee)).write(path)
    except tf.errors.OpError as error:
        # Without the names of the graph.
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
        raise RunError(f"{path}: cannot be written: {reason}") from None
    for ending in (".index", ".data-00000-of-00001"):
        with open(path + ending, "rb") as file:
            os.fsync(file.fileno())


def restore_trainee(run_dir: str, name: str, trainee: Trainee) -> None:
    """Reads the checkpoint `name` into what training changes.

    A run that goes on in another precision may gain or lose float16's loss scale.

    Raises:
      RunError: it is missing, damaged, or does not fit.
    """
    groups = variable_groups(trainee)
    shapes = _read_shapes(run_dir, name)
    if "loss_scale" in groups and not any(key.startswith("loss_scale/") for key in shapes):
        del groups["loss_scale"]
    _check_fit(
        _path(run_dir, name), _shapes(groups), shapes, may_ignore=("loss_scale/", "save_counter")
    )
    _read(run_dir, name, groups)


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
    shapes = _read_shapes(run_dir, name)
    groups = {"model": model_variables(model)}
    _check_fit(_path(run_dir, name), _shapes(groups), shapes, may_ignore=_NOT_OF_MODEL)
    _read(run_dir, name, groups)
    if not raw and any(key.startswith("average/") for key in shapes):
        _read(run_dir, name, {"average": averaged_variables(model)})


def variable_groups(trainee: Trainee) -> dict[str, Variables]:
    """Return all that training changes, as a checkpoint keeps it."""
    optimizer = {
        variable.path.partition("/")[2]: variable.value for variable in trainee.optimizer.variables
    }
    assert len(optimizer) == len(trainee.optimizer.variables)
    groups: dict[str, Variables] = {"model": model_variables(trainee.model), "optimizer": optimizer}
    if trainee.loss_scale:
        groups["loss_scale"] = {
            variable.name.partition(":")[0]: variable for variable in trainee.loss_scale.variables
        }
    if trainee.average:
        names = averaged_variables(trainee.model)
        groups["average"] = dict(zip(names, trainee.average.variables, strict=True))
    return groups


def averaged_variables(model: keras.Model) -> dict[str, tf.Variable]:
    """Return the variables that `MovingAverage` of the optimizer averages, in its order."""
    names = {id(variable): name for name, variable in model_variables(model).items()}
    return {names[id(variable)]: variable for variable in averaged_weights(model)}


def model_variables(model: keras.Model) -> dict[str, tf.Variable]:
    """Return a model's variables by the names of layer and variable.

    The dropout's random state too, which TensorFlow would not find by following the model's
    attributes, and which Keras numbers over all models of a process.
    """
    named = {
        f"{layer.name}/{variable.name}": variable.value
        for layer in model.layers
        for variable in layer.variables
    }
    assert len(named) == len(model.variables)
    return named


def _path(run_dir: str, name: str) -> str:
    return os.path.join(run_dir, CHECKPOINTS, name)


def _shapes(groups: Mapping[str, Variables]) -> dict[str, list[int]]:
    return {
        f"{group}/{name}": variable.shape.as_list()
        for group, variables in groups.items()
        for name, variable in variables.items()
    }


def _read_shapes(run_dir: str, name: str) -> dict[str, list[int]]:
    """Return the shapes of a checkpoint's variables by group and name."""
    path = _path(run_dir, name)
    try:
        with storage.literal(os.path.dirname(path)) as directory:
            found = tf.train.list_variables(os.path.join(directory, name))
    except (tf.errors.OpError, ValueError) as error:
        raise _cannot_restore(path, error) from None
    return {
        key.removesuffix(_VALUE).replace(_SLASH, "/"): list(shape)
        for key, shape in found
        if key.endswith(_VALUE)
    }


def _check_fit(
    path: str,
    here: Mapping[str, list[int]],
    there: Mapping[str, list[int]],
    may_ignore: tuple[str, ...],
) -> None:
    """Refuse a checkpoint with other variables, naming the first."""
    for name in sorted(here.keys() | there.keys()):
        if name not in there:
            reason = f"it has no {name}"
        elif name not in here and not name.startswith(may_ignore):
            reason = f"this model has no {name}"
        elif name in here and here[name] != there[name]:
            reason = f"{name} is {there[name]} there, {here[name]} here"
        else:
            continue
        raise RunError(f"{path}: of another model: {reason}")


def _read(run_dir: str, name: str, groups: Mapping[str, Variables]) -> None:
    path = _path(run_dir, name)
    try:
        with storage.literal(os.path.dirname(path)) as directory:
            status = tf.train.Checkpoint(**groups).read(os.path.join(directory, name))
        status.assert_existing_objects_matched().expect_partial()
    except (tf.errors.OpError, AssertionError, ValueError) as error:
        raise _cannot_restore(path, error) from None


def _cannot_restore(path: str, error: Exception) -> RunError:
    return RunError(f"{path}: cannot be restored: {str(error).splitlines()[0]}")
