"""Accuracy and loss over the epochs of one or several runs, training and validation.

python -m analysis.plot_histories --run_dir=runs/a,runs/b --output=histories.png,histories.svg
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis import figures
from analysis.runs import Run, read_run, run_names
from pipeline import command

# With more runs training and validation get panels of their own, and the colours become a scale.
MAX_OVERLAID_RUNS = 7

# Okabe and Ito's colours, made for colour-blind readers, without the yellow: too faint for lines.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

# Inches.
PANEL_WIDTH = 3.4
PANEL_HEIGHT = 2.9  # at least; CURVE_HEIGHT for each of many curves
CURVE_HEIGHT = 0.2
LEFT = 0.65  # of a panel: its ticks and axis label
LEADER = 0.35  # from a panel to the labels of its curves
NAME_GAP = 0.1  # from a name to its value
RIGHT = 0.3  # of the labels
TOP = 0.88  # of the first row: the figure's title and key, the panel's title
BOTTOM = 0.55  # of a row: ticks and axis label
ROW_GAP = 0.35
LABEL_SPACING = 0.17  # from line to line of labels
LABEL_SIZE = 8  # points

MIN_RANGE = 0.1  # of a vertical axis: smaller differences are noise and need not fill it
MAIN_LINE: dict[str, Any] = {"linestyle": "-", "linewidth": 1.4}
BESIDE_LINE: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.0}
BEST_DOT: dict[str, Any] = {"linestyle": "none", "marker": "o", "mec": "white", "ms": 5}
AXIS_LABELS = {"accuracy": "accuracy (share of drawings)", "loss": "loss (cross-entropy, nats)"}


class Panel(NamedTuple):
    """Which of a history's series a set of axes shows."""

    title: str
    metric: str  # accuracy or loss
    main: str  # key of the history: solid, its best value marked and told
    beside: str | None = None  # key of the history: dashed


class Curve(NamedTuple):
    """A run's series and how to draw it."""

    name: str
    run: Run
    colour: str


OVERLAID = (
    (
        Panel("Accuracy", "accuracy", "val_accuracy", "accuracy"),
        Panel("Loss", "loss", "val_loss", "loss"),
    ),
)
APART = (
    (
        Panel("Validation accuracy", "accuracy", "val_accuracy"),
        Panel("Training accuracy", "accuracy", "accuracy"),
    ),
    (
        Panel("Validation loss", "loss", "val_loss"),
        Panel("Training loss", "loss", "loss"),
    ),
)


def plot_histories(runs: Sequence[Run]) -> Figure:
    """Draws the histories of one or more runs, which may differ in length."""
    curves = [Curve(*parts) for parts in zip(run_names(runs), runs, _colours(runs), strict=True)]
    rows = OVERLAID if len(runs) <= MAX_OVERLAID_RUNS else APART
    name_width = figures.text_width([curve.name for curve in curves], LABEL_SIZE) + NAME_GAP
    figure, grid = _lay_out(rows, curves, name_width)
    with figures.style():
        for panels, row in zip(rows, grid, strict=True):
            for panel, axes in zip(panels, row, strict=True):
                _draw_curves(axes, panel, curves)
                _label_curves(axes, panel, curves, name_width)
        _draw_heading(figure, curves)
    return figure


def best_epoch(values: Sequence[float], metric: str) -> tuple[int, float]:
    """(epoch from 1, value) of the highest accuracy or the lowest loss, the first of equals."""
    best = max(values) if metric == "accuracy" else min(values)
    return values.index(best) + 1, best


def spread(targets: Sequence[float], spacing: float, limit: float) -> list[float]:
    """Moves ascending positions in 0..limit as little as it takes to have them `spacing` apart.

    Least squares by pooling adjacent violators: positions that would collide move as one.
    """
    pools: list[tuple[float, int]] = []  # (sum, count) of targets less their shares of the spacing
    for i, target in enumerate(targets):
        total, count = target - i * spacing, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            total, count = total + pools[-1][0], count + pools[-1][1]
            pools.pop()
        pools.append((total, count))
    highest = limit - (len(targets) - 1) * spacing
    bases = [min(max(total / n, 0), highest) for total, n in pools for _ in range(n)]
    return [base + i * spacing for i, base in enumerate(bases)]


