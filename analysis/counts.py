"""Number of drawings of each category in each split of a data set.

python -m analysis.counts DATASET -o counts.png
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, NullLocator

from analysis import commands
from analysis.style import category_rows, figures, texts
from pipeline.cli import UserError
from pipeline.dataset import manifests

# Colours and shapes, so that neither is needed to tell the splits apart.
MARKS: dict[str, dict[str, Any]] = {
    "train": {"color": figures.COLOURS[0], "marker": "o", "ms": 4},
    "validation": {"color": figures.COLOURS[1], "marker": "D", "ms": 3.2},
    "test": {"color": figures.COLOURS[2], "marker": "s", "ms": 3.4},
}
SMALL = 0.7  # of the marks' sizes, where there are many categories
STAGGER = 0.2  # rows between the splits of a category: equal counts would hide each other
MAX_LINEAR_RATIO = 20  # of all but the extreme counts; a wider range needs a logarithmic axis
MAX_POWERS = 4  # of ten that have a tick each; of more every second one has


def plot_counts(directory: str) -> Figure:
    """Plot the counts of a data set directory, from its manifest alone.

    Raises:
      UserError: no complete data set, or one without drawings.
    """
    manifest = manifests.read_manifest(directory)
    counts = {
        name: manifest.splits[name].class_counts
        for name in manifests.SPLITS
        if manifest.splits[name].records
    }
    if not counts:
        raise UserError(f"{directory}: no drawings in any split")
    return draw_counts(counts)


def draw_counts(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Plot a mark for every category and split.

    Args:
      counts: for each split, for each category, its number of drawings; at least one is not 0.
        All splits have the same categories, which are shown in the order of their numbers in the
        first split, the highest on top; of equal ones in the given order.
    """
    totals = {split: sum(of_split.values()) for split, of_split in counts.items()}
    first = next(iter(counts.values()))
    labels = sorted(first, key=lambda label: -first[label])
    key = [
        Line2D(
            [], [], linestyle="none", **MARKS[split],
            label=f"{texts.SPLIT_NAMES[split]} (n = {total:,})",
        )
        for split, total in totals.items()
    ]  # fmt: skip
    categories = "one category" if len(labels) == 1 else f"{len(labels):,} categories"
    title = f"{sum(totals.values()):,} drawings of {categories}"
    figure, blocks = category_rows.lay_out(labels, ["drawings per category"], title, key)
    values = np.array([[counts[split][label] for label in labels] for split in counts])
    with figures.style():
        for block in blocks:
            is_small = len(labels) > category_rows.MANY
            count_marks(counts, block.labels, is_small=is_small, ax=block.panels[0])
            _scale_axis(block.panels[0], values)
    return figure


def count_marks(
    counts: Mapping[str, Mapping[str, int]],
    labels: Sequence[str],
    *,
    is_small: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw the counts of some labels in rows, from y = 0 on; of `counts` as in `draw_counts`."""
    ax = figures.new_axes(ax)
    for i, (split, of_split) in enumerate(counts.items()):
        rows = np.arange(len(labels)) + STAGGER * (i - (len(counts) - 1) / 2)
        mark = MARKS[split] | {"ms": (SMALL if is_small else 1) * MARKS[split]["ms"]}
        numbers = [of_split[label] for label in labels]
        ax.plot(numbers, rows, linestyle="none", mew=0, clip_on=False, label=split, **mark)
    return ax


def _scale_axis(axes: Axes, values: np.ndarray) -> None:
    """Scale from 0 on, logarithmic after the first step if most counts would coincide otherwise."""
    low, high = np.percentile(values[values > 0], (5, 95))
    if high > MAX_LINEAR_RATIO * low:
        least, most = (math.floor(math.log10(count)) for count in (values[values > 0].min(), high))
        axes.set_xscale("symlog", linthresh=10**least, linscale=0.5)
        step = 1 if most - least < MAX_POWERS else 2
        powers = range(most, least - 1, -step)
        axes.set_xticks([0, *sorted(10**power for power in powers)])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 100k: 100,000 may be too wide
    axes.set_xlim(0, 1.05 * values.max())


COMMAND = commands.PictureCommand(commands.DATASET, plot_counts)

if __name__ == "__main__":
    COMMAND.run()
