"""Classifies drawings with a trained run or one of its exports.

  python -m trainer.predict --run_dir=runs/E3_8 drawings/cat.ndjson
  python -m trainer.predict --model=runs/E3_8/export/model_int8.tflite drawings/cat.ndjson

Files hold a drawing a line, simplified or raw, also as .gz or .bz2; - is stdin, answered line by
line. Prints a JSON line for every input line: {"key_id": …, "word": …, "predictions": [{"label": …,
"probability": …}, …]}, most probable first, with key_id and word if the drawing has them. A bad
line gives {"error": …} and a message on stderr, the others are classified, and the exit status
is 1.
"""

import bz2
import contextlib
import gzip
import os
import select
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import orjson
from absl import flags

from pipeline import cli
from pipeline.cli import RunError, UserError
from pipeline.drawings.drawing import MAX_LINE_BYTES, Drawing, Reject, parse_drawing
from pipeline.rasterize import rasterize_packed
from trainer.exports.classifiers import Classifier, load_export, load_run
from trainer.runs.state import define_checkpoint_flag
from trainer.training.memory import out_of_memory

STDIN = "-"
_CHUNK_BYTES = 1 << 18  # read at once, about 600 drawings
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line of the input: a drawing, or an error."""

    place: str  # file:line
    drawing: Drawing | None
    error: str = ""


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
        "top", 3, "Classes to predict for each drawing.", lower_bound=1, upper_bound=10**5
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
        raise UserError("no input: name ndjson files, or - for stdin")
    check_files(paths)
    classifier = load_export(args.model) if args.model else load_run(args.run_dir, args.checkpoint)
    bad_lines = 0
    for lines in read_batches(paths, args.batch_size):
        with out_of_memory(args.batch_size):
            outputs = predict(lines, classifier, args.top)
        for line, output in zip(lines, outputs, strict=True):
            if line.drawing is None:
                bad_lines += 1
                print(f"{line.place}: {line.error}", file=sys.stderr)
            sys.stdout.buffer.write(orjson.dumps(output, option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()
    if bad_lines:
        raise RunError(f"{bad_lines} of the lines could not be classified")


def predict(lines: list[Line], classifier: Classifier, top: int) -> list[dict[str, Any]]:
    """Return the JSON output for each line; its drawings are classified as one batch."""
    strokes = [line.drawing.strokes for line in lines if line.drawing]
    probabilities = iter(classifier(rasterize_packed(strokes)) if strokes else ())
    outputs: list[dict[str, Any]] = []
    for line in lines:
        if line.drawing is None:
            outputs.append({"error": line.error})
            continue
        names = {"key_id": line.drawing.key_id, "word": line.drawing.word}
        output: dict[str, Any] = {name: value for name, value in names.items() if value is not None}
        output["predictions"] = _top_classes(next(probabilities), classifier.labels, top)
        outputs.append(output)
    return outputs


def _top_classes(
    probabilities: np.ndarray, labels: tuple[str, ...], top: int
) -> list[dict[str, Any]]:
    """`probabilities`: [classes]. Of equal ones the class of lower index comes first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"label": labels[i], "probability": round(float(probabilities[i]), 4)} for i in order]


# ---- Input, as it arrives ----


def check_files(paths: Sequence[str]) -> None:
    """Raise UserError for a file that cannot be read; open none, since one may be a pipe."""
    for path in paths:
        if path == STDIN:
            continue
        if os.path.isdir(path):
            raise UserError(f"{path} is a directory; name files: {path}/*.ndjson")
        if not os.path.exists(path):
            raise UserError(f"{path}: no such file")
        if not os.access(path, os.R_OK):
            raise UserError(f"{path}: no permission to read it")


def read_batches(paths: Sequence[str], size: int) -> Iterator[list[Line]]:
    """Read the lines of all files, `-` being stdin, without empty ones.

    A batch has `size` lines; fewer at the end, and when the input is a pipe or a terminal without
    more lines yet: a process that waits for an output before its next line gets one.

    Raises:
      UserError: a file cannot be read; the lines before the error come first.
    """
    batch: list[Line] = []
    try:
        for path in paths:
            for line in _read_file(path):
                if line is not None:
                    batch.append(line)
                if len(batch) == size or (line is None and batch):
                    yield batch
                    batch = []
    except UserError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _read_file(path: str) -> Iterator[Line | None]:
    """Yield the lines of a file, and None where reading on would wait."""
    name = "stdin" if path == STDIN else path
    number = 0
    try:
        with _open(path) as file:
            for line in _split_lines(file):
                if line is None:
                    yield None
                    continue
                number += 1
                if number == 1:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if line and not line.isspace():
                    yield _parse(line, f"{name}:{number}")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name}: cannot be read: {reason}") from None


def _split_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines of an open file, and None where reading on would wait.

    A line longer than MAX_LINE_BYTES is cut to one byte more than that.
    """
    rest = b""  # of the current line
    while True:
        if not select.select([file], [], [], 0)[0]:
            yield None
        chunk = file.read1(_CHUNK_BYTES)  # type: ignore[attr-defined] # what is there, no more
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if not chunk:
            if rest:
                yield rest
            return
        rest = rest[: MAX_LINE_BYTES + 1]


def _parse(line: bytes, place: str) -> Line:
    try:
        return Line(place, parse_drawing(line))
    except Reject as reject:
        return Line(place, None, str(reject))


def _open(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == STDIN:
        return contextlib.nullcontext(sys.stdin.buffer)
    if path.endswith(".gz"):
        return cast(BinaryIO, gzip.open(path))
    return cast(BinaryIO, bz2.open(path)) if path.endswith(".bz2") else open(path, "rb")


if __name__ == "__main__":
    define_flags()
    cli.run(main, takes_arguments=True)
