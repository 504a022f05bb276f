"""Writes made-up drawings in Quick, Draw!'s simplified format: a data source without a download.

    python -m pipeline.synthetic --output=DIR --drawings_per_category=N [--seed=S]

One `<category>.ndjson` file per category, with upstream's fields in upstream's order. A function
per category says which strokes people make for it; one hand, somebody else's for every drawing,
makes them. Some drawings cannot be told apart, as with people's: a clock without hands is a circle.
"""

import datetime
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
from absl import flags

from pipeline import command
from pipeline.errors import UserError

Stroke = np.ndarray  # [points, 2] float, x and y in or near the unit square, y pointing down
Rng = np.random.Generator

TURN = 2 * np.pi  # angles are in radians, clockwise from the right, as y points down
STEP = 0.025  # distance between the points of a stroke until it is simplified
EPSILON = 2 / 255  # Ramer–Douglas–Peucker's tolerance, in parts of the drawing's larger side
TREMOR_FREQUENCIES = np.array([2.0, 5.0, 11.0, 25.0])  # radians per unit of length drawn
TREMOR_AMPLITUDES = np.array([[0.03], [0.014], [0.007], [0.003]])
COUNTRIES = "US US US US US GB GB DE CA AU RU FR SE PL FI BR SA KR JP IT CZ HU ID TH AE".split()
EPOCH = datetime.datetime(2017, 1, 23)
COLLECTED_MICROSECONDS = 68 * 24 * 3600 * 1_000_000  # how long upstream collected after EPOCH
MAX_DRAWINGS = 10**8  # as many fit in the digits of a key_id


# ── Strokes that drawings are made of ──


def line(*corners: Any) -> Stroke:
    """A polyline through `corners`, (x, y) each."""
    x, y = np.array(corners, float).T
    at = np.concatenate(([0], np.hypot(np.diff(x), np.diff(y)).cumsum()))
    places = np.linspace(0, at[-1], int(at[-1] / STEP) + 2)
    return np.stack((np.interp(places, at, x), np.interp(places, at, y)), axis=1)


def arc(x: float, y: float, rx: float, ry: float, start: float, turn: float) -> Stroke:
    """A part of the ellipse about (x, y) with the radii rx and ry."""
    angles = np.linspace(start, start + turn, int(abs(turn) * max(rx, ry) / STEP) + 6)
    return np.stack((x + rx * np.cos(angles), y + ry * np.sin(angles)), axis=1)


def spoke(x: float, y: float, angle: float, inner: float, outer: float) -> Stroke:
    """A straight stroke away from (x, y), between two distances from it."""
    dx, dy = np.cos(angle), np.sin(angle)
    return line((x + inner * dx, y + inner * dy), (x + outer * dx, y + outer * dy))


def loop(rng: Rng, x: float, y: float, radius: float, turns: int = 1) -> Stroke:
    """A round as people draw it: lumpy, longer than wide or wider than long, its ends apart."""
    turn = TURN * (turns + rng.normal(0.01, 0.04)) * rng.choice((-1, 1))
    stroke = arc(0, 0, radius, radius, rng.normal(-TURN / 4, 0.7), turn)
    share = np.linspace(0, 1, len(stroke))[:, np.newaxis]
    lumps = np.cos(TURN * (share * turns * (2, 3, 4) + rng.random(3)))
    swelling = 1 + lumps @ rng.normal(0, [[0.045], [0.03], [0.02]]) + share * rng.normal(0, 0.06)
    aspect = np.exp(rng.normal(0, 0.1))
    return stroke * swelling * (aspect, 1 / aspect) + (x, y)


def polygon(rng: Rng, corners: Any, jitter: float = 0.03) -> list[Stroke]:
    """A closed outline from any corner, either way round, in one stroke or in one per side."""
    corners = np.roll(corners, rng.integers(len(corners)), axis=0)[:: rng.choice((-1, 1))]
    corners = corners + rng.normal(0, jitter, corners.shape)
    overshoot = (corners[0] - corners[-1]) * rng.normal(0, 0.08)
    corners = [*corners, corners[0] + overshoot + rng.normal(0, jitter, 2)]
    if rng.random() < 0.85:
        return [line(*corners)]
    return [line(a, b) for a, b in zip(corners, corners[1:], strict=False)]


