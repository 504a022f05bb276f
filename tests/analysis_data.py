"""What the analysis tests share: tiny data sets and run directories."""

import hashlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline import dataset, records

HISTORY = {
    "accuracy": [0.31, 0.52, 0.61, 0.7],
    "loss": [1.9, 1.2, 0.9, 0.7],
    "val_accuracy": [0.4, 0.58, 0.66, 0.64],
    "val_loss": [1.5, 1.1, 0.83, 0.88],
}


def run_command(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def write_dataset(
    directory: pathlib.Path, counts: Mapping[str, int], shards: int = 2
) -> dataset.Manifest:
    """A data set with `counts[label]` training drawings; validation has one of each label."""
    directory.mkdir(parents=True, exist_ok=True)
    splits = {
        "train": _write_split(directory, "train", counts, shards),
        "validation": _write_split(directory, "validation", dict.fromkeys(counts, 1), 1),
        "test": dataset.Split(0, dict.fromkeys(counts, 0), ()),
    }
    manifest = dataset.Manifest(
        labels=tuple(counts),
        image={"height": 85, "width": 85, "encoding": "packed"},
        splits=splits,
        rasterizer={}, sampling={}, inputs=[], drawings={}, rejects={}, versions={},
    )  # fmt: skip
    (directory / dataset.MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _write_split(
    directory: pathlib.Path, split: str, counts: Mapping[str, int], shards: int
) -> dataset.Split:
    rng = np.random.default_rng(len(split))
    classes = rng.permutation(np.repeat(np.arange(len(counts)), list(counts.values())))
    written = []
    for index in range(shards):
        part = classes[index::shards].tolist()
        data = b"".join(_record(label, rng) for label in part)
        name = dataset.shard_name(split, index, shards)
        (directory / name).write_bytes(data)
        checksum = hashlib.sha256(data).hexdigest()
        written.append(dataset.Shard(name, len(part), len(data), checksum))
    return dataset.Split(len(classes), dict(counts), tuple(written))


def _record(label: int, rng: np.random.Generator) -> bytes:
    image = records.pack_bitmaps((rng.random((1, 85, 85)) < 0.3).astype(np.uint8))[0]
    return records.frame_record(records.encode_example(image, label, b"key"))


def write_run(
    directory: pathlib.Path,
    history: Mapping[str, Sequence[float]] = HISTORY,
    labels: Sequence[str] = ("cat", "cake", "car"),
    **config: Any,
) -> str:
    """A run directory with configuration and history; its path."""
    directory.mkdir(parents=True, exist_ok=True)
    drawings = {"train": 6, "validation": 3}
    config = {"experiment": "E3_8", "epochs": 4, "drawings": drawings, "labels": [*labels]} | config
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "history.json").write_text(json.dumps(history), encoding="utf-8")
    return str(directory)


def write_evaluation(run_dir: str, correct: Mapping[str, int], examples: int) -> None:
    """evaluation.json of a run whose last epoch, 4, got `correct[label]` of `examples` right."""
    scores = {
        "epoch": 4,
        "examples": examples * len(correct),
        "top1": sum(correct.values()) / (examples * len(correct)),
        "top3": 0.9,
        "map3": 0.8,
        "per_class": [
            {"label": label, "examples": examples, "correct": number}
            for label, number in correct.items()
        ],
    }
    best = {**scores, "epoch": 3, "top1": 0.662}
    path = pathlib.Path(run_dir, "evaluation.json")
    path.write_text(json.dumps({"split": "validation", **scores, "best": best}), encoding="utf-8")
