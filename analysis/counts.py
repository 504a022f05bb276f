"""How many drawings each category has in each split of a data set.

python -m analysis.counts --dataset=data/quickdraw --output=counts.png
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, NullLocator

from analysis.style import category_rows, figures
from pipeline import cli
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


def make_counts(directory: str) -> Figure:
    """The counts of a data set directory, from its manifest alone.

    Raises:
      UserError: no complete data set, or one without drawings.
    """
    manifest = manifests.read_manifest(directory)
    counts = {name: split.class_counts for name, split in manifest.splits.items() if split.records}
    if not counts:
        raise UserError(f"{directory}: no drawings in any split")
    return draw_counts({name: counts[name] for name in manifests.SPLITS if name in counts})


def draw_counts(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """A mark for every category and split.

    Args:
      counts: for each split, for each category, its number of drawings; at least one is not 0.
        All splits have the same categories, which are shown in the order of their numbers in the
        first split, the highest on top; of equal ones in the order that is given.
    """
    totals = {split: sum(of_split.values()) for split, of_split in counts.items()}
    first = next(iter(counts.values()))
    labels = sorted(first, key=lambda label: -first[label])
    key = [
        Line2D(
            [], [], linestyle="none", **MARKS[split],
            label=f"{figures.SPLIT_NAMES[split]} (n = {total:,})",
        )
        for split, total in totals.items()
    ]  # fmt: skip
    title = f"{sum(totals.values()):,} drawings of {_categories(len(labels))}"
    figure, columns = category_rows.lay_out(labels, ["drawings per category"], title, key)
    values = np.array([[counts[split][label] for label in labels] for split in counts])
    scale = SMALL if len(labels) > category_rows.MANY else 1
    with figures.style():
        for column in columns:
            (axes,) = column.panels
            for i, split in enumerate(counts):
                rows = np.arange(len(column.labels)) + STAGGER * (i - (len(counts) - 1) / 2)
                numbers = [counts[split][label] for label in column.labels]
                mark = MARKS[split] | {"ms": scale * MARKS[split]["ms"]}
                axes.plot(
                    numbers, rows, linestyle="none", mew=0, clip_on=False, label=split, **mark
                )
            _scale_axis(axes, values)
    return figure


def _scale_axis(axes: Axes, values: np.ndarray) -> None:
    """From 0 on; logarithmic after the first step where most counts would coincide otherwise."""
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


def _categories(count: int) -> str:
    return "one category" if count == 1 else f"{count:,} categories"


def define_flags() -> None:
    cli.define_path("dataset", None, "Directory of the data set.", required=True)
    figures.define_output_flag()


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    figures.write(make_counts(args.dataset), args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
