"""Contact sheet of a data set: some drawings of each category beside its name.

python -m analysis.contact_sheet DATASET -o sheet.png
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis import commands
from analysis.reading import bitmaps
from analysis.style import figures, texts
from analysis.style.image_grid import (
    IMAGE_GAP,
    TEXT_GAP,
    Cell,
    GridSection,
    Text,
    arrange,
    plot_image_grid,
)
from pipeline.cli import UserError
from pipeline.dataset import manifests
from pipeline.dataset.records import IMAGE_SIZE

CELL = IMAGE_SIZE + IMAGE_GAP  # pixels of the PNG
COLUMN_GAP = 40
LINES_GAP = 18  # after a category of several lines

NAME_SIZE = 10  # points, as the next
SPLIT_SIZE = 8
TITLE_SIZE = 10  # at least; TITLE_GROWTH points for each inch of a wide sheet
TITLE_GROWTH = 0.7
NAME_LINES = 3  # what fits beside a drawing
NAME_CHARACTERS = 12  # a line of a name, where NAME_LINES lines suffice; no word of ours is longer
MAX_DRAWINGS = 8_000  # in one picture, which takes 700 MB while it is drawn
MAX_LINE = 20  # drawings, unless the sheet of so many would be a ribbon


def plot_contact_sheet(
    directory: str,
    split: Sequence[str] = ("train",),
    categories: Sequence[str] = (),
    per_category: int = 8,
) -> Figure:
    """Plot the contact sheet of one or several splits of a data set directory.

    Args:
      directory: the data set.
      split: of train, validation and test, in the order to be shown.
      categories: those to show, in this order; all, in the order of the labels, if empty.
      per_category: how many drawings of each split to show of each, if it has them.

    Raises:
      UserError: no complete data set, an unknown split or category, no drawings in a split, or more
        than fit in a picture.
    """
    manifest = manifests.read_manifest(directory)
    for name in split or [""]:
        if name not in manifests.SPLITS:
            raise UserError(f"--split: {name!r} is not one of {', '.join(manifests.SPLITS)}")
    categories = bitmaps.choose_categories(directory, manifest, categories, split)
    counts = {  # of the categories' drawings in each split
        name: [manifest.splits[name].class_counts[label] for label in categories] for name in split
    }
    shown = {name: min(per_category, max(counts[name])) for name in split}
    if len(categories) * sum(shown.values()) > MAX_DRAWINGS:
        raise UserError(
            f"more than {MAX_DRAWINGS:,} drawings for one picture; fewer --per_category, --split "
            "or --categories"
        )
    drawings = {
        name: bitmaps.read_bitmaps(directory, manifest, name, categories, per_category)
        for name in split
    }
    some = " and ".join(
        f"{number:,} of the {texts.number_range(counts[name])} {texts.SPLIT_NAMES[name]}"
        for name, number in shown.items()
    )
    return draw_contact_sheet(
        drawings, f"{some} drawings of {texts.of_each_category(len(categories))}"
    )


def draw_contact_sheet(drawings: Mapping[str, Mapping[str, np.ndarray]], title: str) -> Figure:
    """Plot the drawings of each category in a block, its name to the left.

    Args:
      drawings: for each split, for each category, in the order to be shown (down the columns),
        [n, 85, 85] uint8 of 0 and 1; n may differ. All splits have the same categories.
      title: one line.
    """
    labels = list(next(iter(drawings.values())))
    line = _line_length(
        max(1, *(len(some) for each in drawings.values() for some in each.values()))
    )
    blocks = [_block(drawings, label, line) for label in labels]
    left = sum(
        max(text.width for text in column) + TEXT_GAP
        for column in zip(*(block[0].left for block in blocks), strict=True)
    )
    heights = [max(CELL, *(len(block[i].image) for block in blocks)) for i in range(len(drawings))]
    gap = LINES_GAP if sum(heights) > CELL else 0
    width = left + line * CELL + COLUMN_GAP
    columns = figures.best_columns(len(labels), width, sum(heights) + gap)
    rows = math.ceil(len(labels) / columns)
    sections = [
        GridSection("", list(zip(*blocks[row::rows], strict=True)))  # a row of cells for each split
        for row in range(rows)
    ]
    inches = (columns * width - COLUMN_GAP) / figures.DPI
    title_size = max(TITLE_SIZE, TITLE_GROWTH * inches)
    return plot_image_grid(
        sections, title, title_size=title_size, column_gap=COLUMN_GAP, section_gap=gap
    )


def _block(drawings: Mapping[str, Mapping[str, np.ndarray]], label: str, line: int) -> list[Cell]:
    """Return a cell for each split; names of splits are in a column of their own."""
    cells = []
    for i, (split, by_label) in enumerate(drawings.items()):
        left = [Text(texts.wrap(label, NAME_CHARACTERS, NAME_LINES) if i == 0 else [], NAME_SIZE)]
        if len(drawings) > 1:
            name = texts.SPLIT_NAMES[split]
            left.append(Text([name], SPLIT_SIZE, {"color": figures.MUTED}))
        cells.append(Cell(arrange(by_label[label], line), left))
    return cells


def _line_length(count: int) -> int:
    """Return how many drawings to show in a line, so that `count` fill all lines alike."""
    longest = max(MAX_LINE, math.ceil(math.sqrt(count * figures.ASPECT)))
    return math.ceil(count / math.ceil(count / longest))


COMMAND = commands.PictureCommand(
    commands.DATASET,
    plot_contact_sheet,
    {
        "split": commands.names(["train"], "Splits to show: train, validation, test."),
        "per_category": commands.integer(8, "Drawings of each category and split.", 1, 10**4),
        "categories": commands.names([], "Categories to show, with commas between. Default: all."),
    },
)

if __name__ == "__main__":
    COMMAND.run()
