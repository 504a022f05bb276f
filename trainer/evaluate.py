"""Evaluates a trained run on a split of a data set with its labels.

  python -m trainer.evaluate --run_dir=runs/E3_8 --dataset=data --split=test
  python -m trainer.evaluate --run_dir=runs/E3_8 --split=test --mirror --output=test.json

Computes in the precision that the run was trained in. --output writes all scores with the confusion
matrix, and beside them, to test.predictions.npz, the predictions for every drawing and its place
on a map of the model's features: for analysis.confusion, mistakes, report and others, which read
them with --evaluation=test.json.
"""

from typing import Any

from absl import flags

from pipeline import cli
from pipeline.cli import check_output_file, counted
from pipeline.dataset.manifests import SPLITS, read_labels
from trainer.hardware.quiet_tensorflow import quiet_tensorflow
from trainer.runs import evaluation_files, run_directory
from trainer.runs.state import define_checkpoint_flag

_SHOWN_CLASSES = 10  # best and worst ones, if there are many
_RATIOS = ("precision", "recall", "f1")


def define_flags() -> None:
    cli.define_path(
        "run_dir",
        None,
        "Run directory of trainer.main.",
        is_for_tensorflow=True,
        required=True,
    )
    cli.define_path(
        "dataset",
        None,
        "Data set directory; by default the run's own.",
        is_for_tensorflow=True,
    )
    flags.DEFINE_enum("split", "validation", SPLITS, "Split of the data set.")
    define_checkpoint_flag()
    cli.define_integer(
        "batch_size", 100, "Drawings to classify at once.", lower_bound=1, upper_bound=10**6
    )
    cli.define_path(
        "labels",
        None,
        "Text file with a category a line: only drawings of these are evaluated, and only these "
        "are predicted, as by a model of those alone. Default: all of the run's.",
        kind="FILE",
    )
    flags.DEFINE_bool(
        "mirror",
        False,
        "Average the probabilities of each drawing and its mirror image.",
    )
    flags.DEFINE_bool(
        "raw_weights",
        False,
        "For a run with --ema_decay: add the scores of the weights beside those of their average.",
    )
    cli.define_path(
        "output",
        None,
        "JSON file for all scores; the predictions are written beside it, to FILE.predictions.npz.",
        kind="FILE",
    )


def main(_: list[str]) -> None:
    args = flags.FLAGS
    if args.output:
        check_output_file("output", args.output)
        check_output_file("output", evaluation_files.predictions_path(args.output))
        evaluation_files.check_no_run_file(args.output)
    labels = read_labels(args.labels) if args.labels else None
    config = run_directory.read_config(args.run_dir)
    run_directory.check_format(args.run_dir, config)
    with quiet_tensorflow():
        from trainer.training.evaluation import evaluate_run
    evaluation, predictions, feature_map = evaluate_run(
        args.run_dir,
        args.dataset or config["dataset"],
        args.split,
        args.checkpoint,
        args.batch_size,
        labels=labels,
        mirror=args.mirror,
        raw_weights=args.raw_weights,
    )
    print(evaluation_text(evaluation))
    if args.output:
        evaluation_files.write(args.output, evaluation, predictions, feature_map)


def evaluation_text(evaluation: dict[str, Any]) -> str:
    """Format the scores, and the classes by F1: all of them, or the best and the worst."""
    lines = [_scores(evaluation)]
    if "raw" in evaluation:
        lines = [f"average  {_scores(evaluation)}", f"raw      {_scores(evaluation['raw'])}"]
    classes = sorted(evaluation["per_class"], key=lambda entry: -(entry["f1"] or 0.0))
    rows = [
        (entry["label"], f"{entry['examples']:,}", *map(_ratio, (entry[key] for key in _RATIOS)))
        for entry in classes
    ]
    table = cli.align([("category", "drawings", "precision", "recall", "F1"), *rows], "<>>>>")
    if len(rows) > 2 * _SHOWN_CLASSES:
        table[1 + _SHOWN_CLASSES : -_SHOWN_CLASSES] = [f"… {len(rows) - 2 * _SHOWN_CLASSES} more"]
    return "\n".join([_heading(evaluation), *lines, "", *table])


def _heading(evaluation: dict[str, Any]) -> str:
    labels, of_run = evaluation["labels"], evaluation["run"]["labels"]
    is_part = len(labels) < len(of_run)
    some = f" of {len(labels):,} of {len(of_run):,} categories" if is_part else ""
    mirrored = ", mean with mirror images" if evaluation["mirror"] else ""
    kind = evaluation["checkpoint"]
    which = f"{kind} checkpoint, " if kind in ("best", "last") else ""
    return (
        f"{evaluation['split']}, {counted(evaluation['examples'], 'drawing')}{some}, "
        f"{which}epoch {evaluation['epoch']}{mirrored}"
    )


def _scores(scores: dict[str, float]) -> str:
    return (
        f"top-1 {scores['top1']:.4f}  top-3 {scores['top3']:.4f}  "
        f"MAP@3 {scores['map3']:.4f}  loss {scores['loss']:.4f}"
    )


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    define_flags()
    cli.run(main)
