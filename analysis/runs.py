"""Reads run directories, finished or still growing; trainer.run_directory says what they hold."""

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from typing import Any

from pipeline.errors import UserError
from trainer import run_directory


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


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """How many of a category's drawings were recognized at once."""

    label: str
    examples: int
    correct: int

    @property
    def accuracy(self) -> float:
        """NaN without examples."""
        return self.correct / self.examples if self.examples else math.nan


@dataclasses.dataclass(frozen=True)
class Scores:
    """What the model of one epoch achieves on a split. Shares from 0 to 1."""

    epoch: int
    examples: int
    top1: float
    top3: float
    map3: float
    per_class: tuple[ClassScore, ...]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A run's last epoch, and its best one by top-1."""

    split: str
    last: Scores
    best: Scores


def read_run(directory: str) -> Run:
    """The configuration and the history of a run directory.

    Raises:
      UserError: it is no run directory, a file is missing or damaged, or no epoch is finished yet.
    """
    config = run_directory.read_config(directory)
    path = os.path.join(directory, run_directory.CONFIG)
    for key, kind in (("experiment", str), ("labels", list), ("drawings", dict)):
        if not isinstance(config.get(key), kind):
            raise UserError(f"{path}: damaged: no {key} in it")
    return Run(directory, config, _read_history(directory))


def read_evaluation(directory: str) -> Evaluation:
    """evaluation.json of a run directory.

    Raises:
      UserError: the file is missing or damaged.
    """
    path = os.path.join(directory, run_directory.EVALUATION)
    fields = _read_json(path)
    try:
        return Evaluation(fields["split"], _scores(fields), _scores(fields["best"]))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged: {_reason(error)}") from None


def training_speed(directory: str) -> list[float]:
    """The images a second of each epoch's training, from metrics.jsonl; empty without that file.

    Raises:
      UserError: the file is damaged.
    """
    path = os.path.join(directory, run_directory.METRICS)
    try:
        with open(path, encoding="utf-8") as file:
            # A run that is still going on may be in the middle of its last line.
            metrics = [json.loads(line) for line in file if line.endswith("\n")]
        return [float(line["images_per_second"]) for line in metrics if line["kind"] == "epoch"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged: {_reason(error)}") from None


def run_names(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its experiment; where those clash its directory's name, or path."""
    names = [run.experiment for run in runs]
    directories = [os.path.normpath(run.directory) for run in runs]
    for distinctions in ([os.path.basename(path) for path in directories], directories):
        names = [
            distinction if names.count(name) > 1 else name
            for name, distinction in zip(names, distinctions, strict=True)
        ]
    return names


def _read_history(directory: str) -> dict[str, list[float]]:
    path = os.path.join(directory, run_directory.HISTORY)
    fields = _read_json(path)
    history = {}
    for key in run_directory.HISTORY_KEYS:
        values = fields.get(key)
        if not isinstance(values, list) or not all(map(_is_finite_number, values)):
            raise UserError(f"{path}: damaged: {key} is not a list of numbers")
        if not values:
            raise UserError(f"{path}: no finished epoch in it yet")
        history[key] = values
    return history


def _scores(fields: dict[str, Any]) -> Scores:
    per_class = tuple(
        ClassScore(score["label"], score["examples"], score["correct"])
        for score in fields["per_class"]
    )
    numbers = {name: fields[name] for name in ("epoch", "examples", "top1", "top3", "map3")}
    if not all(map(_is_finite_number, numbers.values())):
        raise TypeError("a score is not a number")
    return Scores(**numbers, per_class=per_class)


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            fields = json.load(file)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged: not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise UserError(f"{path}: damaged: not a JSON object")
    return fields


def _is_finite_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
