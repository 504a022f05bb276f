"""The sections of the report about a run's answers: what it recognizes and what it confuses."""

from collections.abc import Callable, Mapping, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from analysis.calibration import calibrate, plot_calibration
from analysis.class_scores import plot_class_scores
from analysis.confused_pairs import Mistake, most_confused
from analysis.confusion import plot_confusion
from analysis.mistakes import least_certain, wrongest
from analysis.reading.predictions import Answers, read_answers, read_drawings
from analysis.reading.runs import ClassScore
from analysis.sections.page import Cell, Column, beside, element, number_cell, picture, table
from analysis.sections.run_sections import Subject
from analysis.sections.thumbnails import drawings_image
from analysis.style.tiles import FAINT_INK, INK
from analysis.style.uncertainty import CONFIDENCE, wilson_interval

PAIRS = 12
DRAWINGS_OF_A_PAIR = 6  # of each of its categories
ERRORS = 24  # of each kind
GUESSES = 3  # of a drawing that the model is not certain of
NONE_WRONG = "There is none: every drawing is recognized."


def categories(subject: Subject) -> list[Element]:
    """How well each category is recognized, drawn and as a table, the worst first."""
    figure = plot_class_scores(subject.evaluation)
    found = subject.evaluation.read_scores()
    columns = [
        Column("category", is_number=False),
        *map(Column, ("drawings", "accuracy", "95% interval", "precision", "F1")),
        Column("most often taken for", is_number=False),
    ]
    names = [score.label for score in found.per_class]
    ranked = sorted(
        zip(found.per_class, found.confusion, strict=True),
        key=lambda item: (item[0].recall, item[0].label),
    )
    rows = [
        [
            Cell(score.label), number_cell(score.examples, ",d"), number_cell(score.recall),
            _interval(score), number_cell(score.precision), number_cell(score.f1),
            Cell(_most_often(score.label, names, taken_for)),
        ]
        for score, taken_for in ranked
    ]  # fmt: skip
    text = (
        "Accuracy: the share of a category's drawings that are recognized (recall), with its "
        f"{CONFIDENCE:.0%} interval (Wilson's). Precision: of the drawings that are taken for the "
        "category, the share that are of it. F1: the harmonic mean of both."
    )
    alt = f"Accuracy and precision of each of {len(names)} categories"
    numbers = table("Categories", columns, rows, sorted_by=(2, "ascending"))
    return [element("p", text), *beside(picture(figure, alt), numbers)]


def confusion(subject: Subject) -> list[Element]:
    """The confusion matrix."""
    figure = plot_confusion(subject.evaluation)
    text = (
        "A row is a category, a column what its drawings are taken for. Categories that are taken "
        "for each other stand next to each other."
    )
    alt = f"Confusion matrix of {len(subject.evaluation.labels)} categories"
    return [element("p", text), picture(figure, alt)]


def pairs(subject: Subject) -> list[Element]:
    """The pairs of categories that are taken for each other most, with drawings."""
    answers = read_answers(subject.evaluation)
    found = most_confused(answers, PAIRS, DRAWINGS_OF_A_PAIR)
    if not found:
        return [element("p", NONE_WRONG)]
    mistakes = [mistake for pair in found for mistake in pair]
    lines = [line for each in mistakes for line in (*each.lines, *each.recognized)]
    bitmaps = read_drawings(answers, subject.require_drawings(), lines)
    cards = [
        element("li", *(_mistake(mistake, bitmaps) for mistake in pair), class_="card")
        for pair in found
    ]
    text = (
        f"By the share of {answers.split} drawings that are taken for the other category, both "
        "ways added. Where few are, recognized ones follow in gray."
    )
    return [element("p", text), element("ol", *cards, class_="pairs")]


