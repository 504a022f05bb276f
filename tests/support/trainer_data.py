"""Shared code of the trainer's tests: tiny data sets, a tiny experiment, four logical devices."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipeline.dataset import manifests, records
from pipeline.dataset.tfds_metadata import side_files
from trainer.models.experiments import Architecture, Block, Experiment, Layer

# Must come before TensorFlow starts, so all of a process's tests have them; the first is the
# one that everything runs on where nothing else is said.
DEVICES = ["CPU:0", "CPU:1", "CPU:2", "CPU:3"]
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration() for _ in DEVICES],
)

LABELS = ("cat", "cake", "car")


def tiny_experiment(dropout_rate: float = 0.2, batch_norm: bool = False) -> Experiment:
    """Return an experiment with every stage and few layers: each takes time to trace."""
    branch = Block((((1, 1),),), filters=4, scale=0.2, repeat=1)
    architecture = Architecture(
        stem=((Layer((5, 5), 8, 8, "valid"),),),
        block_a=Block((((1, 1),), ((1, 3),)), filters=4, scale=0.2, repeat=1),
        reduction_a=((4,),),
        block_b=branch,
        reduction_b=((4,),),
        block_c=branch,
        dropout_rate=dropout_rate,
        batch_norm=batch_norm,
    )
    return Experiment("tiny", architecture)


def bitmap(label: int, rng: np.random.Generator) -> np.ndarray:
    """[85, 85] uint8: noise and, for each class elsewhere, a bar."""
    pixels = (rng.random((85, 85)) < 0.05).astype(np.uint8)
    row = 10 + 25 * label + int(rng.integers(10))
    pixels[row : row + 6, 10:75] = 1
    return pixels


def write_dataset(
    directory: os.PathLike[str] | str,
    train: int | Sequence[int] = 50,
    validation: int = 23,
    shards: int = 3,
    encoding: str = "packed",
    seed: int = 0,
    test: int = 0,
    labels: tuple[str, ...] = LABELS,
) -> manifests.Manifest:
    """Write a data set; an example's key_id is `split-number`, in the order of the files.

    Args:
      directory: to make.
      train: training drawings, or those of each training shard.
      validation: validation drawings.
      shards: of the other splits, and of training where it is one number.
      encoding: of the images; the drawings of a seed are the same in each.
      seed: of the drawings.
      test: test drawings.
      labels: of LABELS; a label's drawings are the same wherever it stands.
    """
    os.makedirs(directory, exist_ok=True)
    rng = np.random.default_rng(seed)
    splits = {
        split: _write_split(directory, split, count, shards, rng, labels, encoding)
        for split, count in (("train", train), ("validation", validation), ("test", test))
    }
    manifest = manifests.Manifest(
        labels=labels,
        image={"height": 85, "width": 85, "encoding": encoding},
        splits=splits,
        rasterizer={},
        sampling={},
        inputs=[],
        drawings={},
        rejects={},
        versions={},
    )
    with open(os.path.join(directory, manifests.MANIFEST), "w", encoding="utf-8") as file:
        file.write(manifest.to_json())
    for name, text in side_files(manifest).items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)
    return manifest


def _write_split(
    directory: os.PathLike[str] | str,
    split: str,
    drawings: int | Sequence[int],
    shards: int,
    rng: np.random.Generator,
    names: tuple[str, ...],
    encoding: str,
) -> manifests.Split:
    if isinstance(drawings, int):
        drawings = [len(part) for part in np.array_split(range(drawings), shards)]
    count = sum(drawings)
    labels = [number % len(names) for number in range(count)]
    written = []
    parts = np.split(np.arange(count), np.cumsum(drawings)[:-1]) if count else []
    for index, numbers in enumerate(parts):
        data = b"".join(
            records.frame_record(
                records.encode_example(
                    records.ENCODERS[encoding](
                        bitmap(LABELS.index(names[labels[number]]), rng)[np.newaxis]
                    )[0],
                    labels[number],
                    f"{split}-{number}".encode(),
                )
            )
            for number in numbers
        )
        name = manifests.shard_name(split, index, len(parts))
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)
        digest = hashlib.sha256(data).hexdigest()
        written.append(manifests.Shard(name, len(numbers), len(data), digest))
    counts = {label: labels.count(index) for index, label in enumerate(names)}
    return manifests.Split(count, counts, tuple(written))


def images_in_files(data: manifests.DataSet, split: str) -> Sequence[bytes]:
    """Read the packed images of a split, in the order of its files."""
    return [example.image for example in data.examples(split)]
