"""A picture of what a data set holds: some drawings of each category beside its name.

python -m analysis.contact_sheet --dataset=data/quickdraw --output=sheet.png

Several splits stand below each other; many drawings of a category take several lines.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.reading import bitmaps
from analysis.style import figures
from pipeline import cli
from pipeline.cli import UserError
from pipeline.dataset import manifests
from pipeline.dataset.records import IMAGE_SIZE

# Lengths in pixels of the PNG, where a pixel of a bitmap is exactly a pixel: nothing is blurred.
CELL = IMAGE_SIZE + 11  # a drawing and the gap to the next
BLOCK_GAP = 40  # between a strip of drawings and the names of the column to its right
LINES_GAP = 18  # after a category of several lines
NAME_GAP = 18  # between a name and its drawings
MARGIN = 36
TITLE_GAP = 34

NAME_SIZE = 10  # points, as the next
SPLIT_SIZE = 8
TITLE_SIZE = 10  # at least; TITLE_GROWTH points for each inch of a wide sheet
TITLE_GROWTH = 0.7
NAME_LINES = 3  # what fits beside a drawing
NAME_CHARACTERS = 12  # a line of a name, where NAME_LINES lines suffice; no word of ours is longer
MAX_DRAWINGS = 8_000  # in one picture, which takes 700 MB while it is drawn
MAX_LINE = 20  # drawings, unless the sheet of so many would be a ribbon

PAPER, INK = 255, 20  # gray levels


class Layout(NamedTuple):
    """Where everything of a sheet is, in pixels, with the gaps that follow."""

    line: int  # drawings
    lines: dict[str, int]  # of each split, in a block
    name_width: int
    split_width: int  # 0 for one split, which is in the title
    block_width: int
    block_height: int
    rows: int  # of blocks
    title_size: float  # points
    title_height: int
    width: int
    height: int


def make_contact_sheet(
    directory: str, splits: Sequence[str], categories: Sequence[str], per_category: int
) -> Figure:
    """The contact sheet of one or several splits of a data set directory.

    Args:
      directory: the data set.
      splits: of train, validation and test, in the order to be shown.
      categories: those to show, in this order; all, in the order of the labels, if empty.
      per_category: how many drawings of each split to show of each, if it has them.

    Raises:
      UserError: no complete data set, an unknown split or category, no drawings in a split, or more
        than fit in a picture.
    """
    manifest = manifests.read_manifest(directory)
    for split in splits or [""]:
        if split not in manifests.SPLITS:
            raise UserError(f"--split: {split!r} is none of {', '.join(manifests.SPLITS)}")
    categories = bitmaps.choose_categories(directory, manifest, categories, splits)
    counts = {  # of the categories' drawings in each split
        split: [manifest.splits[split].class_counts[label] for label in categories]
        for split in splits
    }
    shown = {split: min(per_category, max(counts[split])) for split in splits}
    if len(categories) * sum(shown.values()) > MAX_DRAWINGS:
        raise UserError(
            f"more than {MAX_DRAWINGS:,} drawings for one picture; fewer --per_category, --split "
            "or --categories"
        )
    drawings = {
        split: bitmaps.read_bitmaps(directory, manifest, split, categories, per_category)
        for split in splits
    }
    some = " and ".join(
        f"{number:,} of the {figures.number_range(counts[split])} {figures.SPLIT_NAMES[split]}"
        for split, number in shown.items()
    )
    of_each = figures.of_each_category(len(categories))
    return draw_contact_sheet(drawings, f"{some} drawings of {of_each}")


def draw_contact_sheet(drawings: Mapping[str, Mapping[str, np.ndarray]], title: str) -> Figure:
    """Strips of bitmaps for each category, its name to the left, in as many columns as look best.

    Args:
      drawings: for each split, for each category, in the order to be shown (down the columns),
        [n, 85, 85] uint8 of 0 and 1; n may differ. All splits have the same categories.
      title: one line.
    """
    labels = list(next(iter(drawings.values())))
    names = {label: figures.wrap(label, NAME_CHARACTERS, NAME_LINES) for label in labels}
    layout = _lay_out(drawings, list(names.values()), title)
    with figures.style():
        figure = Figure(figsize=(layout.width / figures.DPI, layout.height / figures.DPI))
        # One set of axes over the whole figure, in pixels from the upper left corner.
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, layout.width), ylim=(layout.height, 0))
        axes.set_axis_off()
        axes.text(MARGIN, MARGIN, title, fontsize=layout.title_size, va="top")
        for i, label in enumerate(labels):
            column, row = divmod(i, layout.rows)
            right = MARGIN + column * layout.block_width + layout.name_width
            left = right + layout.split_width  # of the drawings
            top = MARGIN + layout.title_height + row * layout.block_height
            _write(axes, right, top, names[label], fontsize=NAME_SIZE)
            for split, lines in layout.lines.items():
                if layout.split_width:
                    name = figures.SPLIT_NAMES[split]
                    _write(axes, left, top, name, fontsize=SPLIT_SIZE, color=figures.MUTED)
                _show(axes, left, top, drawings[split][label], layout.line)
                top += lines * CELL
    return figure


def _lay_out(
    drawings: Mapping[str, Mapping[str, np.ndarray]], names: Sequence[str], title: str
) -> Layout:
    most = {split: max(map(len, of_split.values())) for split, of_split in drawings.items()}
    line = _line_length(max(1, *most.values()))
    lines = {split: max(1, math.ceil(count / line)) for split, count in most.items()}
    name_width = _text_width(names, NAME_SIZE) + NAME_GAP
    split_width = 0
    if len(drawings) > 1:
        splits = [figures.SPLIT_NAMES[split] for split in drawings]
        split_width = _text_width(splits, SPLIT_SIZE) + NAME_GAP
    block_width = name_width + split_width + line * CELL + BLOCK_GAP
    block_height = sum(lines.values()) * CELL + (LINES_GAP if sum(lines.values()) > 1 else 0)
    columns = figures.best_columns(len(names), block_width, block_height)
    rows = math.ceil(len(names) / columns)
    sheet_width = columns * block_width - BLOCK_GAP
    title_size = max(TITLE_SIZE, TITLE_GROWTH * sheet_width / figures.DPI)
    title_height = math.ceil(title_size / 72 * figures.DPI) + TITLE_GAP
    return Layout(
        line, lines, name_width, split_width, block_width, block_height, rows,
        title_size, title_height,
        width=2 * MARGIN + max(sheet_width, _text_width([title], title_size)),
        height=2 * MARGIN + title_height + rows * block_height,
    )  # fmt: skip


def _line_length(count: int) -> int:
    """How many drawings stand in a line, so that `count` fill all lines alike."""
    longest = max(MAX_LINE, math.ceil(math.sqrt(count * figures.ASPECT)))
    return math.ceil(count / math.ceil(count / longest))


def _text_width(texts: Sequence[str], font_size: float) -> int:
    return math.ceil(figures.text_width(texts, font_size) * figures.DPI)


def _write(axes: Axes, right: int, top: int, name: str, **style: Any) -> None:
    """A name to the left of the drawings of a line."""
    middle = top + IMAGE_SIZE / 2
    axes.text(right - NAME_GAP, middle, name, ha="right", va="center", linespacing=1.1, **style)


def _show(axes: Axes, left: int, top: int, images: np.ndarray, line: int) -> None:
    """[n, 85, 85] of 0 and 1 as lines of gray levels with gaps between them."""
    gaps = ((0, 0), (0, 0), (0, CELL - IMAGE_SIZE))
    for start in range(0, len(images), line):
        strip = np.concatenate(np.pad(images[start : start + line], gaps), axis=1)
        axes.imshow(
            np.where(strip, INK, PAPER).astype(np.uint8), cmap="gray", vmin=0, vmax=255,
            aspect="auto", interpolation="none",  # in SVG, too: whole pixels with hard edges
            extent=(left, left + strip.shape[1], top + IMAGE_SIZE, top),
        )  # fmt: skip
        top += CELL


def define_flags() -> None:
    cli.define_path("dataset", None, "Directory of the data set.", required=True)
    figures.define_output_flag()
    flags.DEFINE_list(
        "split", ["train"], "Which splits to show, with commas between: train, validation, test."
    )
    cli.define_integer(
        "per_category", 8, "Drawings of each category and split.", lower_bound=1, upper_bound=10**4
    )
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
    cli.run(main)
