"""How well a run's model knows each category: accuracy with its confidence interval, precision.

python -m analysis.class_scores --run_dir=runs/E2_7 --output=classes.png
python -m analysis.class_scores --evaluation=test.json --output=classes.png
"""

import math
from collections.abc import Sequence
from typing import Any

from absl import flags
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from analysis.reading import evaluations
from analysis.reading.evaluations import ShownEvaluation
from analysis.reading.runs import ClassScore
from analysis.style import category_rows, figures
from analysis.style.uncertainty import CONFIDENCE, wilson_interval
from pipeline import cli
from pipeline.cli import UserError

RECALL: dict[str, Any] = {"color": figures.COLOURS[0], "marker": "o", "ms": 4.5, "mew": 0}
PRECISION: dict[str, Any] = {
    "color": figures.COLOURS[1], "marker": "D", "ms": 4, "mew": 0.9, "mfc": "white"
}  # fmt: skip
BAR: dict[str, Any] = {"color": figures.COLOURS[0], "linewidth": 1.1}
MEAN: dict[str, Any] = {"color": figures.MUTED, "linewidth": 0.9, "linestyle": (0, (4, 2))}
SMALL = 0.65  # of the marks' sizes, where there are many categories


def plot_class_scores(evaluation: ShownEvaluation) -> Figure:
    """The categories of an evaluation, the best on top.

    Args:
      evaluation: of a run with a finished epoch.

    Raises:
      UserError: there is no evaluation, or it is damaged.
    """
    scores = evaluation.read_scores()
    title = evaluation.title(scores.epoch, scores.examples)
    known = [score for score in scores.per_class if score.examples]
    if not known:
        raise UserError(f"{evaluation.description} has no examples")
    return draw_class_scores(known, scores.top1, title)


def draw_class_scores(scores: Sequence[ClassScore], accuracy: float, title: str) -> Figure:
    """A row for each category, in the order of their accuracies.

    Args:
      scores: of each category, with examples.
      accuracy: of all together.
      title: one line.
    """
    ranked = sorted(scores, key=lambda score: -score.recall)
    number = figures.number_range([score.examples for score in scores])
    key = [
        Line2D(
            [],
            [],
            label=f"accuracy, {CONFIDENCE:.0%} interval",
            **BAR,
            **{k: v for k, v in RECALL.items() if k != "color"},
        ),
        Line2D([], [], label="precision", linestyle="none", **PRECISION),
        Line2D([], [], label=f"accuracy of all, {accuracy:.3f}", **MEAN),
    ]
    figure, columns = category_rows.lay_out(
        [score.label for score in ranked], [f"share of drawings (n = {number} each)"], title, key
    )
    small = SMALL if len(scores) > category_rows.MANY else 1
    recall, precision = (mark | {"ms": small * mark["ms"]} for mark in (RECALL, PRECISION))
    start = 0
    with figures.style():
        for column in columns:
            (axes,) = column.panels
            part = ranked[start : start + len(column.labels)]
            start += len(part)
            axes.axvline(accuracy, zorder=1, **MEAN)
            for row, score in enumerate(part):
                ends = wilson_interval(score.correct, score.examples)
                axes.plot(ends, (row, row), label="_interval", zorder=2, **BAR)
                if not math.isnan(score.precision):
                    axes.plot(score.precision, row, clip_on=False, zorder=3, **precision)
                axes.plot(score.recall, row, clip_on=False, zorder=4, **recall)
            axes.set_xlim(0, 1)
            axes.set_xticks((0, 0.5, 1) if small < 1 else (0, 0.2, 0.4, 0.6, 0.8, 1))
            axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return figure


def define_flags() -> None:
    evaluations.define_flags()
    figures.define_output_flag()


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    figures.write(plot_class_scores(evaluations.chosen()), args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
