"""A data set and a run on it on one screen: what was made, how good it is, where it lies.

python -m analysis.summary --dataset=data --run_dir=runs/E3_8
"""

import os
from collections.abc import Sequence

from absl import flags

from analysis.runs import (
    ClassScore,
    Evaluation,
    Run,
    mean_speed,
    read_evaluation,
    read_run,
    read_speeds,
)
from pipeline import command
from pipeline.dataset import MANIFEST, SPLITS, Manifest
from trainer import run_directory

SHOWN_CLASSES = 3  # best and worst
INDENT = " " * 10

RUN_FILES = {
    run_directory.HISTORY: "accuracy and loss of every epoch",
    run_directory.EVALUATION: "scores, per class too, and the confusion matrix",
    run_directory.CHECKPOINTS: "weights of the last and the best epoch",
    run_directory.TENSORBOARD: "events for tensorboard --logdir",
}


def summarize(dataset: str, run_dir: str) -> str:
    """The summary as lines of text.

    Args:
      dataset: the directory of the data set that the run learned from.
      run_dir: the directory of the run, which has finished at least one epoch.

    Raises:
      UserError: a directory is not what it should be, a file in it is missing or damaged, or the
        run learned from another data set.
    """
    run = read_run(run_dir)
    manifest = run.check_dataset(dataset)
    evaluation = read_evaluation(run_dir)
    return "\n\n".join(
        (
            _dataset_lines(dataset, manifest),
            _run_lines(run),
            _score_lines(evaluation, len(manifest.labels)),
            _class_lines(evaluation.last.per_class),
        )
    )


def chance(classes: int) -> tuple[float, float, float]:
    """Top-1, top-3 and MAP@3 expected of guesses in a random order of all classes."""
    ranks = range(1, min(3, classes) + 1)
    return 1 / classes, len(ranks) / classes, sum(1 / rank for rank in ranks) / classes


def duration(seconds: float) -> str:
    """Two units at most: 8 s, 2 min 05 s, 3 h 12 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _dataset_lines(directory: str, manifest: Manifest) -> str:
    counts = {split: manifest.splits[split].records for split in SPLITS}
    drawings = ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)
    return (
        f"data set  {directory}\n"
        f"{INDENT}{len(manifest.labels):,} categories, {drawings} drawings\n"
        f"{INDENT}{MANIFEST} tells what it holds and how it was made"
    )


def _run_lines(run: Run) -> str:
    of_planned = f" of {run.planned_epochs}" if run.planned_epochs > run.epochs else ""
    unit = "epoch" if (of_planned or run.epochs) == 1 else "epochs"
    files = [name for name in RUN_FILES if os.path.exists(os.path.join(run.directory, name))]
    width = max(map(len, files)) + 2
    return "\n".join(
        (
            f"run       {run.directory}",
            f"{INDENT}{run.experiment}, {run.parameters:,} parameters, "
            f"{run.epochs}{of_planned} {unit}{_training_time(run)}",
            *(f"{INDENT}{name:<{width}}{RUN_FILES[name]}" for name in files),
        )
    )


def _training_time(run: Run) -> str:
    """Of the training alone, without evaluations."""
    speeds = read_speeds(run.directory)
    mean = mean_speed(speeds)
    if mean is None:
        return ""
    seconds = len(speeds) * run.drawings["train"] / mean
    return f" in {duration(seconds)} of training ({mean:,.0f} images/s)"


def _score_lines(evaluation: Evaluation, classes: int) -> str:
    last, best = evaluation.last, evaluation.best
    rows = (
        (f"last epoch, {last.epoch}", last.top1, last.top3, last.map3),
        (f"best epoch, {best.epoch}", best.top1, best.top3, best.map3),
        ("chance", *chance(classes)),
    )
    title = f"{evaluation.split}, {last.examples:,} drawings"
    width = max(len(title), *(len(name) for name, *_ in rows))
    lines = [f"{title:<{width}}   top-1   top-3   MAP@3"]
    for name, *scores in rows:
        lines.append(f"{name:<{width}}" + "".join(f"{score:8.3f}" for score in scores))
    return "\n".join(lines)


def _class_lines(scores: Sequence[ClassScore]) -> str:
    """The classes with the highest and the lowest top-1, none of them in both lines."""
    ranked = sorted((score for score in scores if score.examples), key=lambda s: -s.recall)
    shown = min(SHOWN_CLASSES, len(ranked) // 2)
    best, worst = ranked[:shown], ranked[len(ranked) - shown :][::-1]
    lines = ["categories by top-1 of the last epoch"]
    for name, some in (("best", best), ("worst", worst)):
        classes = ", ".join(f"{score.label} {score.recall:.3f}" for score in some)
        lines.append(f"{name:<{len(INDENT)}}{classes}")
    return "\n".join(lines)


def define_flags() -> None:
    command.define_path("dataset", None, "Directory of the data set.", required=True)
    command.define_path("run_dir", None, "Directory of the run.", required=True)


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    print(summarize(args.dataset, args.run_dir))


if __name__ == "__main__":
    define_flags()
    command.run(main)
