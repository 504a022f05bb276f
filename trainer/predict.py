"""Classifies drawings with the model that comes along, a trained run or one of its exports.

  python -m trainer.predict drawings/cat.ndjson
  python -m trainer.predict --run_dir=runs/E3_8 drawings/cat.ndjson
  python -m trainer.predict --model=runs/E3_8/export/model_int8.tflite drawings/cat.ndjson

Files are those that pipeline.main reads, but no archives; - is stdin, a drawing a line, answered
line by line. Drawings that do not lie in Google's frame, as from a canvas, are moved and scaled as
the pipeline does it. Prints a JSON line for every drawing: {"key_id": …, "word": …, "predictions":
[{"label": …, "probability": …}, …]}, most probable first, with key_id and word if the drawing has
them. A bad line gives {"error": …} and a message on stderr, the others are classified, and the exit
status is 1.
"""

import contextlib
import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson
from absl import flags

from pipeline import cli
from pipeline.cli import RunError, UserError
from pipeline.drawings.drawing import MAX_LINE_BYTES, Drawing, Reading, parse_drawing
from pipeline.drawings.frame import FRAMES
from pipeline.drawings.reject import Ambiguous, Reject
from pipeline.drawings.shapes import LISTS, UNKNOWN
from pipeline.forms import compression, readers, recognition
from pipeline.rasterize import rasterize_packed
from trainer.exports.classifiers import Classifier, load_classifier
from trainer.runs.state import define_checkpoint_flag
from trainer.training.memory import out_of_memory

STDIN = "-"
_CHUNK_BYTES = 1 << 18  # read at once, about 600 drawings
_LAYOUT_BYTES = 8 << 20  # searched for a drawing that tells the layout of its strokes
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NO_INK = "no ink: the bitmap is blank"


# A word is only repeated here, so that any will do.
READING = Reading(labels=None, layout=UNKNOWN)


class Line(NamedTuple):
    """One line or record of the input: a drawing, or an error."""

    place: str  # file:line, or in other forms file: drawing N
    drawing: Drawing | None
    error: str = ""


