"""Worst mistakes of a run's model, and its least certain predictions, as drawings.

python -m analysis.mistakes RUN -o mistakes.png
python -m analysis.mistakes --evaluation=test.json -o mistakes.png --table=mistakes.csv

The true category is above each drawing, the predicted ones below, with probabilities. --table lists
all mistakes with their keys and the files that hold their strokes, --label_errors the drawings
whose labels are likely wrong, in the same way.
"""

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from analysis import commands
from analysis.reading.evaluations import Evaluation, SplitPredictions
from analysis.reading.label_errors import likely_label_errors
from analysis.style import figures, image_grid, texts
from analysis.style.image_grid import Cell, GridSection, Text
from pipeline import cli
from pipeline.cli import UserError, check_output_file

COLUMNS = 6
GUESSES = 3  # shown of an uncertain prediction
SCALE = 2

CAPTION_WIDTH = 224  # pixels of the PNG, as the next
GAP = 26
CAPTION_SIZE = 7  # points
MISTAKE_COLUMNS = (
    *("key_id", "category", "predicted"),
    *("probability_of_category", "probability_of_predicted", "strokes_file"),
)
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


def mistakes_csv(predictions: SplitPredictions, directory: str) -> str:
    """Return `drawings_csv` of all mistakes, the worst first."""
    return drawings_csv(predictions, directory, worst_mistakes(predictions, predictions.count))


def drawings_csv(predictions: SplitPredictions, directory: str, indices: Sequence[int]) -> str:
    """Return some of the predicted drawings as CSV, below a line of names.

    Columns: key_id; category, the true one, and predicted, with their probabilities; strokes_file,
    the file with the drawing's strokes, empty where the data set's inputs do not tell.

    Args:
      predictions: of the evaluation.
      directory: the data set of the evaluation.
      indices: of the drawings, in the order of the lines.

    Raises:
      UserError: it is a different data set, or damaged.
    """
    arrays, labels = predictions.arrays, predictions.labels
    keys, files = predictions.read_keys(directory), predictions.strokes_files(directory)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MISTAKE_COLUMNS)
    for index in indices:
        truth, predicted = arrays.labels[index], arrays.top_labels[index, 0]
        probabilities = arrays.label_probabilities[index], arrays.top_probabilities[index, 0]
        row = [keys[index], labels[truth], labels[predicted], *(f"{p:.4f}" for p in probabilities)]
        writer.writerow([*row, files[truth]])
    return text.getvalue()


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


def define_flags() -> None:
    commands.EVALUATED_DRAWINGS.define_flags()
    commands.define_output(required=False)
    text = "Tables of all mistakes to write, the worst first, with commas between: .csv."
    cli.define_paths("table", [], text, kind="FILE")
    text = "Tables of likely label errors to write, the likeliest first: .csv."
    cli.define_paths("label_errors", [], text, kind="FILE")
    commands.integer(18, "Drawings of each kind in the picture.", 1, 500)("count")


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    tables = {"table": args.table, "label_errors": args.label_errors}
    for name, paths in tables.items():
        for path in paths:
            check_output_file(name, path)
            if not path.endswith(".csv"):
                raise UserError(f"--{name}={path}: the name must end in .csv")
    if not any((args.output, *tables.values())):
        raise UserError("--output, --table or --label_errors is needed (--help lists the flags)")
    evaluation, dataset = commands.EVALUATED_DRAWINGS.read(argv[1:])
    for name, paths in tables.items():
        if paths:
            _write_table(evaluation.read_predictions(), dataset, name, paths)
    if args.output:
        figures.write(plot_mistakes(evaluation, dataset, args.count), args.output)
    print("wrote", ", ".join([*args.table, *args.label_errors, *args.output]))


def _write_table(
    predictions: SplitPredictions, dataset: str, name: str, paths: Sequence[str]
) -> None:
    if name == "table":
        text = mistakes_csv(predictions, dataset)
    else:
        text = drawings_csv(predictions, dataset, likely_label_errors(predictions))
    for path in paths:
        figures.write_file(path, text.encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    define_flags()
    cli.run(main, takes_arguments=True)
