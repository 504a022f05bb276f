"""Trains several experiments one after another, such as a group of the study's.

  python -m trainer.sweep --dataset=data --run_dir=runs/depth53 --group=depth53

  python -m trainer.sweep --dataset=data --run_dir=runs/rates --experiments=E3_8 --seeds=3 \\
      --vary learning_rate=1e-3,3e-4

Each has its own process and run directory, runs/depth53/E3_8 and so on; if more than the experiment
varies, the name contains it, as in E3_8-learning_rate=0.001-seed=0. All other flags are the flags
of trainer.main and apply to every run. Rerun the command to skip finished runs and resume the rest;
more --seeds add runs. If a run fails the others are still trained, and the exit status is 1. Ctrl-C
and SIGTERM let the current run save a checkpoint; the exit status is then 75. A table at the end
shows the mean and the standard deviation of the seeds; sweep.csv lists every run.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from types import FrameType

from absl import flags

from pipeline import cli
from pipeline.cli import EXIT_STOPPED, RunError, Stopped, UserError, counted, is_remote
from pipeline.dataset.manifests import Manifest
from trainer import config as trainer_config
from trainer import main as trainer_main
from trainer.config import MAX_SEED, TrainConfig, describe_run
from trainer.hardware.cluster import VARIABLE, read_cluster
from trainer.hardware.signals import SIGNALS
from trainer.models import experiments, study
from trainer.runs import run_directory
from trainer.runs.state import State
from trainer.sweeps import sweep_axes, sweep_table
from trainer.sweeps.sweep_axes import Setting, Settings
from trainer.sweeps.sweep_table import Result
from trainer.training.initial_weights import known_source

CSV = "sweep.csv"
# Not passed to runs as they are.
OWN_FLAGS = ("group", "experiments", "vary", "seeds", "dataset", "run_dir")
POLL_SECONDS = 0.1  # between two looks for a signal


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of the sweep, trained or not."""

    config: TrainConfig
    settings: Settings  # of --vary
    flags: tuple[str, ...]  # of trainer.main

    @property
    def name(self) -> str:
        return os.path.basename(self.config.run_dir)


def define_flags() -> None:
    flags.DEFINE_enum(
        "group",
        None,
        [*study.GROUPS, "all"],
        "Experiments that the study compares with each other; all: its 20.",
    )
    flags.DEFINE_list("experiments", [], "Or experiments by name, such as E2_7,E3_8.")
    before = set(flags.FLAGS)
    trainer_main.define_flags()
    del flags.FLAGS.experiment, flags.FLAGS.summary
    flags.FLAGS["run_dir"].help = "Directory of the run directories of all experiments."
    fixed = {
        *before,
        "seed",
        *trainer_config.flag_names(trainer_config.DATA),
    }  # seeds have an axis of their own
    flags.DEFINE_multi(
        sweep_axes.AxisParser([name for name in flags.FLAGS if name not in fixed]),
        flags.ArgumentSerializer(),
        "vary",
        [],
        "Train with each of these values of a flag below, as in learning_rate=1e-3,3e-4; repeat it "
        "to combine the values of several flags. A list as a value has + between its items, and "
        "may be empty: --vary augment=mirror,mirror+shift, has three values.",
    )
    cli.define_integer(
        "seeds",
        1,
        "Number of seeds for each: --seed, --seed + 1 and so on.",
        lower_bound=1,
        upper_bound=100,
    )


