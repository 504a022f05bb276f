"""Line styles that distinguish curves; labels of curves and points that do not overlap."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from analysis.style import figures, fonts, texts

LABEL_SIZE = figures.LABEL_SIZE
LABEL_SPACING = 0.17  # inches from line to line of labels, as the next
LEADER = 0.35  # from a panel to the labels of its curves
MARKER_WIDTH = 0.13  # of the marker before a label
COLUMN_GAP = 0.1  # between the texts of a label

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MARKER_SIZES = {"o": 5.0, "s": 4.6, "^": 5.6, "D": 4.4, "v": 5.6, "P": 6.0, "X": 6.0, "*": 8.0}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1)))


# Of labels at points.
DIRECTIONS = 16  # of a text from its point, and
NEAREST = 5.0  # points from the centre of a point to the text there
STEP = 5.0  # points to the next distance to try
LEADER_FROM = 9.0  # points: a line joins a text that far to its point
POINT = 4.0  # points: half the side of the square that a point takes up
GAP = 1.0  # points around a text


class LineStyle(NamedTuple):
    """Colour, marker and dashes that tell a curve from the others."""

    colour: str
    marker: str
    dashes: Any = "-"  # Matplotlib's line style

    @property
    def mark(self) -> dict[str, Any]:
        """Return the style of a single filled marker."""
        return {
            "color": self.colour, "marker": self.marker, "ms": MARKER_SIZES[self.marker],
            "mec": "white", "mew": 0.6, "linestyle": "none",
        }  # fmt: skip


class EndLabel(NamedTuple):
    """Texts to the right of a panel about a curve that ends there or earlier."""

    x: float  # the curve's end in the data's units, as the next
    y: float
    style: LineStyle
    texts: tuple[str, ...]  # in columns


def line_styles(count: int) -> list[LineStyle]:
    """Return a style for each of `count` curves; a repeated colour has another marker and dash.

    Up to 28 curves differ in all three or in colour.
    """
    colours = len(figures.COLOURS)
    return [
        LineStyle(
            figures.COLOURS[i % colours],
            MARKERS[(i + i // colours) % len(MARKERS)],
            DASHES[i // colours % len(DASHES)],
        )
        for i in range(count)
    ]


def label_columns(labels: Sequence[Sequence[str]]) -> list[float]:
    """Return the widths of the columns of texts in inches, with the gaps after them."""
    widths = [texts.text_width(column, LABEL_SIZE) for column in zip(*labels, strict=True)]
    return [*(width + COLUMN_GAP for width in widths[:-1]), widths[-1]]


def labels_width(columns: Sequence[float]) -> float:
    """Return the inches from the panel to the end of its labels; `columns`: of `label_columns`."""
    return LEADER + MARKER_WIDTH + sum(columns)


def label_ends(axes: Axes, labels: Sequence[EndLabel], columns: Sequence[float]) -> None:
    """Label curves to the right of the panel, in the order of their ends, none on another.

    The scales of the axes must be final; `columns` are `label_columns`.
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
            "transform": axes.transAxes, "clip_on": False, "color": label.style.colour,
            "linewidth": 0.7, "label": "_leader",
        }  # fmt: skip
        axes.plot((x, 1), (y, y), linestyle=(0, (1, 3)), **leader)  # of a curve that ends early
        axes.plot((1, 1 + (LEADER - 0.03) / width), (y, label_y), **leader)
        axes.plot(
            marker_x, label_y, transform=axes.transAxes, clip_on=False, label="_marker",
            **label.style.mark,
        )  # fmt: skip
        text_x = LEADER + MARKER_WIDTH + 0.05
        for text, column in zip(label.texts, columns, strict=True):
            axes.text(
                1 + text_x / width, label_y, text, transform=axes.transAxes, va="center",
                fontsize=LABEL_SIZE,
            )  # fmt: skip
            text_x += column


def spread(targets: Sequence[float], spacing: float, limit: float) -> list[float]:
    """Move ascending positions in 0..limit as little as it takes to have them `spacing` apart.

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


class Place(NamedTuple):
    """A candidate position of a text, in pixels."""

    box: Bbox
    distance: float
    end: tuple[float, float]  # of a line from the point


def label_points(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    bars: Sequence[tuple[float, float]],
    names: Sequence[str],
    weights: Sequence[str],
    size: float,
) -> None:
    """Write each text as near to its point as there is room within the axes.

    Texts in a crowd choose first; a line joins a text to its point where that is not near.
    The scales of the axes must be final. Where no room is left, a text overlaps others.

    Args:
      axes: with the points.
      points: (x, y) in the data's units.
      bars: (from, to) of the error bar of each along y.
      names: one for each, and
      weights: of their font.
      size: of the font, in points.
    """
    renderer = FigureCanvasAgg(axes.get_figure(root=True)).get_renderer()
    pixel = figures.DPI / 72  # of a point, the typographic one
    centres = axes.transData.transform(np.array(points))  # [N, 2] pixels
    taken = [Bbox.from_extents(*(c - POINT * pixel), *(c + POINT * pixel)) for c in centres]
    for (x, _), ends in zip(points, bars, strict=True):
        taken.append(Bbox(axes.transData.transform([(x, end) for end in ends])))
    drawn = [
        axes.text(*point, name, fontsize=size, fontweight=weight, family=fonts.families(name))
        for point, name, weight in zip(points, names, weights, strict=True)
    ]
    distances = np.linalg.norm(centres[:, np.newaxis] - centres, axis=2)
    crowd = (distances < 40 * pixel).sum(axis=1)
    for i in np.argsort(-crowd, kind="stable"):
        extent = drawn[i].get_window_extent(renderer)
        room = Bbox(axes.bbox.get_points())
        places = list(_places(centres[i], extent.width, extent.height, pixel, room))
        place = next((p for p in places if not any(p.box.overlaps(t) for t in taken)), places[0])
        taken.append(place.box.padded(GAP * pixel))
        x, y = axes.transData.inverted().transform((place.box.x0, place.box.y0))
        drawn[i].set_position((x, y))
        drawn[i].set_verticalalignment("bottom")
        if place.distance >= LEADER_FROM:
            line = axes.transData.inverted().transform([centres[i], place.end])
            axes.plot(*line.T, color=figures.MUTED, linewidth=0.4, zorder=1, label="_leader")


def _places(
    centre: np.ndarray, width: float, height: float, pixel: float, room: Bbox
) -> Iterator[Place]:
    """Yield places from near to far, from the right around; those within `room`, then others."""
    outside = []
    for ring, step in itertools.product(range(30), range(DIRECTIONS)):
        distance = NEAREST + ring * STEP
        # To the right, the left, then what lies between, alternately up and down.
        angle = math.tau * (step // 2 + step % 2 * DIRECTIONS // 2) / DIRECTIONS
        across, up = math.cos(angle), math.sin(angle)
        end_x = centre[0] + across * distance * pixel
        end_y = centre[1] + up * distance * pixel
        # The text's side or corner that faces the point is at the end of the line.
        x0 = end_x - width * (1 - across) / 2
        y0 = end_y - height * (1 - up) / 2
        box = Bbox.from_bounds(x0, y0, width, height)
        place = Place(box, distance, (end_x, end_y))
        if room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1:
            yield place
        else:
            outside.append(place)
    yield from outside
