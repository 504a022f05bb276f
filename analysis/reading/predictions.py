"""What a model answered to each drawing of a split, and those drawings."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from analysis.reading.evaluations import ShownEvaluation
from pipeline.cli import UserError
from pipeline.dataset import manifests, records
from trainer.runs.predictions import Predictions


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one checkpoint, a line a drawing, in the order of the split."""

    evaluation: ShownEvaluation
    epoch: int  # after which the checkpoint was written
    predictions: Predictions

    @property
    def labels(self) -> Sequence[str]:
        """The categories, of which the predictions hold the places."""
        return self.evaluation.labels

    @property
    def split(self) -> str:
        return self.evaluation.split

    @property
    def count(self) -> int:
        return len(self.predictions.labels)

    @property
    def are_right(self) -> np.ndarray:
        """[N] bool"""
        return self.predictions.top_labels[:, 0] == self.predictions.labels

    @property
    def confidences(self) -> np.ndarray:
        """[N] float32, the probability of the category that was predicted"""
        return self.predictions.top_probabilities[:, 0]

    @property
    def subject(self) -> str:
        """For titles."""
        return self.evaluation.title(self.epoch, self.count)


def read_answers(evaluation: ShownEvaluation) -> Answers:
    """The answers of an evaluation.

    Raises:
      UserError: no epoch is finished, or the file is missing, damaged or not that of the scores.
      RunError: the run's state is damaged.
    """
    path, epoch, answers, confusion = evaluation.read_predictions()
    count, top = len(answers.labels), answers.top_labels.shape[-1]
    shapes = {
        "labels": (count,),
        "label_probabilities": (count,),
        "top_labels": (count, top),
        "top_probabilities": (count, top),
    }
    for name, shape in shapes.items():
        if getattr(answers, name).shape != shape or count != confusion.sum():
            raise UserError(f"{path}: damaged: {name} does not fit the run")
    classes = len(evaluation.labels)
    indices = np.concatenate([answers.labels, answers.top_labels.ravel()])
    if indices.min() < 0 or indices.max() >= classes:
        raise UserError(f"{path}: damaged: a class that the run does not have")
    counted = np.zeros((classes, classes), np.int64)
    np.add.at(counted, (answers.labels, answers.top_labels[:, 0]), 1)
    if not np.array_equal(counted, confusion):
        raise UserError(f"{path}: does not belong to the scores, which count other answers")
    return Answers(evaluation, epoch, answers)


def read_drawings(answers: Answers, directory: str, lines: Iterable[int]) -> dict[int, np.ndarray]:
    """The bitmaps of some of the drawings that were answered.

    Args:
      answers: as read.
      directory: the data set of the evaluation.
      lines: of the answers.

    Returns:
      by line, [85, 85] uint8 of 0 and 1.

    Raises:
      UserError: it is another data set, or damaged.
    """
    manifest = answers.evaluation.check_dataset(directory)
    decode = records.DECODERS[manifest.image["encoding"]]
    wanted = set(lines)
    last = max(wanted, default=-1)
    found: dict[int, np.ndarray] = {}
    for line, (label, example) in enumerate(_answered(answers, directory, manifest)):
        if line > last:
            break
        if line in wanted:
            try:
                found[line] = decode(example.image)
            except ValueError:
                name = example.key_id.decode(errors="replace")
                raise UserError(f"{directory}: drawing {name} has a damaged image") from None
            if label != answers.predictions.labels[line]:
                raise UserError(f"{directory}: not in the order in which it was evaluated")
    if len(found) < len(wanted):
        raise UserError(
            f"{directory}: its {answers.split} shards hold fewer drawings than its manifest says"
        )
    return found


def _answered(
    answers: Answers, directory: str, manifest: manifests.Manifest
) -> Iterator[tuple[int, records.Example]]:
    """The examples of the split whose labels were evaluated, each with its class there."""
    classes = {label: index for index, label in enumerate(answers.labels)}
    for example in manifests.DataSet(directory, manifest).examples(answers.split):
        label = manifest.labels[example.label] if example.label < len(manifest.labels) else None
        if label in classes:
            yield classes[label], example
