"""The top of the report: what it is about, the most important numbers, and what is missing."""

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from analysis.reading.runs import Run, mean_speed, read_speeds
from analysis.sections.page import element
from analysis.sections.run_sections import Subject
from analysis.style import figures
from analysis.summary import chance, duration
from pipeline.cli import UserError

PROJECT = "InceptionResNet QuickDraw"
NOTHING = "–"


class Tile(NamedTuple):
    """A number that stands out."""

    name: str
    value: str
    remark: str


def make_heading(subjects: Sequence[Subject], missing: Sequence[str]) -> tuple[str, list[Element]]:
    """The page's title, and the elements above its chapters.

    Args:
      subjects: the runs.
      missing: a line for each reason why something is not shown.
    """
    runs = [subject.run for subject in subjects]
    what = subjects[0].name if len(runs) == 1 else f"{len(runs)} runs"
    title = f"{what} on {figures.number_range([len(run.labels) for run in runs])} categories"
    tiles = _tiles_of_one(subjects[0]) if len(runs) == 1 else _tiles_of_several(subjects)
    content = [
        element("p", PROJECT, class_="project"),
        element("h1", title),
        element("p", _lead(runs), class_="lead"),
        element("ul", *map(_draw, tiles), class_="tiles"),
    ]
    if missing:
        lines = [element("li", line) for line in missing]
        text = element("p", "What is missing on this page, and why:")
        content.append(element("div", text, element("ul", *lines), class_="missing"))
    return title, content


def _lead(runs: Sequence[Run]) -> str:
    """What learned from what, in a sentence."""
    training, validation = (
        figures.number_range([run.drawings[split] for run in runs])
        for split in ("train", "validation")
    )
    done = sum(run.epochs >= run.planned_epochs for run in runs)
    if len(runs) == 1:
        epochs = f"{runs[0].epochs} of {runs[0].planned_epochs} epochs"
    else:
        epochs = f"{done} of {len(runs)} runs have finished their epochs"
    return f"{epochs}, on {training} training and {validation} validation drawings."


def _tiles_of_one(subject: Subject) -> list[Tile]:
    run = subject.run
    return [
        *_score_tiles(subject),
        Tile(
            "Parameters",
            short_number(run.parameters),
            f"{short_number(run.multiply_adds)} multiply-adds",
        ),
        Tile("Epochs", f"{run.epochs}", f"of {run.planned_epochs}{_best_epoch(run)}"),
        _time_tile(run),
    ]


def _score_tiles(subject: Subject) -> list[Tile]:
    evaluation = subject.evaluation
    names = [f"{name}, {evaluation.name}" for name in ("Top-1", "Top-3", "MAP@3")]
    guesses = [f"chance {value:.3f}" for value in chance(len(evaluation.labels))]
    try:
        scores = evaluation.read_scores()
    except UserError:  # the section of the scores says what it is
        return [Tile(name, NOTHING, guess) for name, guess in zip(names, guesses, strict=True)]
    values = (scores.top1, scores.top3, scores.map3)
    return [
        Tile(name, f"{value:.3f}", remark)
        for name, value, remark in zip(names, values, guesses, strict=True)
    ]


def _time_tile(run: Run) -> Tile:
    try:
        speeds = read_speeds(run.directory)
    except UserError:
        speeds = []
    mean = mean_speed(speeds)
    if mean is None:
        return Tile("Training", NOTHING, "not known yet")
    seconds = len(speeds) * run.drawings["train"] / mean
    return Tile("Training", duration(seconds), f"{mean:,.0f} images/s")


def _best_epoch(run: Run) -> str:
    accuracies = run.history["val_accuracy"]
    return f", best {accuracies.index(max(accuracies)) + 1}" if accuracies else ""


def _tiles_of_several(subjects: Sequence[Subject]) -> list[Tile]:
    runs = [subject.run for subject in subjects]
    epochs = sum(run.epochs for run in runs)
    tiles = [
        Tile("Runs", f"{len(runs)}", f"{epochs:,} epochs"),
        Tile("Parameters", *_ends([run.parameters for run in runs])),
        Tile("Multiply-adds", *_ends([run.multiply_adds for run in runs])),
    ]
    begun = [subject for subject in subjects if subject.run.epochs]
    if begun:
        best = max(begun, key=lambda each: max(each.run.history["val_accuracy"]))
        accuracies = best.run.history["val_accuracy"]
        highest = max(accuracies)
        remark = f"{best.name}, epoch {accuracies.index(highest) + 1}"
        tiles.insert(0, Tile("Best top-1", f"{highest:.3f}", remark))
    return tiles


def _ends(numbers: Sequence[int]) -> tuple[str, str]:
    """The largest number, and the smallest if it is another."""
    low, high = min(numbers), max(numbers)
    return short_number(high), "in each" if low == high else f"down to {short_number(low)}"


def short_number(number: int) -> str:
    """Three digits and a prefix: 262 k, 19.4 M, 1.34 G."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            digits = 2 - int(math.log10(number / size))
            return f"{number / size:.{digits}f} {prefix}"
    return str(number)


def _draw(tile: Tile) -> Element:
    parts = zip(("name", "value", "remark"), tile, strict=True)
    return element("li", *(element("span", text, class_=name) for name, text in parts))
