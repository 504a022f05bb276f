"""Scores of epochs: of all drawings of a split, of each category, and the confusion matrix."""

import dataclasses
import math
import os
from typing import Any

import numpy as np

from pipeline.cli import UserError
from trainer.runs import run_directory


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """Scores of one category. Shares are NaN when the denominator is zero."""

    label: str
    examples: int
    correct: int
    precision: float  # share of the drawings predicted as this category that are of it
    recall: float  # share of its drawings that are recognized: the category's accuracy
    f1: float


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the model of one epoch on a split. Shares from 0 to 1."""

    epoch: int
    examples: int
    loss: float
    top1: float
    top3: float
    map3: float
    per_class: tuple[ClassScore, ...]
    confusion: np.ndarray  # [classes, classes] drawings of the row's class by predicted class


@dataclasses.dataclass(frozen=True)
class Validation:
    """Scores of a run's last epoch, and of its best one by top-1."""

    split: str
    last: Scores
    best: Scores

    def at(self, checkpoint: str) -> Scores:
        """Return the scores of "best" or "last"."""
        return self.best if checkpoint == "best" else self.last


def read_validation(directory: str) -> Validation:
    """Read evaluation.json of a run directory.

    Raises:
      UserError: the file is missing, as before the end of the first epoch, or damaged.
    """
    path = os.path.join(directory, run_directory.EVALUATION)
    if not os.path.exists(path):
        raise UserError(f"{path}: missing; it is written when an epoch is finished")
    fields = run_directory.read_json(path)
    try:
        return Validation(fields["split"], parse_scores(fields), parse_scores(fields["best"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged: {reason_of(error)}") from None


def parse_scores(fields: dict[str, Any]) -> Scores:
    """Return the scores of one epoch from the fields of evaluation.json.

    Raises:
      KeyError, TypeError or ValueError: they are damaged.
    """
    per_class = tuple(map(_class_score, fields["per_class"]))
    names = ("epoch", "examples", "loss", "top1", "top3", "map3")
    numbers = {name: fields[name] for name in names}
    if not all(map(is_finite_number, numbers.values())):
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


def is_finite_number(value: Any) -> bool:
    """Return whether a JSON value is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def reason_of(error: Exception) -> str:
    """Return what is wrong with a damaged file, from what reading it raised."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
