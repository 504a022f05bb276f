"""Whether a run's model is as often right as its probabilities say: the reliability diagram.

python -m analysis.calibration --run_dir=runs/E2_7 --output=calibration.png
python -m analysis.calibration --evaluation=test.json --output=calibration.png
"""

import dataclasses

import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from analysis.reading import evaluations
from analysis.reading.evaluations import ShownEvaluation
from analysis.reading.predictions import Answers, read_answers
from analysis.style import figures
from analysis.style.uncertainty import CONFIDENCE, wilson_interval
from pipeline import cli

BINS = 15  # of equal width, as in Guo et al.

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
    """Answers of about the same confidence."""

    count: int
    right: int
    confidence: float  # the mean

    @property
    def accuracy(self) -> float:
        return self.right / self.count


@dataclasses.dataclass(frozen=True)
class Calibration:
    bins: tuple[Bin, ...]  # those with answers, from low to high confidence
    accuracy: float
    confidence: float
    expected_error: float


def calibrate(answers: Answers) -> Calibration:
    """Answers by confidence, the probability of the predicted category.

    The expected calibration error is that of C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On
    calibration of modern neural networks", ICML 2017, equation 3: with M bins of equal width and n
    answers, sum over the bins B of |B| / n · |acc(B) - conf(B)|, where acc(B) is the share of right
    answers and conf(B) the mean confidence.
    """
    confidences = answers.confidences.astype(np.float64)
    right = answers.are_right
    # Bin m holds ((m - 1) / M, m / M], as there.
    places = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for place in range(BINS):
        inside = places == place
        if inside.any():
            bins.append(
                Bin(int(inside.sum()), int(right[inside].sum()), float(confidences[inside].mean()))
            )
    error = sum(each.count * abs(each.accuracy - each.confidence) for each in bins) / answers.count
    return Calibration(tuple(bins), float(right.mean()), float(confidences.mean()), error)


def plot_calibration(evaluation: ShownEvaluation) -> Figure:
    """Accuracy against confidence, and below how many answers have such a confidence.

    Args:
      evaluation: of a run with a finished epoch.

    Raises:
      UserError: there are no answers yet, or a file is missing or damaged.
    """
    answers = read_answers(evaluation)
    calibration = calibrate(answers)
    title_width = figures.text_width([answers.subject], 10)
    width = max(LEFT + PANEL + RIGHT, 2 * MARGIN + title_width)
    height = TOP + PANEL + GAP + COUNTS_HEIGHT + BOTTOM
    with figures.style():
        figure = Figure(figsize=(width, height))
        figure.text(MARGIN / width, 1 - MARGIN / height, answers.subject, fontsize=10, va="top")
        figure.text(
            MARGIN / width, 1 - 0.4 / height,
            f"accuracy {calibration.accuracy:.3f}, mean confidence {calibration.confidence:.3f}, "
            f"expected calibration error {calibration.expected_error:.3f}",
            fontsize=8, va="top",
        )  # fmt: skip
        counts = figure.add_axes(
            (LEFT / width, BOTTOM / height, PANEL / width, COUNTS_HEIGHT / height)
        )
        diagram = figure.add_axes(
            (LEFT / width, (BOTTOM + COUNTS_HEIGHT + GAP) / height, PANEL / width, PANEL / height),
            sharex=counts,
        )
        _draw_diagram(diagram, calibration)
        _draw_counts(counts, answers)
    return figure


def _draw_diagram(axes: Axes, calibration: Calibration) -> None:
    axes.plot(
        (0, 1), (0, 1), color=figures.MUTED, linewidth=0.9, linestyle=(0, (4, 2)),
        label="calibrated",
    )  # fmt: skip
    confidences = [each.confidence for each in calibration.bins]
    accuracies = [each.accuracy for each in calibration.bins]
    ends = np.array([wilson_interval(each.right, each.count) for each in calibration.bins])
    axes.vlines(
        confidences, accuracies, confidences, color=figures.COLOURS[1], linewidth=4,
        label="gap", zorder=2,
    )  # fmt: skip
    axes.errorbar(
        confidences, accuracies, yerr=np.abs(ends.T - accuracies), color=figures.COLOURS[0],
        marker="o", ms=4, linewidth=1, elinewidth=0.9, clip_on=False, zorder=3,
        label=f"answers in {BINS} bins with {CONFIDENCE:.0%} intervals",
    )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_ylabel("accuracy (share of right answers)")
    axes.tick_params(labelbottom=False)
    _draw_key(axes, (MARGIN - LEFT) / PANEL, 3)


def _draw_counts(axes: Axes, answers: Answers) -> None:
    edges = np.linspace(0, 1, BINS + 1).tolist()
    right = answers.are_right
    for chosen, colour, name in (
        (np.ones_like(right), figures.COLOURS[5], "right"),
        (~right, figures.COLOURS[1], "wrong"),
    ):
        axes.hist(
            answers.confidences[chosen], edges, color=colour, edgecolor="white", linewidth=0.5,
            label=name,
        )  # fmt: skip
    axes.set_ylabel("answers")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel(f"confidence: probability of the predicted category (n = {answers.count:,})")
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    _draw_key(axes, 0, 2)


def _draw_key(axes: Axes, left: float, columns: int) -> None:
    """Above the panel, where nothing else is; `left` as a share of its width."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(left, 1.01), ncols=columns, fontsize=8, frameon=False,
        borderpad=0, borderaxespad=0.3, handlelength=1.6, columnspacing=1.2,
    )  # fmt: skip


def define_flags() -> None:
    evaluations.define_flags()
    figures.define_output_flag()


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    figures.write(plot_calibration(evaluations.chosen()), args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
