"""What a training run is told, and how config.json keeps it. No TensorFlow here."""

import dataclasses
import os
import re
from typing import Any, NamedTuple

from pipeline.cli import UserError, is_remote
from pipeline.dataset.manifests import Manifest
from trainer.models import costs
from trainer.models.experiments import Experiment

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # as Keras names them
SCHEDULES = ("constant", "cosine")
AUGMENTATIONS = ("mirror", "shift", "scale", "rotate")
XLA = ("auto", "on", "off")
MAX_SEED = 2**32 - 1  # NumPy's generator, which Keras seeds too, takes 32 bits
MAX_INTERVAL = 10**9


class Interval(NamedTuple):
    """How often something happens: after so many steps or, where that is None, seconds."""

    steps: int | None = None
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Interval":
        """`500` is steps, `10m` minutes.

        Raises:
          UserError: it is neither, or more than MAX_INTERVAL.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
        number = float(match[1]) if match else 0.0
        in_range = 0 < number <= MAX_INTERVAL
        if not match or not in_range or (not match[2] and number != int(number)):
            raise UserError(
                f"--checkpoint_every={text}: a number of steps, or minutes as in 10m, "
                f"of at most {MAX_INTERVAL:,}"
            )
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
    deterministic: bool = False  # on GPUs, too; changes how sums round, so no part of the identity
    checkpoint_every: Interval = CHECKPOINT_EVERY
    keep_checkpoints: int | None = 1  # of the newest epochs, besides the best; None: of all
    profile: bool = False  # whether to write a profile of some steps
    init_from: str | None = None  # run directory or .keras file that the weights are taken from
    freeze: str | None = None  # one of experiments.STAGES; those before it are not trained

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


FORMAT = 2  # of config.json, of checkpoints, and of the order of the drawings

# The fields that a run cannot change on its way: they change what it learns. `--epochs` is one of
# them where the learning rate's schedule ends with the last epoch. What else it is told may be
# another at each start: it changes nothing, or how sums round.
IDENTITY = (
    "batch_size",
    "learning_rate",
    "seed",
    "learning_rate_schedule",
    "warmup_epochs",
    "weight_decay",
    "clip_norm",
    "label_smoothing",
    "ema_decay",
    "augment",
    "init_from",
    "freeze",
)


def describe_run(
    config: TrainConfig, manifest: Manifest, init_from: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what config.json says of a run as a whole, from its beginning.

    `init_from` is what `initial_weights` says of the run's --init_from.
    """
    dataset = config.dataset if is_remote(config.dataset) else os.path.abspath(config.dataset)
    architecture = config.experiment.architecture
    stages = costs.stages(architecture, len(manifest.labels))
    return {
        "format": FORMAT,
        "experiment": config.experiment.name,
        "architecture": architecture.describe(),
        "parameters": sum(stage.parameters for stage in stages),
        "trained_parameters": costs.trained_parameters(
            architecture, len(manifest.labels), config.freeze
        ),
        "multiply_adds": sum(stage.multiply_adds for stage in stages),  # of an image
        "epochs": config.epochs,
        **{name: getattr(config, name) for name in IDENTITY},
        "augment": list(config.augment),
        "init_from": init_from,
        "early_stopping": config.early_stopping,
        "dataset": dataset,
        "dataset_fingerprint": manifest.fingerprint,
        "drawings": {name: manifest.splits[name].records for name in ("train", "validation")},
        "labels": list(manifest.labels),
    }
