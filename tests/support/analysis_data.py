"""Shared code of the analysis tests: tiny data sets and run directories, and where texts stand."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from analysis.style import image_grid
from pipeline.dataset import manifests, records
from tests.support.warm_process import run_module
from trainer.runs import predictions, run_directory
from trainer.runs.predictions import Predictions
from trainer.runs.state import Checkpoint, State

HISTORY = {
    "accuracy": [0.31, 0.52, 0.61, 0.7],
    "loss": [1.9, 1.2, 0.9, 0.7],
    "val_accuracy": [0.4, 0.58, 0.66, 0.64],
    "val_loss": [1.5, 1.1, 0.83, 0.88],
}
NO_HISTORY: dict[str, list[float]] = {key: [] for key in HISTORY}


def run_command(module: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return run_module(module, arguments)


def write_dataset(
    directory: pathlib.Path,
    counts: Mapping[str, int],
    shards: int = 2,
    validation: int = 1,
    validation_fields: Sequence[Mapping[str, str | int]] = (),
    bitmaps: Sequence[np.ndarray] = (),
) -> manifests.Manifest:
    """A data set with `counts[label]` training drawings and `validation` others of each label.

    The validation drawings may have fields, in their order; all then have the same. The drawings
    are `bitmaps`, [85, 85] each, from the first one on again and again, or else noise.
    """
    directory.mkdir(parents=True, exist_ok=True)
    others = dict.fromkeys(counts, validation)
    splits = {
        "train": _write_split(directory, "train", counts, shards, (), bitmaps),
        "validation": _write_split(directory, "validation", others, 1, validation_fields, bitmaps),
        "test": manifests.Split(0, dict.fromkeys(counts, 0), ()),
    }
    manifest = manifests.Manifest(
        labels=tuple(counts),
        image={"height": 85, "width": 85, "encoding": "packed"},
        splits=splits,
        rasterizer={}, sampling={}, inputs=[], drawings={}, rejects={}, versions={},
        fields=tuple(sorted(validation_fields[0])) if validation_fields else (),
    )  # fmt: skip
    (directory / manifests.MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def bitmaps_in_shards(directory, manifest, label):
    """Return the training bitmaps of a category, [85, 85] each, as the shards hold them."""
    return [
        records.unpack_bitmap(example.image)
        for example in manifests.DataSet(str(directory), manifest).examples("train")
        if manifest.labels[example.label] == label
    ]


def _write_split(
    directory: pathlib.Path,
    split: str,
    counts: Mapping[str, int],
    shards: int,
    fields: Sequence[Mapping[str, str | int]],
    bitmaps: Sequence[np.ndarray],
) -> manifests.Split:
    rng = np.random.default_rng(len(split))
    classes = rng.permutation(np.repeat(np.arange(len(counts)), list(counts.values())))
    written = []
    for index in range(shards):
        part = classes[index::shards].tolist()
        encoded = [records.encode_fields(of) for of in fields] or [b""] * len(part)
        noise = ((rng.random((85, 85)) < 0.3).astype(np.uint8) for _ in part)
        drawn = itertools.cycle(bitmaps) if bitmaps else noise
        data = b"".join(
            _record(label, bitmap, f"{split}-{index}-{i}".encode(), of)
            for i, (label, of, bitmap) in enumerate(zip(part, encoded, drawn, strict=False))
        )
        name = manifests.shard_name(split, index, shards)
        (directory / name).write_bytes(data)
        checksum = hashlib.sha256(data).hexdigest()
        written.append(manifests.Shard(name, len(part), len(data), checksum))
    return manifests.Split(len(classes), dict(counts), tuple(written))


def _record(label: int, bitmap: np.ndarray, key: bytes, fields: bytes) -> bytes:
    image = records.pack_bitmaps(bitmap[np.newaxis])[0]
    return records.frame_record(records.encode_example(image, label, key, fields))


def write_run(
    directory: pathlib.Path,
    history: Mapping[str, Sequence[float]] = HISTORY,
    labels: Sequence[str] = ("cat", "cake", "car"),
    **config: Any,
) -> str:
    """A run directory with configuration and history; its path."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "experiment": "E3_8",
        "parameters": 1_000_000,
        "multiply_adds": 600_000_000,
        "epochs": 4,
        "batch_size": 2,
        "dataset": str(directory / "data"),
        "dataset_fingerprint": "",
        "drawings": {"train": 6, "validation": 3},
        "labels": [*labels],
    } | config
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "history.json").write_text(json.dumps(history), encoding="utf-8")
    return str(directory)


