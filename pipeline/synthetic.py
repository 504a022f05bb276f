"""Writes made-up drawings in Quick, Draw!'s simplified format: a data source without a download.

    python -m pipeline.synthetic --output=DIR --drawings_per_category=N [--seed=S]

One `<category>.ndjson` file per category, with upstream's fields in upstream's order. A function
per category says which strokes people make for it; each drawing has a random style of its own.
As with people's, some drawings are indistinguishable: a clock without hands is a circle.
"""

import datetime
import signal
import zlib
from collections.abc import Callable
from itertools import pairwise
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
from absl import flags

from pipeline import cli
from pipeline.cli import UserError, is_remote

Stroke = np.ndarray  # [points, 2] float, x to the right and y down, in any unit of about a drawing
Rng = np.random.Generator

TURN = 2 * np.pi  # radians; angles run clockwise from the right, as y points down
STEP = 0.025  # distance between the points of a stroke before it is simplified
EPSILON = 2 / 255  # Ramer–Douglas–Peucker's tolerance, in parts of the drawing's larger side
TREMOR_FREQUENCIES = np.array([2, 5, 11, 25])  # radians per unit of length drawn
TREMOR_AMPLITUDES = np.array([[0.03], [0.014], [0.007], [0.003]])
COUNTRIES = ["US", "US", "US", "GB", "DE", "CA", "AU", "RU", "FR", "SE", "PL", "BR", "SA", "KR"]
FIRST_DAY, SECONDS = datetime.datetime(2017, 1, 23), 68 * 24 * 3600  # when upstream collected


# ── What drawings are made of ──


def line(*corners: Any) -> Stroke:
    """Return a polyline through `corners`, (x, y) each."""
    x, y = np.array(corners, float).T
    at = np.concatenate(([0], np.hypot(np.diff(x), np.diff(y)).cumsum()))
    places = np.linspace(0, at[-1], int(at[-1] / STEP) + 2)
    return np.stack((np.interp(places, at, x), np.interp(places, at, y)), axis=1)


def polar(angles: np.ndarray, radii: Any) -> Stroke:
    """Return the points about (0, 0) at these angles and distances."""
    return np.stack((radii * np.cos(angles), radii * np.sin(angles)), axis=1)


def arc(x: float, y: float, rx: float, ry: float, start: float, turn: float) -> Stroke:
    """Return a part of the ellipse about (x, y) with the radii rx and ry."""
    count = int(abs(turn) * max(rx, ry) / STEP) + 6
    return polar(np.linspace(start, start + turn, count), 1) * (rx, ry) + (x, y)


def spoke(angle: float, inner: float, outer: float) -> Stroke:
    """Return a straight stroke away from (0, 0), between two distances from it."""
    return line(*polar(np.array((angle, angle)), (inner, outer)))


def ring(rng: Rng, count: int | np.integer, jitter: float = 0.15) -> np.ndarray:
    """[count] angles about evenly round a circle, from the top on; `jitter` in parts of a gap."""
    return TURN * ((np.arange(count) + rng.normal(0, jitter, count)) / count - 0.25)


def loop(rng: Rng, x: float, y: float, radius: float, turns: int = 1) -> Stroke:
    """Return a circle as people draw it: lumpy, not quite round, its ends apart."""
    turn = TURN * (turns + rng.normal(0.01, 0.04)) * rng.choice((-1, 1))
    stroke = arc(0, 0, radius, radius, rng.normal(-TURN / 4, 0.7), turn)
    share = np.linspace(0, 1, len(stroke))[:, np.newaxis]
    lumps = np.cos(TURN * (share * turns * (2, 3, 4) + rng.random(3)))
    swelling = 1 + lumps @ rng.normal(0, [[0.045], [0.03], [0.02]]) + share * rng.normal(0, 0.06)
    aspect = np.exp(rng.normal(0, 0.1))
    return stroke * swelling * (aspect, 1 / aspect) + (x, y)


def polygon(rng: Rng, corners: Any, jitter: float = 0.03) -> list[Stroke]:
    """Return a closed outline from any corner, either way round, in one stroke or one per side."""
    corners = np.roll(corners, rng.integers(len(corners)), axis=0)[:: rng.choice((-1, 1))]
    corners = corners + rng.normal(0, jitter, corners.shape)
    overshoot = (corners[0] - corners[-1]) * rng.normal(0, 0.08)
    corners = [*corners, corners[0] + overshoot + rng.normal(0, jitter, 2)]
    if rng.random() < 0.85:
        return [line(*corners)]
    return [line(*side) for side in pairwise(corners)]


def rectangle(rng: Rng, left: float, top: float, right: float, bottom: float) -> list[Stroke]:
    return polygon(rng, [(left, top), (right, top), (right, bottom), (left, bottom)], 0.02)


