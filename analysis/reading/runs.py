"""Run directories, finished or still growing; `trainer.runs.run_directory` says what they hold."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from pipeline import cli
from pipeline.cli import UserError, printable
from pipeline.dataset.manifests import Manifest, read_manifest
from trainer.runs import run_directory
from trainer.runs.state import HISTORY_KEYS

CHECKPOINTS = ("best", "last")

flags.disclaim_key_flags()  # what is defined here belongs to the command that asks for it


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run was told, and what came of each of its epochs so far."""

    directory: str
    config: dict[str, Any]
    history: dict[str, list[float]]  # accuracy, loss, val_accuracy, val_loss; a value an epoch

    @property
    def experiment(self) -> str:
        return self.config["experiment"]

    @property
    def labels(self) -> list[str]:
        return self.config["labels"]

    @property
    def drawings(self) -> dict[str, int]:
        """Of each split that the run learned from or was validated on."""
        return self.config["drawings"]

    @property
    def parameters(self) -> int:
        return self.config["parameters"]

    @property
    def multiply_adds(self) -> int:
        """Of one image."""
        return self.config["multiply_adds"]

    @property
    def epochs(self) -> int:
        """How many are finished, maybe none."""
        return len(self.history["val_accuracy"])

    @property
    def planned_epochs(self) -> int:
        return run_directory.latest(self.config, "epochs")

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.drawings["train"] / self.config["batch_size"])

    def check_dataset(self, directory: str) -> Manifest:
        """The manifest of the data set that the run learned from.

        Raises:
          UserError: it is another data set, or none.
        """
        manifest = read_manifest(directory)
        if manifest.fingerprint != self.config["dataset_fingerprint"]:
            raise UserError(
                f"{self.directory}: the run learned from another data set than {directory}"
            )
        return manifest


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """How well one category is recognized. Shares are NaN where they are of nothing."""

    label: str
    examples: int
    correct: int  # recognized at once
    precision: float  # of the drawings taken for this category, the share that are of it
    recall: float  # of its drawings, the share that are recognized: the category's accuracy
    f1: float


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """What the model of one epoch achieves on a split. Shares from 0 to 1."""

    epoch: int
    examples: int
    loss: float
    top1: float
    top3: float
    map3: float
    per_class: tuple[ClassScore, ...]
    confusion: np.ndarray  # [classes, classes] drawings of the row's class taken for the column's


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A run's last epoch, and its best one by top-1."""

    split: str
    last: Scores
    best: Scores

    def of(self, checkpoint: str) -> Scores:
        """`checkpoint`: one of CHECKPOINTS."""
        return self.best if checkpoint == "best" else self.last


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast some steps were. Pauses for validation and checkpoints are left out."""

    epoch: int  # of the steps, from 1
    step: int  # the last of them, counted over all epochs
    images_per_second: float
    input_wait_share: float  # of the time


@dataclasses.dataclass(frozen=True)
class Interval(Speed):
    """About ten seconds of training."""

    learning_rate: float  # at its end


def find_runs(paths: Sequence[str]) -> list[str]:
    """The run directories among `paths` and, where one is none, those directly in it.

    Each is named once. Those of one directory are in the order of their names, E2_7 before E2_10.

    Raises:
      UserError: a path is neither a run directory nor holds any.
    """
    found: list[str] = []
    for path in paths:
        if _is_run(path) or not os.path.isdir(path):
            found.append(path)  # what is no directory is named by `read_run`
            continue
        names = [name for name in os.listdir(path) if _is_run(os.path.join(path, name))]
        if not names:
            raise UserError(f"{path}: no run directory (no {run_directory.CONFIG}), and none in it")
        found += [os.path.join(path, name) for name in sorted(names, key=_natural)]
    unique: dict[str, str] = {}
    for path in found:
        unique.setdefault(os.path.realpath(path), path)
    return list(unique.values())


def read_runs(paths: Sequence[str]) -> list[Run]:
    """The runs of `find_runs`; raises what it and `read_run` do."""
    return [read_run(directory) for directory in find_runs(paths)]


def read_run(directory: str) -> Run:
    """The configuration and the history of a run directory; the history may be empty yet.

    Raises:
      UserError: it is no run directory, or a file is missing or damaged.
    """
    config = run_directory.read_config(directory)
    path = os.path.join(directory, run_directory.CONFIG)
    try:
        run = parse_run(directory, config)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return dataclasses.replace(run, history=_read_history(directory))


def parse_run(directory: str, config: dict[str, Any]) -> Run:
    """A run without its history.

    Args:
      directory: of the run.
      config: the content of config.json.

    Raises:
      ValueError: it is not that.
    """
    for key, kind in _CONFIG_KINDS.items():
        if not isinstance(config.get(key), kind):
            raise ValueError(f"no {key} in it; damaged, or written by an older trainer")
    for split in ("train", "validation"):
        if not isinstance(config["drawings"].get(split), int):
            raise ValueError(f"damaged: no number of {split} drawings in it")
    return Run(directory, config, {key: [] for key in HISTORY_KEYS})


def read_evaluation(directory: str) -> Evaluation:
    """evaluation.json of a run directory.

    Raises:
      UserError: the file is not there, as before the first epoch's end, or damaged.
    """
    path = os.path.join(directory, run_directory.EVALUATION)
    if not os.path.exists(path):
        raise UserError(f"{path}: not there; it is written when an epoch is finished")
    fields = run_directory.read_json(path)
    try:
        return Evaluation(fields["split"], parse_scores(fields), parse_scores(fields["best"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged: {reason_of(error)}") from None


def read_speeds(directory: str) -> list[Speed]:
    """The speed of each epoch's training, from metrics.jsonl; empty without that file.

    Raises:
      UserError: the file is damaged.
    """
    return [Speed(**fields) for fields in _read_metrics(directory, "epoch", Speed)]


def read_intervals(directory: str) -> list[Interval]:
    """The speed of training every ten seconds, from metrics.jsonl; empty without that file.

    Raises:
      UserError: the file is damaged.
    """
    return [Interval(**fields) for fields in _read_metrics(directory, "step", Interval)]


def mean_speed(speeds: Sequence[Speed]) -> float | None:
    """The images a second over epochs of equally many images; None without any."""
    return len(speeds) / sum(1 / speed.images_per_second for speed in speeds) if speeds else None


def run_names(runs: Sequence[Run]) -> list[str]:
    """A printable name for each run: its experiment, or else its directory's name, or path."""
    names = [run.experiment for run in runs]
    directories = [printable(os.path.normpath(run.directory)) for run in runs]
    for distinctions in ([os.path.basename(path) for path in directories], directories):
        names = [
            distinction if names.count(name) > 1 else name
            for name, distinction in zip(names, distinctions, strict=True)
        ]
    return names