def mistakes(subject: Subject) -> list[Element]:
    """The wrongest answers."""
    answers = read_answers(subject.evaluation)
    lines = wrongest(answers, ERRORS)
    if not lines:
        return [element("p", NONE_WRONG)]
    text = (
        f"{len(lines)} of {(~answers.are_right).sum():,} wrong answers to {answers.split} "
        "drawings: those that gave the true category, above the drawing, the lowest probability. "
        "Below: the answer."
    )
    return [element("p", text), _gallery(answers, subject.require_drawings(), lines, 1)]


def doubts(subject: Subject) -> list[Element]:
    """The least certain answers."""
    answers = read_answers(subject.evaluation)
    lines = least_certain(answers, ERRORS)
    text = (
        f"The {len(lines)} answers to {answers.split} drawings with the lowest probability of the "
        f"first guess. Above the drawing: the true category; below: the {GUESSES} most probable "
        "ones."
    )
    return [element("p", text), _gallery(answers, subject.require_drawings(), lines, GUESSES)]


def calibration(subject: Subject) -> list[Element]:
    """Whether the model is as often right as it says."""
    figure = plot_calibration(subject.evaluation)
    result = calibrate(read_answers(subject.evaluation))
    text = (
        f"On average the model gives its answer a probability of {result.confidence:.3f}, and "
        f"{result.accuracy:.3f} of the answers are right; the expected calibration error is "
        f"{result.expected_error:.3f}. Above the dashed line it is more often right than it says, "
        "below less often."
    )
    return [element("p", text), picture(figure, f"Reliability diagram of {subject.name}")]


SECTIONS: dict[str, Callable[[Subject], list[Element]]] = {
    "Categories": categories,
    "Confusion matrix": confusion,
    "Most confused pairs": pairs,
    "Wrongest answers": mistakes,
    "Least certain answers": doubts,
    "Calibration": calibration,
}


def _interval(score: ClassScore) -> Cell:
    if not score.examples:
        return number_cell(None)
    low, high = wilson_interval(score.correct, score.examples)
    return Cell(f"{low:.3f}–{high:.3f}", low)


def _most_often(label: str, labels: Sequence[str], taken_for: np.ndarray) -> str:
    """The other category for which its drawings are taken most often, and how often."""
    others = np.where(np.array(labels) == label, 0, taken_for)
    return f"{labels[int(others.argmax())]} ({others.max():,})" if others.any() else ""


def _mistake(mistake: Mistake, bitmaps: Mapping[int, np.ndarray]) -> Element:
    images = [bitmaps[line] for line in (*mistake.lines, *mistake.recognized)]
    inks = [INK] * len(mistake.lines) + [FAINT_INK] * len(mistake.recognized)
    heading = element(
        "p", element("strong", mistake.label), f" taken for {mistake.taken_for}: ",
        element("span", f"{mistake.number:,} of {mistake.examples:,}", class_="count"),
    )  # fmt: skip
    if not images:  # all of its drawings are taken for something else
        return element("div", heading)
    alt = f"{len(images)} drawings of {mistake.label}"
    return element("div", heading, drawings_image(images, alt, inks=inks))


def _gallery(answers: Answers, dataset: str, lines: Sequence[int], guesses: int) -> Element:
    """A tile for each of some answers."""
    bitmaps = read_drawings(answers, dataset, lines)
    labels, predictions = answers.labels, answers.predictions
    tiles = []
    for line in lines:
        truth = int(predictions.labels[line])
        above = element(
            "p", element("strong", labels[truth]), " ",
            element("span", _probability(predictions.label_probabilities[line])),
        )  # fmt: skip
        below = []
        for label, probability in zip(
            predictions.top_labels[line, :guesses],
            predictions.top_probabilities[line, :guesses],
            strict=True,
        ):
            mark = "\u00a0✓" if label == truth else ""
            name = element("span", labels[label] + mark)
            below.append(element("p", name, " ", element("span", _probability(probability))))
        image = drawings_image([bitmaps[line]], f"A drawing of {labels[truth]}")
        tiles.append(element("li", above, image, element("div", *below)))
    return element("ul", *tiles, class_="gallery")


def _probability(probability: float) -> str:
    return "<0.01" if probability < 0.005 else f"{probability:.2f}"