def eye(rng: Rng, x: float, y: float) -> Stroke:
    """Return a small circle, a short line or a dot."""
    size = rng.choice((0.04, 0))
    return loop(rng, x, y, size) if rng.random() < 0.7 else line((x, y - size), (x, y + size))


# ── Categories: what people draw who are asked for one ──


def circle(rng: Rng) -> list[Stroke]:
    return [loop(rng, 0, 0, 0.5, turns=rng.choice((1, 2, 3), p=(0.93, 0.05, 0.02)))]


def clock(rng: Rng) -> list[Stroke]:
    strokes = [loop(rng, 0, 0, 0.5)]
    count = rng.choice((0, 4, 12), p=(0.5, 0.25, 0.25))
    inner, outer = rng.uniform((0.3, 0.42), (0.38, 0.5))
    if rng.random() < 0.5:
        strokes += [spoke(angle, inner, outer) for angle in ring(rng, count, 0.1)]
    else:  # digits, as far as they can be read
        strokes += [eye(rng, x, y) for x, y in polar(ring(rng, count, 0.1), 0.4)]
    if count == 0 or rng.random() < 0.8:
        hour, minute = rng.uniform(0, TURN, 2) if rng.random() < 0.6 else (0, -TURN / 4)
        strokes += [spoke(hour, 0, rng.uniform(0.15, 0.35)), spoke(minute, 0, inner)]
    return strokes


def envelope(rng: Rng) -> list[Stroke]:
    height = rng.uniform(0.4, 0.9)
    fold = height * rng.uniform(0.3, 0.7)
    flap = line((0, 0), (rng.normal(0.5, 0.05), fold), (1, 0))
    strokes = [*rectangle(rng, 0, 0, 1, height), flap]
    if rng.random() < 0.2:
        strokes += [line((0, height), (0.4, 0.8 * fold)), line((1, height), (0.6, 0.8 * fold))]
    if rng.random() < 0.12:  # a seal
        strokes.append(loop(rng, 0.5, fold, 0.06))
    return strokes


def fish(rng: Rng) -> list[Stroke]:
    thickness, tail, waist = rng.uniform((0.14, 0.12, 0.6), (0.33, 0.3, 0.8))
    body = arc(waist / 2, 0, waist / 2, thickness, 0.3, TURN - 0.6)
    upper, notch, lower = (1, -tail), (rng.uniform(0.85, 1), 0), (1, tail)
    if rng.random() < 0.6:  # in one go, crossing itself before the tail
        strokes = [line(upper, *body, lower, notch, upper)]
    else:
        strokes = [line(*body, body[0]), line((waist, 0), upper, notch, lower, (waist, 0))]
    if rng.random() < 0.75:
        strokes.append(eye(rng, 0.2 * waist, -0.05))
    if rng.random() < 0.3:  # a mouth
        strokes.append(arc(0, 0, 0.15, 0.1, 0.2, 1.2))
    if rng.random() < 0.2:  # a fin
        strokes.append(line((0.25, -thickness), (0.45, -0.15 - thickness), (0.5, -thickness)))
    facing = rng.choice((-1, 1))
    return [stroke * (facing, 1) for stroke in strokes]


def flower(rng: Rng) -> list[Stroke]:
    count, middle, petal = rng.integers(4, 8), rng.uniform(0.08, 0.2), rng.uniform(0.12, 0.18)
    strokes = [loop(rng, 0, 0, middle)]
    if rng.random() < 0.7:
        centres = polar(ring(rng, count), middle + petal)
        strokes += [loop(rng, x, y, petal) for x, y in centres]
    else:  # all petals in one go
        angles = np.linspace(0, TURN, 100)
        waves = np.abs(np.cos(angles * count / 2))
        strokes.append(polar(angles, middle + 0.05 + 2 * petal * waves))
    if rng.random() < 0.65:
        top, bottom = middle + petal, middle + petal + rng.uniform(0.4, 1)
        strokes.append(line((0, top), (rng.normal(0, 0.08), bottom)))
        for side in rng.choice((-1, 1), rng.integers(3)):  # leaves
            leaf = arc(0.15 * side, 0, 0.15, rng.uniform(0.03, 0.08), 0, TURN)
            strokes.append(leaf @ [[1, -0.6 * side], [0, 1]] + (0, rng.uniform(top + 0.2, bottom)))
    return strokes


def hexagon(rng: Rng) -> list[Stroke]:
    return polygon(rng, polar(ring(rng, 6, 0.05) + rng.choice((0, TURN / 12)), 0.5))


