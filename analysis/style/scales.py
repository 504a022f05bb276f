"""Axes of epochs, and of accuracies near 1 and losses near 0: equal steps are equal ratios."""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

LEAST_ERROR = 1e-4  # 1 - accuracy: smaller errors are drawn there
LEAST_LOSS = 1e-6
MIN_RATIO = 1.25  # of the ends of an axis: smaller differences are noise and need not fill it
MARGIN = 0.05  # beyond the data, and
TICK_DISTANCE = 0.09  # at least between ticks, as shares of the axis

# The first are the most wanted; those of one row are equally.
_ACCURACIES = (
    (0.5, 0.9, 0.99, 0.999, 0.9999),
    (0.8, 0.95, 0.98, 0.995, 0.2),
    (0.7, 0.85, 0.6, 0.97, 0.96, 0.3, 0.4, 0.0, 0.1),
    (0.88, 0.86, 0.92, 0.94, 0.82, 0.84, 0.75, 0.65, 0.55, 0.93),
    (0.91, 0.89, 0.87, 0.83, 0.81),
    tuple(
        round(1 - factor * least, 6)
        for least in (0.01, 0.001, 0.0001)
        for factor in (5, 2.5, 1.5, 3.5, 1.2, 2, 3, 4, 6, 7, 8)
    ),
)
_LOSSES = tuple(
    tuple(factor * 10.0**power for power in range(-6, 3) for factor in factors)
    for factors in ((1,), (2, 5), (3,), (1.5, 4, 7), (2.5, 6, 8), (1.2, 1.7, 1.1, 1.3, 3.5, 4.5, 9))
)


def scale_epochs(axes: Axes, epochs: int) -> None:
    """Scale and label a horizontal axis of whole epochs from 1."""
    axes.set_xlim((1, epochs) if epochs > 1 else (0.5, 1.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlabel("epoch")


def scale_metric(axes: Axes, metric: str) -> None:
    """Scale and label the axis for a metric of a history, to be called when all is drawn.

    Accuracies are spaced by log(1 - accuracy): halving the error is the same distance everywhere.
    Losses, which are above 0, are spaced by their logarithm.

    Args:
      axes: with the data.
      metric: accuracy or loss.
    """
    if metric == "accuracy":
        axes.set_yscale("function", functions=(_error_decay, _accuracy))
        axes.set_ylabel("accuracy (log scale of 1 − accuracy)")
        _fit(axes, _ACCURACIES, _error_decay, _accuracy)
    else:
        axes.set_yscale("log")
        axes.set_ylabel("loss (cross-entropy, nats)")
        _fit(axes, _LOSSES, _log_loss, np.exp)


def _error_decay(accuracy: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(1 - np.asarray(accuracy), LEAST_ERROR))


def _accuracy(error_decay: np.ndarray) -> np.ndarray:
    return 1 - np.exp(-np.asarray(error_decay))


def _log_loss(loss: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(loss, LEAST_LOSS))


def _fit(
    axes: Axes,
    wanted: Iterable[Iterable[float]],
    transform: Callable[[np.ndarray], np.ndarray],
    inverse: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Set limits around the data, and as many of the `wanted` ticks as there is room for."""
    low, high = transform(np.asarray(axes.dataLim.intervaly))
    room = MARGIN * (high - low) + max(0, np.log(MIN_RATIO) - (high - low)) / 2
    low, high = low - room, high + room
    chosen: dict[float, float] = {}  # tick -> its place on the axis, 0 to 1
    for tick in itertools.chain.from_iterable(wanted):
        place = float((transform(np.array(tick)) - low) / (high - low))
        if 0 <= place <= 1 and all(
            abs(place - other) >= TICK_DISTANCE for other in chosen.values()
        ):
            chosen[tick] = place
    axes.yaxis.set_major_locator(FixedLocator(sorted(chosen)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(*inverse(np.array((low, high))))
