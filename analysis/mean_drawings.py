"""The mean drawing of each category: how often there is ink at each pixel.

python -m analysis.mean_drawings --dataset=data/quickdraw --output=means.png
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.reading import bitmaps
from analysis.style import figures
from pipeline import cli
from pipeline.dataset import manifests
from pipeline.dataset.records import IMAGE_SIZE

# Gray is perceptually uniform (its lightness is nearly linear), and ink is dark on white paper.
COLOUR_MAP = "gray_r"
PERCENTILE = 99  # of all pixels, ends the scale: a few are inked in nearly every drawing
SCALE_STEP = 0.05  # to which the end of the scale is rounded up

MANY = 60  # categories; drawings of more are shown in half the size
# Lengths in pixels of the PNG, where a pixel of a bitmap is one or 2×2 pixels: nothing is blurred.
GAP = 24  # between cells, both ways
MARGIN = 36
TITLE_HEIGHT = 64
BAR_WIDTH, BAR_HEIGHT = 420, 22
BAR_AREA = 108  # the bar with its ticks, and a gap

NAME_SIZE = 7.5  # points, as the next
TITLE_SIZE = 10
BAR_TEXT_SIZE = 8
LINE_HEIGHT = math.ceil(1.25 * NAME_SIZE / 72 * figures.DPI)  # pixels
NAME_LINES = 3
NAME_CHARACTERS = 12  # a line, where NAME_LINES lines suffice


class Mean(NamedTuple):
    """The mean of some bitmaps."""

    image: np.ndarray  # [85, 85] float64 from 0 to 1; 0 of no drawings
    drawings: int


def make_mean_drawings(
    directory: str, split: str, categories: Sequence[str] = (), per_category: int | None = None
) -> Figure:
    """The mean drawings of a split of a data set directory.

    Args:
      directory: the data set.
      split: train, validation or test.
      categories: those to show, in this order; all, in the order of the labels, if empty.
      per_category: of how many drawings of each, which are a random choice; of all if None.

    Raises:
      UserError: no complete data set, an unknown category, no drawings in the split, or a shard is
        missing or damaged.
    """
    manifest = manifests.read_manifest(directory)
    categories = bitmaps.choose_categories(directory, manifest, categories, [split])
    means = read_means(directory, manifest, split, categories, per_category)
    counts = figures.number_range([mean.drawings for mean in means.values()])
    of_each = figures.of_each_category(len(means))
    title = f"Mean of {counts} {figures.SPLIT_NAMES[split]} drawings of {of_each}"
    return draw_mean_drawings(means, title)


def read_means(
    directory: str,
    manifest: manifests.Manifest,
    split: str,
    categories: Sequence[str],
    per_category: int | None = None,
) -> dict[str, Mean]:
    """The mean of each category's bitmaps, streamed: the memory holds one sum for each category.

    Raises:
      UserError: a shard is missing or damaged.
    """
    sums = {label: np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint32) for label in categories}
    counts = dict.fromkeys(categories, 0)
    for label, bitmap in bitmaps.stream_bitmaps(
        directory, manifest, split, categories, per_category
    ):
        sums[label] += bitmap
        counts[label] += 1
    return {label: Mean(sums[label] / max(1, counts[label]), counts[label]) for label in categories}


def draw_mean_drawings(means: Mapping[str, Mean], title: str) -> Figure:
    """A grid of mean drawings, their names below them, all on one scale of gray.

    Args:
      means: for each category, in the order to be shown (row by row).
      title: one line.
    """
    names = _names(means)
    size = IMAGE_SIZE if len(means) > MANY else 2 * IMAGE_SIZE
    text_width = math.ceil(figures.text_width(names, NAME_SIZE) * figures.DPI)
    cell_width = max(size, text_width) + GAP
    lines = max(name.count("\n") + 1 for name in names)
    cell_height = size + lines * LINE_HEIGHT + GAP
    columns = figures.best_columns(len(means), cell_width, cell_height)
    rows = math.ceil(len(means) / columns)
    title_width = math.ceil(figures.text_width([title], TITLE_SIZE) * figures.DPI)
    width = 2 * MARGIN + max(columns * cell_width - GAP, title_width, 2 * BAR_WIDTH)
    head = MARGIN + TITLE_HEIGHT + BAR_AREA
    height = head + rows * cell_height - GAP + MARGIN
    scale = Normalize(0, _scale_end([mean.image for mean in means.values() if mean.drawings]))
    with figures.style():
        figure = Figure(figsize=(width / figures.DPI, height / figures.DPI))
        # One set of axes over the whole figure, in pixels from the upper left corner.
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        axes.text(MARGIN, MARGIN, title, fontsize=TITLE_SIZE, va="top")
        for i, (mean, name) in enumerate(zip(means.values(), names, strict=True)):
            row, column = divmod(i, columns)
            left = MARGIN + column * cell_width + (cell_width - GAP - size) // 2
            top = head + row * cell_height
            if mean.drawings:
                axes.imshow(
                    mean.image, cmap=COLOUR_MAP, norm=scale, aspect="auto", interpolation="none",
                    extent=(left, left + size, top + size, top),
                )  # fmt: skip
            for j, line in enumerate(name.split("\n"), start=1):
                y = top + size + j * LINE_HEIGHT
                axes.text(left + size / 2, y, line, fontsize=NAME_SIZE, ha="center")
        _draw_bar(figure, scale)
    return figure


def _names(means: Mapping[str, Mean]) -> list[str]:
    """The labels in lines, followed by the number of drawings where it is not the same for all."""
    names = [figures.wrap(label, NAME_CHARACTERS, NAME_LINES) for label in means]
    if len({mean.drawings for mean in means.values()}) == 1:
        return names
    return [
        f"{name}\nn = {mean.drawings:,}" for name, mean in zip(names, means.values(), strict=True)
    ]


def _scale_end(images: Sequence[np.ndarray]) -> float:
    end = np.percentile(np.stack(images), PERCENTILE)
    return SCALE_STEP * max(1, math.ceil(end / SCALE_STEP - 1e-9))


def _draw_bar(figure: Figure, scale: Normalize) -> None:
    """The scale, below the title, with an arrow for what is beyond its end."""
    width, height = figure.get_size_inches() * figures.DPI
    top = MARGIN + TITLE_HEIGHT
    box = (MARGIN / width, 1 - (top + BAR_HEIGHT) / height, BAR_WIDTH / width, BAR_HEIGHT / height)
    axes = figure.add_axes(box)
    bar = figure.colorbar(
        ScalarMappable(scale, COLOUR_MAP), cax=axes, orientation="horizontal", extend="max",
        extendfrac=0.06, format=lambda share, _: f"{100 * share:.0f}%",
    )  # fmt: skip
    bar.outline.set_edgecolor(figures.MUTED)
    bar.ax.tick_params(labelsize=BAR_TEXT_SIZE)
    bar.ax.text(
        1.1, 0.5, "of the drawings have ink at the pixel", fontsize=BAR_TEXT_SIZE, va="center",
        transform=bar.ax.transAxes,
    )  # fmt: skip


def define_flags() -> None:
    cli.define_path("dataset", None, "Directory of the data set.", required=True)
    figures.define_output_flag()
    flags.DEFINE_enum("split", "train", manifests.SPLITS, "Which split's drawings.")
    cli.define_integer(
        "per_category",
        None,
        "The mean of so many drawings of each category. Default: of all.",
        lower_bound=1,
        upper_bound=10**9,
    )
    flags.DEFINE_list(
        "categories", [], "Categories to show, with commas between. Default: all of the data set."
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    figure = make_mean_drawings(args.dataset, args.split, args.categories, args.per_category)
    figures.write(figure, args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
