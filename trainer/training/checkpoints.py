"""Checkpoints: everything that training changes, to a file and back; the model of a saved run.

A variable's name in a checkpoint is that of its layer and its own in it (`model/logits/kernel`), or
what the optimizer calls it; nothing depends on the order in which Keras lists variables.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from pipeline.cli import RunError, UserError
from trainer.hardware import storage
from trainer.model import build_model
from trainer.models.experiments import Architecture, Experiment
from trainer.runs import run_directory
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


class SavedRun(NamedTuple):
    """A checkpoint of a run, ready to be used."""

    config: dict[str, Any]  # of config.json
    epoch: int  # after which the checkpoint was written, from 1
    model: keras.Model  # [B, 85, 85, 1] of 0.0 and 1.0 → [B, classes] float32 logits
    raw_model: keras.Model | None = None  # the same with the weights themselves, not their average

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.config["labels"])

    def with_probabilities(self) -> keras.Model:
        """The model, weights shared, with a softmax on its logits."""
        softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
        return keras.Model(self.model.input, softmax(self.model.output), name=self.model.name)


def load_run(
    run_dir: str, checkpoint: str, precision: str = "float32", *, with_raw: bool = False
) -> SavedRun:
    """The model of a run with the weights of a checkpoint.

    Args:
      run_dir: the run directory.
      checkpoint: "best", "last" or the number of an epoch.
      precision: to compute in, as Keras names it, whatever the run was trained in; weights are
        float32 under each.
      with_raw: whether to load `raw_model` too.

    Raises:
      UserError: it is no run directory, no epoch is finished, or its weights were not averaged and
        the raw ones are asked for.
      RunError: the checkpoint is damaged.
    """
    config = run_directory.read_config(run_dir)
    state = run_directory.read_state(run_dir)
    saved = state.find(checkpoint)
    if state.last is None:
        raise UserError(f"{run_dir}: no checkpoint yet, no epoch is finished")
    if saved is None:
        kept = ", ".join(["best", "last", *(str(each.epoch) for each in state.kept())])
        raise UserError(f"{run_dir}: no checkpoint of epoch {checkpoint}; there are {kept}")
    if with_raw and not config.get("ema_decay"):
        raise UserError(
            f"--raw_weights: {run_dir} has no average of its weights, it was trained without "
            "--ema_decay"
        )
    network = _build(config, precision)
    restore(run_dir, saved.name, network)
    raw_network = None
    if with_raw:
        raw_network = _build(config, precision)
        restore(run_dir, saved.name, raw_network, raw=True)
    return SavedRun(config, saved.epoch, network, raw_network)


def _build(config: dict[str, Any], precision: str) -> keras.Model:
    """The run's model as it was trained, whatever the experiment of that name is by now."""
    architecture = Architecture.from_description(config["architecture"])
    with _dtype_policy(precision):
        return build_model(Experiment(config["experiment"], architecture), len(config["labels"]))


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Layers made inside compute in this precision."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)