def _draw_curves(axes: Axes, panel: Panel, curves: Sequence[Curve]) -> None:
    for curve in curves:
        if panel.beside:
            # One epoch makes no line: a ring.
            marker = "o" if len(curve.run.history[panel.beside]) == 1 else None
            _draw_line(axes, curve, panel.beside, BESIDE_LINE, marker=marker, mfc="white", ms=5)
        _draw_line(axes, curve, panel.main, MAIN_LINE)
        epoch, value = best_epoch(curve.run.history[panel.main], panel.metric)
        axes.plot(epoch, value, color=curve.colour, zorder=4, clip_on=False, **BEST_DOT)
    _scale_axes(axes, max(len(curve.run.history[panel.main]) for curve in curves))
    axes.set_title(panel.title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(AXIS_LABELS[panel.metric])


def _draw_line(axes: Axes, curve: Curve, key: str, line: dict[str, Any], **style: Any) -> None:
    values = curve.run.history[key]
    label = f"{curve.name} {key}"
    epochs = range(1, len(values) + 1)
    axes.plot(epochs, values, color=curve.colour, label=label, **line, **style)


def _scale_axes(axes: Axes, epochs: int) -> None:
    axes.set_xlim((1, epochs) if epochs > 1 else (0.5, 1.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    low, high = axes.get_ylim()
    if high - low < MIN_RANGE:
        middle = (low + high) / 2
        axes.set_ylim(middle - MIN_RANGE / 2, middle + MIN_RANGE / 2)


def _label_curves(axes: Axes, panel: Panel, curves: Sequence[Curve], name_width: float) -> None:
    """Names every curve and its best value to the right of the panel, in the order of the ends."""
    width, height = (side / axes.figure.dpi for side in (axes.bbox.width, axes.bbox.height))
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = []  # (height, share of the width, curve), the ends in shares of the panel
    for curve in curves:
        values = curve.run.history[panel.main]
        x, y = to_axes.transform((len(values), values[-1]))
        ends.append((y, x, curve))
    ends.sort(key=lambda end: end[0])
    positions = spread([y * height for y, _, _ in ends], LABEL_SPACING, height)
    names_x = 1 + LEADER / width
    for (y, x, curve), position in zip(ends, positions, strict=True):
        label_y = position / height
        axes.plot(
            (x, 1, names_x - 0.03 / width), (y, y, label_y), transform=axes.transAxes,
            clip_on=False, color=curve.colour, linewidth=0.7, label="_leader",
        )  # fmt: skip
        for label_x, text in (
            (names_x, curve.name),
            (names_x + name_width / width, _best_value(curve, panel)),
        ):
            axes.text(
                label_x, label_y, text, transform=axes.transAxes, va="center", fontsize=LABEL_SIZE
            )


def _best_value(curve: Curve, panel: Panel) -> str:
    epoch, value = best_epoch(curve.run.history[panel.main], panel.metric)
    return f"{value:.3f} at epoch {epoch}"


def _colours(runs: Sequence[Run]) -> list[str]:
    """A colour for each run; for many the darker the better the validation accuracy."""
    if len(runs) <= MAX_OVERLAID_RUNS:
        return list(COLOURS[: len(runs)])
    ranked = sorted(range(len(runs)), key=lambda i: -max(runs[i].history["val_accuracy"]))
    scale = matplotlib.colormaps["viridis"]
    colours = [""] * len(runs)
    for rank, i in enumerate(ranked):
        colours[i] = matplotlib.colors.to_hex(scale(0.9 * rank / (len(runs) - 1)))
    return colours


def _lay_out(
    rows: Sequence[Sequence[Panel]], curves: Sequence[Curve], name_width: float
) -> tuple[Figure, list[list[Axes]]]:
    """A figure as large as its labels need, and its empty axes, a list for each row."""
    values = [_best_value(curve, panel) for row in rows for panel in row for curve in curves]
    label_width = name_width + figures.text_width(values, LABEL_SIZE)
    panel_height = max(PANEL_HEIGHT, len(curves) * CURVE_HEIGHT)
    column_width = LEFT + PANEL_WIDTH + LEADER + label_width + RIGHT
    row_height = panel_height + BOTTOM + ROW_GAP
    width = len(rows[0]) * column_width
    height = TOP + len(rows) * row_height - ROW_GAP
    with figures.style():
        figure = Figure(figsize=(width, height))
        grid = []
        for i, row in enumerate(rows):
            bottom = (height - TOP - panel_height - i * row_height) / height
            lefts = [(LEFT + j * column_width) / width for j in range(len(row))]
            size = (PANEL_WIDTH / width, panel_height / height)
            grid.append([figure.add_axes((left, bottom, *size)) for left in lefts])
    return figure, grid


def _draw_heading(figure: Figure, curves: Sequence[Curve]) -> None:
    """The title and the key of lines and dots above the panels."""
    width, height = figure.get_size_inches()
    is_overlaid = len(curves) <= MAX_OVERLAID_RUNS
    subject = curves[0].name if len(curves) == 1 else f"{len(curves)} runs"
    shade = "" if is_overlaid else "; the darker, the higher the best validation accuracy"
    title = f"{subject} on {_data([curve.run for curve in curves])}{shade}"
    figure.text(LEFT / width, 1 - 0.13 / height, title, fontsize=10, va="top")
    validation = Line2D([], [], color=figures.TEXT, label="validation", **MAIN_LINE)
    training = Line2D([], [], color=figures.TEXT, label="training", **BESIDE_LINE)
    best = Line2D(
        [], [], color=figures.TEXT, label="best epoch, its value at the right", **BEST_DOT
    )
    figure.legend(
        handles=[validation, training, best] if is_overlaid else [best], ncols=3,
        loc="upper left", bbox_to_anchor=(LEFT / width, 1 - 0.34 / height), fontsize=LABEL_SIZE,
        frameon=False, borderpad=0, borderaxespad=0, handlelength=2.2, columnspacing=1.6,
    )  # fmt: skip


def _data(runs: Sequence[Run]) -> str:
    """What the runs learned from."""
    categories = _range([len(run.labels) for run in runs])
    training, validation = (
        _range([run.drawings[split] for run in runs]) for split in ("train", "validation")
    )
    return f"{categories} categories, {training} training and {validation} validation drawings"


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def define_flags() -> None:
    flags.DEFINE_list("run_dir", None, "Directories of runs, with commas between.", required=True)
    flags.DEFINE_list(
        "output", None, "Pictures to write, with commas between: .png or .svg.", required=True
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    figures.check_outputs(args.output)
    figure = plot_histories([read_run(directory) for directory in args.run_dir])
    figures.write(figure, args.output)
    print("wrote", ", ".join(args.output))


if __name__ == "__main__":
    define_flags()
    command.run(main)