def house(rng: Rng) -> list[Stroke]:
    width, roof, eaves = rng.uniform((0.5, 0.25, 0), (1.1, 0.6, 0.12))
    if rng.random() < 0.2:  # walls and roof in one go
        walls = [(0, 1), (0, roof), (width / 2, 0), (width, roof), (width, 1)]
        strokes = polygon(rng, walls)
    else:
        strokes = rectangle(rng, 0, roof, width, 1)
        strokes.append(line((-eaves, roof), (width / 2, 0), (width + eaves, roof)))
    if rng.random() < 0.55:
        x, top = rng.uniform(0.15, 0.6) * width, rng.uniform(0.65, 0.8)
        strokes.append(line((x, 1), (x, top), (x + 0.15, top), (x + 0.15, 1)))
    for x in rng.choice((0.12, 0.62), rng.integers(3), replace=False) * width:  # windows
        strokes += rectangle(rng, x, roof + 0.08, x + 0.18, roof + 0.24)
    if rng.random() < 0.2:  # a chimney
        x = 0.8 * width
        strokes.append(line((x, 0.6 * roof), (x, 0), (x + 0.1, 0), (x + 0.1, 0.8 * roof)))
    return strokes


def ladder(rng: Rng) -> list[Stroke]:
    width, lean, count = rng.uniform(0.2, 0.5), rng.normal(0, 0.15), rng.integers(3, 9)
    strokes = [line((x, rng.normal(0, 0.03)), (x + lean, 1)) for x in (0, width)]
    for y in (np.arange(count) + 0.7 + rng.normal(0, 0.1, count)) / (count + 0.5):
        left, right = lean * y + rng.normal((0, width), 0.02)
        strokes.append(line((left, y), (right, y + rng.normal(0, 0.02))))
    return strokes


def smiley_face(rng: Rng) -> list[Stroke]:
    apart, eyes_y, mouth_y, width = rng.uniform((0.1, -0.22, 0, 0.12), (0.22, -0.08, 0.15, 0.33))
    mouth = arc(0, mouth_y, width, rng.uniform(0.05, 0.25), 0, TURN / 2)
    strokes = [loop(rng, 0, 0, 0.5), eye(rng, -apart, eyes_y), eye(rng, apart, eyes_y), mouth]
    if rng.random() < 0.12:  # a nose
        strokes.append(line((0, -0.05), (-0.04, 0.07), (0.02, 0.07)))
    return strokes


def square(rng: Rng) -> list[Stroke]:
    return rectangle(rng, 0, 0, np.exp(rng.normal(0, 0.15)), 1)


def star(rng: Rng) -> list[Stroke]:
    count = rng.choice((4, 5, 6), p=(0.07, 0.85, 0.08))
    if count == 5 and rng.random() < 0.65:  # in one go, through the middle
        return polygon(rng, polar(ring(rng, 5)[[0, 2, 4, 1, 3]], 0.5), 0.03)
    radii = np.tile((0.5, rng.uniform(0.17, 0.3)), count)
    return polygon(rng, polar(ring(rng, 2 * count, 0.1), radii))


def sun(rng: Rng) -> list[Stroke]:
    radius, gap, length = rng.uniform((0.2, -0.03, 0.08), (0.35, 0.12, 0.3))
    strokes = [loop(rng, 0, 0, radius)]
    for angle in ring(rng, rng.integers(5, 14)):
        inner = radius + gap + rng.normal(0, 0.02)
        strokes.append(spoke(angle, inner, inner + length * rng.uniform(0.7, 1.3)))
    return strokes


PROCEDURES: tuple[Callable[[Rng], list[Stroke]], ...] = (
    *(circle, clock, envelope, fish, flower, hexagon),
    *(house, ladder, smiley_face, square, star, sun),
)
CATEGORIES = {procedure.__name__.replace("_", " "): procedure for procedure in PROCEDURES}


# ── From strokes to files ──


def mishap(rng: Rng, strokes: list[Stroke]) -> list[Stroke]:
    """Spoil a drawing: it breaks off, becomes a scribble or gains a stroke."""
    chance = rng.random()
    if chance < 0.6:  # out of time
        kept = int(rng.uniform(0.3, 0.9) * sum(map(len, strokes)))
        starts = np.cumsum([0, *map(len, strokes[:-1])])
        return [s[: kept - start] for s, start in zip(strokes, starts, strict=True) if start < kept]
    if chance < 0.7:
        return [
            *strokes[: rng.integers(2)],
            line(*rng.uniform(-0.5, 0.5, (rng.integers(5, 20), 2))),
        ]
    return [*strokes, line(*rng.uniform(-0.5, 1, (rng.integers(2, 4), 2)))]


