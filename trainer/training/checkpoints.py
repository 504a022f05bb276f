"""Checkpoints: the train state to a file and back, and the model of a saved run.

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
from trainer.training.optimizer import averaged_weights
from trainer.training.steps import TrainState

Variables = Mapping[str, tf.Variable]  # by name

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # the ending of TensorFlow's names of values
_SLASH = ".S"  # a slash in such a name
_NOT_OF_MODEL = ("optimizer/", "average/", "loss_scale/", "save_counter")


def save(run_dir: str, name: str, state: TrainState) -> None:
    """Write the checkpoint `name`; it counts only once the run's state names it.

    Raises:
      RunError: it cannot be written, or a weight is not finite; earlier checkpoints stay.
    """
    path = _path(run_dir, name)
    for variable in state.model.variables:
        if not tf.reduce_all(tf.math.is_finite(tf.cast(variable.value, tf.float32))):
            raise RunError(
                f"{name}: {variable.path} is not finite; a lower --learning_rate may help"
            )
    try:
        tf.train.Checkpoint(**variable_groups(state)).write(path)
    except tf.errors.OpError as error:
        # Without the names of the graph.
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
        raise RunError(f"{path}: cannot be written: {reason}") from None
    for ending in (".index", ".data-00000-of-00001"):
        with open(path + ending, "rb") as file:
            os.fsync(file.fileno())


def restore_train_state(run_dir: str, name: str, state: TrainState) -> None:
    """Read the checkpoint `name` into the train state.

    A run that resumes in another precision may gain or lose float16's loss scale.

    Raises:
      RunError: it is missing, damaged, or does not fit.
    """
    groups = variable_groups(state)
    shapes = _read_shapes(run_dir, name)
    if "loss_scale" in groups and not any(key.startswith("loss_scale/") for key in shapes):
        del groups["loss_scale"]
    _check_fit(run_dir, name, groups, shapes, may_ignore=("loss_scale/", "save_counter"))
    _read(run_dir, name, groups)


def restore(run_dir: str, name: str, model: keras.Model, *, raw: bool = False) -> None:
    """Read the weights that were validated: the checkpoint's, or their average if it has one.

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
    _check_fit(run_dir, name, groups, shapes, may_ignore=_NOT_OF_MODEL)
    _read(run_dir, name, groups)
    if not raw and any(key.startswith("average/") for key in shapes):
        _read(run_dir, name, {"average": averaged_variables(model)})


def variable_groups(state: TrainState) -> dict[str, Variables]:
    """Return the variables of a train state as a checkpoint keeps them."""
    optimizer = {
        variable.path.partition("/")[2]: variable.value for variable in state.optimizer.variables
    }
    assert len(optimizer) == len(state.optimizer.variables)
    groups: dict[str, Variables] = {"model": model_variables(state.model), "optimizer": optimizer}
    if state.loss_scale:
        groups["loss_scale"] = {
            variable.name.partition(":")[0]: variable for variable in state.loss_scale.variables
        }
    if state.average:
        names = averaged_variables(state.model)
        groups["average"] = dict(zip(names, state.average.variables, strict=True))
    return groups


def averaged_variables(model: keras.Model) -> dict[str, tf.Variable]:
    """Return the variables that the optimizer's `MovingAverage` averages, in its order."""
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
    return os.path.join(run_dir, run_directory.CHECKPOINTS, name)


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
    run_dir: str,
    name: str,
    groups: Mapping[str, Variables],
    there: Mapping[str, list[int]],
    may_ignore: tuple[str, ...],
) -> None:
    """Refuse a checkpoint with other variables than `groups`, naming the first."""
    here = {
        f"{group}/{key}": variable.shape.as_list()
        for group, variables in groups.items()
        for key, variable in variables.items()
    }
    for key in sorted(here.keys() | there.keys()):
        if key not in there:
            reason = f"it has no {key}"
        elif key not in here and not key.startswith(may_ignore):
            reason = f"this model has no {key}"
        elif key in here and here[key] != there[key]:
            reason = f"{key} is {there[key]} there, {here[key]} here"
        else:
            continue
        raise RunError(f"{_path(run_dir, name)}: of another model: {reason}")


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
    """A checkpoint of a run, with its model."""

    config: dict[str, Any]  # of config.json
    epoch: int  # after which the checkpoint was written, from 1
    model: keras.Model  # [B, 85, 85, 1] of 0.0 and 1.0 → [B, classes] float32 logits
    raw_model: keras.Model | None = None  # with the weights themselves, not their average

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.config["labels"])

    def with_probabilities(self) -> keras.Model:
        """Return the model, weights shared, with a softmax on its logits."""
        softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
        return keras.Model(self.model.input, softmax(self.model.output), name=self.model.name)


def load_run(
    run_dir: str, checkpoint: str, precision: str = "float32", *, with_raw: bool = False
) -> SavedRun:
    """Load the model of a run with the weights of a checkpoint.

    Args:
      run_dir: the run directory.
      checkpoint: "best", "last" or the number of an epoch.
      precision: to compute in, as Keras names it, whatever the run was trained in; weights are
        float32 under each.
      with_raw: whether to load `raw_model` too.

    Raises:
      UserError: it is no run directory or another version's, no epoch is finished, or the run has
        no average beside the raw weights.
      RunError: the checkpoint is damaged.
    """
    config = run_directory.read_config(run_dir)
    run_directory.check_format(run_dir, config)
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

    def load(raw: bool) -> keras.Model:
        # As it was trained, whatever the experiment of that name is by now.
        experiment = Experiment(
            config["experiment"], Architecture.from_description(config["architecture"])
        )
        with _dtype_policy(precision):
            model = build_model(experiment, len(config["labels"]))
        restore(run_dir, saved.name, model, raw=raw)
        return model

    return SavedRun(config, saved.epoch, load(raw=False), load(raw=True) if with_raw else None)


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Set the precision of layers made inside."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)
