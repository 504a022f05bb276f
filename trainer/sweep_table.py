"""The table of a sweep: what each run costs and achieves, the study's own figures beside it."""

import csv
import dataclasses
import io
import json
import os
import statistics
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from trainer import costs, run_directory, study
from trainer.experiments import Experiment
from trainer.state import State

_HEADERS = (
    *("name", "widths", "depths", "modification", "parameters", "mult-adds", "epochs"),
    *("best", "final", "images/s", "best", "final"),
)
_WORDS = 4  # columns; the others are numbers
_OVER_HEADERS = {7: "val. accuracy", 10: "the study's"}  # by column

_NOTE_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Result:
    """How far a run is. It may have no finished epoch, or not even a directory."""

    experiment: Experiment
    status: str  # "finished", "unfinished" or "failed"
    epochs: int  # that it is to have
    state: State
    images_per_second: float | None  # of training; None before the first epoch's end


class Scores(NamedTuple):
    """Validation accuracies; None where there is no epoch."""

    best: float | None
    final: float | None


def table(results: Sequence[Result], num_classes: int) -> str:
    """The results as lines of text, with what one has to know of them below."""
    rows = [_HEADERS, *(_cells(result, num_classes) for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    over = ""
    for column, header in _OVER_HEADERS.items():
        start = sum(width + 2 for width in widths[:column])
        over = f"{over:<{start}}{header}"
    lines = ["  ".join(map(_aligned, row, widths, range(len(row)))).rstrip() for row in rows]
    return "\n".join([over, *lines, "", *_notes(results, num_classes)])


def to_csv(results: Sequence[Result], num_classes: int) -> str:
    """The results as a CSV file's text, with a line of names first; accuracies from 0 to 1."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        (
            *("experiment", "width_a", "width_b", "width_c", "depth_a", "depth_b", "depth_c"),
            *("modification", "classes", "parameters", "multiply_adds", "status", "epochs"),
            *("best_val_accuracy", "final_val_accuracy", "images_per_second"),
            *("study_classes", "study_best_val_accuracy", "study_final_val_accuracy"),
        )
    )
    for result in results:
        experiment = result.experiment
        cost = costs.total(costs.stages(experiment.architecture, num_classes))
        writer.writerow(
            (
                experiment.name,
                *costs.widths(experiment.architecture),
                *experiment.architecture.depths,
                experiment.modification,
                num_classes,
                *cost,
                result.status,
                result.state.epoch,
                *_scores(result.state.history["val_accuracy"]),
                result.images_per_second and round(result.images_per_second, 1),
                experiment.categories,
                *_study_scores(experiment),
            )
        )
    return file.getvalue()


def training_speed(run_dir: str) -> float | None:
    """The images a second over all epochs' training, from metrics.jsonl; None if it has none."""
    try:
        with open(os.path.join(run_dir, run_directory.METRICS), encoding="utf-8") as file:
            metrics = [json.loads(line) for line in file]
    except (OSError, ValueError):  # a run that never started, or that failed while it wrote
        return None
    speeds = [line["images_per_second"] for line in metrics if line["kind"] == "epoch"]
    return statistics.harmonic_mean(speeds) if speeds else None  # epochs have equally many images


def _cells(result: Result, num_classes: int) -> tuple[str, ...]:
    experiment = result.experiment
    cost = costs.total(costs.stages(experiment.architecture, num_classes))
    epochs = str(result.state.epoch)
    if result.status != "finished":
        epochs += f"/{result.epochs}"
    accuracies = (*_scores(result.state.history["val_accuracy"]), *_study_scores(experiment))
    best, final, study_best, study_final = (
        "-" if accuracy is None else f"{accuracy:.4f}" for accuracy in accuracies
    )
    return (
        experiment.name,
        ", ".join(map(str, costs.widths(experiment.architecture))),
        ", ".join(map(str, experiment.architecture.depths)),
        experiment.modification + ("*" if experiment.name in study.STRIDE_2 else ""),
        f"{cost.parameters:,}",
        _short(cost.multiply_adds),
        epochs,
        best,
        final,
        f"{result.images_per_second:,.0f}" if result.images_per_second else "-",
        study_best,
        study_final,
    )


def _aligned(cell: str, width: int, column: int) -> str:
    """Words to the left, numbers to the right."""
    return f"{cell:<{width}}" if column < _WORDS else f"{cell:>{width}}"


def _notes(results: Sequence[Result], num_classes: int) -> list[str]:
    names: dict[int, list[str]] = {}  # by the number of categories that the study trained them on
    for result in results:
        if result.experiment.categories:
            names.setdefault(result.experiment.categories, []).append(result.experiment.name)
    notes = []
    if names:
        categories = " and ".join(
            f"{count} categories" + (f" ({', '.join(names[count])})" if len(names) > 1 else "")
            for count in sorted(names)
        )
        notes.append(
            "The study's figures are of one run each, on its own drawings of "
            f"{categories}; this data set has {num_classes} categories"
        )
    if any(result.experiment.name in study.STRIDE_2 for result in results):
        notes.append(
            f"* {study.STRIDE_NOTE} than E1 (E2_1 on 53 categories), the clean run of this width"
        )
    return [textwrap.fill(note, _NOTE_WIDTH) for note in notes]


def _scores(val_accuracy: Sequence[float]) -> Scores:
    if not val_accuracy:
        return Scores(None, None)
    return Scores(round(max(val_accuracy), 6), round(val_accuracy[-1], 6))


def _study_scores(experiment: Experiment) -> Scores:
    if experiment.categories is None:  # not one of the study's
        return Scores(None, None)
    return _scores(study.history(experiment.name)["val_accuracy"])


def _short(count: int) -> str:
    """With three digits: 1.20 G, 19.4 M, 918 M."""
    value, unit = (count / 1e9, "G") if count >= 1e9 else (count / 1e6, "M")
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
