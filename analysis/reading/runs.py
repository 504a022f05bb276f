"""Run directories, finished or not; `trainer.runs.run_directory` describes their files."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from analysis.reading.scores import is_finite_number, read_validation, reason_of
from pipeline.cli import UserError, printable
from pipeline.dataset.manifests import Manifest, read_manifest
from trainer.runs import run_directory
from trainer.runs.state import HISTORY_KEYS

CHECKPOINTS = ("best", "last")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's settings and its history."""

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
        """Return the number of drawings of the training and the validation split."""
        return self.config["drawings"]

    @property
    def parameters(self) -> int:
        return self.config["parameters"]

    @property
    def multiply_adds(self) -> int:
        """Return those of one image."""
        return self.config["multiply_adds"]

    @property
    def epochs(self) -> int:
        """Return how many are finished."""
        return len(self.history["val_accuracy"])

    @property
    def best_epoch(self) -> tuple[int, float]:
        """Return (epoch from 1, validation accuracy) of the first of the best epochs."""
        return best_epoch(self.history["val_accuracy"], "accuracy")

    @property
    def planned_epochs(self) -> int:
        return run_directory.latest(self.config, "epochs")

    @property
    def is_finished(self) -> bool:
        """Return whether nothing is left to train: all epochs are done, or it stopped early."""
        patience = run_directory.latest(self.config, "early_stopping") or 0
        best = self.best_epoch[0] if self.epochs else 0
        return self.epochs >= self.planned_epochs or 0 < patience <= self.epochs - best

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.drawings["train"] / self.config["batch_size"])

    def check_dataset(self, directory: str) -> Manifest:
        """Return the manifest of the data set that the run was trained on.

        Raises:
          UserError: it is a different data set, or none.
        """
        manifest = read_manifest(directory)
        if manifest.fingerprint != self.config["dataset_fingerprint"]:
            raise UserError(
                f"{self.directory}: the run was trained on a different data set than {directory}"
            )
        return manifest


@dataclasses.dataclass(frozen=True)
class Speed:
    """Training speed of some steps, without pauses for validation and checkpoints."""

    epoch: int  # of the steps, from 1
    step: int  # the last of them, counted over all epochs
    images_per_second: float
    input_wait_share: float  # of the time


@dataclasses.dataclass(frozen=True)
class Interval(Speed):
    """Training speed of about ten seconds."""

    learning_rate: float  # at its end


@dataclasses.dataclass(frozen=True)
class Details:
    """Details of a run that its history does not hold."""

    # By epoch: of each that was logged with it, and of the best and the last epoch.
    top3: dict[int, float]
    losses: list[tuple[float, float]]  # (epochs so far, mean training loss) every ten seconds


def find_runs(paths: Sequence[str]) -> list[str]:
    """Return the run directories among `paths` and directly in those that are none.

    Each appears once. Those of one directory are sorted by name, E2_7 before E2_10.

    Raises:
      UserError: a path is neither a run directory nor holds any.
    """
    found: list[str] = []
    for path in paths:
        if _is_run(path) or not os.path.isdir(path):
            found.append(path)  # `read_run` raises if it is no directory
            continue
        names = [name for name in os.listdir(path) if _is_run(os.path.join(path, name))]
        if not names:
            raise UserError(f"{path}: no run directory (no {run_directory.CONFIG}), and none in it")
        found += [os.path.join(path, name) for name in sorted(names, key=_natural)]
    unique: dict[str, str] = {}
    for path in found:
        unique.setdefault(os.path.realpath(path), path)
    return list(unique.values())


def read_runs(
    paths: Sequence[str],
    skip: Callable[[UserError], object],
    checks: Sequence[Callable[[Run], None]] = (),
) -> list[Run]:
    """Read the runs of `find_runs` that can be read.

    Args:
      paths: of run directories, or of directories of them.
      skip: called with the reason for each run that is left out.
      checks: `check_scores` and the like, of what is needed of a run besides its history.

    Raises:
      UserError: a path is neither a run directory nor holds any, or no run can be read.
    """
    runs, errors = [], []
    for directory in find_runs(paths):
        if not _is_run(directory):
            run_directory.read_config(directory)  # raises the reason
        try:
            run = read_run(directory)
            for check in checks:
                check(run)
            runs.append(run)
        except UserError as error:
            errors.append(error)
    if errors and not runs:
        raise errors[0]
    for reason in errors:
        skip(reason)
    return runs


def check_scores(run: Run) -> None:
    """Raise UserError if the scores of the run's finished epochs cannot be read."""
    if run.epochs:
        read_validation(run.directory)


def check_speed(run: Run) -> None:
    """Raise UserError if the run's metrics.jsonl cannot be read."""
    read_speeds(run.directory)
    read_intervals(run.directory)


