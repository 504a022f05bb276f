"""Evaluations to show, of a run or a file of trainer.evaluate: scores, predictions, drawings."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from analysis.reading.bitmaps import decode_image, too_few_drawings
from analysis.reading.runs import CHECKPOINTS, Run, parse_run
from analysis.reading.scores import Scores, parse_scores, read_validation, reason_of
from pipeline.cli import RunError, UserError
from pipeline.dataset import records
from pipeline.dataset.manifests import SPLITS, DataSet, Manifest, read_manifest
from pipeline.sources import categories
from trainer.config import IDENTITY
from trainer.runs import evaluation_files, predictions, run_directory
from trainer.runs.feature_map import FeatureMap
from trainer.runs.predictions import Predictions


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

    def read_predictions(self) -> "SplitPredictions":
        """Read and check the predictions.

        Raises:
          UserError: no epoch is finished, or the file is missing, damaged or of other scores.
          RunError: the run's state is damaged.
        """
        if self.path:
            scores = self.read_scores()
            arrays = evaluation_files.read_predictions(self.path, self.fields)
            path = evaluation_files.predictions_path(self.path)
            _check_predictions(path, arrays, scores.confusion, len(self.labels))
            return SplitPredictions(self, scores.epoch, arrays)
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
        arrays = predictions.load(path)
        _check_predictions(path, arrays, confusion, len(self.labels))
        return SplitPredictions(self, saved.epoch, arrays)

    def read_map(self) -> FeatureMap | None:
        """Read the map of the drawings; None if there is none, as of a run's own validation.

        Raises:
          UserError: the file is missing, damaged or of other scores.
        """
        return evaluation_files.read_map(self.path, self.fields) if self.path else None

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


@dataclasses.dataclass(frozen=True, eq=False)
class SplitPredictions:
    """Predictions of one checkpoint for N drawings, in the order of the split."""

    evaluation: Evaluation
    epoch: int  # after which the checkpoint was written
    arrays: Predictions

    @property
    def labels(self) -> Sequence[str]:
        """Return the categories; the arrays hold their indices."""
        return self.evaluation.labels

    @property
    def split(self) -> str:
        return self.evaluation.split

    @property
    def count(self) -> int:
        return len(self.arrays.labels)

    @property
    def correct(self) -> np.ndarray:
        """Return [N] bool."""
        return self.arrays.top_labels[:, 0] == self.arrays.labels

    @property
    def confidences(self) -> np.ndarray:
        """Return [N] float32, the probability of the predicted category."""
        return self.arrays.top_probabilities[:, 0]

    @property
    def title(self) -> str:
        """Return a title for pictures."""
        return self.evaluation.title(self.epoch, self.count)

    def read_drawings(self, directory: str, indices: Iterable[int]) -> dict[int, np.ndarray]:
        """Read the bitmaps of some of the predicted drawings.

        Args:
          directory: the data set of the evaluation.
          indices: of the drawings among the self.

        Returns:
          By index, [85, 85] uint8 of 0 and 1.

        Raises:
          UserError: it is a different data set, or damaged.
        """
        manifest = self.evaluation.check_dataset(directory)
        wanted = set(indices)
        last = max(wanted, default=-1)
        found: dict[int, np.ndarray] = {}
        for index, (label, example) in enumerate(self._examples(directory, manifest)):
            if index > last:
                break
            if index in wanted:
                found[index] = decode_image(directory, manifest.image["encoding"], example)
                if label != self.arrays.labels[index]:
                    raise UserError(f"{directory}: not in the order in which it was evaluated")
        if len(found) < len(wanted):
            raise too_few_drawings(directory, self.split)
        return found

    def read_fields(self, directory: str, names: Sequence[str]) -> dict[str, list[str | int]]:
        """Read fields of the records of all predicted drawings.

        Args:
          directory: the data set of the evaluation.
          names: of records.FIELDS, that its manifest names.

        Returns:
          By name, the values in the order of the self.

        Raises:
          UserError: it is a different data set, or damaged.
        """
        examples = self._read_examples(directory)
        try:
            return {name: [example.fields[name] for example in examples] for name in names}
        except KeyError as error:
            raise UserError(f"{directory}: a record lacks the field {error.args[0]}") from None

    def read_keys(self, directory: str) -> list[str]:
        """Read the key_ids of all predicted drawings, in the order of the self.

        Raises:
          UserError: it is a different data set, or damaged.
        """
        return [
            example.key_id.decode(errors="replace") for example in self._read_examples(directory)
        ]

    def strokes_files(self, directory: str) -> list[str]:
        """Return the file with the strokes of each category's drawings; empty where none is sure.

        Raises:
          UserError: it is a different data set, or damaged.
        """
        manifest = self.evaluation.check_dataset(directory)
        paths = [str(each["file"]) for each in manifest.inputs]
        by_category: dict[str, list[str]] = {}
        for path, category in zip(
            paths, categories.file_categories(paths, self.labels), strict=True
        ):
            by_category.setdefault(category, []).append(path)
        return [
            found[0] if len(found := by_category.get(label, [])) == 1 else ""
            for label in self.labels
        ]

    def _read_examples(self, directory: str) -> list[records.Example]:
        manifest = self.evaluation.check_dataset(directory)
        examples = list(self._examples(directory, manifest))
        if [label for label, _ in examples] != self.arrays.labels.tolist():
            raise UserError(f"{directory}: not in the order in which it was evaluated")
        return [example for _, example in examples]

    def _examples(
        self, directory: str, manifest: Manifest
    ) -> Iterator[tuple[int, records.Example]]:
        """Yield (class index, example) of the examples whose labels were evaluated."""
        classes = {label: index for index, label in enumerate(self.labels)}
        for example in DataSet(directory, manifest).examples(self.split):
            label = manifest.labels[example.label] if example.label < len(manifest.labels) else None
            if label in classes:
                yield classes[label], example


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
            raise ValueError("per_class does not match the labels")
        if scores.confusion.sum() != scores.examples or not scores.examples:
            raise ValueError("the confusion matrix has a different number of examples")
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
            f"{path}: belongs to a different run than {run.directory}, which differs in "
            f"{different[0]}"
        )
    return dataclasses.replace(found, run=run)


def _check_predictions(path: str, arrays: Predictions, confusion: np.ndarray, classes: int) -> None:
    """Raise UserError unless predictions fit each other and the confusion matrix."""
    count, top = len(arrays.labels), arrays.top_labels.shape[-1]
    shapes = {
        "labels": (count,),
        "label_probabilities": (count,),
        "top_labels": (count, top),
        "top_probabilities": (count, top),
    }
    for name, shape in shapes.items():
        if getattr(arrays, name).shape != shape or count != confusion.sum():
            raise UserError(f"{path}: damaged: {name} does not fit the run")
    indices = np.concatenate([arrays.labels, arrays.top_labels.ravel()])
    if indices.min() < 0 or indices.max() >= classes:
        raise UserError(f"{path}: damaged: a class index that the run does not have")
    counted = np.zeros((classes, classes), np.int64)
    np.add.at(counted, (arrays.labels, arrays.top_labels[:, 0]), 1)
    if not np.array_equal(counted, confusion):
        raise UserError(f"{path}: does not fit the scores, which count different predictions")


def _typed(fields: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(fields[name], kind):
        raise TypeError(f"{name} is not a {kind.__name__}")
    return fields[name]


def _checkpoint(value: str) -> str:
    return value if value.isdigit() else _one_of(value, CHECKPOINTS)


def _one_of(value: str, values: Sequence[str]) -> str:
    if value not in values:
        raise ValueError(f"{value!r} is not one of {', '.join(values)}")
    return value
