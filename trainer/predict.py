"""Classifies drawings with a trained run.

  python -m trainer.predict --run_dir=runs/E3_8 drawings/cat.ndjson

Files hold a drawing a line in the simplified format; - is standard input. Out comes a JSON line
for every line that went in: {"key_id": …, "word": …, "predictions": [{"label": …, "probability":
…}, …]}, most probable first, key_id and word where the drawing has them. A bad line gives
{"error": …} and a message on standard error, the others are classified, and the exit status is 1.
"""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson
from absl import flags

from pipeline import command
from pipeline.drawing import Drawing, Reject, parse_drawing
from pipeline.errors import RunError, UserError
from pipeline.rasterize import rasterize_packed
from trainer import run_directory
from trainer.experiments import Architecture, Experiment
from trainer.quiet_start import quiet_start

Classifier = Callable[[np.ndarray], np.ndarray]  # [B, 85, 85] of 0 and 1 → [B, classes] float32


class Line(NamedTuple):
    """One line of the input: a drawing, or why it is none."""

    place: str  # file:line
    drawing: Drawing | None
    error: str = ""


def define_flags() -> None:
    flags.DEFINE_string("run_dir", None, "Run directory of trainer.main.", required=True)
    flags.DEFINE_enum(
        "checkpoint",
        "best",
        ["best", "last"],
        "Weights of the epoch with the highest validation accuracy, or of the last one.",
    )
    flags.DEFINE_integer("top", 3, "Classes to name for each drawing.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 100, "Drawings to classify at once.", lower_bound=1)


def main(argv: list[str]) -> None:
    args = flags.FLAGS
    if not argv[1:]:
        raise UserError("no input: name ndjson files, or - for standard input")
    classify, labels = load_classifier(args.run_dir, args.checkpoint)
    bad_lines = 0
    for lines in _batched(read_lines(argv[1:]), args.batch_size):
        for line, answer in zip(lines, predict(lines, classify, labels, args.top), strict=True):
            if line.drawing is None:
                bad_lines += 1
                print(f"{line.place}: {line.error}", file=sys.stderr)
            print(orjson.dumps(answer).decode())
        sys.stdout.flush()
    if bad_lines:
        raise RunError(f"{bad_lines} of the lines could not be classified")


def load_classifier(run_dir: str, checkpoint: str) -> tuple[Classifier, tuple[str, ...]]:
    """The model of a run and its labels.

    Args:
      run_dir: the run directory.
      checkpoint: "best" or "last".

    Raises:
      UserError: it is no run directory, or no epoch is finished.
      RunError: the checkpoint is damaged.
    """
    config = run_directory.read_config(run_dir)
    state = run_directory.read_state(run_dir)
    saved = state.best if checkpoint == "best" else state.last
    if saved is None:
        raise UserError(f"{run_dir}: no checkpoint yet, no epoch is finished")
    labels = tuple(config["labels"])
    with quiet_start():
        from trainer import checkpoints, model
    # As it was trained, whatever the experiment of that name is by now.
    architecture = Architecture.from_description(config["architecture"])
    network = model.build_model(Experiment(config["experiment"], architecture), len(labels))
    checkpoints.restore(run_dir, saved.name, network)

    def classify(bitmaps: np.ndarray) -> np.ndarray:
        logits = network.predict_on_batch(bitmaps[..., np.newaxis].astype(np.float32))
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    return classify, labels


def read_lines(paths: Iterable[str]) -> Iterator[Line]:
    """The lines of files, `-` being standard input; empty ones are left out.

    Raises:
      UserError: a file cannot be read.
    """
    for path in paths:
        try:
            if path == "-":
                yield from _parse_lines(sys.stdin.buffer, "standard input")
            else:
                with open(path, "rb") as file:
                    yield from _parse_lines(file, path)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None


def predict(
    lines: list[Line], classify: Classifier, labels: tuple[str, ...], top: int
) -> list[dict[str, Any]]:
    """The answer to each line, as JSON; the drawings among them are classified as one batch."""
    strokes = [line.drawing.strokes for line in lines if line.drawing]
    probabilities = iter(classify(rasterize_packed(strokes)) if strokes else ())
    answers: list[dict[str, Any]] = []
    for line in lines:
        if line.drawing is None:
            answers.append({"error": line.error})
            continue
        names = {"key_id": line.drawing.key_id, "word": line.drawing.word}
        answer: dict[str, Any] = {name: value for name, value in names.items() if value is not None}
        answer["predictions"] = _top_classes(next(probabilities), labels, top)
        answers.append(answer)
    return answers


def _top_classes(
    probabilities: np.ndarray, labels: tuple[str, ...], top: int
) -> list[dict[str, Any]]:
    """`probabilities`: [classes]. Of equal ones the class of lower index comes first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"label": labels[i], "probability": round(float(probabilities[i]), 4)} for i in order]


def _parse_lines(file: BinaryIO, name: str) -> Iterator[Line]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        try:
            yield Line(place, parse_drawing(line))
        except Reject as reject:
            yield Line(place, None, str(reject))


def _batched(lines: Iterator[Line], size: int) -> Iterator[list[Line]]:
    while batch := list(itertools.islice(lines, size)):
        yield batch


if __name__ == "__main__":
    define_flags()
    command.run(main, takes_arguments=True)
