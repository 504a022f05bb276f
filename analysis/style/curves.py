"""Curves of several runs in one set of axes: telling them apart, and naming them at their ends."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.style import figures

LABEL_SIZE = 8  # points
LABEL_SPACING = 0.17  # inches from line to line of labels, as the next
LEADER = 0.35  # from a panel to the labels of its curves
MARKER_WIDTH = 0.13  # of the marker before a label
COLUMN_GAP = 0.1  # between the texts of a label

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MARKER_SIZES = {"o": 5.0, "s": 4.6, "^": 5.6, "D": 4.4, "v": 5.6, "P": 6.0, "X": 6.0, "*": 8.0}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1)))


class Look(NamedTuple):
    """What tells a curve from the others."""

    colour: str
    marker: str
    dashes: Any = "-"  # Matplotlib's line style

    @property
    def mark(self) -> dict[str, Any]:
        """The style of a single filled marker."""
        return {
            "color": self.colour, "marker": self.marker, "ms": MARKER_SIZES[self.marker],
            "mec": "white", "mew": 0.6, "linestyle": "none",
        }  # fmt: skip


class EndLabel(NamedTuple):
    """What to write to the right of a panel about a curve that ends there or earlier."""

    x: float  # the curve's end in the data's units, as the next
    y: float
    look: Look
    texts: tuple[str, ...]  # in columns


def looks(count: int) -> list[Look]:
    """A look for each of so many curves; a colour that comes again has another marker and dash.

    Up to 28 curves differ in all three or in colour.
    """
    colours = len(figures.COLOURS)
    return [
        Look(
            figures.COLOURS[i % colours],
            MARKERS[(i + i // colours) % len(MARKERS)],
            DASHES[i // colours % len(DASHES)],
        )
        for i in range(count)
    ]


def label_columns(labels: Sequence[Sequence[str]]) -> list[float]:
    """How wide the columns of such texts are, in inches, with the gaps after them."""
    widths = [figures.text_width(column, LABEL_SIZE) for column in zip(*labels, strict=True)]
    return [*(width + COLUMN_GAP for width in widths[:-1]), widths[-1]]


def labels_width(columns: Sequence[float]) -> float:
    """From the panel's edge to the end of its labels, in inches; `columns` of `label_columns`."""
    return LEADER + MARKER_WIDTH + sum(columns)


def label_ends(axes: Axes, labels: Sequence[EndLabel], columns: Sequence[float]) -> None:
    """Names curves to the right of the panel, in the order of their ends, none on another.

    The scales of the axes must be what they will be; `columns` are `label_columns`.
    """
    width, height = (side / axes.figure.dpi for side in (axes.bbox.width, axes.bbox.height))
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = sorted(
        ((*to_axes.transform((label.x, label.y)), label) for label in labels),
        key=lambda end: end[1],
    )
    positions = spread([y * height for _, y, _ in ends], LABEL_SPACING, height)
    for (x, y, label), position in zip(ends, positions, strict=True):
        label_y = position / height
        marker_x = 1 + (LEADER + MARKER_WIDTH / 2) / width
        leader: dict[str, Any] = {
            "transform": axes.transAxes, "clip_on": False, "color": label.look.colour,
            "linewidth": 0.7, "label": "_leader",
        }  # fmt: skip
        axes.plot((x, 1), (y, y), linestyle=(0, (1, 3)), **leader)  # of a curve that ends early
        axes.plot((1, 1 + (LEADER - 0.03) / width), (y, label_y), **leader)
        axes.plot(
            marker_x, label_y, transform=axes.transAxes, clip_on=False, label="_marker",
            **label.look.mark,
        )  # fmt: skip
        text_x = LEADER + MARKER_WIDTH + 0.05
        for text, column in zip(label.texts, columns, strict=True):
            axes.text(
                1 + text_x / width, label_y, text, transform=axes.transAxes, va="center",
                fontsize=LABEL_SIZE,
            )  # fmt: skip
            text_x += column


def spread(targets: Sequence[float], spacing: float, limit: float) -> list[float]:
    """Moves ascending positions in 0..limit as little as it takes to have them `spacing` apart.

    Least squares by pooling adjacent violators: positions that would collide move as one.
    """
    pools: list[tuple[float, int]] = []  # (sum, count) of targets less their shares of the spacing
    for i, target in enumerate(targets):
        total, count = target - i * spacing, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            total, count = total + pools[-1][0], count + pools[-1][1]
            pools.pop()
        pools.append((total, count))
    highest = limit - (len(targets) - 1) * spacing
    bases = [min(max(total / n, 0), highest) for total, n in pools for _ in range(n)]
    return [base + i * spacing for i, base in enumerate(bases)]


def scale_epochs(axes: Axes, epochs: int) -> None:
    """A horizontal axis of whole epochs from 1."""
    axes.set_xlim((1, epochs) if epochs > 1 else (0.5, 1.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlabel("epoch")