def rectangle(rng: Rng, left: float, top: float, right: float, bottom: float) -> list[Stroke]:
    return polygon(rng, [(left, top), (right, top), (right, bottom), (left, bottom)], 0.02)


def ring(rng: Rng, count: int, jitter: float = 0.15) -> np.ndarray:
    """[count] angles about evenly round a circle, from the top on; `jitter` in parts of a gap."""
    return TURN * ((np.arange(count) + rng.normal(0, jitter, count)) / count - 0.25)


def dot_or(rng: Rng, stroke: Stroke) -> Stroke:
    """`stroke`, or only a touch of the pen at its middle."""
    return stroke if rng.random() < 0.6 else stroke.mean(axis=0) + np.zeros((2, 1))


# ── Categories: what someone draws who is asked for one ──


def circle(rng: Rng) -> list[Stroke]:
    return [loop(rng, 0.5, 0.5, 0.5, turns=rng.choice((1, 2, 3), p=(0.93, 0.05, 0.02)))]


def clock(rng: Rng) -> list[Stroke]:
    strokes = [loop(rng, 0.5, 0.5, 0.5)]
    count = rng.choice((0, 4, 12), p=(0.5, 0.25, 0.25))
    inner, outer, as_digits = rng.uniform(0.33, 0.4), rng.uniform(0.42, 0.5), rng.random() < 0.5
    for angle in ring(rng, count, 0.1):
        mark = spoke(0.5, 0.5, angle, inner, outer)
        strokes += [digit(rng, *mark.mean(axis=0))] if as_digits else [mark]
    if count == 0 or rng.random() < 0.8:
        hands = rng.uniform(0, TURN, 2) if rng.random() < 0.6 else rng.normal((-TURN / 4, 0), 0.1)
        for angle, length in zip(hands, rng.uniform((0.25, 0.15), (0.45, 0.35)), strict=True):
            strokes.append(spoke(0.5, 0.5, angle, 0, length))
    return strokes


def digit(rng: Rng, x: float, y: float) -> Stroke:
    """Something small that may be read as a number."""
    kinds = [
        [(0, -1), (0, 1)],
        [(-1, -1), (1, -0.8), (-1, 0.8), (1, 1)],
        [(-1, -1), (-1, 0), (1, 0)],
    ]
    corners = np.array(kinds[rng.integers(3)]) * rng.uniform(0.03, 0.06)
    return line(*corners + (x, y)) if rng.random() < 0.7 else loop(rng, x, y, 0.05)


def envelope(rng: Rng) -> list[Stroke]:
    height = rng.uniform(0.4, 0.9)
    fold = height * rng.uniform(0.3, 0.7)
    strokes = [
        *rectangle(rng, 0, 0, 1, height),
        line((0, 0), (rng.normal(0.5, 0.05), fold), (1, 0)),
    ]
    if rng.random() < 0.2:
        strokes += [line((x, height), (0.5 + 0.2 * (x - 0.5), 0.8 * fold)) for x in (0, 1)]
    if rng.random() < 0.12:
        strokes.append(loop(rng, 0.5, fold, 0.06))
    return strokes


def fish(rng: Rng) -> list[Stroke]:
    thickness, tail, waist = rng.uniform((0.14, 0.12, 0.6), (0.33, 0.3, 0.8))
    body = arc(waist / 2, 0.5, waist / 2, thickness, 0.3, TURN - 0.6)
    upper, notch, lower = (1, 0.5 - tail), (rng.uniform(0.85, 1), 0.5), (1, 0.5 + tail)
    if rng.random() < 0.6:  # in one go, crossing itself before the tail
        strokes = [line(upper, *body, lower, notch, upper)]
    else:
        strokes = [line(*body, body[0]), line((waist, 0.5), upper, notch, lower, (waist, 0.5))]
    if rng.random() < 0.75:
        strokes.append(dot_or(rng, loop(rng, 0.2 * waist, 0.45, 0.03)))
    if rng.random() < 0.3:
        strokes.append(arc(0.02, 0.5, 0.15, 0.1, 0.2, 1.2))
    for side in rng.choice((-1, 1), rng.choice((0, 1, 2), p=(0.7, 0.2, 0.1))):
        at = 0.5 + side * thickness
        strokes.append(line((0.25, at), (0.45, at + 0.15 * side), (0.5, at)))
    mirror = rng.choice((-1, 1))
    return [stroke * (mirror, 1) for stroke in strokes]