def main(_: list[str]) -> None:
    args = flags.FLAGS
    if len(read_cluster()[0]) > 1:
        raise UserError(f"{VARIABLE} names several hosts; a sweep trains on one")
    sweep_axes.check_axes(args.vary)
    has_files = args.architecture or any(axis[0].flag == "architecture" for axis in args.vary)
    if has_files and (args.group or args.experiments):
        raise UserError("give --architecture, or --group or --experiments, not both")
    names = [None] if has_files else choose(args.group, args.experiments)
    runs = plan(names, args.vary, args.seeds)
    if is_remote(args.run_dir):
        raise UserError(f"--run_dir={args.run_dir}: it has to be a directory on this machine")
    manifest = trainer_main.read_dataset_manifest(args.dataset)
    # Before anything runs, so that a directory of another run is refused at once.
    finished = {run.name for run in runs if _is_finished(run.config, manifest)}
    print(heading(runs, manifest), flush=True)
    failed = train_all(runs, finished)
    results = [read_result(run, failed) for run in runs]
    classes = len(manifest.labels)
    path = os.path.join(args.run_dir, CSV)
    os.makedirs(args.run_dir, exist_ok=True)  # no run may have come as far as to make its own
    with open(path, "w", encoding="utf-8") as file:
        file.write(sweep_table.to_csv(results, classes))
    print(f"\n{sweep_table.table(results, classes)}\n\nAll runs as CSV in {path}")
    if failed:
        raise RunError(f"{len(failed)} of {counted(len(runs), 'run')} failed: {', '.join(failed)}")


def choose(group: str | None, names: Sequence[str]) -> list[str]:
    """Return the names of the experiments to train, each once.

    Raises:
      UserError: there is none of that name, or neither or both of group and names are given.
    """
    if bool(group) == bool(names):
        raise UserError("give either --group or --experiments (--help lists the flags)")
    if group == "all":
        in_groups = [name for members in study.GROUPS.values() for name in members]
        in_study = [name for name, each in experiments.EXPERIMENTS.items() if each.categories]
        names = [*in_groups, *in_study]
    elif group:
        names = study.GROUPS[group]
    return list(dict.fromkeys(experiments.find(name).name for name in names))


def plan(
    names: Sequence[str | None], axes: Sequence[Sequence[Setting]], seeds: int
) -> list[PlannedRun]:
    """List the runs in the order of training: all with the first seed, then the next.

    Args:
      names: of experiments; None for the one of --architecture.
      axes: of --vary.
      seeds: how many, from --seed on.

    Raises:
      UserError: the flags make no run.
    """
    first = flags.FLAGS.seed
    if first + seeds - 1 > MAX_SEED:
        raise UserError(f"--seed={first}: with --seeds={seeds} the last one is above {MAX_SEED}")
    return [
        _plan_run(name, settings, seed, seeds > 1)
        for seed in range(first, first + seeds)
        for name in names
        for settings in sweep_axes.combinations(axes)
    ]


def _plan_run(name: str | None, settings: Settings, seed: int, is_among_seeds: bool) -> PlannedRun:
    values = {setting.flag: setting.value for setting in settings}
    if is_among_seeds:
        values["seed"] = str(seed)
    with sweep_axes.flags_set(values):
        config = TrainConfig.from_flags(trainer_main.experiment_from_flags(name))
        run_dir = _directory(config, settings, is_among_seeds)
        config = dataclasses.replace(config, run_dir=run_dir)
        return PlannedRun(config, settings, _flags_of(config, name))


def _directory(config: TrainConfig, settings: Settings, is_among_seeds: bool) -> str:
    """Name a run's directory: one trained with --seeds=1 keeps it with more, and the reverse."""
    name, seed = config.experiment.name, config.seed
    alone, among_seeds = (
        os.path.join(config.run_dir, sweep_axes.run_name(name, settings, number))
        for number in (None, seed)
    )
    named, other = (among_seeds, alone) if is_among_seeds else (alone, among_seeds)
    is_there = os.path.exists(os.path.join(other, run_directory.CONFIG))
    if os.path.exists(named) or not is_there:
        return named
    return other if run_directory.read_config(other).get("seed") == seed else named


def heading(runs: Sequence[PlannedRun], manifest: Manifest) -> str:
    """Describe the runs to train and their data set."""
    architectures = {run.config.experiment.name: run.config.experiment.architecture for run in runs}
    values: dict[str, dict[str, None]] = {}  # of each varied flag, in their order
    for run in runs:
        for setting in run.settings:
            values.setdefault(setting.flag, {})[setting.label] = None
    lines = [f"sweep       {', '.join(architectures)}"]
    lines += [f"            {flag}: {', '.join(labels)}" for flag, labels in values.items()]
    seeds = sorted({run.config.seed for run in runs})
    if len(seeds) > 1:
        lines.append(f"            seeds {seeds[0]} to {seeds[-1]}")
    if len(runs) > len(architectures):
        lines.append(f"            {len(runs)} runs")
    lines.append(f"data set    {runs[0].config.dataset}: {len(manifest.labels)} classes")
    same: dict[str, list[str]] = {}
    for name, architecture in architectures.items():
        same.setdefault(str(architecture), []).append(name)
    lines += [
        f"            {' and '.join(names)} are the same model; on one data set one is enough"
        for names in same.values()
        if len(names) > 1
    ]
    return "\n".join(lines)


