"""Predictions for every drawing of a split, and those drawings."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from analysis.reading.bitmaps import decode_image, too_few_drawings
from analysis.reading.evaluations import Evaluation
from pipeline.cli import UserError
from pipeline.dataset import manifests, records
from trainer.runs.predictions import Predictions


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


def read_predictions(evaluation: Evaluation) -> SplitPredictions:
    """Read and check the predictions of an evaluation.

    Raises:
      UserError: no epoch is finished, or the file is missing, damaged or not that of the scores.
      RunError: the run's state is damaged.
    """
    path, epoch, arrays, confusion = evaluation.read_predictions()
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
    classes = len(evaluation.labels)
    indices = np.concatenate([arrays.labels, arrays.top_labels.ravel()])
    if indices.min() < 0 or indices.max() >= classes:
        raise UserError(f"{path}: damaged: a class index that the run does not have")
    counted = np.zeros((classes, classes), np.int64)
    np.add.at(counted, (arrays.labels, arrays.top_labels[:, 0]), 1)
    if not np.array_equal(counted, confusion):
        raise UserError(f"{path}: does not fit the scores, which count different predictions")
    return SplitPredictions(evaluation, epoch, arrays)


def read_drawings(
    predictions: SplitPredictions, directory: str, indices: Iterable[int]
) -> dict[int, np.ndarray]:
    """Read the bitmaps of some of the predicted drawings.

    Args:
      predictions: of the drawings.
      directory: the data set of the evaluation.
      indices: of the drawings among the predictions.

    Returns:
      By index, [85, 85] uint8 of 0 and 1.

    Raises:
      UserError: it is a different data set, or damaged.
    """
    manifest = predictions.evaluation.check_dataset(directory)
    wanted = set(indices)
    last = max(wanted, default=-1)
    found: dict[int, np.ndarray] = {}
    for index, (label, example) in enumerate(_evaluated_examples(predictions, directory, manifest)):
        if index > last:
            break
        if index in wanted:
            found[index] = decode_image(directory, manifest.image["encoding"], example)
            if label != predictions.arrays.labels[index]:
                raise UserError(f"{directory}: not in the order in which it was evaluated")
    if len(found) < len(wanted):
        raise too_few_drawings(directory, predictions.split)
    return found


def _evaluated_examples(
    predictions: SplitPredictions, directory: str, manifest: manifests.Manifest
) -> Iterator[tuple[int, records.Example]]:
    """Yield the split's examples whose labels were evaluated, each after its class index there."""
    classes = {label: index for index, label in enumerate(predictions.labels)}
    for example in manifests.DataSet(directory, manifest).examples(predictions.split):
        label = manifest.labels[example.label] if example.label < len(manifest.labels) else None
        if label in classes:
            yield classes[label], example
