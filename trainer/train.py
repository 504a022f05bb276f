"""A training run from data set to evaluation, resumable after any step."""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import keras
import tensorflow as tf

from pipeline.cli import Stopped, UserError
from pipeline.dataset.manifests import Manifest
from trainer.config import TrainConfig, describe_run
from trainer.data.input_pipeline import (
    Batch,
    evaluation_batches,
    evaluation_order,
    training_batches,
)
from trainer.data.verified_data import TRAINING_SPLITS, Seen, VerifiedData, check_trainable
from trainer.hardware import devices
from trainer.hardware.hosts import ONE_HOST, Agreement, Hosts, lost_hosts
from trainer.hardware.signals import StopRequest, stop_request
from trainer.model import build_model, freeze
from trainer.runs import predictions, run_directory
from trainer.runs.state import State, Totals, Unfinished
from trainer.training import checkpoints, initial_weights, sessions
from trainer.training.evaluation import evaluate
from trainer.training.initial_weights import InitialWeights
from trainer.training.log import NoReport, Report
from trainer.training.loss_scale import LossScale
from trainer.training.memory import out_of_memory
from trainer.training.meter import Meter
from trainer.training.optimizer import MovingAverage, make_optimizer, make_schedule
from trainer.training.profile import profiled
from trainer.training.steps import (
    EvaluationStep,
    Recipe,
    Trainee,
    TrainingStep,
    make_evaluation_step,
    make_training_step,
)

REPORT_SECONDS = 10.0  # between two lines on the screen
POLL_SECONDS = 0.2  # between two looks for a signal while nothing is trained


@dataclasses.dataclass
class Run:
    """A run that goes on."""

    config: TrainConfig
    data: VerifiedData
    hosts: Hosts
    agreement: Agreement
    trainee: Trainee
    training_step: TrainingStep
    evaluation_step: EvaluationStep
    report: Report
    after_step: Callable[[], None]  # called after every training step
    stop: StopRequest
    is_verified: bool  # whether all shards were compared when the state was committed last
    is_seen: bool = False  # whether the run directory says which shards were compared

    def commit(self, state: State) -> None:
        """Makes `state`, whose checkpoint is complete, what the next start goes on from.

        It waits for no shard: until all are compared with the manifest, the state is unverified.
        """
        self.data.raise_if_damaged(wait=False)
        (behind,) = self.hosts.sum([int(not self.data.is_verified)])
        self.is_verified = not behind
        times = None if self.is_verified else merge(self.hosts.gather(self.data.times))
        if self.hosts.is_first:
            run_directory.commit(self.config.run_dir, state, times)
        if not self.is_seen:
            seen = merge(self.hosts.gather(dict(self.data.seen)))
            self.is_seen = self.is_verified
            if self.hosts.is_first:
                run_directory.write_seen(self.config.run_dir, seen)

    def finish(self, state: State) -> None:
        """Waits until all shards are compared, unless a signal comes, and commits `state`."""
        while not self.is_verified:
            self.data.raise_if_damaged(wait=False)
            behind, stops = self.hosts.sum([int(not self.data.is_verified), int(bool(self.stop))])
            if not behind:
                self.commit(state)
            elif stops:
                _raise_stopped(self, state.step)
            else:
                time.sleep(POLL_SECONDS)


def train(
    config: TrainConfig, replica_devices: Sequence[str] = (), hosts: Hosts = ONE_HOST
) -> State:
    """Trains, or goes on from the newest checkpoint of the run directory.

    Args:
      config: the run.
      replica_devices: to train on; by default all GPUs of each host, or the CPU.
      hosts: that train together; each calls this, and gets the same result.

    Raises:
      UserError: the configuration, the data set or the run directory cannot be used.
      RunError: a loss is infinite or NaN, a shard or checkpoint is damaged, a shard is gone,
        another host is, or memory runs out.
      Stopped: SIGTERM or Ctrl-C came, to any host, and a checkpoint was saved.
    """
    if config.deterministic:
        devices.make_deterministic()
    with lost_hosts(hosts):
        return _train(config, replica_devices, hosts)


