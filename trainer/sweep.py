"""Trains several experiments one after another, such as a group of the study's.

  python -m trainer.sweep --dataset=data --run_dir=runs/depth53 --group=depth53

Each has a run directory of its own, runs/depth53/E3_8 and so on, and a process of its own. All
other flags are the flags of trainer.main and hold for every run. The same command again skips what
is finished and goes on with the rest. Where a run fails the others are trained nevertheless, and
the exit status is 1. Ctrl-C and SIGTERM let the current run save a checkpoint, and the exit status
is 75. At the end comes a table of all runs, which sweep.csv holds too.
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

from pipeline import command
from pipeline.command import EXIT_STOPPED
from pipeline.dataset import Manifest, read_manifest
from pipeline.errors import RunError, Stopped, UserError
from pipeline.paths import is_remote
from trainer import experiments, run_directory, study, sweep_table
from trainer import main as trainer_main
from trainer.cluster import VARIABLE, read_cluster
from trainer.config import TrainConfig, describe_run
from trainer.initial_weights import known_source
from trainer.quiet_start import quiet_start
from trainer.state import State
from trainer.sweep_table import Result

CSV = "sweep.csv"
OWN_FLAGS = ("group", "experiments", "dataset", "run_dir")  # which no run is handed as they are
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
POLL_SECONDS = 0.1  # between two looks for a signal


def define_flags() -> None:
    flags.DEFINE_enum(
        "group",
        None,
        [*study.GROUPS, "all"],
        "Experiments that the study compares with each other; all: its 20.",
    )
    flags.DEFINE_list("experiments", [], "Or experiments by name, such as E2_7,E3_8.")
    trainer_main.define_flags()
    del flags.FLAGS.experiment, flags.FLAGS.summary
    flags.FLAGS["run_dir"].help = "Directory to keep the run directories of all experiments in."


def main(_: list[str]) -> None:
    args = flags.FLAGS
    if len(read_cluster()[0]) > 1:
        raise UserError(f"{VARIABLE} names several hosts; a sweep trains on one")
    configs = make_configs(choose(args.group, args.experiments))
    if is_remote(args.run_dir):
        raise UserError(f"--run_dir={args.run_dir}: it has to be a directory on this machine")
    manifest = _read_manifest(args.dataset)
    # Before anything runs, so that a directory that is another run's is refused at once.
    finished = {config.experiment.name for config in configs if _is_finished(config, manifest)}
    print(heading(configs, manifest), flush=True)
    failed = train_all(configs, finished)
    results = [read_result(config, failed) for config in configs]
    classes = len(manifest.labels)
    path = os.path.join(args.run_dir, CSV)
    with open(path, "w", encoding="utf-8") as file:
        file.write(sweep_table.to_csv(results, classes))
    print(f"\n{sweep_table.table(results, classes)}\n\nThe same, for programs, in {path}")
    if failed:
        raise RunError(f"{len(failed)} of {len(configs)} runs failed: {', '.join(failed)}")


def choose(group: str | None, names: Sequence[str]) -> list[str]:
    """The names of the experiments to train, each once.

    Raises:
      UserError: there is none of that name, or neither or both of group and names are given.
    """
    if bool(group) == bool(names):
        raise UserError("--group or --experiments is needed, one of them (--help lists the flags)")
    if group == "all":
        in_groups = [name for members in study.GROUPS.values() for name in members]
        in_study = [name for name, each in experiments.EXPERIMENTS.items() if each.categories]
        names = [*in_groups, *in_study]
    elif group:
        names = study.GROUPS[group]
    return list(dict.fromkeys(experiments.find(name).name for name in names))


def make_configs(names: Sequence[str]) -> list[TrainConfig]:
    """What each run is told, from the flags; its directory is named for its experiment.

    Raises:
      UserError: the flags make no run.
    """
    args = flags.FLAGS
    configs = []
    for name in names:
        experiment = trainer_main.find_experiment(name, args.batch_norm)
        config = trainer_main.config_from_flags(experiment)
        configs.append(dataclasses.replace(config, run_dir=os.path.join(config.run_dir, name)))
    return configs


def heading(configs: Sequence[TrainConfig], manifest: Manifest) -> str:
    """What is going to be trained on what."""
    names = [config.experiment.name for config in configs]
    lines = [
        f"sweep       {', '.join(names)}",
        f"data set    {configs[0].dataset}: {len(manifest.labels)} classes",
    ]
    same: dict[str, list[str]] = {}
    for config in configs:
        architecture = str(config.experiment.architecture)
        same.setdefault(architecture, []).append(config.experiment.name)
    lines += [
        f"            {' and '.join(names)} are the same model; on one data set one is enough"
        for names in same.values()
        if len(names) > 1
    ]
    return "\n".join(lines)


def train_all(configs: Sequence[TrainConfig], finished: Collection[str]) -> list[str]:
    """Trains what is not finished, one after another.

    Returns:
      The names of the experiments that failed.

    Raises:
      Stopped: by a signal, or the run that was on was.
      SystemExit: with status 2: the first run was refused, as the others would be.
    """
    failed: list[str] = []
    has_begun = False
    with _noted_signals() as signals:
        for number, config in enumerate(configs, 1):
            name = config.experiment.name
            place = f"{number}/{len(configs)}  {name}"
            if name in finished:
                print(f"{place}  finished before", flush=True)
                continue
            print(f"\n{place}  {config.run_dir}", flush=True)
            status = _train(config, signals)
            if signals or status == EXIT_STOPPED:
                raise Stopped(f"sweep stopped in {name}; the same command goes on with it")
            if status == 2 and not has_begun:
                sys.exit(2)
            if status < 0:  # it could not say so itself
                print(f"{name}: killed by {signal.Signals(-status).name}", file=sys.stderr)
            if status:
                failed.append(name)
            has_begun = True
    return failed


def read_result(config: TrainConfig, failed: Collection[str]) -> Result:
    """What the table says of a run, from its directory."""
    try:
        state = run_directory.read_state(config.run_dir)
    except RunError:  # damaged: trainer.main has said so
        state = State()
    status = "unfinished"
    if config.experiment.name in failed:
        status = "failed"
    elif state.is_finished(config.epochs, config.early_stopping):
        status = "finished"
    speed = sweep_table.training_speed(config.run_dir)
    return Result(config.experiment, status, config.epochs, state, speed)


def _is_finished(config: TrainConfig, manifest: Manifest) -> bool:
    """Whether nothing is left to train: what trainer.main would find, without TensorFlow.

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