def train_all(runs: Sequence[PlannedRun], finished: Collection[str]) -> list[str]:
    """Train the unfinished runs, one after another.

    Returns:
      The names of the runs that failed.

    Raises:
      Stopped: a signal came, or the current run was stopped.
      SystemExit: with status 2: the first run was refused, as the others would be.
    """
    failed: list[str] = []
    has_begun = False
    with _noted_signals() as signals:
        for number, run in enumerate(runs, 1):
            name = run.name
            place = f"{number}/{len(runs)}  {name}"
            if name in finished:
                print(f"{place}  finished before", flush=True)
                continue
            print(f"\n{place}  {run.config.run_dir}", flush=True)
            status = _train(run, signals)
            if signals or status == EXIT_STOPPED:
                raise Stopped(f"sweep stopped in {name}; rerun the command to resume it")
            if status == 2 and not has_begun:
                sys.exit(2)
            if status < 0:  # it could not print a message
                print(f"{name}: killed by {signal.Signals(-status).name}", file=sys.stderr)
            if status:
                failed.append(name)
            has_begun = True
    return failed


def read_result(run: PlannedRun, failed: Collection[str]) -> Result:
    """Read a run's result for the table from its directory."""
    config = run.config
    try:
        state = run_directory.read_state(config.run_dir)
    except RunError:  # damaged: trainer.main has said so
        state = State()
    status = "unfinished"
    if run.name in failed:
        status = "failed"
    elif state.is_finished(config.epochs, config.early_stopping):
        status = "finished"
    speed = sweep_table.training_speed(config.run_dir)
    return Result(config.experiment, status, config.epochs, state, speed, run.settings, config.seed)


def _is_finished(config: TrainConfig, manifest: Manifest) -> bool:
    """Find without TensorFlow whether nothing is left to train.

    Raises:
      UserError: the directory belongs to another configuration or data set, is no run's, or another
        process is training in it.
    """
    if not os.path.isdir(config.run_dir) or not os.listdir(config.run_dir):
        return False
    source = config.init_from and known_source(config.init_from, config.run_dir)
    try:
        with run_directory.locked(config.run_dir):
            description = describe_run(config, manifest, source or None)
            state = run_directory.open_run(config.run_dir, description)
    except RunError:  # a damaged state: trainer.main will say so
        return False
    return state.is_finished(config.epochs, config.early_stopping)


def _train(run: PlannedRun, signals: Sequence[int]) -> int:
    """Train a run in a process with its own memory and seeds; return its exit status.

    Signals are passed on. The process has its own session, so that Ctrl-C reaches it only this way:
    a second signal would end trainer.main at once.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", trainer_main.__name__, *run.flags], start_new_session=True
    )
    passed_on = 0
    while True:
        try:
            return process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            while passed_on < len(signals):
                process.send_signal(signals[passed_on])
                passed_on += 1


def _flags_of(config: TrainConfig, name: str | None) -> tuple[str, ...]:
    """Return a run's flags: those given to the sweep, and its own."""
    given = [flags.FLAGS[name] for name in flags.FLAGS]
    return (
        f"--dataset={config.dataset}",
        f"--run_dir={config.run_dir}",
        *([f"--experiment={name}"] if name else []),
        *(flag.serialize() for flag in given if flag.present and flag.name not in OWN_FLAGS),
    )


@contextlib.contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Collect signals that ask to stop in the list inside; ignored ones stay ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)

    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # as nohup does with SIGHUP
                signal.signal(number, note)
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
