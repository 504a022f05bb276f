"""Evaluations to show: a checkpoint of a run as validated, or a file of trainer.evaluate."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.reading.runs import CHECKPOINTS, Run, parse_run
from analysis.reading.scores import Scores, parse_scores, read_validation, reason_of
from pipeline.cli import RunError, UserError
from pipeline.dataset.manifests import SPLITS, Manifest, read_manifest
from trainer.config import IDENTITY
from trainer.runs import evaluation_files, predictions, run_directory
from trainer.runs.predictions import Predictions


class SavedPredictions(NamedTuple):
    """Predictions of a file, and the scores that they have to fit."""

    path: str
    epoch: int  # after which the checkpoint was written
    predictions: Predictions
    confusion: np.ndarray  # of the scores: see `Scores`


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Evaluation of one checkpoint on one split: `validation_of` a run, or `read_saved`."""

    run: Run
    checkpoint: str  # one of CHECKPOINTS; of a file also the number of an epoch
    split: str
    labels: Sequence[str]  # the categories that can be predicted
    dataset: str  # the directory where its data set was
    dataset_fingerprint: str
    is_mirrored: bool = False  # whether predictions are means with mirror images
    path: str = ""  # of the JSON file; empty for the run's own validation
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)  # of that file

    @property
    def name(self) -> str:
        """Return a name for headings, beside others of the run."""
        return self.split if self.path else f"{self.checkpoint} epoch"

    @property
    def description(self) -> str:
        """Return a description for errors."""
        return self.path or f"{self.run.directory}: its {self.checkpoint} checkpoint"

    def title(self, epoch: int, drawings: int) -> str:
        """Return a title: run, epoch, drawings and categories."""
        mirrored = " (mean with mirror images)" if self.is_mirrored else ""
        return (
            f"{self.run.experiment} after epoch {epoch}, {drawings:,} {self.split} drawings"
            f"{mirrored} of {len(self.labels)} categories"
        )

    def read_scores(self) -> Scores:
        """Read the scores.

        Raises:
          UserError: no epoch of the run is finished, or its evaluation.json is damaged.
        """
        if self.path:
            return parse_scores(self.fields)
        return read_validation(self.run.directory).at(self.checkpoint)

    def read_predictions(self) -> SavedPredictions:
        """Read the predictions without checking them.

        Raises:
          UserError: no epoch of the run is finished, or the file is missing or damaged.
          RunError: the run's state is damaged.
        """
        if self.path:
            scores = self.read_scores()
            found = evaluation_files.read_predictions(self.path, self.fields)
            path = evaluation_files.predictions_path(self.path)
            return SavedPredictions(path, scores.epoch, found, scores.confusion)
        state = run_directory.read_state(self.run.directory)
        saved = state.best if self.checkpoint == "best" else state.last
        if saved is None:
            raise UserError(f"{self.run.directory}: no epoch is finished yet")
        directory = os.path.join(self.run.directory, run_directory.CHECKPOINTS)
        path = predictions.path_of(directory, saved.name)
        try:
            confusion = np.array(saved.evaluation["confusion"], np.int64)
        except (KeyError, TypeError, ValueError) as error:
            state_path = os.path.join(self.run.directory, run_directory.STATE)
            raise RunError(f"{state_path}: damaged: {reason_of(error)}") from None
        return SavedPredictions(path, saved.epoch, predictions.load(path), confusion)

    def check_dataset(self, directory: str) -> Manifest:
        """Return the manifest of the data set with the drawings.

        Raises:
          UserError: it is a different data set, or none.
        """
        if not self.path:
            return self.run.check_dataset(directory)
        manifest = read_manifest(directory)
        if manifest.fingerprint != self.dataset_fingerprint:
            raise UserError(f"{self.path}: of a different data set than {directory}")
        return manifest


def validation_of(run: Run, checkpoint: str = "best") -> Evaluation:
    """Return the evaluation of a checkpoint on the validation split, as training wrote it."""
    config = run.config
    return Evaluation(
        run, checkpoint, "validation", run.labels, config["dataset"], config["dataset_fingerprint"]
    )


def read_saved(path: str) -> Evaluation:
    """Read a file of trainer.evaluate --output; its run has a configuration, but no history.

    Raises:
      UserError: the file is missing, damaged, or no evaluation.
    """
    fields = evaluation_files.read(path)
    try:
        found = Evaluation(
            run=parse_run(_typed(fields, "run_dir", str), _typed(fields, "run", dict)),
            checkpoint=_checkpoint(fields["checkpoint"]),
            split=_one_of(fields["split"], SPLITS),
            labels=_typed(fields, "labels", list),
            dataset=_typed(fields, "dataset", str),
            dataset_fingerprint=_typed(fields, "dataset_fingerprint", str),
            is_mirrored=_typed(fields, "mirror", bool),
            path=path,
            fields=fields,
        )
        scores = parse_scores(fields)
        if [score.label for score in scores.per_class] != list(found.labels):
            raise ValueError("per_class is not of the labels")
        if scores.confusion.sum() != scores.examples or not scores.examples:
            raise ValueError("the confusion matrix is not of so many examples")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged: {reason_of(error)}") from None
    return found


def read_saved_of(run: Run, path: str) -> Evaluation:
    """Read such a file together with the run that was evaluated.

    Raises:
      UserError: as `read_saved`, or it is of a different run.
    """
    found = read_saved(path)
    there, here = found.run.config, run.config
    names = ("experiment", "architecture", "dataset_fingerprint", *IDENTITY)
    different = [
        name for name in names if name in there and name in here and there[name] != here[name]
    ]
    if different:
        raise UserError(
            f"{path}: of a different run than {run.directory}, which differs in {different[0]}"
        )
    return dataclasses.replace(found, run=run)


def _typed(fields: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(fields[name], kind):
        raise TypeError(f"{name} is no {kind.__name__}")
    return fields[name]


def _checkpoint(value: str) -> str:
    return value if value.isdigit() else _one_of(value, CHECKPOINTS)


def _one_of(value: str, values: Sequence[str]) -> str:
    if value not in values:
        raise ValueError(f"{value!r} is none of {', '.join(values)}")
    return value
