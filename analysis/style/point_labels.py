"""Texts beside points of a scatter, none on another, on a point or on an error bar."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from analysis.style import figures

DIRECTIONS = 16  # in which a text may stand, and
NEAREST = 5.0  # points from the centre of a point to the text there
STEP = 5.0  # points to the next distance to try
LEADER_FROM = 9.0  # points: a text as far as that is joined to its point by a line
POINT = 4.0  # points: half the side of the square that a point takes up
GAP = 1.0  # points around a text


class Place(NamedTuple):
    """Where a text may stand, in pixels."""

    box: Bbox
    distance: float
    end: tuple[float, float]  # of a line from the point


def label_points(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    bars: Sequence[tuple[float, float]],
    texts: Sequence[str],
    weights: Sequence[str],
    size: float,
) -> None:
    """Writes each text as near to its point as there is room within the axes.

    Texts in a crowd choose first; a text that stands away from its point is joined to it by a line.
    The scales of the axes must be what they will be. Where there is no room left, a text stands on
    what is there already.

    Args:
      axes: with the points.
      points: (x, y) in the data's units.
      bars: (from, to) of the error bar of each along y.
      texts: one for each, and
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
        axes.text(*point, text, fontsize=size, fontweight=weight)
        for point, text, weight in zip(points, texts, weights, strict=True)
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
    """From near to far, and from the right around; those within `room`, or else any."""
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
