"""How much ink the drawings of each category have, and how many strokes and points.

python -m analysis.ink --dataset=data/quickdraw --output=ink.png
python -m analysis.ink --input='drawings/*.ndjson' --output=strokes.png

A data set holds bitmaps, which tell of ink alone; files of drawings tell of strokes, too.
"""

import struct
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.reading import bitmaps
from analysis.reading.drawings import LabelledDrawing, print_warning, read_drawings
from analysis.style import category_rows, figures
from pipeline import cli
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

# Of each statistic, for each category, its value of every drawing.
Statistics = Mapping[str, Mapping[str, np.ndarray]]


def make_ink(
    directory: str, split: str, categories: Sequence[str] = (), per_category: int | None = None
) -> Figure:
    """The ink of a split of a data set directory.

    Args:
      directory: the data set.
      split: train, validation or test.
      categories: those to show; all if empty.
      per_category: of how many drawings of each, which are a random choice; of all if None.

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
    return draw_statistics({INK: values}, f"{figures.SPLIT_NAMES[split]} drawings")


def make_stroke_statistics(
    patterns: Sequence[str], warn: Callable[[str], None], per_file: int | None = None
) -> Figure:
    """Ink, strokes and points of the drawings in ndjson files.

    Arguments and errors are those of `analysis.reading.drawings.read_drawings`.
    """
    return draw_statistics(read_statistics(read_drawings(patterns, warn, per_file)), "drawings")


def read_statistics(drawings: Iterator[LabelledDrawing]) -> Statistics:
    """Ink, strokes and points of drawings; the memory holds six bytes a drawing."""
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


def draw_statistics(statistics: Statistics, subject: str) -> Figure:
    """A panel for each statistic; a row for each category, that of the highest median on top.

    The first statistic decides on the order; of equal medians the alphabet.

    Args:
      statistics: by axis label. All have the same categories, with at least one drawing each.
      subject: what the title calls the drawings.
    """
    order, first = next(iter(statistics.items()))
    labels = sorted(first, key=lambda label: (-np.median(first[label]), label))
    counts = figures.number_range([len(values) for values in first.values()])
    of_each = figures.of_each_category(len(labels))
    title = f"{counts} {subject} of {of_each}, by median {order.split()[0]}"
    key = [
        Line2D([], [], color=MEDIAN, marker="|", mew=1.3, ms=8, linestyle="none", label="median"),
        Line2D([], [], color=INNER, linewidth=6, label="middle half"),
        Line2D([], [], color=OUTER, linewidth=0.8, label="5% to 95%"),
    ]
    figure, columns = category_rows.lay_out(labels, list(statistics), title, key)
    with figures.style():
        for column in columns:
            for axes, values in zip(column.panels, statistics.values(), strict=True):
                _draw_rows(axes, [values[label] for label in column.labels])
        for axes in columns[0].panels:  # the others share their scales
            axes.set_xlim(left=0)
    return figure


def _draw_rows(axes: Axes, values: Sequence[np.ndarray]) -> None:
    """`values`: of each category, from the top."""
    rows = np.arange(len(values))
    low, left, median, right, high = np.array(
        [np.percentile(of_category, PERCENTILES) for of_category in values]
    ).T
    axes.hlines(rows, low, high, color=OUTER, linewidth=0.8, zorder=2)
    axes.barh(rows, right - left, left=left, height=INNER_HEIGHT, color=INNER, zorder=3)
    half = MEDIAN_HEIGHT / 2
    axes.vlines(median, rows - half, rows + half, color=MEDIAN, linewidth=1.3, zorder=4)


def _percent(pixels: Sequence[int]) -> np.ndarray:
    return np.asarray(pixels, np.float32) * (100 / IMAGE_SIZE**2)


def define_flags() -> None:
    cli.define_path("dataset", None, "Directory of a data set; or else --input.")
    cli.define_paths(
        "input",
        [],
        "Files of drawings, all that pipeline.main reads: globs with commas between.",
        kind="GLOB",
    )
    figures.define_output_flag()
    flags.DEFINE_enum("split", "train", manifests.SPLITS, "Which split's drawings, of --dataset.")
    cli.define_integer(
        "per_category",
        None,
        "Only so many drawings of each category; with --input, of each file. Default: all.",
        lower_bound=1,
        upper_bound=10**9,
    )
    flags.DEFINE_list(
        "categories", [], "Categories to show, of --dataset, with commas between. Default: all."
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    if bool(args.dataset) == bool(args.input):
        raise UserError("either --dataset or --input is needed")
    if args.dataset:
        figure = make_ink(args.dataset, args.split, args.categories, args.per_category)
    else:
        figure = make_stroke_statistics(args.input, print_warning, args.per_category)
    figures.write(figure, args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
