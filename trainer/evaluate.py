"""Evaluates a trained run on any split of a data set with the same labels.

  python -m trainer.evaluate --run_dir=runs/E3_8 --dataset=data --split=test

Computes in the precision that the run was trained in. --output keeps all figures, the confusion
matrix too, as evaluation.json of a run directory has them.
"""

import os
from typing import Any

from absl import flags

from pipeline import command
from pipeline.dataset import SPLITS
from pipeline.errors import UserError
from pipeline.paths import check_output_file
from trainer import run_directory
from trainer.quiet_start import quiet_start

_SHOWN_CLASSES = 10  # best and worst ones, where there are many


def define_flags() -> None:
    command.define_path(
        "run_dir",
        None,
        "Run directory of trainer.main.",
        is_for_tensorflow=True,
        required=True,
    )
    command.define_path(
        "dataset",
        None,
        "Data set directory; by default the run's own.",
        is_for_tensorflow=True,
    )
    flags.DEFINE_enum("split", "validation", SPLITS, "Of the data set.")
    flags.DEFINE_enum(
        "checkpoint",
        "best",
        ["best", "last"],
        "Weights of the epoch with the highest validation accuracy, or of the last one.",
    )
    command.define_integer(
        "batch_size", 100, "Drawings to classify at once.", lower_bound=1, upper_bound=10**6
    )
    command.define_path("output", None, "JSON file to write all figures to.", kind="FILE")


def main(_: list[str]) -> None:
    args = flags.FLAGS
    if args.output:
        check_output_file("output", args.output)
    config = run_directory.read_config(args.run_dir)
    with quiet_start():
        from trainer.evaluation import evaluate_run
    evaluation = evaluate_run(
        args.run_dir,
        args.dataset or config["dataset"],
        args.split,
        args.checkpoint,
        args.batch_size,
    )
    print(evaluation_text(evaluation))
    if args.output:
        try:
            os.makedirs(os.path.dirname(args.output) or ".", exist_ok=True)
            run_directory.write_json(args.output, evaluation)
        except OSError as error:
            raise UserError(f"{args.output}: {error.strerror}") from None


def evaluation_text(evaluation: dict[str, Any]) -> str:
    """The scores, and the classes by F1: all of them, or the best and the worst."""
    lines = [
        f"{evaluation['split']}, {evaluation['examples']:,} drawings, "
        f"{evaluation['checkpoint']} checkpoint, epoch {evaluation['epoch']}",
        f"top-1 {evaluation['top1']:.4f}  top-3 {evaluation['top3']:.4f}  "
        f"MAP@3 {evaluation['map3']:.4f}  loss {evaluation['loss']:.4f}",
        "",
    ]
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


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    define_flags()
    command.run(main)
