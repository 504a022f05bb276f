"""Configuration of a training run: each setting with its flag, and what config.json keeps.

A field of TrainConfig is described once, with its help, bounds and group. The flag of trainer.main,
the identity of a run and the check follow from it. No TensorFlow here.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import flags

from pipeline import cli
from pipeline.cli import UserError, is_remote
from pipeline.dataset.manifests import Manifest
from trainer.models import costs, experiments
from trainer.models.experiments import Experiment

flags.disclaim_key_flags()  # the flags belong to the command that asks for them

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # as Keras names them
AUGMENTATIONS = ("mirror", "shift", "scale", "rotate")
MAX_SEED = 2**32 - 1  # NumPy's generator, which Keras seeds too, takes 32 bits
MAX_INTERVAL = 10**9

# What --recipe sets, by the names of the flags.
_MODERN: dict[str, Any] = {
    "learning_rate_schedule": "cosine",
    "warmup_epochs": 0.5,
    "weight_decay": 0.1,
    "label_smoothing": 0.1,
    "augment": ("mirror", "shift", "scale", "rotate"),
}
RECIPES: dict[str, dict[str, Any]] = {
    "study": {},
    "fast": _MODERN | {"epochs": 3, "learning_rate": 1e-2},
    "best": _MODERN | {"epochs": 12, "learning_rate": 8e-3},
}

# Groups of flags, in the order of --help.
DATA = "Data and run"
MODEL = "Model"
RECIPE = "Recipe (the defaults are the study's)"
BEYOND = "Beyond the study (off by default)"
SPEED = "Speed"


class Interval(NamedTuple):
    """A number of steps or, where that is None, of seconds."""

    steps: int | None = None
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Interval":
        """Parse `500`, which is steps, or `10m`, minutes.

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


def _parse_keep(text: str) -> int | None:
    if text == "all":
        return None
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise UserError(f"--keep_checkpoints={text}: a whole number of at least 1, or all")
    return int(text)


def _parse_augment(kinds: list[str]) -> tuple[str, ...]:
    if unknown := set(kinds) - set(AUGMENTATIONS):
        raise UserError(
            f"--augment={','.join(kinds)}: no {', '.join(sorted(unknown))}; "
            f"there are {', '.join(AUGMENTATIONS)}"
        )
    return tuple(kind for kind in AUGMENTATIONS if kind in kinds)


def _recipe_text(name: str) -> str:
    """Write a recipe as flags."""
    flags = (
        f"--{flag}={','.join(value) if isinstance(value, tuple) else value}"
        for flag, value in RECIPES[name].items()
    )
    return " ".join(flags) or "the defaults"


def _metadata(group: str, help: str, **options: Any) -> dict[str, Any]:
    """Describe the flag of a field of TrainConfig.

    Args:
      group: of the flag in --help.
      help: of the flag.
      options: `bounds`, the range of a number; `choices` of a text; `path`, the placeholder of a
        path; `may_change`, whether a run may change it on resume though it is in a group of the
        identity; `parse`, from the value of a flag to that of the field, with `flag_default`.
    """
    return {"group": group, "help": help, **options}


