"""What a run's model answered to each validation drawing, and those drawings."""

import dataclasses
import os
from collections.abc import Iterable

import numpy as np

from analysis.runs import Run
from pipeline import dataset, records
from pipeline.errors import UserError
from trainer import predictions, run_directory
from trainer.predictions import Predictions

SPLIT = "validation"


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one checkpoint, a line a drawing, in the order of the split."""

    run: Run
    epoch: int  # after which the checkpoint was written
    predictions: Predictions

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
        return (
            f"{self.run.experiment} after epoch {self.epoch}, {self.count:,} {SPLIT} drawings of "
            f"{len(self.run.labels)} categories"
        )


def read_answers(run: Run, checkpoint: str = "best") -> Answers:
    """The answers of the checkpoint "best" or "last" of a run.

    Raises:
      UserError: no epoch is finished, or the file is missing or damaged.
      RunError: the run's state is damaged.
    """
    state = run_directory.read_state(run.directory)
    saved = state.best if checkpoint == "best" else state.last
    if saved is None:
        raise UserError(f"{run.directory}: no epoch is finished yet")
    directory = os.path.join(run.directory, run_directory.CHECKPOINTS)
    path = predictions.path_of(directory, saved.name)
    answers = predictions.load(path)
    count, top = len(answers.labels), answers.top_labels.shape[-1]
    shapes = {
        "labels": (count,),
        "label_probabilities": (count,),
        "top_labels": (count, top),
        "top_probabilities": (count, top),
    }
    for name, shape in shapes.items():
        if getattr(answers, name).shape != shape or count != run.drawings[SPLIT]:
            raise UserError(f"{path}: damaged: {name} does not fit the run")
    indices = np.concatenate([answers.labels, answers.top_labels.ravel()])
    if indices.min() < 0 or indices.max() >= len(run.labels):
        raise UserError(f"{path}: damaged: a class that the run does not have")
    return Answers(run, saved.epoch, answers)


def read_drawings(answers: Answers, directory: str, lines: Iterable[int]) -> dict[int, np.ndarray]:
    """The bitmaps of some of the drawings that were answered.

    Args:
      answers: as read.
      directory: the data set that the run learned from.
      lines: of the answers.

    Returns:
      by line, [85, 85] uint8 of 0 and 1.

    Raises:
      UserError: it is another data set, or damaged.
    """
    manifest = answers.run.check_dataset(directory)
    decode = records.DECODERS[manifest.image["encoding"]]
    wanted = set(lines)
    last = max(wanted, default=-1)
    found: dict[int, np.ndarray] = {}
    for line, example in enumerate(dataset.read_examples(directory, manifest, SPLIT)):
        if line > last:
            break
        if line in wanted:
            try:
                found[line] = decode(example.image)
            except ValueError:
                name = example.key_id.decode(errors="replace")
                raise UserError(f"{directory}: drawing {name} has a damaged image") from None
            if example.label != answers.predictions.labels[line]:
                raise UserError(f"{directory}: not in the order in which the run read it")
    if len(found) < len(wanted):
        raise UserError(
            f"{directory}: its {SPLIT} shards hold fewer drawings than its manifest says"
        )
    return found
