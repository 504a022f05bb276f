"""What a training run is told, and how config.json keeps it. No TensorFlow here."""

import dataclasses
import os
import platform
import re
from importlib.metadata import version
from typing import Any, NamedTuple

from pipeline.dataset import Manifest
from pipeline.errors import UserError
from pipeline.paths import is_remote
from trainer import costs
from trainer.experiments import Experiment

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # as Keras names them
SCHEDULES = ("constant", "cosine")
AUGMENTATIONS = ("mirror", "shift", "scale", "rotate")
XLA = ("auto", "on", "off")


class Interval(NamedTuple):
    """How often something happens: after so many steps or, where that is None, seconds."""

    steps: int | None = None
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Interval":
        """`500` is steps, `10m` minutes.

        Raises:
          UserError: it is neither.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
        number = float(match[1]) if match else 0.0
        if not match or number <= 0 or (not match[2] and number != int(number)):
            raise UserError(f"--checkpoint_every={text}: a number of steps, or minutes as in 10m")
        return cls(seconds=number * 60) if match[2] else cls(steps=int(number))

    def has_passed(self, steps: int, seconds: float) -> bool:
        return seconds >= self.seconds if self.steps is None else steps >= self.steps


CHECKPOINT_EVERY = Interval(seconds=600)  # besides at every epoch's end


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What to train on what. The defaults are the study's recipe."""

    dataset: str  # directory, here or on gs://
    run_dir: str
    experiment: Experiment
    epochs: int = 12
    batch_size: int = 100  # over all replicas
    learning_rate: float = 1e-3  # Adam's, the rest of it as TensorFlow sets it
    seed: int = 0  # of weights, dropout, augmentation and order
    precision: str = "auto"  # or one of PRECISIONS
    xla: str = "auto"  # one of XLA
    checkpoint_every: Interval = CHECKPOINT_EVERY
    profile: bool = False  # whether to write a profile of some steps

    # Not the study's, each off by default.
    learning_rate_schedule: str = "constant"  # one of SCHEDULES
    warmup_epochs: float = 0.0  # in which the learning rate grows from 0
    weight_decay: float = 0.0  # AdamW's
    clip_norm: float = 0.0  # of all gradients together
    label_smoothing: float = 0.0  # the share of the target that all classes divide
    ema_decay: float = 0.0  # of the average of the weights that is validated and predicts
    augment: tuple[str, ...] = ()  # of AUGMENTATIONS
    early_stopping: int = 0  # epochs in a row without a better validation accuracy

    def total_steps(self, training_drawings: int) -> int:
        return self.epochs * self.steps_per_epoch(training_drawings)

    def steps_per_epoch(self, training_drawings: int) -> int:
        return -(-training_drawings // self.batch_size)


# The fields that a run cannot change on its way. `--epochs` is one of them where the learning
# rate's schedule ends with the last epoch.
IDENTITY = (
    "batch_size",
    "learning_rate",
    "seed",
    "precision",
    "xla",
    "learning_rate_schedule",
    "warmup_epochs",
    "weight_decay",
    "clip_norm",
    "label_smoothing",
    "ema_decay",
    "augment",
)


def describe_run(
    config: TrainConfig, precision: str, xla: bool, manifest: Manifest
) -> dict[str, Any]:
    """The content of config.json; `precision` and `xla` are what "auto" came to."""
    dataset = config.dataset if is_remote(config.dataset) else os.path.abspath(config.dataset)
    fields = dataclasses.replace(config, precision=precision, xla="on" if xla else "off")
    architecture = config.experiment.architecture
    stages = costs.stages(architecture, len(manifest.labels))
    return {
        "experiment": config.experiment.name,
        "architecture": architecture.describe(),
        "parameters": sum(stage.parameters for stage in stages),
        "multiply_adds": sum(stage.multiply_adds for stage in stages),  # of an image
        "epochs": config.epochs,
        **{name: getattr(fields, name) for name in IDENTITY},
        "augment": list(config.augment),
        "early_stopping": config.early_stopping,
        "dataset": dataset,
        "dataset_fingerprint": manifest.fingerprint,
        "drawings": {name: manifest.splits[name].records for name in ("train", "validation")},
        "labels": list(manifest.labels),
        "versions": {
            "python": platform.python_version(),
            **{library: version(library) for library in ("tensorflow", "keras", "numpy")},
        },
    }