def define_run_dirs_flag(*, required: bool = True) -> None:
    """--run_dir of a command that takes any number of runs."""
    cli.define_paths(
        "run_dir",
        None if required else [],
        "Directories of runs, or of several runs such as a sweep's, with commas between.",
        kind="DIR",
        required=required,
    )


def define_checkpoint_flag(default: str) -> None:
    flags.DEFINE_enum(
        "checkpoint",
        default,
        CHECKPOINTS,
        "Which epoch: the best by validation accuracy, or the last.",
    )


def define_dataset_flag() -> None:
    """--dataset of a command that takes one run, whose configuration says where it was."""
    cli.define_path(
        "dataset", None, "Directory of the data set, if it is not where the run found it."
    )


_CONFIG_KINDS = {
    "experiment": str,
    "labels": list,
    "drawings": dict,
    "parameters": int,
    "multiply_adds": int,
    "epochs": int,
    "batch_size": int,
    "dataset": str,
    "dataset_fingerprint": str,
}


def _is_run(path: str) -> bool:
    return os.path.exists(os.path.join(path, run_directory.CONFIG))


def _natural(name: str) -> list[Any]:
    """Sorts numbers in names by their value."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _read_history(directory: str) -> dict[str, list[float]]:
    path = os.path.join(directory, run_directory.HISTORY)
    has_begun = os.path.exists(os.path.join(directory, run_directory.STATE))
    if not has_begun and not os.path.exists(path):  # a run killed as it began
        return {key: [] for key in HISTORY_KEYS}
    fields = run_directory.read_json(path)
    history: dict[str, list[float]] = {}
    for key in HISTORY_KEYS:
        values = fields.get(key)
        if not isinstance(values, list) or not all(map(_is_finite_number, values)):
            raise UserError(f"{path}: damaged: {key} is not a list of numbers")
        history[key] = values
    if len({len(values) for values in history.values()}) > 1:
        raise UserError(f"{path}: damaged: its lists have not equally many epochs")
    return history


def parse_scores(fields: dict[str, Any]) -> Scores:
    """The scores of one epoch, as evaluation.json has them.

    Raises:
      KeyError, TypeError or ValueError: they are not those.
    """
    per_class = tuple(map(_class_score, fields["per_class"]))
    names = ("epoch", "examples", "loss", "top1", "top3", "map3")
    numbers = {name: fields[name] for name in names}
    if not all(map(_is_finite_number, numbers.values())):
        raise TypeError("a score is not a number")
    confusion = np.array(fields["confusion"], np.int64)
    if confusion.shape != (len(per_class), len(per_class)):
        raise ValueError("the confusion matrix does not fit the classes")
    return Scores(**numbers, per_class=per_class, confusion=confusion)


def _class_score(fields: dict[str, Any]) -> ClassScore:
    shares = {
        name: math.nan if fields[name] is None else float(fields[name])
        for name in ("precision", "recall", "f1")
    }
    return ClassScore(fields["label"], int(fields["examples"]), int(fields["correct"]), **shares)


def _read_metrics(directory: str, kind: str, fields: type[Speed]) -> list[dict[str, Any]]:
    """What the lines of one kind in metrics.jsonl have of the fields of a dataclass."""
    path = os.path.join(directory, run_directory.METRICS)
    names = [field.name for field in dataclasses.fields(fields)]
    try:
        with open(path, encoding="utf-8") as file:
            # A run that is still going on may be in the middle of its last line.
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        found = [{name: line[name] for name in names} for line in lines if line["kind"] == kind]
        if not all(_is_finite_number(value) for values in found for value in values.values()):
            raise TypeError("a value is not a number")
        if not all(values["images_per_second"] > 0 for values in found):
            raise ValueError("a speed is not above 0")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged: {reason_of(error)}") from None
    return found


def _is_finite_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def reason_of(error: Exception) -> str:
    """What is wrong with a damaged file, from what reading it raised."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
