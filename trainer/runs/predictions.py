"""Predictions of a checkpoint for every drawing of a split, for analysis. No TensorFlow here."""

import dataclasses
import os
import zipfile

import numpy as np

from pipeline.cli import UserError

TOP = 3  # classes that are kept of a drawing


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A row a drawing, in the order in which `pipeline.dataset.DataSet` reads the split."""

    labels: np.ndarray  # [N] int16, the true class
    label_probabilities: np.ndarray  # [N] float32, of the true class
    top_labels: np.ndarray  # [N, TOP] int16, the most probable classes, most probable first
    top_probabilities: np.ndarray  # [N, TOP] float32

    @classmethod
    def from_logits(cls, logits: np.ndarray, labels: np.ndarray) -> "Predictions":
        """Compute softmax and top classes of [N, classes] logits; of equals the lower class."""
        logits = logits.astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)
        top = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
        return cls(
            labels.astype(np.int16),
            np.take_along_axis(probabilities, labels[:, np.newaxis].astype(np.intp), 1)[:, 0],
            top.astype(np.int16),
            np.take_along_axis(probabilities, top, 1),
        )

    def at(self, positions: np.ndarray) -> "Predictions":
        """Reorder the drawings: move each to its position, [N] int64."""
        order = np.argsort(positions)
        return Predictions(*(column[order] for column in vars(self).values()))

    @classmethod
    def concatenate(cls, parts: "list[Predictions]") -> "Predictions":
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def path_of(checkpoints: str, name: str) -> str:
    """Return the path beside the checkpoint `name` of the directory `checkpoints`."""
    return os.path.join(checkpoints, f"{name}.predictions.npz")


def save(path: str, predictions: Predictions, **more: np.ndarray) -> None:
    """Write the file, with `more` arrays by name.

    It counts once a run's state, or an evaluation's JSON file, names it.
    """
    with open(path, "wb") as file:
        np.savez(file, **vars(predictions), **more)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def load(path: str) -> Predictions:
    """Read a file of `save`.

    Raises:
      UserError: the file is missing or damaged.
    """
    try:
        with np.load(path) as arrays:
            return Predictions(*(arrays[field.name] for field in dataclasses.fields(Predictions)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
