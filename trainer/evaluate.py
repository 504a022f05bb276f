"""Evaluates a trained run on any split of a data set whose labels it knows.

  python -m trainer.evaluate --run_dir=runs/E3_8 --dataset=data --split=test
  python -m trainer.evaluate --run_dir=runs/E3_8 --split=test --mirror --output=test.json

Computes in the precision that the run was trained in. --output keeps all scores, the confusion
matrix too, and beside them, in test.predictions.npz, what was predicted for every drawing: for
analysis.confusion, errors, report and others, which show them with --evaluation=test.json.
"""

from typing import Any

from absl import flags

from pipeline import cli
from pipeline.cli import check_output_file
from pipeline.dataset.manifests import SPLITS, read_labels
from trainer.hardware.quiet_tensorflow import quiet_tensorflow
from trainer.runs import evaluation_files, run_directory
from trainer.runs.state import define_checkpoint_flag

_SHOWN_CLASSES = 10  # best and worst ones, where there are many


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
    flags.DEFINE_enum("split", "validation", SPLITS, "Of the data set.")
    define_checkpoint_flag()
    cli.define_integer(
        "batch_size", 100, "Drawings to classify at once.", lower_bound=1, upper_bound=10**6
    )
    cli.define_path(
        "labels",
        None,
        "Text file with a category a line: only drawings of these are evaluated, and only these "
        "can be the answer, as of a model of those alone. Default: all of the run's.",
        kind="FILE",
    )
    flags.DEFINE_bool(
        "mirror",
        False,
        "Classify each drawing and its mirror image and take the mean of both probabilities.",
    )
    flags.DEFINE_bool(
        "raw_weights",
        False,
        "Of a run with --ema_decay: add the scores of the weights beside those of their average.",
    )
    cli.define_path(
        "output",
        None,
        "JSON file to write all scores to; the predictions go beside it, to FILE.predictions.npz.",
        kind="FILE",
    )


def main(_: list[str]) -> None:
    args = flags.FLAGS
    if args.output:
        check_output_file("output", args.output)
        check_output_file("output", evaluation_files.predictions_path(args.output))
        evaluation_files.check_no_run_file("output", args.output)
    labels = read_labels(args.labels) if args.labels else None
    config = run_directory.read_config(args.run_dir)
    with quiet_tensorflow():
        from trainer.training.evaluation import evaluate_run
    evaluation, predictions = evaluate_run(
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
        evaluation_files.write(args.output, evaluation, predictions)


def evaluation_text(evaluation: dict[str, Any]) -> str:
    """The scores, and the classes by F1: all of them, or the best and the worst."""
    lines = [_heading(evaluation)]
    if "raw" in evaluation:
        lines += [f"average  {_scores(evaluation)}", f"raw      {_scores(evaluation['raw'])}"]
    else:
        lines.append(_scores(evaluation))
    lines.append("")
    classes = sorted(evaluation["per_class"], key=lambda entry: -(entry["f1"] or 0.0))
    width = max(len(entry["label"]) for entry in classes)
    lines.append(f"{'category':<{width}}  drawings  precision  recall     F1")
    rows = [
        f"{entry['label']:<{width}}  {entry['examples']:>8,}  "
        f"{_share(entry['precision']):>9}  {_share(entry['recall']):>6}  {_share(entry['f1']):>5}"
        for entry in classes
    ]
    if len(rows) > 2 * _SHOWN_CLASSES:
        rows[_SHOWN_CLASSES:-_SHOWN_CLASSES] = [f"… {len(rows) - 2 * _SHOWN_CLASSES} more"]
    return "\n".join(lines + rows)


def _heading(evaluation: dict[str, Any]) -> str:
    labels, of_run = evaluation["labels"], evaluation["run"]["labels"]
    is_part = len(labels) < len(of_run)
    some = f" of {len(labels):,} of {len(of_run):,} categories" if is_part else ""
    mirrored = ", mean with mirror images" if evaluation["mirror"] else ""
    kind = evaluation["checkpoint"]
    which = f"{kind} checkpoint, " if kind in ("best", "last") else ""
    return (
        f"{evaluation['split']}, {evaluation['examples']:,} drawings{some}, "
        f"{which}epoch {evaluation['epoch']}{mirrored}"
    )


def _scores(scores: dict[str, float]) -> str:
    return (
        f"top-1 {scores['top1']:.4f}  top-3 {scores['top3']:.4f}  "
        f"MAP@3 {scores['map3']:.4f}  loss {scores['loss']:.4f}"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    define_flags()
    cli.run(main)
