"""Trains an experiment on a data set, validating after every epoch.

  python -m trainer.main --dataset=data --run_dir=runs/E3_8 --experiment=E3_8

Rerun the command to resume from the newest checkpoint; with more --epochs it goes on after the last
one. --init_from starts another run from its weights, on other categories too. Ctrl-C and SIGTERM
save a checkpoint first, and the exit status is 75 then.

The same command gives the same weights, to the bit and however often it was resumed, with the same
versions on the same type of machine with as many threads and replicas: always on the CPU, on GPUs
with --deterministic. On other hardware, or with another number of threads, replicas or hosts, sums
round differently.
"""

import dataclasses
import re
from typing import Any

from absl import flags

from pipeline import cli
from pipeline.cli import UserError
from pipeline.dataset.manifests import read_manifest
from trainer.config import (
    AUGMENTATIONS,
    MAX_SEED,
    PRECISIONS,
    SCHEDULES,
    XLA,
    Interval,
    TrainConfig,
)
from trainer.hardware.quiet_tensorflow import quiet_start
from trainer.models import costs, experiments
from trainer.models.architecture_file import read_architecture
from trainer.models.experiments import Experiment
from trainer.runs.state import State
from trainer.training import initial_weights


def define_flags() -> None:
    group = "Data and run"
    cli.define_path(
        "dataset",
        None,
        "Data set directory that pipeline.main has written.",
        is_for_tensorflow=True,
        module_name=group,
    )
    cli.define_path(
        "run_dir",
        None,
        "Directory to keep this run in: checkpoints, metrics.",
        is_for_tensorflow=True,
        module_name=group,
    )
    flags.DEFINE_string(
        "checkpoint_every",
        "10m",
        "Steps (500) or minutes (10m) between checkpoints, besides one after every epoch.",
        module_name=group,
    )
    flags.DEFINE_string(
        "keep_checkpoints",
        "1",
        "How many of the newest epochs' checkpoints to keep besides the best one, or all.",
        module_name=group,
    )
    flags.DEFINE_boolean(
        "profile",
        False,
        "Write a profile of steps 11 to 20 for TensorBoard, which shows it with the package xprof.",
        module_name=group,
    )

    group = "Model"
    flags.DEFINE_string(
        "experiment",
        "E2_7",
        f"Architecture: {', '.join(experiments.EXPERIMENTS)}.",
        module_name=group,
    )
    cli.define_path(
        "architecture",
        None,
        "Instead of --experiment, an architecture of your own: a JSON file like a run's "
        "config.json, or like the architecture in it.",
        kind="FILE",
        is_for_tensorflow=True,
        module_name=group,
    )
    flags.DEFINE_boolean(
        "batch_norm",
        False,
        "Normalise after every convolution (the study does not).",
        module_name=group,
    )
    cli.define_path(
        "init_from",
        None,
        "Start from the best weights of another run, or from a .keras file of trainer.export; with "
        "other categories than there the head is new. The architecture is the source's, unless "
        "--experiment or --architecture is given.",
        kind="PATH",
        is_for_tensorflow=True,
        module_name=group,
    )
    flags.DEFINE_enum(
        "freeze",
        None,
        list(experiments.STAGES[1:]),
        "With --init_from: do not train the stages before this one; head trains the head alone.",
        module_name=group,
    )
    flags.DEFINE_boolean(
        "summary",
        False,
        "Print the model's stages, parameters and multiply-adds, for the classes of --dataset or "
        "else the study's, and train nothing.",
        module_name=group,
    )

    group = "Recipe (the defaults are the study's)"
    cli.define_integer(
        "epochs",
        12,
        "Passes over the training split.",
        lower_bound=1,
        upper_bound=10**6,
        module_name=group,
    )
    cli.define_integer(
        "batch_size",
        100,
        "Images a step, over all devices together.",
        lower_bound=1,
        upper_bound=10**6,
        module_name=group,
    )
    cli.define_float(
        "learning_rate",
        1e-3,
        "Adam's step size.",
        lower_bound=0.0,
        upper_bound=1e3,
        module_name=group,
    )
    cli.define_integer(
        "seed",
        0,
        "Of the first weights, the dropout, the augmentation and the order of the drawings.",
        lower_bound=0,
        upper_bound=MAX_SEED,
        module_name=group,
    )

    group = "Beyond the study (off by default)"
    flags.DEFINE_enum(
        "learning_rate_schedule",
        "constant",
        list(SCHEDULES),
        "cosine: down to 0 in the last epoch.",
        module_name=group,
    )
    cli.define_float(
        "warmup_epochs",
        0.0,
        "Epochs in which the learning rate grows from 0.",
        lower_bound=0.0,
        upper_bound=1e6,
        module_name=group,
    )
    cli.define_float(
        "weight_decay",
        0.0,
        "AdamW's decay of the kernels; 0 is Adam.",
        lower_bound=0.0,
        upper_bound=1e3,
        module_name=group,
    )
    cli.define_float(
        "clip_norm",
        0.0,
        "Largest norm of all gradients together; 0 does not clip.",
        lower_bound=0.0,
        upper_bound=1e6,
        module_name=group,
    )
    cli.define_float(
        "label_smoothing",
        0.0,
        "Share of the target, 0 to 1, that all classes divide.",
        lower_bound=0.0,
        upper_bound=1.0,
        module_name=group,
    )
    cli.define_float(
        "ema_decay",
        0.0,
        "Validate and predict with the exponential moving average of the weights; usual are 0.99 "
        "to 0.9999.",
        lower_bound=0.0,
        upper_bound=1.0,
        module_name=group,
    )
    flags.DEFINE_list(
        "augment",
        [],
        f"Random changes of the training bitmaps, any of {','.join(AUGMENTATIONS)}: half of them "
        "mirrored, shifts up to 4 pixels, scales of 0.85 to 1.05, rotations up to 12 degrees.",
        module_name=group,
    )
    cli.define_integer(
        "early_stopping",
        0,
        "Stop after so many epochs in a row without a better validation accuracy; 0 never does.",
        lower_bound=0,
        upper_bound=10**6,
        module_name=group,
    )

    group = "Speed"
    flags.DEFINE_enum(
        "precision",
        "auto",
        ["auto", *PRECISIONS],
        "Number format of the computation; auto takes the fastest that the hardware has.",
        module_name=group,
    )
    flags.DEFINE_enum(
        "xla",
        "auto",
        list(XLA),
        "Compile with XLA; auto does on a single GPU. It is three times slower on a CPU.",
        module_name=group,
    )
    flags.DEFINE_boolean(
        "deterministic",
        False,
        "Make runs on GPUs reproducible to the bit, with slower operations and without XLA; on the "
        "CPU they are anyway.",
        module_name=group,
    )