def _train(config: TrainConfig, replica_devices: Sequence[str], hosts: Hosts) -> State:
    data = VerifiedData(config.dataset, TRAINING_SPLITS, hosts)
    check_trainable(data, config.batch_size, hosts)
    replica_devices = replica_devices or devices.training_devices()
    run_dir = config.run_dir
    init_from, weights = initial_weights.find_weights(config, data.manifest.labels, hosts)
    with run_directory.locked(run_dir) if hosts.is_first else contextlib.nullcontext():
        start = open_run(config, data, init_from, hosts)
        state = start.state
        if start.is_verified and state.is_finished(config.epochs, config.early_stopping):
            print(f"{run_dir}: finished before, after epoch {state.epoch}")
            return state
        session = sessions.choose(config, start.before, replica_devices, hosts)
        strategy = hosts.strategy or devices.make_strategy(replica_devices)
        trainee = make_trainee(config, session.precision, data.manifest, strategy, weights)
        if state.newest and hosts.is_first:
            checkpoints.restore_trainee(run_dir, state.newest.name, trainee)
        if state.newest or init_from:
            hosts.copy_variables(trainee.variables)
        recipe = Recipe(
            config.label_smoothing,
            config.clip_norm,
            config.augment,
            config.seed,
            xla=session.xla,
            schedule=make_schedule(config, data.manifest.splits["train"].records),
        )
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(stop_request())
            report: Report = NoReport()
            after_step: Callable[[], None] = _nothing
            described = sessions.describe(config, session)
            if hosts.is_first:
                stack.enter_context(run_directory.session(run_dir, described, state))
                report = Report(config, data.manifest)
                if config.profile:
                    directory = os.path.join(run_dir, run_directory.TENSORBOARD)
                    after_step = stack.enter_context(profiled(directory))
            run = Run(
                config,
                data,
                hosts,
                Agreement(hosts),
                trainee,
                make_training_step(strategy, trainee, recipe),
                make_evaluation_step(strategy, trainee.model),
                report,
                after_step,
                stop,
                is_verified=start.is_verified,
            )
            parameters = trainee.model.count_params()
            changes = sessions.changes(start.before, described)
            report.start(parameters, session, changes, state, weights)
            data.start(start.seen)
            replicas = len(replica_devices) * hosts.count
            memory = out_of_memory(config.batch_size, devices=replicas, run_dir=run_dir)
            try:
                with memory, data.reading(), lost_hosts(hosts):
                    return train_epochs(run, state)
            finally:
                if data.is_damaged and hosts.is_first:
                    run_directory.discard_unverified(run_dir)


class Start(NamedTuple):
    """What the run directory of the first host says."""

    state: State
    is_verified: bool  # whether all shards were compared with the manifest before it was saved
    seen: Seen  # which were
    before: dict[str, Any] | None  # the last session, as config.json has it


def open_run(
    config: TrainConfig, data: VerifiedData, init_from: dict[str, Any] | None, hosts: Hosts
) -> Start:
    """Begins or continues the run, whose directory the first host has.

    `init_from`: see `describe_run`.

    Raises:
      UserError: the directory belongs to another run, or this host was told another run than the
        first one.
    """
    description = describe_run(config, data.manifest, init_from)
    settings = ("precision", "xla", "deterministic")
    told = description | {name: getattr(config, name) for name in settings}
    first = hosts.from_first(told)
    own = json.loads(json.dumps(told))
    names = [*run_directory.identity(description), *settings]
    if different := run_directory.differences(first, own, names):
        raise UserError(
            f"host {hosts.index + 1} was told another run than host 1: "
            f"{', '.join(map(str, different))}"
        )
    times = merge(hosts.gather(data.times))
    start = {}
    if hosts.is_first:
        run_dir = config.run_dir
        state = run_directory.open_run(run_dir, description)
        unverified = run_directory.read_unverified(run_dir)
        if unverified and unverified.times != times:
            step = unverified.state.newest_step
            print(f"the data set has changed since step {step:,}, which was saved unverified")
            run_directory.discard_unverified(run_dir)
            unverified = None
        before = run_directory.read_config(run_dir).get("sessions")
        start = {
            "state": dataclasses.asdict(unverified.state if unverified else state),
            "is_verified": unverified is None,
            "seen": run_directory.read_seen(run_dir),
            "before": before[-1] if before else None,
        }
    start = hosts.from_first(start)
    return Start(**start | {"state": State.from_json(start["state"])})


