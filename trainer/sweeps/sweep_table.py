"""Table of a sweep: costs and scores of each run, beside the study's own."""

import csv
import dataclasses
import io
import json
import os
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.cli import align
from trainer.models import costs, study
from trainer.models.experiments import Experiment
from trainer.runs import run_directory
from trainer.runs.state import State
from trainer.sweeps.sweep_axes import Settings, run_name

_MODEL_HEADERS = ("name", "widths", "depths", "modification", "parameters", "mult-adds")
_SCORE_HEADERS = ("epochs", "best", "final", "images/s", "best", "final")
_MODEL_WORDS = 4  # columns; the others are numbers
_OVER_SCORES = {1: "val. accuracy", 4: "the study's"}  # by column

_CSV = (  # columns after those of what varies
    *("width_a", "width_b", "width_c", "depth_a", "depth_b", "depth_c"),
    *("modification", "classes", "parameters", "multiply_adds", "status", "epochs"),
    *("best_val_accuracy", "final_val_accuracy", "images_per_second"),
    *("study_classes", "study_best_val_accuracy", "study_final_val_accuracy"),
)

_NOTE_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Result:
    """Progress of a run. It may have no finished epoch, or not even a directory."""

    experiment: Experiment
    status: str  # "finished", "unfinished" or "failed"
    epochs: int  # that it is to have
    state: State
    images_per_second: float | None  # of training; None before the first epoch's end
    settings: Settings = ()  # of --vary
    seed: int = 0


class Scores(NamedTuple):
    """Validation accuracies; None without an epoch."""

    best: float | None
    final: float | None


def table(results: Sequence[Result], num_classes: int) -> str:
    """Format the results as lines of text, with notes below.

    A line is an experiment with its settings of --vary; its accuracies are the mean and the
    standard deviation of the seeds. If more than the experiment varies, the models come first, in a
    table of their own.
    """
    by_seeds = _by_seeds(results)
    varied = _varied_flags(results)
    has_seeds = any(len(runs) > 1 for runs in by_seeds)
    models = _models([runs[0] for runs in by_seeds])
    model_rows = [(name, *_model_cells(each, num_classes)) for name, each in models.items()]
    score_rows = [_score_cells(runs) for runs in by_seeds]
    if not varied and not has_seeds:
        rows = [(*model, *scores) for model, scores in zip(model_rows, score_rows, strict=True)]
        headers = [*_MODEL_HEADERS, *_SCORE_HEADERS]
        lines = _aligned([headers, *rows], _MODEL_WORDS, len(_MODEL_HEADERS))
    else:
        heads = [_run_cells(runs, has_seeds) for runs in by_seeds]
        rows = [(*head, *scores) for head, scores in zip(heads, score_rows, strict=True)]
        headers = ["name", *varied, *(["seeds"] if has_seeds else []), *_SCORE_HEADERS]
        lines = [
            *_aligned([_MODEL_HEADERS, *model_rows], _MODEL_WORDS),
            *_aligned([headers, *rows], 1 + len(varied), len(headers) - len(_SCORE_HEADERS)),
        ]
    return "\n".join([*lines, "", *_notes(results, num_classes)])


