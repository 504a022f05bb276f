"""Findings of the report, in sentences made from the data, each a link to where it is shown."""

from collections.abc import Callable, Iterator, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from analysis.calibration import calibrate
from analysis.confused_pairs import most_confused
from analysis.reading.evaluations import SplitPredictions
from analysis.reading.label_errors import accuracy_without, likely_label_errors
from analysis.reading.scores import Scores
from analysis.sections import explorer, pair_sections
from analysis.sections.page import element, section_id
from analysis.sections.run_sections import RunView
from pipeline.cli import RunError, UserError, counted
from trainer.runs.uncertainty import chance, standard_error

SURE = 0.9  # probability from which on a wrong prediction is told apart
LABEL_ERRORS = "Likely label errors"  # title of the section
CALIBRATED = 0.005  # a smaller difference of confidence and accuracy is none

Finding = Sequence[Element | str]


def of_one(view: RunView, chapter: int) -> list[Element]:
    """Return the findings about a run; what cannot be read is left out here and named below.

    Args:
      view: the run.
      chapter: the number of its chapter, from 1.
    """

    def place(title: str) -> str:
        return f"#{section_id(chapter, title)}"

    return _list(
        (
            lambda: _of_scores(view, view.evaluation.read_scores(), place),
            lambda: _of_predictions(view.evaluation.read_predictions(), place),
            lambda: _of_training(view, place),
        )
    )


def of_several(views: Sequence[RunView], chapter: int) -> list[Element]:
    """Return the findings about runs that are compared in a chapter of that number."""
    begun = sorted(
        (view for view in views if view.run.epochs), key=lambda view: -view.run.best_epoch[1]
    )
    place = f"#{section_id(chapter, 'Runs')}"
    pairs = f"#{section_id(chapter, pair_sections.TITLE)}"
    sources = [lambda: _of_ranks(begun, place)] if begun else []
    if pair_sections.choose(views):
        sources.append(lambda: _of_pairs(views, pairs))
    return _list(sources)


def _list(sources: Sequence[Callable[[], Iterator[Finding]]]) -> list[Element]:
    """Return the findings that can be made, as one list."""
    found: list[Element] = []
    for source in sources:
        try:
            found += [element("li", *finding) for finding in source()]
        except (UserError, RunError):  # the section about it says why
            continue
    return [element("ul", *found, class_="findings")] if found else []


def _link(text: str, address: str) -> Element:
    return element("a", text, href=address)


def _of_scores(view: RunView, scores: Scores, place: Callable[[str], str]) -> Iterator[Finding]:
    error = standard_error(scores.top1, scores.examples)
    guess = chance(len(scores.per_class))[0]
    yield (
        _link(f"Top-1 {scores.top1:.3f} ± {error:.3f}", place("Scores")),
        f" on {scores.examples:,} {view.evaluation.split} drawings, in epoch {scores.epoch}; "
        f"guessing gives {guess:.3f}.",
    )
    known = [i for i, score in enumerate(scores.per_class) if score.examples]
    weakest = min(known, key=lambda i: scores.per_class[i].recall)
    score, row = scores.per_class[weakest], scores.confusion[weakest].copy()
    row[weakest] = 0
    if row.any():
        other = scores.per_class[int(row.argmax())].label
        verb = "is" if row.max() == 1 else "are"
        called = f"{row.max():,} of its {score.examples:,} drawings {verb} taken for {other}"
        yield (
            "Weakest category: ",
            _link(f"{score.label} {score.recall:.3f}", explorer.link(view, score.label)),
            "; ",
            _link(called, explorer.link(view, score.label, other)),
            ".",
        )


def _of_predictions(
    predictions: SplitPredictions, place: Callable[[str], str]
) -> Iterator[Finding]:
    pairs = most_confused(predictions, 1, 0)
    if pairs:
        first, second = pairs[0]
        count = f"{first.number + second.number:,} of {first.examples + second.examples:,}"
        yield (
            "Most confused: ",
            _link(f"{first.label} and {second.label}", place("Most confused pairs")),
            f", {count} drawings.",
        )
    wrong = ~predictions.correct
    sure = int(np.count_nonzero(wrong & (predictions.confidences >= SURE)))
    if wrong.any():
        yield (
            _link(counted(int(wrong.sum()), "mistake"), place("Worst mistakes")),
            f", {sure:,} of them with a probability of {SURE} or more.",
        )
    suspects = likely_label_errors(predictions)
    if suspects:
        yield (
            _link(f"{counted(len(suspects), 'label')} may be wrong", place(LABEL_ERRORS)),
            f"; without these drawings top-1 is {accuracy_without(predictions, suspects):.3f}.",
        )
    result = calibrate(predictions)
    difference = result.confidence - result.accuracy
    sureness = f"{'over' if difference > 0 else 'under'}confident by {abs(difference):.3f}"
    yield (
        "The model is ",
        _link("calibrated" if abs(difference) < CALIBRATED else sureness, place("Calibration")),
        f": mean confidence {result.confidence:.3f}, accuracy {result.accuracy:.3f}.",
    )


def _of_training(view: RunView, place: Callable[[str], str]) -> Iterator[Finding]:
    run = view.run
    if not run.epochs:
        return
    best, accuracy = run.best_epoch
    gap = run.history["accuracy"][best - 1] - accuracy
    training = f"{abs(gap):.3f} {'above' if gap > 0 else 'below'} validation"
    last = f"{accuracy - run.history['val_accuracy'][-1]:.3f} above the last"
    yield (
        _link(f"Best epoch: {best} of {run.epochs}", place("Histories")),
        f", {'the last one' if best == run.epochs else last}; training accuracy is then "
        f"{training}.",
    )


def _of_ranks(ranked: Sequence[RunView], place: str) -> Iterator[Finding]:
    def top1(view: RunView) -> tuple[float, str]:
        accuracy = view.run.best_epoch[1]
        error = standard_error(accuracy, view.run.drawings["validation"])
        return accuracy, f"{view.name}, top-1 {accuracy:.3f} ± {error:.3f}"

    best, text = top1(ranked[0])
    yield "Best: ", _link(text, place), f", epoch {ranked[0].run.best_epoch[0]}."
    if len(ranked) > 1:
        second, text = top1(ranked[1])
        yield "Next: ", _link(text, place), f", {best - second:.3f} below."


def _of_pairs(views: Sequence[RunView], place: str) -> Iterator[Finding]:
    best = pair_sections.comparable(views)[0]
    view, pair = pair_sections.pairs_of(views)[0]
    yield (
        f"{best.name} ",
        _link(f"mends {len(pair.mended):,} and breaks {len(pair.broken):,}", place),
        f" of {view.name}'s {pair.base.count:,} drawings; "
        f"p = {pair_sections.show_probability(pair.probability)}, McNemar.",
    )