def merge(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Returns the dicts of all hosts as one."""
    return {name: value for part in parts for name, value in part.items()}


def make_trainee(
    config: TrainConfig,
    precision: str,
    manifest: Manifest,
    strategy: tf.distribute.Strategy,
    weights: InitialWeights | None = None,
) -> Trainee:
    """Fresh weights, drawn from the seed, or what there is of others; the precision becomes Keras'
    global policy."""
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_dtype_policy(precision)
    with strategy.scope():
        model = build_model(config.experiment, len(manifest.labels))
        if weights:
            weights.copy_to(model, manifest.labels)
        if config.freeze:
            freeze(model, config.freeze)
        return Trainee(
            model,
            make_optimizer(config, model),
            LossScale() if precision == "mixed_float16" else None,
            MovingAverage(model, config.ema_decay) if config.ema_decay else None,
        )


def train_epochs(run: Run, state: State) -> State:
    """The epochs after `state`, each with its checkpoint and validation."""
    config = run.config
    while not state.is_finished(config.epochs, config.early_stopping):
        unfinished = state.unfinished or Unfinished("", state.step, Totals())
        meter = Meter(unfinished.step, unfinished.totals)
        train_epoch(run, state, meter)
        state = checkpoint(run, state, meter)
        state = validate(run, state, meter)
    run.finish(state)
    return state


def train_epoch(run: Run, state: State, meter: Meter) -> None:
    """What is left of the training steps of the epoch after `state`, with their checkpoints."""
    config, epoch = run.config, state.epoch + 1
    steps = config.steps_per_epoch(run.data.manifest.splits["train"].records)
    done = meter.step - state.step
    if done == steps:
        return
    batches = training_batches(
        config.dataset,
        run.data.manifest,
        config.batch_size,
        seed=config.seed,
        epoch=epoch,
        skip=done,
        hosts=run.hosts,
    )
    saved_step, saved_at = meter.step, time.monotonic()
    for batch, wait_seconds in _timed(batches):
        step = tf.constant(meter.step + 1, tf.int64)
        meter.add(run.training_step(batch, step), wait_seconds)
        run.after_step()
        if meter.interval_seconds >= REPORT_SECONDS:
            run.data.raise_if_damaged(wait=False)
            run.report.interval(epoch, meter.step, meter.end_interval(), meter.learning_rate)
        saved_seconds = time.monotonic() - saved_at
        is_due = config.checkpoint_every.has_passed(meter.step - saved_step, saved_seconds)
        stops, saves = run.agreement.reach(bool(run.stop), is_due)
        if stops:
            checkpoint(run, state, meter)
            _raise_stopped(run, meter.step)
        if saves:
            if meter.step < state.step + steps:  # the epoch's end has one of its own
                checkpoint(run, state, meter)
            saved_step, saved_at = meter.step, time.monotonic()
    run.report.interval(epoch, meter.step, meter.end_interval(), meter.learning_rate)


def checkpoint(run: Run, state: State, meter: Meter) -> State:
    """Saves where the epoch after `state` stands; returns the state with it."""
    start = time.perf_counter()
    meter.collect()  # which stops the run if a loss is not finite
    name = f"step-{meter.step:08d}"
    if name not in state.names():
        if run.hosts.is_first:
            checkpoints.save(run.config.run_dir, name, run.trainee)
        state = dataclasses.replace(state, unfinished=Unfinished(name, meter.step, meter.epoch))
        run.commit(state)
    meter.exclude(time.perf_counter() - start)
    return state


def validate(run: Run, state: State, meter: Meter) -> State:
    """Ends the epoch, whose steps are done and saved, with its validation."""
    assert state.unfinished
    name = state.unfinished.name
    split, batch_size = run.data.manifest.splits["validation"], run.config.batch_size
    batches = evaluation_batches(
        run.config.dataset, run.data.manifest, "validation", batch_size, run.hosts
    )
    average = run.trainee.average
    with average.applied() if average else contextlib.nullcontext():
        evaluation, answers = evaluate(
            run.evaluation_step, _until_stopped(run, batches, meter.step), run.data.manifest.labels
        )
    if run.hosts.is_first:
        directory = os.path.join(run.config.run_dir, run_directory.CHECKPOINTS)
        answers = answers.at(evaluation_order(split, batch_size))
        predictions.save(predictions.path_of(directory, name), answers)
    keep = run.config.keep_checkpoints
    state = state.advance(name, meter.step, meter.epoch, evaluation, keep)
    # A kill between the two writes the lines again: the next start drops those that no state names.
    run.report.epoch(state, meter.epoch)
    run.commit(state)
    return state


def _timed(batches: Iterable[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds that it was waited for."""
    iterator = iter(batches)
    while True:
        start = time.perf_counter()
        batch = next(iterator, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - start


def _until_stopped(run: Run, batches: Iterable[Batch], step: int) -> Iterator[Batch]:
    for batch in batches:
        stops, _ = run.agreement.reach(bool(run.stop))
        if stops:
            _raise_stopped(run, step)
        yield batch


def _raise_stopped(run: Run, step: int) -> NoReturn:
    by = f"by {run.stop.signal.name}" if run.stop.signal else "with another host"
    verified = "" if run.is_verified else ", its data not all compared with the manifest yet"
    raise Stopped(
        f"stopped {by} after step {step:,}, which is saved in {run.config.run_dir}{verified}; the "
        "same command goes on from there"
    )


def _nothing() -> None:
    pass
