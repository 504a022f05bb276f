"""Top of the report: title, most important numbers, missing content."""

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from analysis.reading.runs import Run, read_training_time
from analysis.sections import findings
from analysis.sections.page import element
from analysis.sections.run_sections import RunView
from analysis.style import texts
from pipeline.cli import UserError, counted
from trainer.runs.uncertainty import chance

PROJECT = "InceptionResNet QuickDraw"
NOTHING = "–"


class Tile(NamedTuple):
    """One of the most important numbers."""

    name: str
    value: str
    remark: str


def make_heading(views: Sequence[RunView], missing: Sequence[str]) -> tuple[str, list[Element]]:
    """Return the page's title, and the elements above its chapters.

    Args:
      views: the runs.
      missing: a line for each reason why something is not shown.
    """
    runs = [view.run for view in views]
    what = views[0].name if len(runs) == 1 else f"{len(runs)} runs"
    title = f"{what} on {texts.number_range([len(run.labels) for run in runs])} categories"
    tiles = _tiles_of_one(views[0]) if len(runs) == 1 else _tiles_of_several(views)
    content = [
        element("p", PROJECT, class_="project"),
        element("h1", title),
        element("p", _lead(runs), class_="lead"),
        *(findings.of_one(views[0], 1) if len(runs) == 1 else findings.of_several(views, 1)),
        element("ul", *map(_draw, tiles), class_="tiles"),
    ]
    if missing:
        lines = [element("li", line) for line in missing]
        text = element("p", "Missing on this page, and why:")
        content.append(element("div", text, element("ul", *lines), class_="missing"))
    return title, content


def _lead(runs: Sequence[Run]) -> str:
    """Return epochs and data in a sentence."""
    training, validation = (
        texts.number_range([run.drawings[split] for run in runs])
        for split in ("train", "validation")
    )
    done = sum(run.is_finished for run in runs)
    if len(runs) == 1:
        (run,) = runs
        stopped_early = run.is_finished and run.epochs < run.planned_epochs
        end = ", stopped early" if stopped_early else ""
        epochs = f"{run.epochs} of {counted(run.planned_epochs, 'epoch')}{end}"
    else:
        epochs = f"{done} of {len(runs)} runs are finished"
    return f"{epochs}, on {training} training and {validation} validation drawings."


def _tiles_of_one(view: RunView) -> list[Tile]:
    run = view.run
    best = f", best {run.best_epoch[0]}" if run.epochs else ""
    return [
        *_score_tiles(view),
        Tile(
            "Parameters",
            short_number(run.parameters),
            f"{short_number(run.multiply_adds)} multiply-adds",
        ),
        Tile("Epochs", f"{run.epochs}", f"of {run.planned_epochs}{best}"),
        _time_tile(run),
    ]


def _score_tiles(view: RunView) -> list[Tile]:
    evaluation = view.evaluation
    names = [f"{name}, {evaluation.name}" for name in ("Top-1", "Top-3", "MAP@3")]
    guesses = [f"chance {value:.3f}" for value in chance(len(evaluation.labels))]
    try:
        scores = evaluation.read_scores()
    except UserError:  # the section of the scores says why
        return [Tile(name, NOTHING, guess) for name, guess in zip(names, guesses, strict=True)]
    values = (scores.top1, scores.top3, scores.map3)
    return [
        Tile(name, f"{value:.3f}", remark)
        for name, value, remark in zip(names, values, guesses, strict=True)
    ]


def _time_tile(run: Run) -> Tile:
    try:
        found = read_training_time(run)
    except UserError:
        found = None
    if found is None:
        return Tile("Training", NOTHING, "not known yet")
    seconds, images_per_second = found
    return Tile("Training", texts.duration(seconds), f"{images_per_second:,.0f} images/s")


def _tiles_of_several(views: Sequence[RunView]) -> list[Tile]:
    runs = [view.run for view in views]
    epochs = sum(run.epochs for run in runs)
    tiles = [
        Tile("Runs", f"{len(runs)}", counted(epochs, "epoch")),
        Tile("Parameters", *_ends([run.parameters for run in runs])),
        Tile("Multiply-adds", *_ends([run.multiply_adds for run in runs])),
    ]
    begun = [view for view in views if view.run.epochs]
    if begun:
        best = max(begun, key=lambda each: each.run.best_epoch[1])
        epoch, highest = best.run.best_epoch
        tiles.insert(0, Tile("Best top-1", f"{highest:.3f}", f"{best.name}, epoch {epoch}"))
    return tiles


def _ends(numbers: Sequence[int]) -> tuple[str, str]:
    """Return the largest number, and the smallest if it is different."""
    low, high = min(numbers), max(numbers)
    return short_number(high), "in each" if low == high else f"down to {short_number(low)}"


def short_number(number: int) -> str:
    """Return three digits and a prefix: 262 k, 19.4 M, 1.34 G."""
    if number >= 1000:
        number = round(number, 2 - int(math.log10(number)))
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            digits = 2 - int(math.log10(number / size))
            return f"{number / size:.{digits}f} {prefix}"
    return str(number)


def _draw(tile: Tile) -> Element:
    parts = zip(("name", "value", "remark"), tile, strict=True)
    return element("li", *(element("span", text, class_=name) for name, text in parts))