def flower(rng: Rng) -> list[Stroke]:
    count, middle, petal = rng.integers(4, 9), rng.uniform(0.08, 0.2), rng.uniform(0.12, 0.18)
    strokes = [loop(rng, 0, 0, middle)]
    if rng.random() < 0.7:
        for angle in ring(rng, count):
            x, y = (middle + petal) * np.cos(angle), (middle + petal) * np.sin(angle)
            strokes.append(loop(rng, x, y, petal))
    else:  # all petals in one go
        outline = arc(0, 0, 1, 1, -TURN / 4, TURN)
        waves = np.abs(np.cos(np.linspace(0, count * TURN / 2, len(outline))))
        strokes.append(outline * (middle + 0.05 + 2 * petal * waves)[:, np.newaxis])
    if rng.random() < 0.65:
        bottom = middle + 2 * petal + rng.uniform(0.2, 0.8)
        strokes.append(line((0, middle + petal), (rng.normal(0, 0.08), bottom)))
        for side in rng.choice((-1, 1), rng.integers(3)):
            strokes.append(
                loop(rng, 0.15 * side, bottom - 0.15, 0.1) * (1, 0.8) + (0, 0.2 * bottom)
            )
    return strokes


def hexagon(rng: Rng) -> list[Stroke]:
    angles = TURN * (np.arange(6) + rng.choice((0, 0.5))) / 6
    return polygon(rng, 0.5 + 0.5 * np.stack((np.cos(angles), np.sin(angles)), axis=1), 0.035)


def house(rng: Rng) -> list[Stroke]:
    width, roof, eaves = rng.uniform((0.5, 0.25, 0), (1.1, 0.6, 0.12))
    left, middle, right = 0.0, width / 2, width
    if rng.random() < 0.2:  # walls and roof in one go
        outline = [(left, 1), (left, roof), (middle, 0), (right, roof), (right, 1)]
        strokes = polygon(rng, outline)
    else:
        strokes = rectangle(rng, left, roof, right, 1)
        strokes.append(line((left - eaves, roof), (middle, 0), (right + eaves, roof)))
    if rng.random() < 0.55:
        x, top = rng.uniform(0.15, 0.6) * width, rng.uniform(0.6, 0.75)
        strokes.append(line((x, 1), (x, top), (x + 0.18, top), (x + 0.18, 1)))
    for x in rng.choice((0.12, 0.62), rng.integers(3), replace=False) * width:
        strokes += rectangle(rng, x, roof + 0.1, x + 0.18, roof + 0.26)
    if rng.random() < 0.2:
        x = right - 0.12
        strokes.append(line((x - 0.12, 0.4 * roof), (x - 0.12, -0.05), (x, -0.05), (x, 0.6 * roof)))
    return strokes


def ladder(rng: Rng) -> list[Stroke]:
    width, lean = rng.uniform(0.2, 0.5), rng.normal(0, 0.15)
    strokes = [line((x, rng.normal(0, 0.03)), (x + lean, 1)) for x in (0, width)]
    count = rng.integers(3, 9)
    for y in (np.arange(count) + 0.7 + rng.normal(0, 0.1, count)) / (count + 0.5):
        ends = lean * y + np.array((0, width)) + rng.normal(0, 0.02, 2)
        strokes.append(line((ends[0], y), (ends[1], y + rng.normal(0, 0.02))))
    return strokes


