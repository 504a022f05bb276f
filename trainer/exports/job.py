"""An export of a run: its files, compared with the checkpoint on drawings of a data set."""

import contextlib
import itertools
import math
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from pipeline.cli import RunError, UserError
from pipeline.dataset import records
from pipeline.dataset.manifests import DataSet, read_manifest
from trainer.exports import classifiers, exporters
from trainer.exports.classifiers import FILES, Classifier
from trainer.exports.model_card import Tested, model_card
from trainer.exports.web_page import Page, write_page
from trainer.hardware import storage
from trainer.runs import run_directory
from trainer.training.checkpoints import SavedRun, load_run
from trainer.training.initial_weights import read_labels
from trainer.training.memory import out_of_memory
from trainer.training.metrics import Metrics

EXPORT = "export"  # in a run directory
SCORES = "export.json"  # in an export
CARD = "README.md"
CALIBRATION_DRAWINGS = 300
BATCH_SIZE = 100  # drawings at once, where they are classified in batches
_TIMED_SINGLY = 50  # drawings
# Of a probability, for exports that compute in float32. Another order of the same sums gives
# 0.00001, the tensor cores of GPUs more; beyond this the export is not the checkpoint's model.
MAX_DIFFERENCE = 0.01
# Of top-1, that any export may lose to the checkpoint: a file that does not work is no export.
MAX_LOSS = 0.01
_FLOAT32 = ("keras", "saved_model", "tflite_float32", "onnx")
_HEADER = (
    f"{'':22}{'MB':>6}{'ms single':>12}{'ms batched':>13}{'top-1':>8}{'same top-1':>13}"
    f"{'largest difference':>21}"
)


class Measured(NamedTuple):
    """Outputs of a classifier for some drawings, and its speed."""

    probabilities: np.ndarray  # [N, classes] float32
    ms_single: float  # for a drawing by itself, the median
    ms_batched: float  # for a drawing among BATCH_SIZE at once, the median


class Scores(NamedTuple):
    """A classifier compared with the checkpoint's."""

    metrics: dict[str, Any]  # of Metrics
    same_top1: float  # part of drawings to which both give the same class
    largest_difference: float  # of a probability
    ms_single: float
    ms_batched: float

    @property
    def top1(self) -> float:
        return self.metrics["top1"]

    def describe(self) -> dict[str, float]:
        """Return what export.json keeps of it."""
        scores = {name: self.metrics[name] for name in ("top1", "top3", "map3")}
        return scores | {name: value for name, value in self._asdict().items() if name != "metrics"}


class Comparison(NamedTuple):
    """Drawings on which every export is compared with the checkpoint."""

    labels: tuple[str, ...]
    bitmaps: np.ndarray  # [N, 85, 85] uint8 of 0 and 1
    classes: np.ndarray  # [N], their true ones
    checkpoint: Measured

    def scores(self, measured: Measured) -> Scores:
        """Score what an export gives for the drawings."""
        probabilities, reference = measured.probabilities, self.checkpoint.probabilities
        metrics = Metrics(len(self.labels))
        tiny = np.finfo(np.float32).tiny
        metrics.add(np.log(np.maximum(probabilities, tiny)), self.classes)
        return Scores(
            metrics=metrics.result(self.labels),
            same_top1=float((probabilities.argmax(1) == reference.argmax(1)).mean()),
            largest_difference=float(np.abs(probabilities - reference).max()),
            ms_single=measured.ms_single,
            ms_batched=measured.ms_batched,
        )


