"""Classifies drawings with the pretrained model, a trained run or one of its exports.

  python -m trainer.predict drawings/cat.ndjson
  python -m trainer.predict --run_dir=runs/E3_8 drawings/cat.ndjson
  python -m trainer.predict --model=runs/E3_8/export/model_int8.tflite drawings/cat.ndjson

Reads the files that pipeline.main reads, also in zip archives; - is stdin, one drawing per line,
answered line by line. Drawings outside Google's frame, for example from a canvas, are moved and
scaled as in the pipeline. Prints a JSON line for every drawing: {"key_id": …, "word": …,
"predictions": [{"label": …, "probability": …}, …]}, most probable first, with key_id and word if
the drawing has them; with --format=csv, a row with the same content. A bad line, an empty file, or
an unreadable file in an archive gives {"error": …} and a message on stderr; the others are still
classified, and the exit status is 1.
"""

import csv
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from absl import flags

from pipeline import cli
from pipeline.cli import RunError, UserError
from pipeline.drawings.frame import FRAMES
from pipeline.rasterize import rasterize_packed
from trainer.exports import classifiers
from trainer.exports.classifiers import Classifier
from trainer.inputs.drawing_files import READING, check_files, read_batches
from trainer.inputs.drawing_lines import Line
from trainer.training.memory import out_of_memory

_NO_INK = "no ink: the bitmap is blank"


def define_flags() -> None:
    classifiers.define_flags()
    cli.define_integer(
        "top", 3, "Classes to predict for each drawing.", lower_bound=1, upper_bound=10**5
    )
    cli.define_integer(
        "batch_size", 100, "Drawings to classify at once.", lower_bound=1, upper_bound=10**6
    )

    flags.DEFINE_enum("format", "json", ("json", "csv"), "Output: one line or row per drawing.")
    flags.DEFINE_enum(
        "frame",
        "auto",
        FRAMES,
        "As for pipeline.main: auto moves and scales drawings that are outside Google's frame.",
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    paths = cli.expand_arguments(argv[1:])
    classifiers.check_flags()
    if not paths:
        raise UserError("no input: name ndjson files, or - for stdin")
    check_files(paths)
    classifier, _ = classifiers.load_chosen()
    write = csv_writer(args.top) if args.format == "csv" else write_json
    bad_lines = 0
    reading = READING._replace(frame=args.frame)
    for lines in read_batches(paths, args.batch_size, reading):
        with out_of_memory(args.batch_size):
            outputs = predict(lines, classifier, args.top)
        for line, output in zip(lines, outputs, strict=True):
            if error := output.get("error"):
                bad_lines += 1
                print(f"{line.place}: {error}", file=sys.stderr)
            write(output)
        sys.stdout.flush()
    if bad_lines:
        raise RunError(f"{bad_lines} of the lines could not be classified")


def write_json(output: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(output, option=orjson.OPT_APPEND_NEWLINE))


def csv_writer(top: int) -> Callable[[dict[str, Any]], None]:
    """Print the names of the columns, and return a function that prints the row of an output."""
    fields = ["key_id", "word", "error"]
    fields += [f"{name}{rank}" for rank in range(1, top + 1) for name in ("label", "probability")]
    writer = csv.DictWriter(sys.stdout, fields, lineterminator="\n")
    writer.writeheader()

    def write(output: dict[str, Any]) -> None:
        row = {name: output[name] for name in fields[:3] if name in output}
        for rank, prediction in enumerate(output.get("predictions", ()), start=1):
            row |= {f"{name}{rank}": value for name, value in prediction.items()}
        writer.writerow(row)

    return write


def predict(lines: list[Line], classifier: Classifier, top: int) -> list[dict[str, Any]]:
    """Return the JSON output for each line; its drawings are classified as one batch.

    A drawing without ink is not: its output is an error.
    """
    drawings = [line.drawing for line in lines if line.drawing]
    bitmaps = rasterize_packed([drawing.strokes for drawing in drawings]) if drawings else None
    inked: list[bool] = [] if bitmaps is None else [bool(bitmap.any()) for bitmap in bitmaps]
    probabilities = iter(classifier(bitmaps[inked]) if bitmaps is not None and any(inked) else ())
    has_ink = iter(inked)
    outputs: list[dict[str, Any]] = []
    for line in lines:
        if line.drawing is None:
            outputs.append({"error": line.error})
            continue
        names = {"key_id": line.drawing.key_id, "word": line.drawing.word}
        output: dict[str, Any] = {name: value for name, value in names.items() if value is not None}
        if next(has_ink):
            output["predictions"] = _top_classes(next(probabilities), classifier.labels, top)
        else:
            output["error"] = _NO_INK
        outputs.append(output)
    return outputs


def _top_classes(
    probabilities: np.ndarray, labels: tuple[str, ...], top: int
) -> list[dict[str, Any]]:
    """`probabilities`: [classes]. Of equal ones the class of lower index comes first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"label": labels[i], "probability": round(float(probabilities[i]), 4)} for i in order]


if __name__ == "__main__":
    define_flags()
    cli.run(main, takes_arguments=True)