def _read_manifest(dataset: str) -> Manifest:
    if not is_remote(dataset):
        return read_manifest(dataset)
    with quiet_start():
        from trainer import storage
    return read_manifest(dataset, storage.read_file)


def _train(config: TrainConfig, signals: Sequence[int]) -> int:
    """One run, in a process with memory and seeds of its own; returns its exit status.

    Signals that come in are passed on. The process is in a session of its own, so that Ctrl-C
    reaches it only this way: trainer.main takes a second one for an order to end at once.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", trainer_main.__name__, *_flags_of(config)], start_new_session=True
    )
    passed_on = 0
    while True:
        try:
            return process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            while passed_on < len(signals):
                process.send_signal(signals[passed_on])
                passed_on += 1


def _flags_of(config: TrainConfig) -> list[str]:
    """A run's flags: those of the sweep that were given, as they were given, and its own."""
    given = [flags.FLAGS[name] for name in flags.FLAGS]
    return [
        f"--dataset={config.dataset}",
        f"--run_dir={config.run_dir}",
        f"--experiment={config.experiment.name}",
        *(flag.serialize() for flag in given if flag.present and flag.name not in OWN_FLAGS),
    ]


@contextlib.contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Inside, the signals that ask to stop end up in the list; ignored ones stay ignored."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
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
    command.run(main)
