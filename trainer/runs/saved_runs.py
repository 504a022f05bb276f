"""The trained model of a run directory, as its checkpoint holds it."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from pipeline.cli import UserError
from trainer import model
from trainer.models.experiments import Architecture, Experiment
from trainer.runs import checkpoints, run_directory


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
    checkpoints.restore(run_dir, saved.name, network)
    raw_network = None
    if with_raw:
        raw_network = _build(config, precision)
        checkpoints.restore(run_dir, saved.name, raw_network, raw=True)
    return SavedRun(config, saved.epoch, network, raw_network)


def _build(config: dict[str, Any], precision: str) -> keras.Model:
    """The run's model as it was trained, whatever the experiment of that name is by now."""
    architecture = Architecture.from_description(config["architecture"])
    with _dtype_policy(precision):
        return model.build_model(
            Experiment(config["experiment"], architecture), len(config["labels"])
        )


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Layers made inside compute in this precision."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)