def smiley_face(rng: Rng) -> list[Stroke]:
    apart, eye_y, mouth_y, width = rng.uniform((0.1, 0.28, 0.5, 0.12), (0.22, 0.42, 0.65, 0.33))
    tall = rng.random() < 0.3
    strokes = [loop(rng, 0.5, 0.5, 0.5)]
    for x in (0.5 - apart, 0.5 + apart):
        eye = line((x, eye_y - 0.06), (x, eye_y + 0.06)) if tall else loop(rng, x, eye_y, 0.04)
        strokes.append(dot_or(rng, eye))
    strokes.append(arc(0.5, mouth_y, width, rng.uniform(0.08, 0.25), 0, TURN / 2))
    if rng.random() < 0.12:
        strokes.append(line((0.5, 0.45), (0.46, 0.57), (0.52, 0.57)))
    return strokes


def square(rng: Rng) -> list[Stroke]:
    return rectangle(rng, 0, 0, np.exp(rng.normal(0, 0.15)), 1)


def star(rng: Rng) -> list[Stroke]:
    points = rng.choice((4, 5, 6), p=(0.07, 0.85, 0.08))
    angles = ring(rng, 2 * points, 0.1)
    if points == 5 and rng.random() < 0.65:  # in one go, through the middle
        tips = np.stack((np.cos(angles[::2]), np.sin(angles[::2])), axis=1)
        return polygon(rng, tips[[0, 2, 4, 1, 3]], 0.06)
    radii = np.where(np.arange(2 * points) % 2, rng.uniform(0.35, 0.6), 1)
    return polygon(rng, np.stack((radii * np.cos(angles), radii * np.sin(angles)), axis=1), 0.05)


def sun(rng: Rng) -> list[Stroke]:
    radius, gap, length = rng.uniform((0.4, -0.05, 0.15), (0.7, 0.25, 0.6))
    strokes = [loop(rng, 0, 0, radius)]
    for angle in ring(rng, rng.integers(5, 14)):
        inner = radius + gap + rng.normal(0, 0.03)
        strokes.append(spoke(0, 0, angle, inner, inner + length * rng.uniform(0.7, 1.3)))
    return strokes


CATEGORIES: dict[str, Callable[[Rng], list[Stroke]]] = {
    "circle": circle,
    "clock": clock,
    "envelope": envelope,
    "fish": fish,
    "flower": flower,
    "hexagon": hexagon,
    "house": house,
    "ladder": ladder,
    "smiley face": smiley_face,
    "square": square,
    "star": star,
    "sun": sun,
}


# ── From strokes to files ──


def mishap(rng: Rng, strokes: list[Stroke]) -> list[Stroke]:
    """What goes wrong: a drawing breaks off, becomes a scribble, gains a stroke or loses one."""
    chance = rng.random()
    if chance < 0.45:  # out of time
        kept = int(rng.uniform(0.3, 0.9) * sum(map(len, strokes)))
        before = np.cumsum([0, *map(len, strokes)])
        return [
            s[: kept - start] for s, start in zip(strokes, before, strict=False) if start < kept
        ]
    if chance < 0.55:
        return [*strokes[: rng.integers(2)], line(*rng.random((rng.integers(5, 20), 2)))]
    if chance < 0.8 or len(strokes) == 1:
        return [*strokes, line(*rng.uniform(-0.1, 1.1, (rng.integers(2, 4), 2)))]
    lost = rng.integers(len(strokes))
    return strokes[:lost] + strokes[lost + 1 :]


def by_hand(rng: Rng, strokes: list[Stroke]) -> list[Stroke]:
    """The strokes as one person draws them: rounded, trembling, out of place, slanted."""
    strokes = [stroke[:: rng.choice((-1, 1))] for stroke in strokes]
    if rng.random() < 0.2:
        rng.shuffle(strokes)
    lengths = [len(stroke) for stroke in strokes]
    ends = np.cumsum(lengths)
    tips = np.concatenate((ends - lengths, ends - 1))
    points = np.concatenate(strokes)  # [points, 2], so that all strokes are computed at once
    for _ in range(rng.integers(4)):  # round the corners, leave the ends where they are
        rounded = points.copy()
        rounded[1:-1] = (points[:-2] + points[1:-1] + points[2:]) / 3
        rounded[tips] = points[tips]
        points = rounded
    sloppiness = np.exp(rng.normal(0, 0.5))
    drawn = STEP * np.arange(len(points))[:, np.newaxis]
    waves = np.sin(drawn * TREMOR_FREQUENCIES + rng.uniform(0, TURN, len(TREMOR_FREQUENCIES)))
    points += waves @ (
        sloppiness * TREMOR_AMPLITUDES * rng.normal(size=(len(TREMOR_AMPLITUDES), 2))
    )
    points += np.repeat(rng.normal(0, 0.015 * sloppiness, (len(strokes), 2)), lengths, axis=0)
    angle, slant, aspect = rng.normal(0, (0.1, 0.1, 0.12))
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = points @ rotation @ [[np.exp(aspect), 0], [slant, 1]]
    return np.split(points, ends[:-1])


