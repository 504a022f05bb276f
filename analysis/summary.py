"""A data set and a run on it on one screen: what was made, how good it is, where it lies.

python -m analysis.summary --dataset=data --run_dir=runs/E3_8
"""

import os
from collections.abc import Sequence

from absl import flags

from analysis.runs import ClassScore, Evaluation, Run, read_evaluation, read_run, training_speed
from pipeline import command
from pipeline.dataset import MANIFEST, SPLITS, Manifest, read_manifest
from pipeline.errors import UserError
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
    manifest = read_manifest(dataset)
    run = read_run(run_dir)
    if run.config.get("dataset_fingerprint", manifest.fingerprint) != manifest.fingerprint:
        raise UserError(f"{run_dir}: the run learned from another data set than {dataset}")
    evaluation = read_evaluation(run_dir)
    return "\n\n".join(
        (
            _dataset_lines(dataset, manifest),
            _run_lines(run, manifest.splits["train"].records),
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


def _run_lines(run: Run, training_drawings: int) -> str:
    parameters = run.config.get("parameters")
    size = f"{parameters:,} parameters, " if parameters else ""
    epochs, planned = len(run.history["val_accuracy"]), run.config.get("epochs")
    of_planned = f" of {planned}" if planned and planned > epochs else ""
    unit = "epoch" if (of_planned or epochs) == 1 else "epochs"
    time = _training_time(run, training_drawings)
    files = [name for name in RUN_FILES if os.path.exists(os.path.join(run.directory, name))]
    width = max(map(len, files)) + 2
    return "\n".join(
        (
            f"run       {run.directory}",
            f"{INDENT}{run.experiment}, {size}{epochs}{of_planned} {unit}{time}",
            *(f"{INDENT}{name:<{width}}{RUN_FILES[name]}" for name in files),
        )
    )


def _training_time(run: Run, drawings: int) -> str:
    """Of the training alone, without evaluations; `drawings` an epoch."""
    speeds = training_speed(run.directory)
    if not speeds:
        return ""
    seconds = sum(drawings / speed for speed in speeds)
    mean = len(speeds) * drawings / seconds
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
    ranked = sorted((score for score in scores if score.examples), key=lambda s: -s.accuracy)
    shown = min(SHOWN_CLASSES, len(ranked) // 2)
    best, worst = ranked[:shown], ranked[len(ranked) - shown :][::-1]
    lines = ["categories by top-1 of the last epoch"]
    for name, some in (("best", best), ("worst", worst)):
        classes = ", ".join(f"{score.label} {score.accuracy:.3f}" for score in some)
        lines.append(f"{name:<{len(INDENT)}}{classes}")
    return "\n".join(lines)


def define_flags() -> None:
    flags.DEFINE_string("dataset", None, "Directory of the data set.", required=True)
    flags.DEFINE_string("run_dir", None, "Directory of the run.", required=True)


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    print(summarize(args.dataset, args.run_dir))


if __name__ == "__main__":
    define_flags()
    command.run(main)
