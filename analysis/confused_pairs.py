"""The pairs of categories that a run's model confuses most, with drawings of both.

python -m analysis.confused_pairs --run_dir=runs/E2_7 --output=pairs.png
python -m analysis.confused_pairs --evaluation=test.json --output=pairs.png
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
from analysis.style.similar_order import similarity
from analysis.style.text_lines import wrap_to_width
from pipeline import cli
from pipeline.cli import UserError
from pipeline.dataset.records import IMAGE_SIZE

# Pixels of the PNG.
CELL = IMAGE_SIZE + 11  # from a drawing to the next
TEXT_WIDTH = 290
BETWEEN = 50  # the two sides of a pair
MARGIN = 36
TITLE_HEIGHT = 60
ROW_GAP = 22

TITLE_SIZE = 10  # points
NAME_SIZE = 7.5


class Mistake(NamedTuple):
    """One category taken for another."""

    label: str
    taken_for: str
    number: int  # of drawings
    examples: int  # of the label
    lines: list[int]  # of the answers: some of the drawings
    recognized: list[int]  # drawings of the label that are not mistaken, to fill up


def plot_confused_pairs(
    evaluation: ShownEvaluation, dataset: str, pairs: int = 12, drawings: int = 6
) -> Figure:
    """The most confused pairs of categories, and drawings taken for the other one.

    Where there are too few of those, drawings that are recognized follow in gray.

    Args:
      evaluation: of a run with a finished epoch.
      dataset: the directory of its data set.
      pairs: how many to show, if there are as many.
      drawings: how many of each category to show, the first in the data set's random order.

    Raises:
      UserError: there are no answers yet, none is wrong, or a file is missing or damaged.
    """
    answers = read_answers(evaluation)
    found = most_confused(answers, pairs, drawings)
    if not found:
        raise UserError(f"{evaluation.description} confuses nothing")
    mistakes = [mistake for pair in found for mistake in pair]
    lines = [line for each in mistakes for line in (*each.lines, *each.recognized)]
    bitmaps = read_drawings(answers, dataset, lines)
    title = f"{answers.subject}: the {len(found)} most confused pairs"
    if any(each.recognized for each in mistakes):
        title += " (gray: recognized)"
    return draw_pairs(found, bitmaps, title)


def most_confused(answers: Answers, pairs: int, drawings: int) -> list[tuple[Mistake, Mistake]]:
    """Pairs of categories with the highest share of drawings taken for the other, both ways added.

    Of each pair the category with the larger share comes first. At most `pairs`, and `drawings` of
    a mistake.
    """
    truth, predicted = answers.predictions.labels, answers.predictions.top_labels[:, 0]
    classes = len(answers.labels)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    examples = confusion.sum(axis=1)
    similarities = np.triu(similarity(confusion))
    order = np.argsort(-similarities, axis=None, kind="stable")[:pairs]

    def mistake(label: int, taken_for: int) -> Mistake:
        lines = np.flatnonzero((truth == label) & (predicted == taken_for))
        recognized = np.flatnonzero((truth == label) & answers.are_right)
        return Mistake(
            answers.labels[label],
            answers.labels[taken_for],
            len(lines),
            int(examples[label]),
            lines[:drawings].tolist(),
            recognized[: max(0, drawings - len(lines))].tolist(),
        )

    found = []
    for a, b in zip(*np.unravel_index(order, similarities.shape), strict=True):
        if similarities[a, b] > 0:
            both = mistake(a, b), mistake(b, a)
            found.append(max(both, both[::-1], key=lambda pair: _share(pair[0])))
    return found


def draw_pairs(
    pairs: Sequence[tuple[Mistake, Mistake]], drawings: Mapping[int, np.ndarray], title: str
) -> Figure:
    """A row for each pair, its two mistakes side by side.

    Args:
      pairs: from top to bottom.
      drawings: by line of the answers, [85, 85] uint8 of 0 and 1.
      title: one line.
    """
    most = max(len(each.lines) + len(each.recognized) for pair in pairs for each in pair)
    side = TEXT_WIDTH + most * CELL
    rows = [[_describe(mistake) for mistake in pair] for pair in pairs]
    heights = [
        max(CELL, *(round(len(lines) * tiles.line_height(NAME_SIZE)) for lines in row)) + ROW_GAP
        for row in rows
    ]
    title_width = int(figures.text_width([title], TITLE_SIZE) * figures.DPI)
    width = 2 * MARGIN + max(2 * side + BETWEEN, title_width)
    height = 2 * MARGIN + TITLE_HEIGHT + sum(heights)
    with figures.style():
        figure, axes = tiles.make_page(width, height)
        tiles.write_lines(axes, MARGIN, MARGIN, [title], TITLE_SIZE)
        top = MARGIN + TITLE_HEIGHT
        for pair, row, row_height in zip(pairs, rows, heights, strict=True):
            for i, (mistake, lines) in enumerate(zip(pair, row, strict=True)):
                left = MARGIN + i * (side + BETWEEN)
                _draw_mistake(axes, left, top, mistake, lines, drawings)
            top += row_height
    return figure


def _share(mistake: Mistake) -> float:
    return mistake.number / mistake.examples if mistake.examples else 0


def _describe(mistake: Mistake) -> list[str]:
    room = (TEXT_WIDTH - 20) / figures.DPI
    return [
        *wrap_to_width(mistake.label, room, NAME_SIZE, "bold"),
        *wrap_to_width(f"taken for {mistake.taken_for}:", room, NAME_SIZE),
        f"{mistake.number:,} of {mistake.examples:,}",
    ]


def _draw_mistake(
    axes: Axes,
    left: int,
    top: int,
    mistake: Mistake,
    lines: Sequence[str],
    drawings: Mapping[int, np.ndarray],
) -> None:
    bold = len(wrap_to_width(mistake.label, (TEXT_WIDTH - 20) / figures.DPI, NAME_SIZE, "bold"))
    tiles.write_lines(axes, left, top, lines[:bold], NAME_SIZE, fontweight="bold")
    below = top + bold * tiles.line_height(NAME_SIZE)
    tiles.write_lines(axes, left, below, lines[bold:], NAME_SIZE)
    inks = [tiles.INK] * len(mistake.lines) + [tiles.FAINT_INK] * len(mistake.recognized)
    for i, (line, ink) in enumerate(zip([*mistake.lines, *mistake.recognized], inks, strict=True)):
        tiles.show(axes, left + TEXT_WIDTH + i * CELL, top, drawings[line], ink=ink)


def define_flags() -> None:
    evaluations.define_flags(with_dataset=True)
    cli.define_integer("pairs", 12, "Pairs of categories.", lower_bound=1, upper_bound=500)
    cli.define_integer(
        "per_category", 6, "Drawings of each category of a pair.", lower_bound=1, upper_bound=100
    )
    figures.define_output_flag()


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    evaluation = evaluations.chosen()
    dataset = args.dataset or evaluation.dataset
    figure = plot_confused_pairs(evaluation, dataset, args.pairs, args.per_category)
    figures.write(figure, args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