def main(_: list[str]) -> None:
    args = flags.FLAGS
    experiment = experiment_from_flags()
    if args.summary:
        labels = read_manifest(args.dataset).labels if args.dataset else ()
        print(costs.summary(experiment, len(labels) or experiment.categories or 20))
        return
    config = config_from_flags(experiment)
    with quiet_start():
        from trainer.hardware.hosts import join_hosts
        from trainer.train import train
    hosts = join_hosts()
    print(result_lines(train(config, hosts=hosts)))
    if hosts.is_first:
        print(
            f"history, metrics, evaluation, checkpoints and TensorBoard events in {config.run_dir}"
        )


def experiment_from_flags() -> Experiment:
    """That of --architecture, of --experiment or of the source of --init_from.

    Raises:
      UserError: the flags contradict each other, or there is none such.
    """
    args = flags.FLAGS
    is_named = "experiment" in args and args["experiment"].present  # a sweep has no such flag
    if args.architecture:
        if is_named:
            raise UserError("--architecture and --experiment: give one of them")
        experiment = read_architecture(args.architecture)
    elif args.init_from and not is_named:
        experiment = initial_weights.find_experiment(args.init_from, args.run_dir)
    else:
        return find_experiment(args.experiment, args.batch_norm)
    if args["batch_norm"].present:
        return with_batch_norm(experiment, args.batch_norm)
    return experiment


def find_experiment(name: str, batch_norm: bool) -> Experiment:
    """The experiment, as it is or with batch normalisation.

    Raises:
      UserError: there is none of that name.
    """
    return with_batch_norm(experiments.find(name), batch_norm)


def with_batch_norm(experiment: Experiment, batch_norm: bool) -> Experiment:
    """The experiment with batch normalisation or without it."""
    architecture = dataclasses.replace(experiment.architecture, batch_norm=batch_norm)
    return dataclasses.replace(experiment, architecture=architecture)


def config_from_flags(experiment: Experiment) -> TrainConfig:
    """What the flags say; those of `TrainConfig` have its fields' names.

    Raises:
      UserError: they make no run.
    """
    args = flags.FLAGS
    for name in ("dataset", "run_dir"):
        if args[name].value is None:
            raise UserError(f"--{name} is needed (--help lists the flags)")
    unknown = set(args.augment) - set(AUGMENTATIONS)
    if unknown:
        raise UserError(
            f"--augment={','.join(args.augment)}: no {', '.join(sorted(unknown))}; "
            f"there are {', '.join(AUGMENTATIONS)}"
        )
    if args.freeze and not args.init_from:
        raise UserError(
            f"--freeze={args.freeze}: random weights are no use untrained; it needs --init_from"
        )
    if args.warmup_epochs > args.epochs:
        raise UserError(f"--warmup_epochs={args.warmup_epochs:g}: longer than --epochs")
    own = {"experiment", "checkpoint_every", "keep_checkpoints", "augment"}
    names = {field.name for field in dataclasses.fields(TrainConfig)} - own
    values: dict[str, Any] = {name: args[name].value for name in names}
    return TrainConfig(
        experiment=experiment,
        checkpoint_every=Interval.parse(args.checkpoint_every),
        keep_checkpoints=parse_keep(args.keep_checkpoints),
        augment=tuple(kind for kind in AUGMENTATIONS if kind in args.augment),
        **values,
    )


def parse_keep(text: str) -> int | None:
    """Return how many checkpoints --keep_checkpoints asks for, None for all.

    Raises:
      UserError: it is no such number.
    """
    if text == "all":
        return None
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise UserError(f"--keep_checkpoints={text}: a number from 1 on, or all")
    return int(text)


def result_lines(state: State) -> str:
    """The validation figures of the last and the best epoch, a line each."""
    checkpoints = {"last": state.last, "best": state.best}
    return "\n".join(
        f"{name} epoch {checkpoint.epoch}: top-1 {checkpoint.evaluation['top1']:.4f}  "
        f"top-3 {checkpoint.evaluation['top3']:.4f}  MAP@3 {checkpoint.evaluation['map3']:.4f}  "
        f"on {checkpoint.evaluation['examples']:,} validation drawings"
        for name, checkpoint in checkpoints.items()
        if checkpoint
    )


if __name__ == "__main__":
    define_flags()
    cli.run(main)
