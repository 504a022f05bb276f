"""What a training run is told, and how config.json keeps it. No TensorFlow here."""

import dataclasses
import os
import platform
from importlib.metadata import version
from typing import Any

from pipeline.dataset import Manifest
from pipeline.paths import is_remote
from trainer.experiments import Experiment

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # as Keras names them


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What to train on what. The defaults are the study's recipe."""

    dataset: str  # directory, here or on gs://
    run_dir: str
    experiment: Experiment
    epochs: int = 12
    batch_size: int = 100  # over all replicas
    learning_rate: float = 1e-3  # Adam's, the rest of it as TensorFlow sets it
    precision: str = "auto"  # or one of PRECISIONS
    seed: int = 0  # of weights, dropout and order


def describe_run(config: TrainConfig, precision: str, manifest: Manifest) -> dict[str, Any]:
    """The content of config.json; `precision` is what "auto" came to."""
    dataset = config.dataset if is_remote(config.dataset) else os.path.abspath(config.dataset)
    return {
        "experiment": config.experiment.name,
        "architecture": config.experiment.architecture.describe(),
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "seed": config.seed,
        "precision": precision,
        "dataset": dataset,
        "dataset_fingerprint": manifest.fingerprint,
        "drawings": {name: manifest.splits[name].records for name in ("train", "validation")},
        "labels": list(manifest.labels),
        "versions": {
            "python": platform.python_version(),
            **{library: version(library) for library in ("tensorflow", "keras", "numpy")},
        },
    }
