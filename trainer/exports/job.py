"""An export from a run to the complete directory of files and figures."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from pipeline.cli import RunError, UserError
from pipeline.dataset.manifests import DataSet, read_manifest
from trainer.exports import classifiers, exporters
from trainer.exports.classifiers import FILES
from trainer.exports.comparison import BATCH_SIZE, Figures, compare, first_drawings, measure
from trainer.hardware import storage
from trainer.runs import run_directory
from trainer.training import checkpoints
from trainer.training.checkpoints import SavedRun
from trainer.training.memory import out_of_memory

EXPORT = "export"  # in a run directory
FIGURES = "export.json"  # in an export
CALIBRATION_DRAWINGS = 300
COMPARED_DRAWINGS = 1000
# Of a probability, for exports that compute in float32. Another order of the same sums gives
# 0.00001, the tensor cores of GPUs more; beyond this the export is not the checkpoint's model.
MAX_DIFFERENCE = 0.01
_FLOAT32 = ("keras", "saved_model", "tflite_float32")
_HEADER = (
    f"{'':22}{'MB':>6}{'ms single':>12}{'ms batched':>13}{'top-1':>8}{'same top-1':>13}"
    f"{'largest difference':>21}"
)


class Drawings(NamedTuple):
    """What an export is calibrated and compared on."""

    calibration: np.ndarray  # [M, 85, 85] uint8 of 0 and 1, of the training split
    bitmaps: np.ndarray  # [N, 85, 85], of the validation split
    classes: np.ndarray  # [N], the true ones


def export_run(
    run_dir: str, checkpoint: str, formats: Sequence[str], dataset: str | None = None
) -> None:
    """Writes export/ in the run directory; one that is there is replaced when the new is complete.

    Args:
      run_dir: the run directory.
      checkpoint: "best", "last" or the number of an epoch.
      formats: keys of FILES.
      dataset: a data set directory with the run's labels; by default the run's own.

    Raises:
      UserError: the run or the data set cannot be used.
      RunError: the checkpoint is damaged, a file cannot be written, an export does not give what
        the checkpoint gives, or memory runs out.
    """
    run = checkpoints.load_run(run_dir, checkpoint)
    directory = dataset or run.config["dataset"]
    data = _open_dataset(directory, run.labels, is_given=dataset is not None)
    drawings = Drawings(
        first_drawings(data, "train", CALIBRATION_DRAWINGS)[0],
        *first_drawings(data, "validation", COMPARED_DRAWINGS),
    )
    print(
        f"run       {run_dir}: {run.config['experiment']}, {run.model.count_params():,} "
        f"parameters, {checkpoint} checkpoint, of epoch {run.epoch}\n"
        f"data set  {directory}: {len(drawings.bitmaps):,} validation drawings to compare on, "
        f"{len(drawings.calibration):,} training drawings to calibrate int8\n",
        flush=True,
    )
    target = os.path.join(run_dir, EXPORT)
    with replaced(target) as incomplete, out_of_memory(BATCH_SIZE, is_flag=False):
        files = _write_and_compare(run, formats, drawings, incomplete)
        description = {
            "experiment": run.config["experiment"],
            "checkpoint": checkpoint,
            "epoch": run.epoch,
            "labels": list(run.labels),
            "dataset": directory,
            "dataset_fingerprint": data.manifest.fingerprint,
            "calibration_drawings": len(drawings.calibration),
            "compared_drawings": len(drawings.bitmaps),
            "litert_threads": classifiers.litert_threads(),
            "files": files,
            "versions": {package: version(package) for package in ("tensorflow", "keras")},
        }
        run_directory.write_json(os.path.join(incomplete, FIGURES), description)
    print(
        f"\nms a drawing, one at a time and in batches of {BATCH_SIZE}; LiteRT on "
        f"{classifiers.litert_threads()} threads\n"
        f"exports with their labels, and {FIGURES} with these figures, in {target}"
    )


@contextlib.contextmanager
def replaced(target: str) -> Iterator[str]:
    """A directory to fill, which takes the place of `target` when the block ends without an error.

    A kill leaves `target` as it was, or, in the moment between two renames, under another name from
    which the next export takes it back.
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


def _open_dataset(directory: str, labels: tuple[str, ...], is_given: bool) -> DataSet:
    """A data set with these labels."""
    try:
        manifest = read_manifest(directory, storage.read_file)
    except UserError as error:
        if is_given:
            raise
        raise UserError(f"the run's data set: {error}; --dataset says where it is now") from None
    if manifest.labels != labels:
        raise UserError(f"{directory}: its labels are not the run's")
    return DataSet(directory, manifest, storage.read_file)


def _write_and_compare(
    run: SavedRun, formats: Sequence[str], drawings: Drawings, directory: str
) -> dict[str, Any]:
    """Writes the files, prints a line of figures for each, and returns the figures by file."""
    print(_HEADER, flush=True)
    reference = measure(classifiers.from_run(run), drawings.bitmaps)
    _print_row("checkpoint", None, compare(reference, reference, drawings.classes))
    model = exporters.standard_model(run.with_probabilities())
    files = {}
    description = {key: run.config[key] for key in ("experiment", "architecture")}
    description["epoch"] = run.epoch
    for name in formats:
        path = os.path.join(directory, FILES[name])
        exporters.write_export(name, model, run.labels, path, drawings.calibration, description)
        measured = measure(classifiers.load_export(path), drawings.bitmaps)
        figures = compare(measured, reference, drawings.classes)
        size_bytes = _size_bytes(path)
        _print_row(FILES[name], size_bytes, figures)
        # Written so that NaN fails.
        if name in _FLOAT32 and not figures.largest_difference <= MAX_DIFFERENCE:
            raise RunError(f"{FILES[name]} does not give what the checkpoint gives; not exported")
        files[FILES[name]] = {"bytes": size_bytes, **figures._asdict()}
    return files


def _print_row(name: str, size_bytes: int | None, figures: Figures) -> None:
    megabytes = "" if size_bytes is None else f"{size_bytes / 1e6:.1f}"
    print(
        f"{name:22}{megabytes:>6}{figures.ms_single:>12.2f}{figures.ms_batched:>13.2f}"
        f"{figures.top1:>8.3f}{figures.same_top1:>13.3f}{figures.largest_difference:>21.6f}",
        flush=True,
    )


def _size_bytes(path: str) -> int:
    """Of a file, or of all files in a directory."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(directory, name))
        for directory, _, names in os.walk(path)
        for name in names
    )
