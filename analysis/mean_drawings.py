"""Mean drawing of each category: the share of drawings with ink at each pixel.

python -m analysis.mean_drawings DATASET -o means.png
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis import commands
from analysis.reading import bitmaps
from analysis.style import figures, image_grid, texts
from analysis.style.image_grid import Cell, GridSection, Text
from pipeline.dataset import manifests
from pipeline.dataset.records import IMAGE_SIZE

# Gray is perceptually uniform (its lightness is nearly linear), and ink is dark on white paper.
COLOUR_MAP = "gray_r"
PERCENTILE = 99  # of all pixels, ends the scale: a few are inked in nearly every drawing
SCALE_STEP = 0.05  # to which the end of the scale is rounded up

MANY = 60  # categories; drawings of more are shown in half the size
GAP = 24  # pixels of the PNG between cells, both ways
BAR_AREA = 108  # the bar with its ticks, and a gap
BAR_WIDTH, BAR_HEIGHT, BAR_TOP = 2.1, 0.11, 0.5  # inches

NAME_SIZE = 7.5  # points
NAME_LINES = 3
NAME_CHARACTERS = 12  # a line, where NAME_LINES lines suffice


class Mean(NamedTuple):
    """Mean of some bitmaps."""

    image: np.ndarray  # [85, 85] float64 from 0 to 1; 0 of no drawings
    drawings: int


def plot_mean_drawings(
    directory: str,
    split: str = "train",
    categories: Sequence[str] = (),
    per_category: int | None = None,
) -> Figure:
    """Plot the mean drawings of a split of a data set directory.

    Args:
      directory: the data set.
      split: train, validation or test.
      categories: those to show, in this order; all, in the order of the labels, if empty.
      per_category: how many drawings of each, chosen at random; all if None.

    Raises:
      UserError: no complete data set, an unknown category, no drawings in the split, or a shard is
        missing or damaged.
    """
    manifest = manifests.read_manifest(directory)
    categories = bitmaps.choose_categories(directory, manifest, categories, [split])
    means = read_means(directory, manifest, split, categories, per_category)
    counts = texts.number_range([mean.drawings for mean in means.values()])
    of_each = texts.of_each_category(len(means))
    title = f"Mean of {counts} {texts.SPLIT_NAMES[split]} drawings of {of_each}"
    return draw_mean_drawings(means, title)


def read_means(
    directory: str,
    manifest: manifests.Manifest,
    split: str,
    categories: Sequence[str],
    per_category: int | None = None,
) -> dict[str, Mean]:
    """Return the mean of each category's bitmaps; the memory holds one sum for each category.

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
    """Plot a grid of mean drawings above their names, all on one scale of gray.

    Args:
      means: for each category, in the order to be shown (row by row).
      title: one line.
    """
    scale = 1 if len(means) > MANY else 2
    differ = len({mean.drawings for mean in means.values()}) > 1
    cells = [_cell(label, mean, differ) for label, mean in means.items()]
    width = max(scale * IMAGE_SIZE, *(text.width for cell in cells for text in cell.below)) + GAP
    height = scale * IMAGE_SIZE + max(sum(text.height for text in cell.below) for cell in cells)
    columns = figures.best_columns(len(means), width, height + GAP)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    norm = Normalize(0, _scale_end([mean.image for mean in means.values() if mean.drawings]))
    figure = image_grid.plot_image_grid(
        [GridSection("", rows)], title, scale=scale, column_gap=GAP, row_gap=GAP, head=BAR_AREA,
        is_centred=True, min_width=round(2 * BAR_WIDTH * figures.DPI),
        colours={"cmap": COLOUR_MAP, "norm": norm},
    )  # fmt: skip
    with figures.style():
        _draw_colour_bar(figure, norm)
    return figure


def _cell(label: str, mean: Mean, has_number: bool) -> Cell:
    below = [Text(texts.wrap(label, NAME_CHARACTERS, NAME_LINES), NAME_SIZE)]
    if has_number:
        below.append(Text([f"n = {mean.drawings:,}"], NAME_SIZE))
    return Cell(mean.image if mean.drawings else np.zeros((0, 0)), below=below)


def _scale_end(images: Sequence[np.ndarray]) -> float:
    end = np.percentile(np.stack(images), PERCENTILE)
    return SCALE_STEP * max(1, math.ceil(end / SCALE_STEP - 1e-9))


def _draw_colour_bar(figure: Figure, norm: Normalize) -> None:
    """Draw the scale below the title, with an arrow for what is beyond its end."""
    left = image_grid.MARGIN / figures.DPI
    bar = figure.colorbar(
        ScalarMappable(norm, COLOUR_MAP), orientation="horizontal", extend="max",
        cax=figures.add_axes(figure, left, BAR_TOP, BAR_WIDTH, BAR_HEIGHT),
        extendfrac=0.06, format=lambda share, _: f"{100 * share:.0f}%",
    )  # fmt: skip
    bar.ax.spines["outline"].set_edgecolor(figures.MUTED)
    bar.ax.tick_params(labelsize=figures.LABEL_SIZE)
    bar.ax.text(
        1.1, 0.5, "of the drawings have ink at the pixel", fontsize=figures.LABEL_SIZE,
        va="center", transform=bar.ax.transAxes,
    )  # fmt: skip


COMMAND = commands.PictureCommand(
    commands.DATASET,
    plot_mean_drawings,
    {
        "split": commands.choice("train", manifests.SPLITS, "Split of the drawings."),
        "per_category": commands.integer(
            None, "Drawings of each category to average. Default: all.", 1, 10**9
        ),
        "categories": commands.names([], "Categories to show, with commas between. Default: all."),
    },
)

if __name__ == "__main__":
    COMMAND.run()
