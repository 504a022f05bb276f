"""Weights to start from (--init_from), of another run or of a .keras file.

The source is read once. From then on the run's own config.json holds its architecture and the hash
of its weights, and the source may be deleted. TensorFlow is imported only to read weights.
"""

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.cli import UserError, is_remote
from trainer.config import TrainConfig
from trainer.hardware.quiet_tensorflow import quiet_tensorflow
from trainer.models.architecture_file import parse_architecture
from trainer.models.experiments import Experiment
from trainer.runs import run_directory

if TYPE_CHECKING:
    import keras

    from trainer.hardware.hosts import Hosts

# Entries of the ZIP archives that trainer.export writes: see trainer.exports.exporters.
LABELS = "labels.txt"  # a label a line; the line number from 0 is the class index
DESCRIPTION = "architecture.json"  # in a .keras file
_HEAD = "logits/"  # begins the paths of the variables that depend on the categories


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Best weights of a model."""

    path: str  # of the source, as it was given
    epoch: int | None  # after which they were saved; None if an older .keras file does not say
    labels: tuple[str, ...]
    values: dict[str, np.ndarray]  # by the path of the variable, such as a1_1_1/kernel

    def describe(self) -> dict[str, Any]:
        """Return what config.json keeps of them."""
        digest = hashlib.sha256()
        for path, value in sorted(self.values.items()):
            digest.update(f"{path} {value.dtype} {value.shape}\n".encode())
            digest.update(value.tobytes())
        return {
            "path": os.path.abspath(self.path),
            "weights_sha256": digest.hexdigest(),
            "epoch": self.epoch,
        }

    def copy_to(self, model: "keras.Model", labels: Sequence[str]) -> None:
        """Assign these weights to a model; a head for other categories stays as it is.

        Raises:
          UserError: the model has other weights; it stays as it was.
        """
        values = self.values
        variables = {variable.path: variable for variable in model.weights}
        if self.labels != tuple(labels):
            values, variables = _without_head(values), _without_head(variables)
        for path in [*variables, *values]:
            there, here = (
                f"of shape {tuple(of[path].shape)}" if path in of else "missing"
                for of in (values, variables)
            )
            if there != here:
                raise UserError(
                    f"--init_from={self.path}: of another architecture: {path} is {there} there "
                    f"and {here} here; leave out --experiment and --architecture to take the "
                    "source's own, or give the one that it was trained with"
                )
        for path, variable in variables.items():
            variable.assign(values[path])

    def tell(self, labels: Sequence[str]) -> str:
        """Describe in words where a run on these categories starts."""
        epoch = f", epoch {self.epoch}" if self.epoch else ""
        is_same = self.labels == tuple(labels)
        head = "its head too" if is_same else f"new head for {len(labels)} categories"
        return f"{self.path}{epoch}; {head}"


def _without_head(by_path: dict[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in by_path.items() if not path.startswith(_HEAD)}


def find_experiment(init_from: str, run_dir: str | None) -> Experiment:
    """Return the experiment of a source, as it was trained.

    Args:
      init_from: a run directory or a .keras file.
      run_dir: of the run that starts there; once it has begun, the source is not read.

    Raises:
      UserError: the source is neither, or has no architecture.
    """
    if run_dir and known_source(init_from, run_dir):
        source = os.path.join(run_dir, run_directory.CONFIG)
        description = run_directory.read_config(run_dir)
    elif _is_run(init_from):
        source = os.path.join(init_from, run_directory.CONFIG)
        description = run_directory.read_config(init_from)
    else:
        source = init_from
        description = _read_description(init_from)
        if not description:
            raise UserError(
                f"--init_from={init_from}: does not contain its architecture, like files of an "
                "older trainer.export; --experiment or --architecture is needed"
            )
    architecture = parse_architecture(description.get("architecture"), source)
    name = description.get("experiment")
    if not isinstance(name, str):
        raise UserError(f"{source}: damaged: no experiment in it")
    return Experiment(name, architecture, f"the architecture of {init_from}")


def known_source(init_from: str, run_dir: str) -> dict[str, Any] | None:
    """Return what config.json of a run that has begun keeps of this source; None without one.

    Raises:
      UserError: config.json cannot be read.
    """
    if is_remote(run_dir) or not os.path.exists(os.path.join(run_dir, run_directory.CONFIG)):
        return None
    known = run_directory.read_config(run_dir).get("init_from")
    is_same = isinstance(known, dict) and known.get("path") == os.path.abspath(init_from)
    return known if is_same else None


def find_weights(
    config: TrainConfig, labels: Sequence[str], hosts: "Hosts"
) -> tuple[dict[str, Any] | None, InitialWeights | None]:
    """Return what config.json keeps of the source, and its weights where they are needed.

    Only the first host reads the source, and only while no checkpoint of the run exists.

    Args:
      config: of the run.
      labels: of its categories.
      hosts: all of which call this.

    Raises:
      UserError: the source cannot be used, or has changed since the run began.
      RunError: its checkpoint, or the run's own state, is damaged.
    """
    known = weights = None
    if config.init_from and hosts.is_first:
        known = known_source(config.init_from, config.run_dir)
        if known is None or run_directory.read_state(config.run_dir).newest is None:
            weights = _read_fitting(config, labels)
            found = weights.describe()
            if known and known.get("weights_sha256") != found["weights_sha256"]:
                raise UserError(
                    f"--init_from={config.init_from}: its weights have changed since "
                    f"{config.run_dir} began with them; choose another --run_dir"
                )
            known = known or found
    known = hosts.from_first(known)
    return (known if config.init_from else None), weights


def read_weights(path: str) -> InitialWeights:
    """Read the best weights of a run, or those in a .keras file.

    Raises:
      UserError: it is neither, or no epoch of the run is finished.
      RunError: the run's checkpoint is damaged.
    """
    if _is_run(path):
        with quiet_tensorflow():
            from trainer.training import checkpoints
        run = checkpoints.load_run(path, "best")
        return InitialWeights(path, run.epoch, run.labels, _values(run.model))
    model, labels = load_keras(path)
    return InitialWeights(path, _read_description(path).get("epoch"), labels, _values(model))


def _values(model: "keras.Model") -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in model.weights}


def _read_fitting(config: TrainConfig, labels: Sequence[str]) -> InitialWeights:
    """Read the weights and copy them to a model, to find a misfit before the run begins."""
    assert config.init_from
    source, run_dir = (os.path.realpath(each) for each in (config.init_from, config.run_dir))
    if os.path.commonpath([source, run_dir]) == run_dir:
        raise UserError(
            f"--init_from={config.init_from}: the run's own; resume a run with more --epochs, or "
            "choose another --run_dir to start another run from it"
        )
    weights = read_weights(config.init_from)
    with quiet_tensorflow():
        from trainer.model import build_model
    weights.copy_to(build_model(config.experiment, len(labels)), labels)
    return weights


def _is_run(path: str) -> bool:
    """True for a run directory, false for a .keras file.

    Raises:
      UserError: it is neither.
    """
    if is_remote(path):
        raise UserError(f"--init_from={path}: it has to be on this machine")
    if not os.path.exists(path):
        raise UserError(f"--init_from={path}: no such file or directory")
    if not os.path.isdir(path) and not path.endswith(".keras"):
        raise UserError(f"--init_from={path}: neither a run directory nor a .keras file")
    return os.path.isdir(path)


# ---- Archives of trainer.export ----


def load_keras(path: str) -> tuple["keras.Model", tuple[str, ...]]:
    """Load the model of a .keras file, from images to probabilities, and its labels.

    Raises:
      UserError: trainer.export has not written the file, or it is damaged.
    """
    labels = read_labels(path)
    with quiet_tensorflow():
        import keras
    try:
        return keras.saving.load_model(path, compile=False), labels
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise cannot_load(path, error) from None


def read_labels(path: str) -> tuple[str, ...]:
    """Read the labels in a .keras file, a ZIP archive, or a .tflite file, which ends in one.

    Raises:
      UserError: it has none.
    """
    text = _read_entry(path, LABELS)
    if text is None:
        raise UserError(f"{path}: no {LABELS} in it; damaged, or not written by trainer.export")
    return tuple(text.splitlines())


def _read_description(path: str) -> dict[str, Any]:
    """Read the description of a .keras file's model; empty in files of an older trainer.export."""
    text = _read_entry(path, DESCRIPTION)
    try:
        description = json.loads(text or "{}")
    except ValueError:
        raise UserError(f"{path}: damaged, or not written by trainer.export") from None
    if not isinstance(description, dict):
        raise UserError(f"{path}: damaged: {DESCRIPTION} is no JSON object")
    return description


def _read_entry(path: str, name: str) -> str | None:
    """Read an entry of an archive; None if there is none of that name."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name).decode() if name in archive.namelist() else None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (zipfile.BadZipFile, UnicodeDecodeError):
        raise UserError(
            f"{path}: no {name} in it; damaged, or not written by trainer.export"
        ) from None


def cannot_load(path: str, error: Exception) -> UserError:
    """Return the one line for a file that another library cannot load."""
    return UserError(f"{path}: cannot be loaded: {str(error).strip().splitlines()[0]}")
