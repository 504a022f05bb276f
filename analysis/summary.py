"""A data set and a run on it on one screen: what was made, how good it is, where it lies.

python -m analysis.summary --dataset=data --run_dir=runs/E3_8
python -m analysis.summary --dataset=data --run_dir=runs/E3_8 --evaluation=test.json
"""

import os
from collections.abc import Mapping, Sequence

from absl import flags

from analysis.reading.evaluations import ShownEvaluation, define_evaluation_flag, read_saved_of
from analysis.reading.runs import (
    ClassScore,
    Evaluation,
    Run,
    Scores,
    mean_speed,
    read_evaluation,
    read_run,
    read_speeds,
)
from pipeline import cli
from pipeline.dataset.manifests import MANIFEST, SPLITS, Manifest
from trainer.runs import run_directory

SHOWN_CLASSES = 3  # best and worst
INDENT = " " * 10

RUN_FILES = {
    run_directory.HISTORY: "accuracy and loss of every epoch",
    run_directory.EVALUATION: "scores, per class too, and the confusion matrix",
    run_directory.CHECKPOINTS: "weights of the last and the best epoch",
    run_directory.TENSORBOARD: "events for tensorboard --logdir",
}


def summarize(dataset: str, run_dir: str, evaluation: str | None = None) -> str:
    """The summary as lines of text.

    Args:
      dataset: the directory of the data set that the run learned from.
      run_dir: the directory of the run, which has finished at least one epoch.
      evaluation: of the run, a file of trainer.evaluate --output, whose scores are shown instead
        of those of its validation.

    Raises:
      UserError: a directory is not what it should be, a file is missing or damaged, or of another
        run, or the run learned from another data set.
    """
    run = read_run(run_dir)
    manifest = run.check_dataset(dataset)
    if evaluation:
        scores = _saved_lines(read_saved_of(run, evaluation))
    else:
        scores = _validation_lines(read_evaluation(run_dir), len(manifest.labels))
    return "\n\n".join((_dataset_lines(dataset, manifest), _run_lines(run), *scores))


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


def _validation_lines(evaluation: Evaluation, classes: int) -> tuple[str, str]:
    """Scores of the last and the best epoch, and categories of the last."""
    last, best = evaluation.last, evaluation.best
    title = f"{evaluation.split}, {last.examples:,} drawings"
    epochs = {f"last epoch, {last.epoch}": last, f"best epoch, {best.epoch}": best}
    return (
        _score_lines(title, epochs, classes),
        _class_lines(last.per_class, "the last epoch"),
    )


def _saved_lines(evaluation: ShownEvaluation) -> tuple[str, str]:
    """Scores and categories of what trainer.evaluate has written."""
    scores, labels = evaluation.read_scores(), evaluation.labels
    title = f"{evaluation.split}, {scores.examples:,} drawings of {len(labels):,} categories"
    if evaluation.is_mirrored:
        title += ", mean with mirror images"
    epochs = {f"{evaluation.checkpoint} checkpoint, epoch {scores.epoch}": scores}
    return (
        _score_lines(title, epochs, len(labels)),
        _class_lines(scores.per_class, f"the {evaluation.split} drawings"),
    )


def _score_lines(title: str, epochs: Mapping[str, Scores], classes: int) -> str:
    """A table below a title: a row for each name in `epochs`, and what guessing would score."""
    rows = [(name, each.top1, each.top3, each.map3) for name, each in epochs.items()]
    rows.append(("chance", *chance(classes)))
    width = max(len(title), *(len(name) for name, *_ in rows))
    lines = [f"{title:<{width}}   top-1   top-3   MAP@3"]
    for name, *scores in rows:
        lines.append(f"{name:<{width}}" + "".join(f"{score:8.3f}" for score in scores))
    return "\n".join(lines)


def _class_lines(scores: Sequence[ClassScore], of: str) -> str:
    """The classes with the highest and the lowest top-1, none of them in both lines."""
    ranked = sorted((score for score in scores if score.examples), key=lambda s: -s.recall)
    shown = min(SHOWN_CLASSES, len(ranked) // 2)
    best, worst = ranked[:shown], ranked[len(ranked) - shown :][::-1]
    lines = [f"categories by top-1 of {of}"]
    for name, some in (("best", best), ("worst", worst)):
        classes = ", ".join(f"{score.label} {score.recall:.3f}" for score in some)
        lines.append(f"{name:<{len(INDENT)}}{classes}")
    return "\n".join(lines)


def define_flags() -> None:
    cli.define_path("dataset", None, "Directory of the data set.", required=True)
    cli.define_path("run_dir", None, "Directory of the run.", required=True)
    define_evaluation_flag("Instead of the run's validation: ")


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    print(summarize(args.dataset, args.run_dir, args.evaluation))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
