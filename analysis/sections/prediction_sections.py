"""Sections of the report about the predictions of a run: scores, confusion, mistakes."""

from collections.abc import Callable, Mapping, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from analysis.calibration import calibrate, coverage, plot_calibration
from analysis.confused_pairs import Confusion, most_confused
from analysis.mistakes import (
    GUESSES,
    captions,
    drawings_csv,
    least_certain,
    mistakes_csv,
    worst_mistakes,
)
from analysis.reading.evaluations import SplitPredictions
from analysis.reading.label_errors import accuracy_without, likely_label_errors
from analysis.reading.thresholds import Threshold, category_thresholds
from analysis.sections import explorer
from analysis.sections.page import (
    Column,
    TableCell,
    beside,
    drawings_image,
    element,
    number_cell,
    packed_script,
    picture,
    table,
)
from analysis.sections.run_sections import RunView
from trainer.runs.uncertainty import CONFIDENCE, wilson_interval

PAIRS = 12
DRAWINGS_OF_A_PAIR = 6  # of each of its categories
SHOWN = 24  # drawings of each kind
WANTED = (0.95, 0.99)  # shares of answers that shall be correct
NO_MISTAKES = "None: every drawing is recognized."


def categories(view: RunView) -> list[Element]:
    """Return the scores of each category, the worst first."""
    found = view.evaluation.read_scores()
    columns = [
        Column("category", is_number=False),
        *map(Column, ("drawings", "accuracy", "95% interval", "precision", "F1")),
        Column("most often taken for", is_number=False),
    ]
    names = [score.label for score in found.per_class]
    ranked = sorted(
        zip(found.per_class, found.confusion, strict=True),
        key=lambda item: (not item[0].examples, item[0].recall, item[0].label),
    )
    rows = [
        [
            TableCell(score.label, link=explorer.link(view, score.label)),
            number_cell(score.examples, ",d"), _share_cell(score.recall),
            interval_cell(score.correct, score.examples), number_cell(score.precision),
            number_cell(score.f1), TableCell(_most_often(score.label, names, predicted)),
        ]
        for score, predicted in ranked
    ]  # fmt: skip
    text = (
        "Accuracy: the share of a category's drawings that are recognized (recall), with its "
        f"{CONFIDENCE:.0%} interval (Wilson's). Precision: the share of the drawings predicted as "
        "the category that belong to it. F1: the harmonic mean of both."
    )
    return [element("p", text), table("Categories", columns, rows, sorted_by=(2, "ascending"))]


def pairs(view: RunView) -> list[Element]:
    """Return the most confused pairs of categories, with drawings."""
    predictions = view.evaluation.read_predictions()
    found = most_confused(predictions, PAIRS, DRAWINGS_OF_A_PAIR)
    if not found:
        return [element("p", NO_MISTAKES)]
    indices = [index for pair in found for each in pair for index in each.indices]
    bitmaps = predictions.read_drawings(view.require_drawings(), indices)
    cards = [
        element("li", *(_confusion(each, bitmaps) for each in pair), class_="card")
        for pair in found
    ]
    text = (
        f"Sorted by the share of {predictions.split} drawings confused in either direction, both "
        "shares added. If there are few, recognized drawings follow in gray."
    )
    return [element("p", text), element("ol", *cards, class_="pairs")]


def mistakes(view: RunView) -> list[Element]:
    """Return the worst mistakes."""
    predictions = view.evaluation.read_predictions()
    indices = worst_mistakes(predictions, SHOWN)
    if not indices:
        return [element("p", NO_MISTAKES)]
    text = (
        f"{len(indices)} of {(~predictions.correct).sum():,} mistakes on {predictions.split} "
        "drawings: those with the lowest probability of the true category, which is above the "
        "drawing. Below: the prediction."
    )
    directory = view.require_drawings()
    more = _download("mistakes.csv", mistakes_csv(predictions, directory))
    return [element("p", text), more, _gallery(predictions, directory, indices, 1)]


