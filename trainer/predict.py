"""Classifies drawings with a trained run or one of its exports.

  python -m trainer.predict --run_dir=runs/E3_8 drawings/cat.ndjson
  python -m trainer.predict --model=runs/E3_8/export/model_int8.tflite drawings/cat.ndjson

Files hold a drawing a line, simplified or raw, also as .gz or .bz2; - is standard input, answered
as it arrives. Out comes a JSON line for every line that went in: {"key_id": …, "word": …,
"predictions": [{"label": …, "probability": …}, …]}, most probable first, key_id and word where the
drawing has them. A bad line gives {"error": …} and a message on standard error, the others are
classified, and the exit status is 1.
"""

import sys
from typing import Any

import numpy as np
import orjson
from absl import flags

from pipeline import cli
from pipeline.cli import RunError, UserError
from pipeline.rasterize import rasterize_packed
from trainer.exports.classifiers import Classifier, load_export, load_run
from trainer.exports.drawing_lines import Line, check_files, read_batches
from trainer.runs.state import define_checkpoint_flag
from trainer.training.memory import out_of_memory


def define_flags() -> None:
    cli.define_path("run_dir", None, "Run directory of trainer.main.", is_for_tensorflow=True)
    define_checkpoint_flag("With --run_dir: ")
    cli.define_path(
        "model",
        None,
        "Instead of --run_dir: an export, a .keras or .tflite file or a SavedModel directory.",
        kind="PATH",
        is_for_tensorflow=True,
    )
    cli.define_integer(
        "top", 3, "Classes to name for each drawing.", lower_bound=1, upper_bound=10**5
    )
    cli.define_integer(
        "batch_size", 100, "Drawings to classify at once.", lower_bound=1, upper_bound=10**6
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    paths = cli.expand_arguments(argv[1:])
    if (args.run_dir is None) == (args.model is None):
        raise UserError("either --run_dir or --model is needed")
    if args.model is not None and args["checkpoint"].present:
        raise UserError("--checkpoint chooses from a --run_dir; --model is one export")
    if not paths:
        raise UserError("no input: name ndjson files, or - for standard input")
    check_files(paths)
    classifier = load_export(args.model) if args.model else load_run(args.run_dir, args.checkpoint)
    bad_lines = 0
    for lines in read_batches(paths, args.batch_size):
        with out_of_memory(args.batch_size):
            answers = predict(lines, classifier, args.top)
        for line, answer in zip(lines, answers, strict=True):
            if line.drawing is None:
                bad_lines += 1
                print(f"{line.place}: {line.error}", file=sys.stderr)
            sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()
    if bad_lines:
        raise RunError(f"{bad_lines} of the lines could not be classified")


def predict(lines: list[Line], classifier: Classifier, top: int) -> list[dict[str, Any]]:
    """The answer to each line, as JSON; the drawings among them are classified as one batch."""
    strokes = [line.drawing.strokes for line in lines if line.drawing]
    probabilities = iter(classifier(rasterize_packed(strokes)) if strokes else ())
    answers: list[dict[str, Any]] = []
    for line in lines:
        if line.drawing is None:
            answers.append({"error": line.error})
            continue
        names = {"key_id": line.drawing.key_id, "word": line.drawing.word}
        answer: dict[str, Any] = {name: value for name, value in names.items() if value is not None}
        answer["predictions"] = _top_classes(next(probabilities), classifier.labels, top)
        answers.append(answer)
    return answers


def _top_classes(
    probabilities: np.ndarray, labels: tuple[str, ...], top: int
) -> list[dict[str, Any]]:
    """`probabilities`: [classes]. Of equal ones the class of lower index comes first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"label": labels[i], "probability": round(float(probabilities[i]), 4)} for i in order]


if __name__ == "__main__":
    define_flags()
    cli.run(main, takes_arguments=True)
