"""A picture of what a data set holds: some drawings of each category beside its name.

python -m analysis.contact_sheet --dataset=data/quickdraw --output=sheet.png
"""

import difflib
import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from analysis import bitmaps, figures
from pipeline import command, dataset
from pipeline.errors import UserError
from pipeline.records import IMAGE_SIZE

# Lengths in pixels of the PNG, where a pixel of a bitmap is exactly a pixel: nothing is blurred.
CELL = IMAGE_SIZE + 11  # a drawing and the gap to the next
BLOCK_GAP = 40  # between a strip of drawings and the names of the column to its right
NAME_GAP = 18  # between a name and its drawings
MARGIN = 36
TITLE_HEIGHT = 62

NAME_SIZE = 10  # points, as the next
TITLE_SIZE = 10
NAME_LINES = 3  # what fits beside a drawing
NAME_CHARACTERS = 12  # a line of a name, where NAME_LINES lines suffice; no word of ours is longer
ASPECT = 4 / 3  # of the sheet, as nearly as whole columns allow

PAPER, INK = 255, 20  # gray levels


def draw_contact_sheet(drawings: Mapping[str, np.ndarray], title: str) -> Figure:
    """A strip of bitmaps for each category, its name to the left, in as many columns as look best.

    Args:
      drawings: for each category, in the order to be shown (down the columns), [n, 85, 85] uint8
        of 0 and 1; n may differ.
      title: one line.
    """
    names = [wrap_name(label) for label in drawings]
    name_width = math.ceil(figures.text_width(names, NAME_SIZE) * figures.DPI) + NAME_GAP
    strip_width = max(map(len, drawings.values())) * CELL
    block_width = name_width + strip_width + BLOCK_GAP
    columns = _columns(len(names), block_width)
    rows = math.ceil(len(names) / columns)
    title_width = math.ceil(figures.text_width([title], TITLE_SIZE) * figures.DPI)
    width = 2 * MARGIN + max(columns * block_width - BLOCK_GAP, title_width)
    height = 2 * MARGIN + TITLE_HEIGHT + rows * CELL
    with figures.style():
        figure = Figure(figsize=(width / figures.DPI, height / figures.DPI))
        # One set of axes over the whole figure, in pixels from the upper left corner.
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        axes.text(MARGIN, MARGIN, title, fontsize=TITLE_SIZE, va="top")
        for i, (name, images) in enumerate(zip(names, drawings.values(), strict=True)):
            column, row = divmod(i, rows)
            left = MARGIN + column * block_width + name_width
            top = MARGIN + TITLE_HEIGHT + row * CELL
            middle = top + IMAGE_SIZE / 2
            axes.text(
                left - NAME_GAP, middle, name, fontsize=NAME_SIZE, ha="right", va="center",
                linespacing=1.1,
            )  # fmt: skip
            if len(images):
                axes.imshow(
                    _strip(images), cmap="gray", vmin=0, vmax=255, aspect="auto",
                    interpolation="none",  # in SVG, too: whole pixels, scaled with hard edges
                    extent=(left, left + len(images) * CELL, top + IMAGE_SIZE, top),
                )  # fmt: skip
    return figure


def wrap_name(label: str) -> str:
    """The label in at most NAME_LINES lines, as narrow as they allow."""
    width = NAME_CHARACTERS
    while len(lines := textwrap.wrap(label, width)) > NAME_LINES:
        width += 1
    return "\n".join(lines)


def _columns(blocks: int, block_width: int) -> int:
    def distance(columns: int) -> float:
        aspect = columns * block_width / (math.ceil(blocks / columns) * CELL)
        return abs(math.log(aspect / ASPECT))

    return min(range(1, blocks + 1), key=distance)


def _strip(images: np.ndarray) -> np.ndarray:
    """[n, 85, 85] of 0 and 1 → [85, n * CELL] gray levels, side by side with gaps."""
    gaps = ((0, 0), (0, 0), (0, CELL - IMAGE_SIZE))
    strip = np.concatenate(np.pad(images, gaps), axis=1)
    return np.where(strip, INK, PAPER).astype(np.uint8)


def make_contact_sheet(
    directory: str, split: str, categories: Sequence[str], per_category: int
) -> Figure:
    """The contact sheet of a split of a data set directory.

    Args:
      directory: the data set.
      split: train, validation or test.
      categories: those to show, in this order; all, in the order of the labels, if empty.
      per_category: how many drawings to show of each, if it has them.

    Raises:
      UserError: no complete data set, an unknown category, or no drawings in the split.
    """
    manifest = dataset.read_manifest(directory)
    categories = categories or manifest.labels
    for label in categories:
        if label not in manifest.labels:
            near = difflib.get_close_matches(label, manifest.labels, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "; labels.txt lists them"
            raise UserError(f"--categories: {directory} has no category {label!r}{hint}")
    counts = [manifest.splits[split].class_counts[label] for label in categories]
    if not any(counts):
        raise UserError(f"{directory}: no drawings in the {split} split to show")
    drawings = bitmaps.read_bitmaps(directory, manifest, split, categories, per_category)
    return draw_contact_sheet(drawings, _title(split, counts, per_category))


def _title(split: str, counts: Sequence[int], per_category: int) -> str:
    low, high = min(counts), max(counts)
    available = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    categories = f"each of {len(counts)} categories" if len(counts) > 1 else "one category"
    name = "training" if split == "train" else split
    return f"{min(per_category, high)} of the {available} {name} drawings of {categories}"


def define_flags() -> None:
    flags.DEFINE_string("dataset", None, "Directory of the data set.", required=True)
    flags.DEFINE_list(
        "output", None, "Pictures to write, with commas between: .png or .svg.", required=True
    )
    flags.DEFINE_enum("split", "train", dataset.SPLITS, "Which split to show.")
    flags.DEFINE_integer("per_category", 8, "Drawings of each category.", lower_bound=1)
    flags.DEFINE_list(
        "categories", [], "Categories to show, with commas between. Default: all of the data set."
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    figure = make_contact_sheet(args.dataset, args.split, args.categories, args.per_category)
    figures.write(figure, args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    command.run(main)