def _setting(group: str, help: str, default: Any, **options: Any) -> Any:
    return dataclasses.field(default=default, metadata=_metadata(group, help, **options))


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of a run. The defaults are the study's recipe."""

    dataset: str = dataclasses.field(
        metadata=_metadata(DATA, "Data set directory that pipeline.main has written.", path="DIR")
    )
    run_dir: str = dataclasses.field(
        metadata=_metadata(DATA, "Directory of this run: checkpoints, metrics.", path="DIR")
    )
    experiment: Experiment
    checkpoint_every: Interval = _setting(  # noqa: RUF009 - a NamedTuple
        DATA,
        "Steps (500) or minutes (10m) between checkpoints, besides one after every epoch.",
        Interval(seconds=600),
        parse=Interval.parse,
        flag_default="10m",
    )
    keep_checkpoints: int | None = _setting(  # None: all
        DATA,
        "Number of the newest epochs' checkpoints to keep besides the best one, or all.",
        1,
        parse=_parse_keep,
        flag_default="1",
    )
    profile: bool = _setting(
        DATA,
        "Write a profile of steps 11 to 20 for TensorBoard, which shows it with the package xprof.",
        False,
    )

    recipe: str = _setting(
        RECIPE,
        "Preset of the flags below and of those beyond the study; explicit flags override it. "
        + " ".join(f"{name}: {_recipe_text(name)}." for name in RECIPES)
        + " By default the experiment's own: study for the study's, fast for small, best for "
        "medium and large.",
        "study",
        flag_default=None,
        choices=tuple(RECIPES),
        may_change=True,  # what it sets may not
    )
    epochs: int = _setting(
        RECIPE, "Passes over the training split.", 12, bounds=(1, 10**6), may_change=True
    )
    batch_size: int = _setting(
        RECIPE, "Images per step, over all devices together.", 100, bounds=(1, 10**6)
    )
    learning_rate: float = _setting(RECIPE, "Adam's step size.", 1e-3, bounds=(0.0, 1e3))
    seed: int = _setting(
        RECIPE,
        "Random seed for weights, dropout, augmentation and data order.",
        0,
        bounds=(0, MAX_SEED),
    )

    learning_rate_schedule: str = _setting(
        BEYOND,
        "cosine: after the warm-up, half a cosine down to 0 at the end.",
        "constant",
        choices=("constant", "cosine"),
    )
    warmup_epochs: float = _setting(
        BEYOND, "Epochs of linear warm-up of the learning rate from 0.", 0.0, bounds=(0.0, 1e6)
    )
    weight_decay: float = _setting(
        BEYOND, "AdamW's weight decay of the kernels; 0 is Adam.", 0.0, bounds=(0.0, 1e3)
    )
    clip_norm: float = _setting(
        BEYOND,
        "Clip the gradients to this global norm; 0 disables clipping.",
        0.0,
        bounds=(0.0, 1e6),
    )
    label_smoothing: float = _setting(
        BEYOND,
        "Part of the target, 0 to 1, that is spread evenly over all classes.",
        0.0,
        bounds=(0.0, 1.0),
    )
    ema_decay: float = _setting(
        BEYOND,
        "Validate and predict with the exponential moving average of the weights; typical are "
        "0.99 to 0.9999. 0 disables it.",
        0.0,
        bounds=(0.0, 1.0),
    )
    augment: tuple[str, ...] = _setting(
        BEYOND,
        f"Random changes of the training bitmaps, any of {','.join(AUGMENTATIONS)}: half of them "
        "mirrored, shifts up to 4 pixels, scales of 0.85 to 1.05, rotations up to 12 degrees.",
        (),
        parse=_parse_augment,
        flag_default=[],
    )
    early_stopping: int = _setting(
        BEYOND,
        "Stop after this many epochs in a row without a better validation accuracy; 0 disables it.",
        0,
        bounds=(0, 10**6),
        may_change=True,
    )

    init_from: str | None = _setting(
        MODEL,
        "Start from the best weights of another run, or from a .keras file of trainer.export; with "
        "different categories the head is new. The architecture is the source's, unless "
        "--experiment or --architecture is given.",
        None,
        path="PATH",
    )
    freeze: str | None = _setting(
        MODEL,
        "With --init_from: do not train the stages before this one; head trains the head alone.",
        None,
        choices=experiments.STAGES[1:],
    )

    precision: str = _setting(
        SPEED,
        "Number format of the computation; auto selects the fastest that the hardware supports.",
        "auto",
        choices=("auto", *PRECISIONS),
    )
    xla: str = _setting(
        SPEED,
        "Compile with XLA; auto does on a single GPU. It is three times slower on a CPU.",
        "auto",
        choices=("auto", "on", "off"),
    )
    # Changes how sums round, so it is no part of the identity.
    deterministic: bool = _setting(
        SPEED,
        "Make runs on GPUs bit-exactly reproducible, with slower operations and without XLA; runs "
        "on the CPU always are.",
        False,
    )

    @classmethod
    def from_flags(cls, experiment: Experiment) -> "TrainConfig":
        """Return the configuration that the flags of `define_group` give.

        Raises:
          UserError: a flag is missing, or they contradict each other.
        """
        values: dict[str, Any] = {}
        for field in _flag_fields():
            value = flags.FLAGS[field.name].value
            if value is None and field.default is dataclasses.MISSING:
                raise UserError(f"--{field.name} is needed (--help lists the flags)")
            values[field.name] = field.metadata.get("parse", lambda same: same)(value)
        values["recipe"] = values["recipe"] or experiment.recipe
        for name, value in RECIPES[values["recipe"]].items():
            if not flags.FLAGS[name].present:
                values[name] = value
        config = cls(experiment=experiment, **values)
        if config.freeze and not config.init_from:
            raise UserError(f"--freeze={config.freeze} freezes untrained weights; add --init_from")
        if config.warmup_epochs > config.epochs:
            raise UserError(f"--warmup_epochs={config.warmup_epochs:g}: longer than --epochs")
        return config

    def steps_per_epoch(self, training_drawings: int) -> int:
        return -(-training_drawings // self.batch_size)


def _flag_fields(group: str | None = None) -> list[dataclasses.Field]:
    fields = [field for field in dataclasses.fields(TrainConfig) if field.metadata]
    return [field for field in fields if group in (None, field.metadata["group"])]


def flag_names(group: str) -> list[str]:
    """Return the names of a group's settings."""
    return [field.name for field in _flag_fields(group)]


def define_group(group: str) -> None:
    """Define the flags of a group's settings."""
    for field in _flag_fields(group):
        options = field.metadata
        default = None if field.default is dataclasses.MISSING else field.default
        default = options.get("flag_default", default)
        named: tuple[Any, ...] = (field.name, default, options["help"])
        if kind := options.get("path"):
            cli.define_path(*named, kind=kind, is_for_tensorflow=True, module_name=group)
        elif choices := options.get("choices"):
            flags.DEFINE_enum(field.name, default, choices, options["help"], module_name=group)
        elif bounds := options.get("bounds"):
            define = cli.define_integer if isinstance(default, int) else cli.define_float
            define(*named, lower_bound=bounds[0], upper_bound=bounds[1], module_name=group)
        elif isinstance(default, bool):
            flags.DEFINE_boolean(field.name, default, options["help"], module_name=group)
        elif isinstance(default, list):
            flags.DEFINE_list(*named, module_name=group)
        else:
            flags.DEFINE_string(*named, module_name=group)


FORMAT = 2  # of config.json, of checkpoints, and of the order of the drawings

# The settings that a run cannot change on resume: they change what it learns. `--epochs` is one of
# them where the learning rate's schedule ends with the last epoch. All others may differ at each
# start: they change nothing, or how sums round.
IDENTITY = tuple(
    field.name
    for field in _flag_fields()
    if field.metadata["group"] in (RECIPE, BEYOND, MODEL) and not field.metadata.get("may_change")
)


def describe_run(
    config: TrainConfig, manifest: Manifest, init_from: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what config.json keeps of a run as a whole, from its beginning.

    `init_from`: the description of the source of --init_from, see `initial_weights`.
    """
    dataset = config.dataset if is_remote(config.dataset) else os.path.abspath(config.dataset)
    architecture, classes = config.experiment.architecture, len(manifest.labels)
    whole = costs.total(costs.stages(architecture, classes))
    return {
        "format": FORMAT,
        "experiment": config.experiment.name,
        "recipe": config.recipe,
        "architecture": architecture.describe(),
        "parameters": whole.parameters,
        "trained_parameters": costs.trained_parameters(architecture, classes, config.freeze),
        "multiply_adds": whole.multiply_adds,  # of an image
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


def flags_of_run(config: Mapping[str, Any]) -> list[str]:
    """Return the flags of trainer.main that repeat a run, but for its paths.

    `config`: the content of config.json. Of the source of --init_from only its name is given.
    """
    known = experiments.EXPERIMENTS.get(config["experiment"])
    is_known = known is not None and known.architecture.describe() == config["architecture"]
    recipe = config.get("recipe", "study")
    given = [f"--experiment={config['experiment']}" if is_known else "--architecture=config.json"]
    given.append(f"--recipe={recipe}")
    for field in _flag_fields():
        value = config.get(field.name, field.default)
        if field.metadata["group"] not in (RECIPE, BEYOND, MODEL) or field.name == "recipe":
            continue
        if field.name == "init_from" and value:
            value = os.path.basename(value["path"])
        value = tuple(value) if isinstance(value, list) else value
        if value != RECIPES[recipe].get(field.name, field.default):
            text = ",".join(value) if isinstance(value, tuple) else value
            given.append(f"--{field.name}={text}")
    return given
