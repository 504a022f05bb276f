"""Accuracy of each category with its confidence interval, and precision, of a run's model.

python -m analysis.class_scores RUN -o classes.png
python -m analysis.class_scores --evaluation=test.json -o classes.png
"""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from analysis import commands
from analysis.reading.evaluations import Evaluation
from analysis.reading.scores import ClassScore
from analysis.style import category_rows, figures, texts
from pipeline.cli import UserError
from trainer.runs.uncertainty import CONFIDENCE, wilson_interval

RECALL: dict[str, Any] = {"color": figures.COLOURS[0], "marker": "o", "ms": 4.5, "mew": 0}
PRECISION: dict[str, Any] = {
    "color": figures.COLOURS[1], "marker": "D", "ms": 4, "mew": 0.9, "mfc": "white"
}  # fmt: skip
BAR: dict[str, Any] = {"color": figures.COLOURS[0], "linewidth": 1.1}
MEAN: dict[str, Any] = {"color": figures.MUTED, "linewidth": 0.9, "linestyle": (0, (4, 2))}
SMALL = 0.65  # of the marks' sizes, where there are many categories


def plot_class_scores(evaluation: Evaluation) -> Figure:
    """Plot the scores of the categories of an evaluation, the best on top.

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
    """Plot a row for each category, in the order of their accuracies.

    Args:
      scores: of each category, with examples.
      accuracy: of all together.
      title: one line.
    """
    ranked = sorted(scores, key=lambda score: -score.recall)
    number = texts.number_range([score.examples for score in scores])
    interval = BAR | {key: value for key, value in RECALL.items() if key != "color"}
    key = [
        Line2D([], [], label=f"accuracy, {CONFIDENCE:.0%} interval", **interval),
        Line2D([], [], label="precision", linestyle="none", **PRECISION),
        Line2D([], [], label=f"accuracy of all, {accuracy:.3f}", **MEAN),
    ]
    figure, blocks = category_rows.lay_out(
        [score.label for score in ranked], [f"share of drawings (n = {number} each)"], title, key
    )
    is_small = len(scores) > category_rows.MANY
    score_of = {score.label: score for score in scores}
    with figures.style():
        for block in blocks:
            part = [score_of[label] for label in block.labels]
            accuracy_intervals(part, accuracy, is_small=is_small, ax=block.panels[0])
    return figure


def accuracy_intervals(
    scores: Sequence[ClassScore], accuracy: float, *, is_small: bool = False, ax: Axes | None = None
) -> Axes:
    """Draw accuracy, its interval and precision of categories in rows, from y = 0 on."""
    ax = figures.new_axes(ax)
    size = SMALL if is_small else 1
    recall, precision = (mark | {"ms": size * mark["ms"]} for mark in (RECALL, PRECISION))
    ax.axvline(accuracy, zorder=1, **MEAN)
    for row, score in enumerate(scores):
        ends = wilson_interval(score.correct, score.examples)
        ax.plot(ends, (row, row), label="_interval", zorder=2, **BAR)
        if not math.isnan(score.precision):
            ax.plot(score.precision, row, clip_on=False, zorder=3, **precision)
        ax.plot(score.recall, row, clip_on=False, zorder=4, **recall)
    ax.set_xlim(0, 1)
    ax.set_xticks((0, 0.5, 1) if is_small else (0, 0.2, 0.4, 0.6, 0.8, 1))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return ax


COMMAND = commands.PictureCommand(commands.EVALUATION, plot_class_scores)

if __name__ == "__main__":
    COMMAND.run()
