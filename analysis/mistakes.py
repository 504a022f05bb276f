"""Worst mistakes of a run's model, and its least certain predictions, as drawings.

python -m analysis.mistakes RUN -o mistakes.png
python -m analysis.mistakes --evaluation=test.json -o mistakes.png

The true category is above each drawing, the predicted ones below, with probabilities.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis import commands
from analysis.reading.evaluations import Evaluation, SplitPredictions
from analysis.style import figures, image_grid, texts
from analysis.style.image_grid import Cell, GridSection, Text

COLUMNS = 6
GUESSES = 3  # shown of an uncertain prediction
SCALE = 2

CAPTION_WIDTH = 224  # pixels of the PNG, as the next
GAP = 26
CAPTION_SIZE = 7  # points
CORRECT_MARK = " ✓"


def plot_mistakes(evaluation: Evaluation, dataset: str, count: int = 18) -> Figure:
    """Plot the worst mistakes and the least certain predictions of an evaluation.

    Args:
      evaluation: of a run with a finished epoch.
      dataset: the directory of its data set.
      count: how many of each kind to show, if there are as many.

    Raises:
      UserError: there are no predictions yet, or a file is missing or damaged.
    """
    predictions = evaluation.read_predictions()
    worst, uncertain = worst_mistakes(predictions, count), least_certain(predictions, count)
    drawings = predictions.read_drawings(dataset, [*worst, *uncertain])
    sections = {
        f"Worst {len(worst)} of {(~predictions.correct).sum():,} mistakes. "
        "Bold: the true category and its probability; below: the predicted one": (worst, 1),
        f"{len(uncertain)} least certain predictions. "
        "Bold: the true category and its probability; below: the most probable ones": (
            uncertain,
            GUESSES,
        ),
    }
    return image_grid.plot_image_grid(
        [
            GridSection(heading, _rows(predictions, drawings, indices, guesses))
            for heading, (indices, guesses) in sections.items()
            if indices
        ],
        predictions.title,
        scale=SCALE, column_gap=GAP, row_gap=GAP, section_gap=30, cell_width=CAPTION_WIDTH,
    )  # fmt: skip


def worst_mistakes(predictions: SplitPredictions, count: int) -> list[int]:
    """Return the indices of mistakes with the lowest probability of the true category.

    Of equal ones, as where it is 0, a higher probability of the wrong category is worse.
    """
    indices = np.flatnonzero(~predictions.correct)
    truth = predictions.arrays.label_probabilities[indices]
    order = np.lexsort((indices, -predictions.confidences[indices], truth))
    return indices[order][:count].tolist()


def least_certain(predictions: SplitPredictions, count: int) -> list[int]:
    """Return the indices of predictions with the lowest probability of the predicted category.

    "Least confidence" of B. Settles, "Active learning literature survey" (2009).
    """
    return np.argsort(predictions.confidences, kind="stable")[:count].tolist()


def captions(
    predictions: SplitPredictions, index: int, guesses: int
) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """Return (category, probability) of the truth, and of the first `guesses` predictions.

    A correct one of several guesses is marked.
    """
    arrays, labels = predictions.arrays, predictions.labels
    truth = arrays.labels[index]
    below = []
    for label, probability in zip(
        arrays.top_labels[index, :guesses], arrays.top_probabilities[index, :guesses], strict=True
    ):
        mark = CORRECT_MARK if label == truth and guesses > 1 else ""
        below.append((labels[label], texts.probability(probability) + mark))
    return (labels[truth], texts.probability(arrays.label_probabilities[index])), below


def _rows(
    predictions: SplitPredictions,
    drawings: Mapping[int, np.ndarray],
    indices: Sequence[int],
    guesses: int,
) -> list[list[Cell]]:
    cells = []
    for index in indices:
        truth, guessed = captions(predictions, index, guesses)
        cells.append(
            Cell(
                image_grid.arrange([drawings[index]], 1),
                above=[_caption(*truth, fontweight="bold")],
                below=[_caption(*guess) for guess in guessed],
            )
        )
    return [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]


def _caption(label: str, probability: str, **style: str) -> Text:
    weight = style.get("fontweight", "normal")
    width = CAPTION_WIDTH / figures.DPI
    lines = texts.wrap_to_width(f"{label} {probability}", width, CAPTION_SIZE, weight)
    return Text(lines, CAPTION_SIZE, style)


COMMAND = commands.PictureCommand(
    commands.EVALUATED_DRAWINGS,
    plot_mistakes,
    {"count": commands.integer(18, "Drawings of each kind.", 1, 500)},
)

if __name__ == "__main__":
    COMMAND.run()