def export_run(
    run_dir: str,
    checkpoint: str,
    formats: Sequence[str],
    dataset: str | None = None,
    drawings: int = 1000,
    litertjs: Mapping[str, bytes] | None = None,
) -> None:
    """Write export/ in the run directory, and replace an earlier one once it is complete.

    Args:
      run_dir: the run directory.
      checkpoint: "best", "last" or the number of an epoch.
      formats: keys of FILES.
      dataset: a data set directory with the run's labels; by default the run's own.
      drawings: validation drawings to compare on, if there are as many.
      litertjs: files of `trainer.exports.litertjs`, for format web.

    Raises:
      UserError: the run or the data set cannot be used.
      RunError: the checkpoint is damaged, a file cannot be written, an export does not give what
        the checkpoint gives or loses accuracy, or memory runs out.
    """
    run = load_run(run_dir, checkpoint)
    directory = dataset or run.config["dataset"]
    data = _open_dataset(directory, run.labels, is_given=dataset is not None)
    calibration, _ = first_drawings(data, "train", CALIBRATION_DRAWINGS)
    bitmaps, classes = first_drawings(data, "validation", drawings)
    print(
        f"run       {run_dir}: {run.config['experiment']}, {run.model.count_params():,} "
        f"parameters, {checkpoint} checkpoint, of epoch {run.epoch}\n"
        f"data set  {directory}: {len(bitmaps):,} validation drawings to compare on, "
        f"{len(calibration):,} training drawings to calibrate int8\n",
        flush=True,
    )
    target = os.path.join(run_dir, EXPORT)
    before = _exports_in(target)
    with replaced(target) as incomplete, out_of_memory(BATCH_SIZE, is_flag=False):
        reference = measure(classifiers.from_run(run), bitmaps)
        comparison = Comparison(run.labels, bitmaps, classes, reference)
        page = Page(os.path.basename(os.path.abspath(run_dir)), litertjs or {})
        scores = _write_and_compare(run, formats, calibration, comparison, incomplete, page)
        sizes = {name: _size_bytes(os.path.join(incomplete, name)) for name in scores}
        description = {
            "experiment": run.config["experiment"],
            "checkpoint": checkpoint,
            "epoch": run.epoch,
            "labels": list(run.labels),
            "dataset": directory,
            "dataset_fingerprint": data.manifest.fingerprint,
            "calibration_drawings": len(calibration),
            "compared_drawings": len(bitmaps),
            "litert_threads": classifiers.litert_threads(),
            "files": {
                name: {"bytes": sizes[name], **each.describe()} for name, each in scores.items()
            },
            "versions": {package: version(package) for package in ("tensorflow", "keras")},
        }
        run_directory.write_json(os.path.join(incomplete, SCORES), description)
        tested = [Tested("checkpoint", None, comparison.scores(reference).metrics)]
        tested += [Tested(name, sizes[name], each.metrics) for name, each in scores.items()]
        confidences = reference.probabilities.max(axis=1)
        card = model_card(run.config, run.epoch, data.manifest, tested, confidences)
        _write_text(os.path.join(incomplete, CARD), card)
    if gone := sorted(before - _exports_in(target)):
        print(
            f"\nearlier exports removed: {', '.join(gone)} (--formats lists every format to write)"
        )
    print(
        f"\nms per drawing, one at a time and in batches of {BATCH_SIZE}; LiteRT on "
        f"{classifiers.litert_threads()} threads\n"
        f"exports with their labels, {SCORES} with these scores, and a model card, {CARD}, in "
        f"{target}"
    )


def export_pretrained(output: str, litertjs: Mapping[str, bytes]) -> None:
    """Write the page of the model that comes with the package, which was compared when it was made.

    Args:
      output: directory; one that is there is replaced.
      litertjs: files of `trainer.exports.litertjs`.

    Raises:
      RunError: it cannot be written.
    """
    labels = read_labels(classifiers.PRETRAINED)
    try:
        with open(classifiers.PRETRAINED, "rb") as file:
            model = file.read()
        with replaced(os.path.abspath(output)) as incomplete:
            write_page(incomplete, model, labels, Page("pretrained", litertjs))
    except OSError as error:
        raise RunError(f"{output}: cannot be written: {error.strerror or error}") from None
    print(
        f"{output}: the page to draw on, {_size_bytes(output) / 1e6:.1f} MB, with the model of "
        f"{len(labels)} categories that comes with the package; any static host can serve it; on "
        "this machine:\n"
        f"python -m http.server --bind=127.0.0.1 --directory={shlex.quote(output)}"
    )


@contextlib.contextmanager
def replaced(target: str) -> Iterator[str]:
    """Yield a directory to fill, which replaces `target` if the block ends without an error.

    A kill leaves `target` as it was, or, in the moment between two renames, under another name from
    which the next export restores it.
    """
    incomplete, former = f"{target}.incomplete", f"{target}.former"

    def tidy() -> None:
        if os.path.exists(former) and not os.path.exists(target):
            os.rename(former, target)
        for leftover in (incomplete, former):
            shutil.rmtree(leftover, ignore_errors=True)

    tidy()
    os.makedirs(incomplete)
    try:
        yield incomplete
        if os.path.exists(target):
            os.rename(target, former)
        os.rename(incomplete, target)
    finally:
        tidy()


def _exports_in(directory: str) -> set[str]:
    """Return the names of the files and directories of formats in a directory, if it is there."""
    return {name for name in FILES.values() if os.path.exists(os.path.join(directory, name))}