def label_errors(view: RunView) -> list[Element]:
    """Return the drawings whose labels are likely wrong, and the accuracy without them."""
    predictions = view.evaluation.read_predictions()
    indices = likely_label_errors(predictions)
    if not indices:
        return [element("p", "None: no drawing confidently belongs to another category.")]
    directory = view.require_drawings()
    text = (
        f"{len(indices):,} of {predictions.count:,} {predictions.split} drawings confidently "
        "belong to a category other than their label (confident learning). Some of their labels "
        "are wrong; more are poor drawings, or fit both, or are the model's mistakes. Top-1 "
        f"is {accuracy_without(predictions, indices):.3f} without them and "
        f"{predictions.correct.mean():.3f} with all. The likeliest {min(SHOWN, len(indices))}:"
    )
    more = _download("label_errors.csv", drawings_csv(predictions, directory, indices))
    return [element("p", text), more, _gallery(predictions, directory, indices[:SHOWN], 1)]


def _download(name: str, text: str) -> Element:
    """Return a paragraph with a table of drawings to save, which the page holds compressed."""
    button = element("button", name, type="button", class_="link", data_file=name)
    data = packed_script(text.encode("utf-8", "backslashreplace"))
    lead = "All of them, with their keys and the files of their strokes: "
    return element("div", lead, button, data, class_="download")


def uncertain(view: RunView) -> list[Element]:
    """Return the least certain predictions."""
    predictions = view.evaluation.read_predictions()
    indices = least_certain(predictions, SHOWN)
    text = (
        f"The {len(indices)} {predictions.split} drawings with the lowest probability of the "
        f"predicted category. Above the drawing: the true category; below: the {GUESSES} most "
        "probable ones."
    )
    return [element("p", text), _gallery(predictions, view.require_drawings(), indices, GUESSES)]


def calibration(view: RunView) -> list[Element]:
    """Return the reliability diagram."""
    figure = plot_calibration(view.evaluation)
    predictions = view.evaluation.read_predictions()
    result = calibrate(predictions)
    text = (
        f"The mean probability of the predicted category is {result.confidence:.3f}, and "
        f"{result.accuracy:.3f} of the predictions are correct; the expected calibration error is "
        f"{result.expected_error:.3f}. Above the dashed line the model is underconfident, below it "
        "overconfident."
    )
    diagram = picture(figure, f"Reliability diagram of {view.name}")
    return [element("p", text), *beside(diagram, _coverage_table(predictions))]


def _coverage_table(predictions: SplitPredictions) -> Element:
    """Return what is answered, and how well, if less probable predictions are withheld."""
    headers = ("answered", "share", "accuracy", "95% interval")
    columns = [Column("only if at least"), *map(Column, headers)]
    rows = [
        [
            number_cell(each.threshold, ".2f"), number_cell(each.answered, ",d"),
            number_cell(each.answered / predictions.count),
            number_cell(each.correct / each.answered if each.answered else None),
            interval_cell(each.correct, each.answered),
        ]
        for each in coverage(predictions)
    ]  # fmt: skip
    return table("Answers only when sure", columns, rows)


def thresholds(view: RunView) -> list[Element]:
    """Return thresholds of confidence, a category each, for WANTED shares of correct answers."""
    predictions = view.evaluation.read_predictions()
    found = {wanted: category_thresholds(predictions, wanted) for wanted in WANTED}
    headers = [
        f"{wanted}: {name}" for wanted in WANTED for name in ("from", "answers", "95% interval")
    ]
    columns = [Column("predicted", is_number=False), Column("predictions"), *map(Column, headers)]
    rows = [
        [
            TableCell(label, link=explorer.link(view, label)),
            number_cell(of_label[0].predicted, ",d"),
            *(cell for each in of_label for cell in _threshold_cells(each)),
        ]
        for label, *of_label in zip(predictions.labels, *found.values(), strict=True)
    ]
    text = (
        "The lowest probability from which on a category's predictions have the wanted "
        f"precision ({', '.join(map(str, WANTED))}); how many predictions that leaves, and "
        f"the {CONFIDENCE:.0%} interval of their precision. Thresholds are chosen on these "
        "drawings, so they are optimistic: check them on others, and trust none whose interval is "
        "wide."
    )
    sentences = [element("p", _all_answers(predictions, *item)) for item in found.items()]
    return [element("p", text), *sentences, table("Thresholds", columns, rows)]


