"""Pairs of categories that a run's model confuses most, with drawings of both.

python -m analysis.confused_pairs RUN -o pairs.png
python -m analysis.confused_pairs --evaluation=test.json -o pairs.png
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis import commands
from analysis.reading.evaluations import Evaluation, SplitPredictions
from analysis.reading.similar_order import similarity
from analysis.style import image_grid, texts
from analysis.style.image_grid import FAINT_INK, INK, Cell, GridSection, Text
from pipeline.cli import UserError

NAME_WIDTH = 1.2  # inches at most, of each of the two texts beside the drawings
NAME_SIZE = 7.5  # points
COLUMN_GAP = 50  # pixels of the PNG between the two sides of a pair, as the next
ROW_GAP = 22


class Confusion(NamedTuple):
    """Drawings of one category predicted as another."""

    label: str
    predicted: str
    number: int  # of drawings
    examples: int  # of the label
    mistaken: list[int]  # indices of some of the drawings
    recognized: list[int]  # indices of correct drawings of the label, to fill up

    @property
    def indices(self) -> list[int]:
        """Return the indices of all drawings to show."""
        return self.mistaken + self.recognized

    @property
    def inks(self) -> list[int]:
        """Return the gray levels of the drawings to show."""
        return [INK] * len(self.mistaken) + [FAINT_INK] * len(self.recognized)


def plot_confused_pairs(
    evaluation: Evaluation, dataset: str, pairs: int = 12, per_category: int = 6
) -> Figure:
    """Plot the most confused pairs of categories, a row each, with drawings.

    Where there are too few confused drawings, recognized ones follow in gray.

    Args:
      evaluation: of a run with a finished epoch.
      dataset: the directory of its data set.
      pairs: how many to show, if there are as many.
      per_category: drawings of each category, the first in the data set's random order.

    Raises:
      UserError: there are no predictions yet, no mistakes, or a file is missing or damaged.
    """
    predictions = evaluation.read_predictions()
    found = most_confused(predictions, pairs, per_category)
    if not found:
        raise UserError(f"{evaluation.description} makes no mistakes")
    indices = [index for pair in found for each in pair for index in each.indices]
    drawings = predictions.read_drawings(dataset, indices)
    pairs_found = "most confused pair" if len(found) == 1 else f"{len(found)} most confused pairs"
    title = f"{predictions.title}: the {pairs_found}"
    if any(each.recognized for pair in found for each in pair):
        title += " (gray: recognized)"
    rows = [[_cell(each, drawings) for each in pair] for pair in found]
    return image_grid.plot_image_grid(
        [GridSection("", rows)], title, column_gap=COLUMN_GAP, row_gap=ROW_GAP
    )


def most_confused(
    predictions: SplitPredictions, pairs: int, drawings: int
) -> list[tuple[Confusion, Confusion]]:
    """Return pairs of categories with the highest share of confused drawings, both ways added.

    Of each pair the category with the larger share comes first. At most `pairs`, and `drawings` of
    a category.
    """
    truth, predicted = predictions.arrays.labels, predictions.arrays.top_labels[:, 0]
    classes = len(predictions.labels)
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    examples = matrix.sum(axis=1)
    similarities = np.triu(similarity(matrix))
    order = np.argsort(-similarities, axis=None, kind="stable")[:pairs]

    def confusion(label: int, other: int) -> Confusion:
        mistaken = np.flatnonzero((truth == label) & (predicted == other))
        recognized = np.flatnonzero((truth == label) & predictions.correct)
        return Confusion(
            predictions.labels[label],
            predictions.labels[other],
            len(mistaken),
            int(examples[label]),
            mistaken[:drawings].tolist(),
            recognized[: max(0, drawings - len(mistaken))].tolist(),
        )

    found = []
    for a, b in zip(*np.unravel_index(order, similarities.shape), strict=True):
        if similarities[a, b] > 0:
            both = confusion(a, b), confusion(b, a)
            found.append(max(both, both[::-1], key=lambda pair: _share(pair[0])))
    return found


def _share(confusion: Confusion) -> float:
    return confusion.number / confusion.examples if confusion.examples else 0


def _cell(confusion: Confusion, drawings: Mapping[int, np.ndarray]) -> Cell:
    shown = [drawings[index] for index in confusion.indices]
    image = image_grid.arrange(shown, max(1, len(shown)), confusion.inks)
    name = texts.wrap_to_width(confusion.label, NAME_WIDTH, NAME_SIZE, "bold")
    other = texts.wrap_to_width(f"taken for {confusion.predicted}:", NAME_WIDTH, NAME_SIZE)
    other.append(f"{confusion.number:,} of {confusion.examples:,}")
    return Cell(image, [Text(name, NAME_SIZE, {"fontweight": "bold"}), Text(other, NAME_SIZE)])


COMMAND = commands.PictureCommand(
    commands.EVALUATED_DRAWINGS,
    plot_confused_pairs,
    {
        "pairs": commands.integer(12, "Pairs of categories.", 1, 500),
        "per_category": commands.integer(6, "Drawings of each category of a pair.", 1, 100),
    },
)

if __name__ == "__main__":
    COMMAND.run()
