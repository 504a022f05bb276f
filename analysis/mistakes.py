"""The drawings that a run's model gets most wrong, and those it is least certain of.

python -m analysis.mistakes --run_dir=runs/E2_7 --output=errors.png
python -m analysis.mistakes --evaluation=test.json --output=errors.png

Above each drawing stands what it is, below what the model takes it for, with probabilities.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.reading import evaluations
from analysis.reading.evaluations import ShownEvaluation
from analysis.reading.predictions import Answers, read_answers, read_drawings
from analysis.style import figures, tiles
from analysis.style.text_lines import wrap_to_width
from pipeline import cli
from pipeline.dataset.records import IMAGE_SIZE

COLUMNS = 6
GUESSES = 3  # of a drawing that the model is not certain of
SCALE = 2

# Pixels of the PNG.
TILE = 250  # from a drawing to the next
MARGIN = 36
TITLE_HEIGHT = 60
HEADING_HEIGHT = 56
TILE_GAP = 26  # between tiles
SECTION_GAP = 30
CAPTION_GAP = 6

TITLE_SIZE = 10  # points
HEADING_SIZE = 9
CAPTION_SIZE = 7
RIGHT_MARK = " ✓"


class Tile(NamedTuple):
    """A drawing and what is said of it."""

    line: int  # of the answers
    above: list[str]  # what it is
    below: list[str]  # what the model takes it for


class Section(NamedTuple):
    heading: str
    tiles: list[Tile]


def plot_errors(evaluation: ShownEvaluation, dataset: str, count: int = 18) -> Figure:
    """The wrongest and the least certain answers of an evaluation.

    Args:
      evaluation: of a run with a finished epoch.
      dataset: the directory of its data set.
      count: how many of each kind to show, if there are as many.

    Raises:
      UserError: there are no answers yet, or a file is missing or damaged.
    """
    answers = read_answers(evaluation)
    wrong, uncertain = wrongest(answers, count), least_certain(answers, count)
    drawings = read_drawings(answers, dataset, [*wrong, *uncertain])
    number_wrong = int((~answers.are_right).sum())
    sections = [
        Section(
            f"The wrongest {len(wrong)} of {number_wrong:,} wrong answers. "
            "Bold: the true category and its probability; below: the predicted one",
            [_tile(answers, line, 1) for line in wrong],
        ),
        Section(
            f"The {len(uncertain)} least certain answers. "
            "Bold: the true category and its probability; below: the most probable ones",
            [_tile(answers, line, GUESSES) for line in uncertain],
        ),
    ]
    return draw_sections([each for each in sections if each.tiles], drawings, answers.subject)


def wrongest(answers: Answers, count: int) -> list[int]:
    """The lines of wrong answers with the lowest probability of the true category.

    Of equal ones, as where it is 0, the higher the probability of the wrong category the wronger.
    """
    lines = np.flatnonzero(~answers.are_right)
    truth = answers.predictions.label_probabilities[lines]
    return lines[np.lexsort((lines, -answers.confidences[lines], truth))][:count].tolist()


def least_certain(answers: Answers, count: int) -> list[int]:
    """The lines of answers with the lowest probability of the predicted category.

    "Least confidence" of B. Settles, "Active learning literature survey" (2009).
    """
    return np.argsort(answers.confidences, kind="stable")[:count].tolist()


def draw_sections(
    sections: Sequence[Section], drawings: Mapping[int, np.ndarray], title: str
) -> Figure:
    """Tiles in rows below the headings of their sections.

    Args:
      sections: what to show.
      drawings: by the line of a tile, [85, 85] uint8 of 0 and 1.
      title: one line.
    """
    columns = min(COLUMNS, max(len(each.tiles) for each in sections))
    texts = [(title, TITLE_SIZE), *((each.heading, HEADING_SIZE) for each in sections)]
    text_width = max(figures.text_width([text], size) for text, size in texts) * figures.DPI
    width = 2 * MARGIN + max(columns * TILE, int(text_width))
    height = 2 * MARGIN + TITLE_HEIGHT + sum(map(_section_height, sections))
    with figures.style():
        figure, axes = tiles.make_page(width, height)
        tiles.write_lines(axes, MARGIN, MARGIN, [title], TITLE_SIZE)
        top = MARGIN + TITLE_HEIGHT
        for section in sections:
            tiles.write_lines(axes, MARGIN, top, [section.heading], HEADING_SIZE)
            row_top = top + HEADING_HEIGHT
            for row in _rows(section.tiles):
                for i, tile in enumerate(row):
                    _draw_tile(axes, MARGIN + i * TILE, row_top, tile, row, drawings[tile.line])
                row_top += _row_height(row)
            top += _section_height(section)
    return figure


def _tile(answers: Answers, line: int, guesses: int) -> Tile:
    labels, predictions = answers.labels, answers.predictions
    truth = predictions.labels[line]
    above = f"{labels[truth]} {_probability(predictions.label_probabilities[line])}"
    below = []
    for label, probability in list(
        zip(predictions.top_labels[line], predictions.top_probabilities[line], strict=True)
    )[:guesses]:
        mark = RIGHT_MARK if label == truth and guesses > 1 else ""
        below += _wrapped(f"{labels[label]} {_probability(probability)}{mark}")
    return Tile(line, _wrapped(above, "bold"), below)


def _probability(probability: float) -> str:
    return "<0.01" if probability < 0.005 else f"{probability:.2f}"


def _wrapped(text: str, weight: str = "normal") -> list[str]:
    return wrap_to_width(text, (TILE - TILE_GAP) / figures.DPI, CAPTION_SIZE, weight)


def _rows(tiles_: Sequence[Tile]) -> list[Sequence[Tile]]:
    return [tiles_[start : start + COLUMNS] for start in range(0, len(tiles_), COLUMNS)]


def _caption_height(lines: int) -> int:
    return round(lines * tiles.line_height(CAPTION_SIZE)) + CAPTION_GAP


def _row_height(row: Sequence[Tile]) -> int:
    above, below = max(len(tile.above) for tile in row), max(len(tile.below) for tile in row)
    return _caption_height(above) + SCALE * IMAGE_SIZE + _caption_height(below) + TILE_GAP


def _section_height(section: Section) -> int:
    return HEADING_HEIGHT + sum(map(_row_height, _rows(section.tiles))) + SECTION_GAP


def _draw_tile(
    axes: Axes, left: int, top: int, tile: Tile, row: Sequence[Tile], bitmap: np.ndarray
) -> None:
    # The last line above stands on the drawing, wherever those of its neighbours begin.
    above = max(len(each.above) for each in row)
    first = top + (above - len(tile.above)) * tiles.line_height(CAPTION_SIZE)
    tiles.write_lines(axes, left, first, tile.above, CAPTION_SIZE, fontweight="bold")
    drawing_top = top + _caption_height(above)
    tiles.show(axes, left, drawing_top, bitmap, SCALE)
    below = drawing_top + SCALE * IMAGE_SIZE + CAPTION_GAP
    tiles.write_lines(axes, left, below, tile.below, CAPTION_SIZE)


def define_flags() -> None:
    evaluations.define_flags(with_dataset=True)
    cli.define_integer("count", 18, "Drawings of each kind.", lower_bound=1, upper_bound=500)
    figures.define_output_flag()


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    evaluation = evaluations.chosen()
    dataset = args.dataset or evaluation.dataset
    figures.write(plot_errors(evaluation, dataset, args.count), args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
