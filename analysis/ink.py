"""Ink, strokes and points of the drawings of each category.

python -m analysis.ink DATASET -o ink.png
python -m analysis.ink --input='drawings/*.ndjson' -o strokes.png

A data set holds bitmaps, which have ink alone; files of drawings have strokes, too.
"""

import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import commands
from analysis.reading import bitmaps
from analysis.reading.drawings import LabelledDrawing, read_drawings
from analysis.style import category_rows, figures, texts
from pipeline.cli import UserError
from pipeline.dataset import manifests
from pipeline.dataset.records import IMAGE_SIZE
from pipeline.rasterize import rasterize_packed

INK = "ink (% of the pixels)"  # axis labels
STROKES = "strokes per drawing"
POINTS = "points per drawing"

PERCENTILES = (5, 25, 50, 75, 95)
OUTER, INNER, MEDIAN = figures.MUTED, figures.COLOURS[5], "#000000"
INNER_HEIGHT = 0.5  # of a row
MEDIAN_HEIGHT = 0.8
BATCH = 1_000  # drawings that are rasterized at once, 7 MB

# By statistic and category: the values of all drawings.
Statistics = Mapping[str, Mapping[str, np.ndarray]]


def plot_ink(
    directory: str,
    split: str = "train",
    categories: Sequence[str] = (),
    per_category: int | None = None,
) -> Figure:
    """Plot the ink of a split of a data set directory.

    Args:
      directory: the data set.
      split: train, validation or test.
      categories: those to show; all if empty.
      per_category: how many drawings of each, chosen at random; all if None.

    Raises:
      UserError: no complete data set, an unknown category, no drawings in the split, or a shard is
        missing or damaged.
    """
    manifest = manifests.read_manifest(directory)
    categories = bitmaps.choose_categories(directory, manifest, categories, [split])
    pixels = {label: array("H") for label in categories}
    for label, bitmap in bitmaps.stream_bitmaps(
        directory, manifest, split, categories, per_category
    ):
        pixels[label].append(int(np.count_nonzero(bitmap)))
    values = {label: _percent(counts) for label, counts in pixels.items() if counts}
    return draw_statistics({INK: values}, f"{texts.SPLIT_NAMES[split]} drawings")


def read_statistics(drawings: Iterator[LabelledDrawing]) -> Statistics:
    """Return ink, strokes and points of drawings; the memory holds six bytes a drawing."""
    pixels: dict[str, array[int]] = {}
    strokes: dict[str, array[int]] = {}
    points: dict[str, array[int]] = {}
    while batch := list(islice(drawings, BATCH)):
        images = rasterize_packed([drawing.strokes for _, drawing in batch])
        inks = np.count_nonzero(images, axis=(1, 2)).tolist()
        for (label, drawing), ink in zip(batch, inks, strict=True):
            (stroke_count,) = struct.unpack_from("<H", drawing.strokes)
            header = 2 + 2 * stroke_count  # see pipeline.drawings.strokes; then two bytes a point
            point_count = (len(drawing.strokes) - header) // 2
            for counts, count in ((pixels, ink), (strokes, stroke_count), (points, point_count)):
                counts.setdefault(label, array("H")).append(count)
    return {
        INK: {label: _percent(counts) for label, counts in pixels.items()},
        STROKES: {label: np.asarray(counts) for label, counts in strokes.items()},
        POINTS: {label: np.asarray(counts) for label, counts in points.items()},
    }


def draw_statistics(statistics: Statistics, noun: str) -> Figure:
    """Plot a panel for each statistic and a row for each category, the highest median on top.

    The first statistic decides on the order, the alphabet on equal medians.

    Args:
      statistics: by axis label. All have the same categories, with at least one drawing each.
      noun: of the drawings, in the title.
    """
    order, first = next(iter(statistics.items()))
    labels = sorted(first, key=lambda label: (-np.median(first[label]), label))
    counts = texts.number_range([len(values) for values in first.values()])
    of_each = texts.of_each_category(len(labels))
    title = f"{counts} {noun} of {of_each}, by median {order.split()[0]}"
    key = [
        Line2D([], [], color=MEDIAN, marker="|", mew=1.3, ms=8, linestyle="none", label="median"),
        Line2D([], [], color=INNER, linewidth=6, label="middle half"),
        Line2D([], [], color=OUTER, linewidth=0.8, label="5% to 95%"),
    ]
    figure, blocks = category_rows.lay_out(labels, list(statistics), title, key)
    with figures.style():
        for block in blocks:
            for axes, values in zip(block.panels, statistics.values(), strict=True):
                percentile_rows([values[label] for label in block.labels], axes)
        for axes in blocks[0].panels:  # the others share their scales
            axes.set_xlim(left=0)
    return figure


def percentile_rows(values: Sequence[np.ndarray], ax: Axes | None = None) -> Axes:
    """Draw median, middle half and 5% to 95% of each array of values in rows, from y = 0 on."""
    ax = figures.new_axes(ax)
    rows = np.arange(len(values))
    low, left, median, right, high = np.array(
        [np.percentile(of_category, PERCENTILES) for of_category in values]
    ).T
    ax.hlines(rows, low, high, color=OUTER, linewidth=0.8, zorder=2)
    ax.barh(rows, right - left, left=left, height=INNER_HEIGHT, color=INNER, zorder=3)
    half = MEDIAN_HEIGHT / 2
    ax.vlines(median, rows - half, rows + half, color=MEDIAN, linewidth=1.3, zorder=4)
    return ax


def _percent(pixels: Sequence[int]) -> np.ndarray:
    return np.asarray(pixels, np.float32) * (100 / IMAGE_SIZE**2)


def _plot(
    directories: Sequence[str],
    input: Sequence[str],
    split: str,
    per_category: int | None,
    categories: Sequence[str],
) -> Figure:
    if len(directories) + bool(input) != 1:
        raise UserError("either one data set directory or --input is needed")
    if input:
        if categories or flags.FLAGS["split"].present:
            raise UserError("--split and --categories are of a data set, not of --input")
        return draw_statistics(read_statistics(read_drawings(input, per_category)), "drawings")
    return plot_ink(directories[0], split, categories, per_category)


COMMAND = commands.PictureCommand(
    commands.Source(
        commands.DATASET.define_flags, lambda words: (commands.given("dataset", words),)
    ),
    _plot,
    {
        "input": commands.globs("Files of drawings instead of a data set, or globs."),
        "split": commands.choice("train", manifests.SPLITS, "Split of the data set."),
        "per_category": commands.integer(
            None, "Drawings of each category; of --input, of each file. Default: all.", 1, 10**9
        ),
        "categories": commands.names([], "Categories of the data set, with commas. Default: all."),
    },
)

if __name__ == "__main__":
    COMMAND.run()