def simplify(strokes: list[Stroke]) -> list[list[list[int]]]:
    """Strokes in any unit → upstream's: few points, whole numbers from 0, the larger side 255."""
    points = np.concatenate(strokes)
    side = np.ptp(points, axis=0).max()
    kept = [
        cv2.approxPolyDP(stroke.astype(np.float32), EPSILON * side, closed=False)[:, 0]
        for stroke in strokes
    ]
    points = np.concatenate(kept)
    points -= points.min(axis=0)
    points *= 255 / points.max()
    ends = np.cumsum([len(stroke) for stroke in kept])
    return [stroke.T.tolist() for stroke in np.split(points.round().astype(int), ends[:-1])]


def drawing_line(category: str, index: int, seed: int) -> bytes:
    """Drawing `index` of a category, a function of these three alone, as a line of ndjson."""
    rng = np.random.default_rng([seed, zlib.crc32(category.encode()), index])
    strokes = CATEGORIES[category](rng)
    is_mishap = rng.random() < 0.08
    if is_mishap:
        strokes = mishap(rng, strokes)
    drawn_at = EPOCH + datetime.timedelta(microseconds=int(rng.integers(COLLECTED_MICROSECONDS)))
    fields = {
        "word": category,
        "countrycode": COUNTRIES[rng.integers(len(COUNTRIES))],
        "timestamp": f"{drawn_at:%Y-%m-%d %H:%M:%S.%f}".rstrip("0") + " UTC",
        "recognized": bool(rng.random() < (0.4 if is_mishap else 0.95)),
        "key_id": f"5{seed:05}{list(CATEGORIES).index(category):02}{index:08}",
        "drawing": simplify(by_hand(rng, strokes)),
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def write_category(directory: Path, category: str, count: int, seed: int) -> None:
    """Writes `<category>.ndjson`; under that name it is complete."""
    temporary = directory / f"{category}.ndjson.tmp"
    with temporary.open("wb") as file:
        file.writelines(drawing_line(category, index, seed) for index in range(count))
    temporary.replace(directory / f"{category}.ndjson")


def write_drawings(directory: Path, count: int, seed: int = 0) -> None:
    """Writes `count` drawings of every category, on all cores.

    Raises:
      UserError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor() as pool:
            writes = [pool.submit(write_category, directory, c, count, seed) for c in CATEGORIES]
            for write in writes:
                write.result()
    except OSError as error:
        raise UserError(f"--output={directory}: {error.strerror}: {error.filename}") from None


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise UserError(f"{argv[1]}: not a flag of this command (--help lists the flags)")
    directory, count = Path(flags.FLAGS.output), flags.FLAGS.drawings_per_category
    write_drawings(directory, count, flags.FLAGS.seed)
    print(f"{len(CATEGORIES)} categories of {count:,} drawings in {directory}")


if __name__ == "__main__":
    flags.DEFINE_string("output", None, "The directory to write to.", required=True)
    flags.DEFINE_integer(
        "drawings_per_category",
        None,
        "How many drawings to write of each category. More of them begin with the same ones.",
        lower_bound=1,
        upper_bound=MAX_DRAWINGS,
        required=True,
    )
    flags.DEFINE_integer(
        "seed", 0, "Another number, other drawings.", lower_bound=0, upper_bound=99_999
    )
    command.run(main)