def read_run(directory: str) -> Run:
    """Read the configuration and the history, which may be empty, of a run directory.

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
    """Return a run without its history.

    Args:
      directory: of the run.
      config: the content of config.json.

    Raises:
      ValueError: a field is missing or damaged.
    """
    for key, kind in _CONFIG_KINDS.items():
        if not isinstance(config.get(key), kind):
            raise ValueError(f"no {key} in it; damaged, or written by an older trainer")
    for split in ("train", "validation"):
        if not isinstance(config["drawings"].get(split), int):
            raise ValueError(f"damaged: no number of {split} drawings in it")
    return Run(directory, config, {key: [] for key in HISTORY_KEYS})


def read_speeds(directory: str) -> list[Speed]:
    """Read the training speed of each epoch from metrics.jsonl; empty without that file.

    Raises:
      UserError: the file is damaged.
    """
    return [Speed(**fields) for fields in _read_metrics(directory, "epoch", Speed)]


def read_intervals(directory: str) -> list[Interval]:
    """Read the training speed every ten seconds from metrics.jsonl; empty without that file.

    Raises:
      UserError: the file is damaged.
    """
    return [Interval(**fields) for fields in _read_metrics(directory, "step", Interval)]


def read_details(run: Run) -> Details:
    """Read validation top-3 and the loss within epochs, as far as the run's files hold them.

    Raises:
      UserError: metrics.jsonl or evaluation.json is damaged.
    """
    lines = _read_lines(os.path.join(run.directory, run_directory.METRICS))
    top3 = {int(epoch): top3 for epoch, top3 in _numbers(lines, "epoch", "epoch", "val_top3")}
    if os.path.exists(os.path.join(run.directory, run_directory.EVALUATION)):
        validation = read_validation(run.directory)
        top3 |= {each.epoch: each.top3 for each in (validation.best, validation.last)}
    steps = _numbers(lines, "step", "step", "loss")
    return Details(
        {epoch: top3[epoch] for epoch in sorted(top3) if epoch <= run.epochs},
        [(step / run.steps_per_epoch, loss) for step, loss in steps],
    )


def _numbers(
    lines: Sequence[dict[str, Any]], kind: str, first: str, second: str
) -> list[tuple[float, float]]:
    """Return two numbers of each line of a kind that has both."""
    names = (first, second)
    of_kind = [line for line in lines if line.get("kind") == kind]
    has_both = [line for line in of_kind if all(is_finite_number(line.get(name)) for name in names)]
    return [(line[first], line[second]) for line in has_both]


def mean_speed(speeds: Sequence[Speed]) -> float | None:
    """Return the images/s over epochs of equally many images; None without any."""
    return len(speeds) / sum(1 / speed.images_per_second for speed in speeds) if speeds else None


def read_training_time(run: Run) -> tuple[float, float] | None:
    """Return (seconds, images/s) of the finished epochs' training; None without metrics.

    Raises:
      UserError: metrics.jsonl is damaged.
    """
    speeds = read_speeds(run.directory)
    mean = mean_speed(speeds)
    return (len(speeds) * run.drawings["train"] / mean, mean) if mean else None


def best_epoch(values: Sequence[float], metric: str) -> tuple[int, float]:
    """Return (epoch from 1, value) of the highest accuracy or lowest loss, the first of equals."""
    best = max(values) if metric == "accuracy" else min(values)
    return values.index(best) + 1, best


def run_names(runs: Sequence[Run]) -> list[str]:
    """Return a printable name for each run: its experiment, else its directory's name or path."""
    names = [run.experiment for run in runs]
    directories = [printable(os.path.normpath(run.directory)) for run in runs]
    for distinctions in ([os.path.basename(path) for path in directories], directories):
        names = [
            distinction if names.count(name) > 1 else name
            for name, distinction in zip(names, distinctions, strict=True)
        ]
    return names


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
    """Return a key that sorts numbers in names by their value."""
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
        if not isinstance(values, list) or not all(map(is_finite_number, values)):
            raise UserError(f"{path}: damaged: {key} is not a list of numbers")
        history[key] = values
    if len({len(values) for values in history.values()}) > 1:
        raise UserError(f"{path}: damaged: its lists differ in length")
    return history


def _read_metrics(directory: str, kind: str, fields: type[Speed]) -> list[dict[str, Any]]:
    """Return the fields of a dataclass from the lines of one kind in metrics.jsonl."""
    path = os.path.join(directory, run_directory.METRICS)
    names = [field.name for field in dataclasses.fields(fields)]
    lines = _read_lines(path)
    try:
        found = [{name: line[name] for name in names} for line in lines if line["kind"] == kind]
        if not all(is_finite_number(value) for values in found for value in values.values()):
            raise TypeError("a value is not a number")
        if not all(values["images_per_second"] > 0 for values in found):
            raise ValueError("a speed is not above 0")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged: {reason_of(error)}") from None
    return found


def _read_lines(path: str) -> list[dict[str, Any]]:
    """Return the objects of metrics.jsonl; none without that file."""
    try:
        with open(path, encoding="utf-8") as file:
            # An unfinished run may be in the middle of its last line.
            lines = [json.loads(line) for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged: {reason_of(error)}") from None
    if not all(isinstance(line, dict) for line in lines):
        raise UserError(f"{path}: damaged: a line is not an object")
    return lines