def write_evaluation(run_dir: str, correct: Mapping[str, int], examples: int) -> None:
    """evaluation.json of a run whose last epoch, 4, got `correct[label]` of `examples` right.

    All others are taken for the next category.
    """
    right = np.array(list(correct.values()))
    confusion = np.diag(right)
    for i in range(len(right)):
        confusion[i, (i + 1) % len(right)] += examples - right[i]
    predicted = confusion.sum(axis=0)
    scores = {
        "epoch": 4,
        "examples": examples * len(correct),
        "loss": 0.7,
        "top1": sum(correct.values()) / (examples * len(correct)),
        "top3": 0.9,
        "map3": 0.8,
        "per_class": [
            {
                "label": label,
                "examples": examples,
                "correct": number,
                "precision": number / int(predicted[i]) if predicted[i] else None,
                "recall": number / examples,
                "f1": 2 * number / (examples + int(predicted[i])),
            }
            for i, (label, number) in enumerate(correct.items())
        ],
        "confusion": confusion.tolist(),
    }
    best = {**scores, "epoch": 3, "top1": 0.662}
    path = pathlib.Path(run_dir, "evaluation.json")
    path.write_text(json.dumps({"split": "validation", **scores, "best": best}), encoding="utf-8")


def write_metrics(
    run_dir: str, speeds: Sequence[float], steps_per_epoch: int = 3, rate: float = 1e-3
) -> None:
    """metrics.jsonl: an interval a step, with these images/s; the epochs that they fill."""
    lines: list[dict[str, Any]] = []
    for step, speed in enumerate(speeds, 1):
        epoch = (step - 1) // steps_per_epoch + 1
        common = {"step": step, "epoch": epoch, "input_wait_share": 0.01 * step}
        lines.append(
            {"kind": "step", "images_per_second": speed, "learning_rate": rate / epoch}
            | {"loss": 2 / step}
            | common
        )
        if step % steps_per_epoch == 0:
            own = speeds[step - steps_per_epoch : step]
            mean = len(own) / sum(1 / each for each in own)
            lines.append({"kind": "epoch", "images_per_second": mean} | common)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    pathlib.Path(run_dir, "metrics.jsonl").write_text(text, encoding="utf-8")


def write_predictions(run_dir: str, arrays: Predictions) -> str:
    """State of a run after epoch 3, and the predictions of its one checkpoint; their path."""
    directory = pathlib.Path(run_dir, run_directory.CHECKPOINTS)
    directory.mkdir(exist_ok=True)
    classes = len(run_directory.read_config(run_dir)["labels"])
    saved = Checkpoint("step-00000009", 3, {"confusion": count_predictions(arrays, classes)})
    state = State(epoch=3, step=9, last=saved, best=saved)
    run_directory.write_json(
        str(pathlib.Path(run_dir, run_directory.STATE)), dataclasses.asdict(state)
    )
    path = predictions.path_of(str(directory), saved.name)
    predictions.save(path, arrays)
    return path


def count_predictions(arrays: Predictions, classes: int) -> list[list[int]]:
    """Confusion matrix of predictions; a class index that is too large counts as the last."""
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (arrays.labels, arrays.top_labels[:, 0].clip(max=classes - 1)), 1)
    return confusion.tolist()


def image_bitmaps(images: Iterable[AxesImage]) -> list[np.ndarray]:
    """Bitmaps of an image grid, [85, 85] of 0 and 1, from images of one or more in a row."""
    side = records.IMAGE_SIZE
    starts = range(0, 10**4, side + image_grid.IMAGE_GAP)
    arrays = [np.asarray(image.get_array()) for image in images]
    return [
        (array[:, start : start + side] < image_grid.PAPER).astype(np.uint8)
        for array in arrays
        for start in starts
        if start < array.shape[1]
    ]


def text_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """(text, box in pixels) of every text that is drawn."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    drawn: list[Text] = [*figure.texts]
    for legend in figure.legends:
        drawn += legend.get_texts()
    for axes in figure.axes:
        drawn += _texts_of(axes)
    shown = [text for text in drawn if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


def _texts_of(axes: Axes) -> list[Text]:
    texts = [*axes.texts]
    if axes.get_legend():
        texts += axes.get_legend().get_texts()
    if axes.axison:
        texts += [axes.title, axes._left_title]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts.append(axis.label)
            for tick in axis.get_major_ticks():
                if low <= tick.get_loc() <= high:
                    texts += [tick.label1, tick.label2]
    return texts


def check_texts(figure: Figure) -> None:
    """No text lies on another or reaches beyond the figure."""
    boxes = text_boxes(figure)
    for (text, box), (other, other_box) in itertools.combinations(boxes, 2):
        assert not box.overlaps(other_box), f"{text!r} lies on {other!r}"
    for text, box in boxes:
        assert box.min.min() >= 0, f"{text!r} is cut off"
        assert (box.max <= figure.bbox.max).all(), f"{text!r} is cut off"