def _open_dataset(directory: str, labels: tuple[str, ...], is_given: bool) -> DataSet:
    """Open a data set that must have these labels."""
    try:
        manifest = read_manifest(directory, storage.read_file)
    except UserError as error:
        if is_given:
            raise
        raise UserError(
            f"the run's data set: {error}; if it has moved, pass --dataset=DIR"
        ) from None
    if manifest.labels != labels:
        raise UserError(f"{directory}: its labels are not the run's")
    return DataSet(directory, manifest, storage.read_file)


def _write_and_compare(
    run: SavedRun,
    formats: Sequence[str],
    calibration: np.ndarray,
    comparison: Comparison,
    directory: str,
    page: Page,
) -> dict[str, Scores]:
    """Write the files, print a line of scores for each, and return the scores by file.

    Args:
      run: to export.
      formats: keys of FILES.
      calibration: [M, 85, 85] uint8 of 0 and 1, of the training split.
      comparison: of the validation split.
      directory: of the files.
      page: the parts of the page, for format web.

    Raises:
      RunError: an export is not the checkpoint's model, or loses more than MAX_LOSS.
    """
    print(_HEADER, flush=True)
    checkpoint = comparison.scores(comparison.checkpoint)
    _print_row("checkpoint", None, checkpoint)
    model = exporters.standard_model(run.with_probabilities())
    description = {key: run.config[key] for key in ("experiment", "architecture")}
    description["epoch"] = run.epoch
    written = {}
    for name in formats:
        path = os.path.join(directory, FILES[name])
        exporters.write_export(name, model, run.labels, path, calibration, description, page)
        scores = comparison.scores(measure(classifiers.load_export(path), comparison.bitmaps))
        _print_row(FILES[name], _size_bytes(path), scores)
        # NaN is nobody's probability, but would be the largest of them.
        if math.isnan(scores.largest_difference):
            raise RunError(f"{FILES[name]} gives probabilities that are NaN; not exported")
        if name in _FLOAT32 and scores.largest_difference > MAX_DIFFERENCE:
            raise RunError(
                f"{FILES[name]} has other probabilities than the checkpoint; not exported"
            )
        if checkpoint.top1 - scores.top1 > MAX_LOSS:
            raise RunError(
                f"{FILES[name]}: top-1 {scores.top1:.4f}, the checkpoint's {checkpoint.top1:.4f}; "
                f"an export may lose at most {MAX_LOSS}; leave this one out of --formats"
            )
        written[FILES[name]] = scores
    return written


def _write_text(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from None


def _print_row(name: str, size_bytes: int | None, scores: Scores) -> None:
    megabytes = "" if size_bytes is None else f"{size_bytes / 1e6:.1f}"
    print(
        f"{name:22}{megabytes:>6}{scores.ms_single:>12.2f}{scores.ms_batched:>13.2f}"
        f"{scores.top1:>8.3f}{scores.same_top1:>13.3f}{scores.largest_difference:>21.6f}",
        flush=True,
    )


def _size_bytes(path: str) -> int:
    """Return the size of a file, or of all files in a directory."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(directory, name))
        for directory, _, names in os.walk(path)
        for name in names
    )


# ---- Comparison ----


def first_drawings(data: DataSet, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the first drawings of a split: always the same random sample, as shards are shuffled.

    Returns:
      [N, 85, 85] uint8 of 0 and 1, and [N] class indices; `count` of them if there are as many.

    Raises:
      UserError: the split is empty, or a shard is missing or damaged.
    """
    data.split(split)  # raises if it is empty
    examples = list(itertools.islice(data.examples(split), count))
    decode = records.DECODERS[data.manifest.image["encoding"]]
    bitmaps = np.stack([decode(example.image) for example in examples])
    return bitmaps, np.array([example.label for example in examples])


def measure(classifier: Classifier, bitmaps: np.ndarray) -> Measured:
    """Classify [N, 85, 85] bitmaps in batches, and some of them again one at a time."""
    batches = [bitmaps[at : at + BATCH_SIZE] for at in range(0, len(bitmaps), BATCH_SIZE)]
    probabilities, ms_batched = _timed(classifier, batches)
    _, ms_single = _timed(classifier, list(bitmaps[:_TIMED_SINGLY, np.newaxis]))
    return Measured(probabilities, ms_single, ms_batched)


def _timed(classifier: Classifier, batches: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Return the probabilities of all batches, and the median of milliseconds per drawing."""
    classifier(batches[0])  # the first time is slower
    parts, milliseconds = [], []
    for batch in batches:
        start = time.perf_counter()
        parts.append(classifier(batch))
        milliseconds.append(1e3 * (time.perf_counter() - start) / len(batch))
    return np.concatenate(parts), float(np.median(milliseconds))