def to_csv(results: Sequence[Result], num_classes: int) -> str:
    """Format the runs as CSV, with a line of names first; accuracies from 0 to 1."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    # --epochs may vary, too; the column epochs counts the finished ones.
    varied = [f"vary_{flag}" if flag in _CSV else flag for flag in _varied_flags(results)]
    writer.writerow(("experiment", *varied, "seed", *_CSV))
    for result in results:
        experiment = result.experiment
        cost = costs.total(costs.stages(experiment.architecture, num_classes))
        writer.writerow(
            (
                experiment.name,
                *(setting.value for setting in result.settings),
                result.seed,
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
    """Return images/s over the training of all epochs, from metrics.jsonl; None without any."""
    try:
        with open(os.path.join(run_dir, run_directory.METRICS), encoding="utf-8") as file:
            metrics = [json.loads(line) for line in file]
    except (OSError, ValueError):  # a run that never started, or that failed while it wrote
        return None
    speeds = [line["images_per_second"] for line in metrics if line["kind"] == "epoch"]
    return statistics.harmonic_mean(speeds) if speeds else None  # epochs have equally many images


def _by_seeds(results: Sequence[Result]) -> list[list[Result]]:
    """Group the runs that differ in their seed alone, in the order of their first ones."""
    found: dict[tuple[str, Settings], list[Result]] = {}
    for result in results:
        found.setdefault((result.experiment.name, result.settings), []).append(result)
    return list(found.values())


def _varied_flags(results: Sequence[Result]) -> list[str]:
    return [setting.flag for setting in results[0].settings]


def _models(configurations: Sequence[Result]) -> dict[str, Experiment]:
    """Map names to models; a setting that changes the model, as of --batch_norm, is in the name."""

    def changes_model(of: Result, flag: str) -> bool:
        others = [setting for setting in of.settings if setting.flag != flag]
        return any(
            each.experiment.name == of.experiment.name
            and [setting for setting in each.settings if setting.flag != flag] == others
            and each.experiment.architecture != of.experiment.architecture
            for each in configurations
        )

    models: dict[str, Experiment] = {}
    for each in configurations:
        settings = [s for s in each.settings if changes_model(each, s.flag)]
        name = " ".join([each.experiment.name, *(f"{s.flag}={s.label}" for s in settings)])
        models.setdefault(name, each.experiment)
    return models


def _model_cells(experiment: Experiment, num_classes: int) -> tuple[str, ...]:
    cost = costs.total(costs.stages(experiment.architecture, num_classes))
    return (
        ", ".join(map(str, costs.widths(experiment.architecture))),
        ", ".join(map(str, experiment.architecture.depths)),
        experiment.modification + ("*" if experiment.name in study.STRIDE_2 else ""),
        f"{cost.parameters:,}",
        _short(cost.multiply_adds),
    )


def _run_cells(runs: Sequence[Result], has_seeds: bool) -> tuple[str, ...]:
    """`runs`: that differ in their seed alone, as in the next."""
    finished = sum(run.status == "finished" for run in runs)
    seeds = str(len(runs)) if finished == len(runs) else f"{finished} of {len(runs)}"
    labels = [setting.label for setting in runs[0].settings]
    return (runs[0].experiment.name, *labels, *([seeds] if has_seeds else []))


def _score_cells(runs: Sequence[Result]) -> tuple[str, ...]:
    # Of several seeds those count that are finished: the others have had less training.
    counted = runs if len(runs) == 1 else [run for run in runs if run.status == "finished"]
    scores = [_scores(run.state.history["val_accuracy"]) for run in counted]
    speeds = [run.images_per_second for run in runs if run.images_per_second]
    return (
        _epochs(counted or runs),
        _mean(score.best for score in scores),
        _mean(score.final for score in scores),
        f"{statistics.harmonic_mean(speeds):,.0f}" if speeds else "-",
        *(_mean([accuracy]) for accuracy in _study_scores(runs[0].experiment)),
    )


def _aligned(
    rows: Sequence[Sequence[str]], words: int, first_score: int | None = None
) -> list[str]:
    """Align rows as lines, with another one above.

    Args:
      rows: the headers first.
      words: number of columns of words, which come first; the others are numbers.
      first_score: the first column of _SCORE_HEADERS, whose accuracies have headers above.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    alignment = "<" * words + ">" * (len(widths) - words)
    over = ""
    if first_score is not None:
        for column, header in _OVER_SCORES.items():
            start = sum(width + 2 for width in widths[: first_score + column])
            over = f"{over:<{start}}{header}"
    return [over, *align(rows, alignment)]


def _epochs(runs: Sequence[Result]) -> str:
    """Format finished epochs: 12, 9-12 if seeds stopped early, 0-3/12 if some are unfinished."""
    low, high = (bound(run.state.epoch for run in runs) for bound in (min, max))
    text = str(low) if low == high else f"{low}-{high}"
    if all(run.status == "finished" for run in runs):
        return text
    return f"{text}/{runs[0].epochs}"


def _mean(accuracies: Iterable[float | None]) -> str:
    """Format the mean, with the standard deviation (n - 1) of several."""
    values = [accuracy for accuracy in accuracies if accuracy is not None]
    if not values:
        return "-"
    text = f"{statistics.mean(values):.4f}"
    return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.4f}"


def _notes(results: Sequence[Result], num_classes: int) -> list[str]:
    names: dict[int, list[str]] = {}  # by the number of categories that the study trained them on
    for result in results:
        of_count = names.setdefault(result.experiment.categories or 0, [])
        if result.experiment.name not in of_count:
            of_count.append(result.experiment.name)
    names.pop(0, None)  # of none of the study's
    notes = _seed_notes(results)
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
    return [textwrap.fill(note, _NOTE_WIDTH, break_on_hyphens=False) for note in notes]


def _seed_notes(results: Sequence[Result]) -> list[str]:
    """Explain the accuracies of several seeds, and list the runs that are not in them."""
    seeds = sorted({result.seed for result in results})
    if len(seeds) == 1:
        return []
    notes = [
        f"Accuracies are the mean ± the standard deviation (n - 1) of {len(seeds)} seeds, "
        f"{seeds[0]} to {seeds[-1]}; only finished runs count"
    ]
    for status in ("failed", "unfinished"):
        lacking = [
            run_name(result.experiment.name, result.settings, result.seed)
            for result in results
            if result.status == status
        ]
        if lacking:
            notes.append(f"{status}: {', '.join(lacking)}")
    return notes


def _scores(val_accuracy: Sequence[float]) -> Scores:
    if not val_accuracy:
        return Scores(None, None)
    return Scores(round(max(val_accuracy), 6), round(val_accuracy[-1], 6))


def _study_scores(experiment: Experiment) -> Scores:
    if experiment.categories is None:  # not one of the study's
        return Scores(None, None)
    return _scores(study.history(experiment.name)["val_accuracy"])


def _short(count: int) -> str:
    """Format with three digits: 1.20 G, 19.4 M, 918 M."""
    value, unit = (count / 1e9, "G") if count >= 1e9 else (count / 1e6, "M")
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