def _threshold_cells(threshold: Threshold) -> list[TableCell]:
    share = threshold.answered / threshold.predicted if threshold.predicted else None
    return [
        number_cell(threshold.confidence),
        TableCell(f"{threshold.answered:,}", threshold.answered, bar=share),
        interval_cell(threshold.correct, threshold.answered),
    ]


def _all_answers(predictions: SplitPredictions, wanted: float, found: Sequence[Threshold]) -> str:
    """Return what is answered if each category has its threshold, in a sentence."""
    answered, correct = sum(each.answered for each in found), sum(each.correct for each in found)
    never = sum(each.confidence is None for each in found)
    text = (
        f"For {wanted}, {answered:,} of {predictions.count:,} drawings are answered "
        f"({answered / predictions.count:.3f}), {correct:,} of them correctly."
    )
    if never:
        text += f" In {never:,} of {len(found):,} categories no threshold reaches it."
    least = round(1 / (1 - wanted))  # predictions of which one may be wrong
    few = sum(each.predicted < least for each in found)
    if few:
        text += (
            f" {few:,} of {len(found):,} categories have fewer than {least} predictions, too few "
            f"to tell {wanted} from 1."
        )
    return text


SECTIONS: dict[str, Callable[[RunView], list[Element]]] = {
    "Categories": categories,
    "Confusion matrix": explorer.matrix,
    "Most confused pairs": pairs,
    "Worst mistakes": mistakes,
    "Least certain predictions": uncertain,
    "Likely label errors": label_errors,
    "Calibration": calibration,
    "Thresholds by category": thresholds,
}


def interval_cell(hits: int, examples: int) -> TableCell:
    """Return the interval of a share, sorted by its lower end; an empty cell without examples."""
    if not examples:
        return number_cell(None)
    low, high = wilson_interval(hits, examples)
    return TableCell(f"{low:.3f}–{high:.3f}", low)


def _share_cell(share: float) -> TableCell:
    cell = number_cell(share)
    return cell if cell.value is None else cell._replace(bar=share)


def _most_often(label: str, labels: Sequence[str], predicted: np.ndarray) -> str:
    """Return the other category that is predicted most often, and how often."""
    others = np.where(np.array(labels) == label, 0, predicted)
    return f"{labels[int(others.argmax())]} ({others.max():,})" if others.any() else ""


def _confusion(confusion: Confusion, bitmaps: Mapping[int, np.ndarray]) -> Element:
    heading = element(
        "p", element("strong", confusion.label), f" taken for {confusion.predicted}: ",
        element("span", f"{confusion.number:,} of {confusion.examples:,}", class_="count"),
    )  # fmt: skip
    images = [bitmaps[index] for index in confusion.indices]
    if not images:  # none of its drawings is predicted as the other, and none is recognized
        return element("div", heading)
    alt = f"{len(images)} drawings of {confusion.label}"
    return element("div", heading, drawings_image(images, alt, inks=confusion.inks))


def _gallery(
    predictions: SplitPredictions, dataset: str, indices: Sequence[int], guesses: int
) -> Element:
    """Return a tile for each of some predictions."""
    bitmaps = predictions.read_drawings(dataset, indices)
    keys = predictions.read_keys(dataset)
    addresses = [*map(explorer.file_address, predictions.strokes_files(dataset))]
    tiles = []
    for index in indices:
        (truth, probability), guessed = captions(predictions, index, guesses)
        above = element("p", element("strong", truth), " ", element("span", probability))
        below = [
            element("p", element("span", label), " ", element("span", text))
            for label, text in guessed
        ]
        address = addresses[predictions.arrays.labels[index]]
        key = element("a", keys[index], href=address) if address else keys[index]
        below.append(element("p", key, class_="key"))
        image = drawings_image([bitmaps[index]], f"A drawing of {truth}")
        tiles.append(element("li", above, image, element("div", *below)))
    return element("ul", *tiles, class_="gallery")