def define_flags() -> None:
    cli.define_path(
        "run_dir",
        None,
        "Run directory of trainer.main; without this and --model, the model that comes with the "
        "package answers, of Quick, Draw!'s 345 categories.",
        is_for_tensorflow=True,
    )
    define_checkpoint_flag("With --run_dir: ")
    cli.define_path(
        "model",
        None,
        "Instead of --run_dir: a file of trainer.export, or the directory of its SavedModel.",
        kind="PATH",
        is_for_tensorflow=True,
    )
    cli.define_integer(
        "top", 3, "Classes to predict for each drawing.", lower_bound=1, upper_bound=10**5
    )
    cli.define_integer(
        "batch_size", 100, "Drawings to classify at once.", lower_bound=1, upper_bound=10**6
    )

    flags.DEFINE_enum(
        "frame",
        "auto",
        FRAMES,
        "As of pipeline.main: auto moves and scales drawings that do not lie in Google's frame.",
    )


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    paths = cli.expand_arguments(argv[1:])
    if args.run_dir is not None and args.model is not None:
        raise UserError("--run_dir or --model, not both")
    if args.run_dir is None and args["checkpoint"].present:
        raise UserError("--checkpoint chooses from a --run_dir")
    if not paths:
        raise UserError("no input: name ndjson files, or - for stdin")
    check_files(paths)
    classifier = load_classifier(args.run_dir, args.checkpoint, args.model)
    bad_lines = 0
    reading = READING._replace(frame=args.frame)
    for lines in read_batches(paths, args.batch_size, reading):
        with out_of_memory(args.batch_size):
            outputs = predict(lines, classifier, args.top)
        for line, output in zip(lines, outputs, strict=True):
            if error := output.get("error"):
                bad_lines += 1
                print(f"{line.place}: {error}", file=sys.stderr)
            sys.stdout.buffer.write(orjson.dumps(output, option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()
    if bad_lines:
        raise RunError(f"{bad_lines} of the lines could not be classified")


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


def read_batches(
    paths: Sequence[str], size: int, reading: Reading = READING
) -> Iterator[list[Line]]:
    """Read the drawings of all files, `-` being stdin, and of stdin lines without empty ones.

    A batch has `size` lines; fewer at the end, and when the input is a pipe or a terminal without
    more lines yet: a process that waits for an output before its next line gets one.

    Raises:
      UserError: a file cannot be read or is of no form of drawings; the lines before come first.
    """
    batch: list[Line] = []
    try:
        for path in paths:
            for line in _read_file(path, reading):
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


def _read_file(path: str, reading: Reading) -> Iterator[Line | None]:
    """Yield the drawings of a file, and None where reading on would wait."""
    name = "stdin" if path == STDIN else path
    try:
        if path == STDIN or not stat.S_ISREG(os.stat(path).st_mode):
            with (
                contextlib.nullcontext(sys.stdin.buffer)
                if path == STDIN
                else open(path, "rb") as file
            ):
                yield from _read_lines(_split_lines(file, may_wait=True), name, reading)
            return
        form, layout = _recognise(path)
        reading = reading._replace(layout=layout)
        with _open(path) as file:
            if form == readers.NDJSON:  # as an editor numbers the lines
                yield from _read_lines(_split_lines(file, may_wait=False), name, reading)
            else:
                yield from _read_form(file, form, name, reading)
    except recognition.Unreadable as unreadable:
        raise UserError(f"{name} {unreadable}") from None
    except compression.ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name}: cannot be read: {reason}") from None


def _open(path: str) -> BinaryIO:
    return compression.decompressed(open(path, "rb"))


def _recognise(path: str) -> tuple[str, str]:
    """Return the form of a file, and the layout of its strokes."""
    recognition.check_name(path)
    head = b""
    # Damage shows when the file is read.
    with contextlib.suppress(*compression.ERRORS), _open(path) as file:
        head = file.read(recognition.HEAD_BYTES)
    form = recognition.recognise(head, path, os.path.getsize(path))
    with contextlib.suppress(RunError, *compression.ERRORS), _open(path) as file:
        return form, readers.layout(file, form, _LAYOUT_BYTES)
    return form, UNKNOWN


def _read_form(file: BinaryIO, form: str, name: str, reading: Reading) -> Iterator[Line]:
    """Yield the drawings of a file that has them not line by line."""
    found = readers.read(file, form, readers.Part(name), reading)
    for number, (_, drawing, _) in enumerate(found, start=1):
        place = f"{name}: drawing {number}"
        yield (
            Line(place, None, str(drawing)) if isinstance(drawing, Reject) else Line(place, drawing)
        )


def _read_lines(
    lines: Iterator[bytes | None], name: str, reading: Reading
) -> Iterator[Line | None]:
    """Yield the drawings of lines, and None where reading on would wait.

    Where nothing tells whether strokes are points, they are read as upstream's are, and it is said.
    """
    number = 0
    for line in lines:
        if line is None:
            yield None
            continue
        number += 1
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line or line.isspace():
            continue
        place = f"{name}:{number}"
        try:
            yield Line(place, parse_drawing(line, reading))
        except Ambiguous as ambiguous:
            print(f"{place}: {ambiguous} Read as lists of x and of y.", file=sys.stderr)
            reading = reading._replace(layout=LISTS)
            yield Line(place, parse_drawing(line, reading))
        except Reject as reject:
            yield Line(place, None, str(reject))


def _split_lines(file: BinaryIO, may_wait: bool) -> Iterator[bytes | None]:
    """Yield the lines of an open file, and None where reading on would wait, if it may.

    A line longer than MAX_LINE_BYTES is cut to one byte more than that.
    """
    read = getattr(file, "read1", file.read)  # what is there, no more
    rest = b""  # of the current line
    while True:
        if may_wait and not select.select([file], [], [], 0)[0]:
            yield None
        chunk = read(_CHUNK_BYTES)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if not chunk:
            if rest:
                yield rest
            return
        rest = rest[: MAX_LINE_BYTES + 1]


if __name__ == "__main__":
    define_flags()
    cli.run(main, takes_arguments=True)
