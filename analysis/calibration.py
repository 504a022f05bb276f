"""Reliability diagram of a run's model: accuracy against confidence.

python -m analysis.calibration RUN -o calibration.png
python -m analysis.calibration --evaluation=test.json -o calibration.png
"""

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis import commands
from analysis.reading.evaluations import Evaluation, SplitPredictions
from analysis.style import figures, texts
from pipeline.cli import counted
from trainer.runs.uncertainty import CONFIDENCE, wilson_interval

BINS = 15  # of equal width, as in Guo et al.
THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)  # of confidences
BINS_COLOUR, GAP_COLOUR = figures.COLOURS[0], figures.COLOURS[3]
CORRECT_COLOUR, WRONG_COLOUR = figures.COLOURS[5], figures.COLOURS[1]

# Inches.
PANEL = 3.4  # the diagram, both ways
COUNTS_HEIGHT = 0.9
LEFT = 0.75
RIGHT = 0.25
MARGIN = 0.15
TOP = 0.95  # title, figures, key
GAP = 0.36  # between the panels, with a key
BOTTOM = 0.55


@dataclasses.dataclass(frozen=True)
class Bin:
    """Predictions of about the same confidence."""

    count: int
    correct: int
    confidence: float  # the mean

    @property
    def accuracy(self) -> float:
        return self.correct / self.count


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Accuracy and confidence of all predictions and of bins of them."""

    bins: tuple[Bin, ...]  # those with predictions, from low to high confidence
    accuracy: float
    confidence: float
    expected_error: float


def calibrate(predictions: SplitPredictions) -> Calibration:
    """Bin predictions by confidence, the probability of the predicted category.

    The expected calibration error is that of C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On
    calibration of modern neural networks", ICML 2017, equation 3: with M bins of equal width and n
    predictions, sum over the bins B of |B| / n · |acc(B) - conf(B)|, where acc(B) is the share of
    correct predictions and conf(B) the mean confidence.
    """
    confidences = predictions.confidences.astype(np.float64)
    correct = predictions.correct
    # Bin m holds ((m - 1) / M, m / M], as there.
    indices = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for inside in (indices == i for i in range(BINS)):
        if inside.any():
            mean = float(confidences[inside].mean())
            bins.append(Bin(int(inside.sum()), int(correct[inside].sum()), mean))
    count = predictions.count
    error = sum(each.count * abs(each.accuracy - each.confidence) for each in bins) / count
    return Calibration(tuple(bins), float(correct.mean()), float(confidences.mean()), error)


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Predictions that are left if the model answers only when it is sure."""

    threshold: float  # of the confidence
    answered: int
    correct: int


def coverage(predictions: SplitPredictions) -> list[Coverage]:
    """Return what is left at each of THRESHOLDS."""
    left = [(each, predictions.confidences >= each) for each in THRESHOLDS]
    return [
        Coverage(each, int(sure.sum()), int((sure & predictions.correct).sum()))
        for each, sure in left
    ]


def plot_calibration(evaluation: Evaluation) -> Figure:
    """Plot accuracy against confidence above the numbers of predictions by confidence.

    Args:
      evaluation: of a run with a finished epoch.

    Raises:
      UserError: there are no predictions yet, or a file is missing or damaged.
    """
    predictions = evaluation.read_predictions()
    calibration = calibrate(predictions)
    width = max(LEFT + PANEL + RIGHT, 2 * MARGIN + texts.text_width([predictions.title], 10))
    height = TOP + PANEL + GAP + COUNTS_HEIGHT + BOTTOM
    with figures.style():
        figure = Figure(figsize=(width, height))
        figures.add_text(figure, MARGIN, MARGIN, predictions.title)
        scores = (
            f"accuracy {calibration.accuracy:.3f}, mean confidence {calibration.confidence:.3f}, "
            f"expected calibration error {calibration.expected_error:.3f}"
        )
        figures.add_text(figure, MARGIN, 0.4, scores, figures.LABEL_SIZE)
        counts = figures.add_axes(figure, LEFT, TOP + PANEL + GAP, PANEL, COUNTS_HEIGHT)
        diagram = figures.add_axes(figure, LEFT, TOP, PANEL, PANEL, sharex=counts)
        reliability_diagram(calibration, diagram).tick_params(labelbottom=False)
        confidence_histogram(predictions, counts)
        _add_legend(diagram, (MARGIN - LEFT) / PANEL, 3)
        _add_legend(counts, 0, 2)
    return figure


def reliability_diagram(calibration: Calibration, ax: Axes | None = None) -> Axes:
    """Draw the accuracy of each bin against its confidence, and the gap to a calibrated model."""
    ax = figures.new_axes(ax)
    ax.plot(
        (0, 1), (0, 1), color=figures.MUTED, linewidth=0.9, linestyle=(0, (4, 2)),
        label="calibrated",
    )  # fmt: skip
    confidences = [each.confidence for each in calibration.bins]
    accuracies = [each.accuracy for each in calibration.bins]
    ends = np.array([wilson_interval(each.correct, each.count) for each in calibration.bins])
    ax.vlines(
        confidences, accuracies, confidences, color=GAP_COLOUR, linewidth=4,
        label="gap", zorder=2,
    )  # fmt: skip
    ax.errorbar(
        confidences, accuracies, yerr=np.abs(ends.T - accuracies), color=BINS_COLOUR,
        marker="o", ms=4, linewidth=1, elinewidth=0.9, clip_on=False, zorder=3,
        label=f"predictions in {BINS} bins, {CONFIDENCE:.0%} intervals",
    )  # fmt: skip
    for each in calibration.bins:  # marks of their own have tooltips of their own
        count = counted(each.count, "prediction")
        text = f"{count}, confidence {each.confidence:.3f}, correct"
        gid = figures.tooltip(f"{text} {each.accuracy:.3f}")
        ax.plot(
            each.confidence, each.accuracy, color=BINS_COLOUR, marker=".", ms=8, gid=gid,
            clip_on=False, zorder=4, label="_bin",
        )  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy (share of correct predictions)")
    return ax


def confidence_histogram(predictions: SplitPredictions, ax: Axes | None = None) -> Axes:
    """Draw the numbers of all and of wrong predictions by confidence."""
    ax = figures.new_axes(ax)
    edges = np.linspace(0, 1, BINS + 1).tolist()
    correct = predictions.correct
    for chosen, colour, name in (
        (np.ones_like(correct), CORRECT_COLOUR, "correct"),
        (~correct, WRONG_COLOUR, "wrong"),
    ):
        ax.hist(
            predictions.confidences[chosen], edges, color=colour, edgecolor="white",
            linewidth=0.5, label=name,
        )  # fmt: skip
    ax.set_ylabel("predictions")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    n = f"n = {predictions.count:,}"
    ax.set_xlabel(f"confidence: probability of the predicted category ({n})")
    return ax


def _add_legend(axes: Axes, left: float, columns: int) -> None:
    """Add a legend above the panel, where nothing else is; `left` as a share of its width."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(left, 1.01), ncols=columns, frameon=False,
        fontsize=figures.LABEL_SIZE, borderpad=0, borderaxespad=0.3, handlelength=1.6,
        columnspacing=1.2,
    )  # fmt: skip


COMMAND = commands.PictureCommand(commands.EVALUATION, plot_calibration)

if __name__ == "__main__":
    COMMAND.run()
