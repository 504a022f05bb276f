"""Summary of a run and its data set: scores, chance, best and worst categories, files.

python -m analysis.summary RUN
python -m analysis.summary RUN --evaluation=test.json
"""

import os
from collections.abc import Mapping, Sequence

from absl import flags

from analysis import commands
from analysis.reading.evaluations import Evaluation, read_saved_of
from analysis.reading.runs import Run, read_run, read_training_time
from analysis.reading.scores import ClassScore, Scores, Validation, read_validation
from analysis.style.texts import duration
from pipeline import cli
from pipeline.cli import align, counted
from pipeline.dataset.manifests import MANIFEST, SPLITS, Manifest
from trainer.runs import run_directory
from trainer.runs.uncertainty import chance

SHOWN_CLASSES = 3  # best and worst
INDENT = " " * 10

RUN_FILES = {
    run_directory.HISTORY: "accuracy and loss of every epoch",
    run_directory.EVALUATION: "scores, per class too, and the confusion matrix",
    run_directory.CHECKPOINTS: "weights of the last and the best epoch",
    run_directory.TENSORBOARD: "events for tensorboard --logdir",
}


def summarize(run_dir: str, dataset: str | None = None, evaluation: str | None = None) -> str:
    """Return the summary as lines of text.

    Args:
      run_dir: the directory of the run, which has finished at least one epoch.
      dataset: the directory of its data set, if it was moved.
      evaluation: of the run, a file of trainer.evaluate --output, whose scores are shown instead
        of those of its validation.

    Raises:
      UserError: a directory or file is missing or damaged, the evaluation is of a different
        run, or the run was trained on a different data set.
    """
    run = read_run(run_dir)
    dataset = dataset or str(run.config["dataset"])
    manifest = run.check_dataset(dataset)
    if evaluation:
        scores = _saved_lines(read_saved_of(run, evaluation))
    else:
        scores = _validation_lines(read_validation(run_dir), len(manifest.labels))
    return "\n\n".join((_dataset_lines(dataset, manifest), _run_lines(run), *scores))


def _dataset_lines(directory: str, manifest: Manifest) -> str:
    counts = {split: manifest.splits[split].records for split in SPLITS}
    drawings = ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)
    return (
        f"data set  {directory}\n"
        f"{INDENT}{counted(len(manifest.labels), 'category')}, {drawings} drawings\n"
        f"{INDENT}{MANIFEST} lists its content and settings"
    )


def _run_lines(run: Run) -> str:
    epochs = counted(max(run.epochs, run.planned_epochs), "epoch")
    if run.epochs < run.planned_epochs:
        epochs = f"{run.epochs} of {epochs}"
    files = [name for name in RUN_FILES if os.path.exists(os.path.join(run.directory, name))]
    width = max(map(len, files), default=0) + 2
    return "\n".join(
        (
            f"run       {run.directory}",
            f"{INDENT}{run.experiment}, {run.parameters:,} parameters, "
            f"{epochs}{_training_time(run)}",
            *(f"{INDENT}{name:<{width}}{RUN_FILES[name]}" for name in files),
        )
    )


def _training_time(run: Run) -> str:
    """Return the time of training alone, without evaluations."""
    found = read_training_time(run)
    if found is None:
        return ""
    seconds, images_per_second = found
    return f" in {duration(seconds)} of training ({images_per_second:,.0f} images/s)"


def _validation_lines(validation: Validation, classes: int) -> tuple[str, str]:
    """Return scores of the last and the best epoch, and categories of the last."""
    last, best = validation.last, validation.best
    title = f"{validation.split}, {last.examples:,} drawings"
    epochs = {f"last epoch, {last.epoch}": last, f"best epoch, {best.epoch}": best}
    return (
        _score_lines(title, epochs, classes),
        _class_lines(last.per_class, "the last epoch"),
    )


def _saved_lines(evaluation: Evaluation) -> tuple[str, str]:
    """Return scores and categories of a file of trainer.evaluate."""
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
    """Return a table below a title: a row for each name in `epochs`, and the scores of guessing."""
    rows = {name: (each.top1, each.top3, each.map3) for name, each in epochs.items()}
    rows["chance"] = chance(classes)
    cells = [(name, *(f"{score:.3f}" for score in scores)) for name, scores in rows.items()]
    return "\n".join(align([(title, "top-1", "top-3", "MAP@3"), *cells], "<>>>", gap="   "))


def _class_lines(scores: Sequence[ClassScore], of: str) -> str:
    """Return the categories with the highest and the lowest top-1, none of them in both lines."""
    ranked = sorted((score for score in scores if score.examples), key=lambda s: -s.recall)
    shown = min(SHOWN_CLASSES, len(ranked) // 2)
    best, worst = ranked[:shown], ranked[len(ranked) - shown :][::-1]
    lines = [f"categories by top-1 of {of}"]
    for name, some in (("best", best), ("worst", worst)):
        classes = ", ".join(f"{score.label} {score.recall:.3f}" for score in some)
        lines.append(f"{name:<{len(INDENT)}}{classes}")
    return "\n".join(lines)


def define_flags() -> None:
    commands.RUN.define_flags()
    commands.define_dataset()
    commands.define_evaluation("Show this file of trainer.evaluate --output=FILE, not validation.")


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    (run_dir,) = commands.RUN.read(argv[1:])
    print(summarize(run_dir, args.dataset, args.evaluation))


if __name__ == "__main__":
    define_flags()
    cli.run(main, takes_arguments=True)