def by_hand(rng: Rng, strokes: list[Stroke]) -> list[Stroke]:
    """Redraw strokes as one person does: rounded, trembling, out of place, slanted."""
    strokes = [stroke[:: rng.choice((-1, 1))] for stroke in strokes]
    if rng.random() < 0.2:
        rng.shuffle(strokes)
    lengths = [len(stroke) for stroke in strokes]
    ends = np.cumsum(lengths)
    tips = np.concatenate((ends - lengths, ends - 1))
    points = np.concatenate(strokes)  # all strokes, for few and large array operations
    for _ in range(rng.integers(4)):  # round the corners, leave the tips where they are
        rounded = points.copy()
        rounded[1:-1] = (points[:-2] + points[1:-1] + points[2:]) / 3
        rounded[tips] = points[tips]
        points = rounded
    sloppiness = np.exp(rng.normal(0, 0.5))
    drawn = STEP * np.arange(len(points))[:, np.newaxis]
    waves = np.sin(drawn * TREMOR_FREQUENCIES + rng.uniform(0, TURN, 4))
    points += waves @ rng.normal(0, sloppiness * TREMOR_AMPLITUDES, (4, 2))
    points += np.repeat(rng.normal(0, 0.015 * sloppiness, (len(strokes), 2)), lengths, axis=0)
    angle, slant, aspect = rng.normal(0, (0.1, 0.1, 0.12))
    rotation = polar(np.array((angle, angle + TURN / 4)), 1)
    return np.split(points @ rotation @ [[np.exp(aspect), 0], [slant, 1]], ends[:-1])


def simplify(strokes: list[Stroke]) -> list[list[list[int]]]:
    """Strokes in any unit → upstream's: few points, whole numbers from 0, the larger side 255."""
    epsilon = EPSILON * np.ptp(np.concatenate(strokes), axis=0).max()
    kept = [
        cv2.approxPolyDP(stroke.astype(np.float32), epsilon, closed=False)[:, 0]
        for stroke in strokes
    ]
    points = np.concatenate(kept)
    points = points - points.min(axis=0)
    # Scaled last, as simplifying may have taken the outermost points.
    points = (points * (255 / points.max())).round().astype(int)
    ends = np.cumsum([len(stroke) for stroke in kept])
    return [stroke.T.tolist() for stroke in np.split(points, ends[:-1])]


def drawing_line(category: str, index: int, seed: int) -> bytes:
    """Drawing `index` of a category as a line of ndjson, a function of these three alone."""
    rng = np.random.default_rng([seed, zlib.crc32(category.encode()), index])
    strokes = CATEGORIES[category](rng)
    is_mishap = rng.random() < 0.08
    if is_mishap:
        strokes = mishap(rng, strokes)
    drawn_at = FIRST_DAY + datetime.timedelta(seconds=rng.uniform(0, SECONDS))
    fields = {
        "word": category,
        "countrycode": rng.choice(COUNTRIES),
        "timestamp": f"{drawn_at:%Y-%m-%d %H:%M:%S.%f} UTC",
        "recognized": bool(rng.random() < (0.4 if is_mishap else 0.95)),
        "key_id": f"5{seed:05}{list(CATEGORIES).index(category):02}{index:08}",
        "drawing": simplify(by_hand(rng, strokes)),
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def write_category(directory: Path, category: str, count: int, seed: int) -> None:
    """Writes `<category>.ndjson`, which has that name only when it is complete."""
    temporary = directory / f"{category}.ndjson.tmp"
    with temporary.open("wb") as file:
        file.writelines(drawing_line(category, index, seed) for index in range(count))
    temporary.replace(directory / f"{category}.ndjson")


def write_drawings(directory: Path, count: int, seed: int) -> None:
    """Writes `count` drawings of every category, on all cores.

    Raises:
      UserError: the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Ctrl-C is left to this process, which ends the others.
        with Pool(initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
            tasks = [(directory, category, count, seed) for category in CATEGORIES]
            pool.starmap(write_category, tasks, chunksize=1)
    except OSError as error:
        raise UserError(f"--output={directory}: cannot write there: {error.strerror}") from None


def define_flags() -> None:
    cli.define_path("output", None, "Directory to write to.", required=True)
    cli.define_integer(
        "drawings_per_category",
        None,
        "Drawings of each category; a larger number starts with the same drawings.",
        required=True,
        lower_bound=1,
        upper_bound=10**8,  # key_id has eight digits for the drawing and five for the seed
    )
    cli.define_integer("seed", 0, "Random seed.", lower_bound=0, upper_bound=10**5 - 1)


def main(argv: list[str]) -> None:
    if is_remote(flags.FLAGS.output):
        raise UserError(f"--output={flags.FLAGS.output}: it has to be a directory on this machine")
    directory, count = Path(flags.FLAGS.output), flags.FLAGS.drawings_per_category
    write_drawings(directory, count, flags.FLAGS.seed)
    print(f"{len(CATEGORIES)} categories of {count:,} drawings in {directory}")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
