"""A training run from data set to evaluation, resumable after any step.

Top to bottom: the run as a whole, its start from the run directory, the model, and the loop with
its checkpoints and validations.
"""

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
from trainer.config import TrainConfig, describe_run
from trainer.data.input_pipeline import (
    Batch,
    evaluation_batches,
    evaluation_order,
    training_batches,
)
from trainer.data.verified_data import TRAINING_SPLITS, Seen, VerifiedData
from trainer.hardware import devices
from trainer.hardware.hosts import ONE_HOST, Hosts, HostSync, lost_hosts
from trainer.hardware.signals import StopRequest, stop_request
from trainer.model import build_model, freeze
from trainer.runs import predictions, run_directory
from trainer.runs.state import State, Totals, Unfinished
from trainer.training import checkpoints
from trainer.training.evaluation import evaluate
from trainer.training.initial_weights import InitialWeights, find_weights
from trainer.training.log import Log, Meter, profiled
from trainer.training.memory import out_of_memory
from trainer.training.optimizer import LossScale, MovingAverage, make_optimizer, make_schedule
from trainer.training.session import Session, changes
from trainer.training.steps import (
    EvaluationStep,
    TrainingStep,
    TrainState,
    make_evaluation_step,
    make_training_step,
)

LOG_SECONDS = 10.0  # between two lines on the screen
POLL_SECONDS = 0.2  # between two looks for a signal while nothing is trained


def train(
    config: TrainConfig, replica_devices: Sequence[str] = (), hosts: Hosts = ONE_HOST
) -> State:
    """Train a run, or resume it from the newest checkpoint of its directory.

    Args:
      config: of the run.
      replica_devices: to train on; by default all GPUs of each host, or the CPU.
      hosts: that train together; each calls this, and gets the same result.

    Raises:
      UserError: the configuration, the data set or the run directory cannot be used.
      RunError: a loss is infinite or NaN, a shard or checkpoint is damaged, a shard or another host
        is lost, or memory runs out.
      Stopped: SIGTERM or Ctrl-C came, to any host, and a checkpoint was saved.
    """
    if config.deterministic:  # slower on GPUs; an operation without such a form raises an error
        tf.config.experimental.enable_op_determinism()
    with lost_hosts(hosts), contextlib.ExitStack() as stack:
        # ---- Data: checked before anything is written ----
        data = VerifiedData(config.dataset, TRAINING_SPLITS, hosts)
        data.check_trainable(config.batch_size)
        replica_devices = replica_devices or devices.training_devices()
        init_from, weights = find_weights(config, data.manifest.labels, hosts)

        # ---- Run directory ----
        if hosts.is_first:
            stack.enter_context(run_directory.locked(config.run_dir))
        start = open_run(config, data, init_from)
        state = start.state
        if start.is_verified and state.is_finished(config.epochs, config.early_stopping):
            print(f"{config.run_dir}: finished before, after epoch {state.epoch}")
            return state
        session = Session.choose(config, start.before, replica_devices, hosts)

        # ---- Model ----
        strategy = hosts.strategy or devices.make_strategy(replica_devices)
        train_state = make_train_state(
            config, session.precision, data.manifest.labels, strategy, weights
        )
        if state.newest and hosts.is_first:
            checkpoints.restore_train_state(config.run_dir, state.newest.name, train_state)
        if state.newest or init_from:
            hosts.copy_variables(train_state.variables)

        # ---- Steps ----
        schedule = make_schedule(config, data.split("train").records)
        training_step = make_training_step(strategy, train_state, config, schedule, session.xla)
        evaluation_step = make_evaluation_step(strategy, train_state.model)

        # ---- Loop ----
        stop = stack.enter_context(stop_request())
        after_step: Callable[[], None] | None = None
        description = session.describe(config)
        if hosts.is_first:
            stack.enter_context(run_directory.session(config.run_dir, description, state))
            if config.profile:
                directory = os.path.join(config.run_dir, run_directory.TENSORBOARD)
                after_step = stack.enter_context(profiled(directory))
        log = Log(config, data.manifest, is_silent=not hosts.is_first)
        source = weights.tell(data.manifest.labels) if weights else ""
        log.start(session, changes(start.before, description), state, source)
        run = Run(
            *(config, data, train_state, training_step, evaluation_step, log, stop),
            after_step=after_step,
            is_verified=start.is_verified,
        )
        data.start(start.seen)
        replicas = len(replica_devices) * hosts.count
        memory = out_of_memory(config.batch_size, devices=replicas, run_dir=config.run_dir)
        try:
            with memory, data.reading(), lost_hosts(hosts):
                return run.train(state)
        finally:
            if data.is_damaged and hosts.is_first:
                run_directory.discard_unverified(config.run_dir)


# ---- Run directory ----


class Start(NamedTuple):
    """Content of the run directory, which the first host has."""

    state: State
    is_verified: bool  # whether all shards were compared with the manifest before it was saved
    seen: Seen  # the shards that were compared
    before: dict[str, Any] | None  # the last session in config.json


def open_run(config: TrainConfig, data: VerifiedData, init_from: dict[str, Any] | None) -> Start:
    """Begin the run, or read how far it is.

    `init_from`: see `describe_run`.

    Raises:
      UserError: the directory belongs to another run, or this host has other settings than the
        first one.
    """
    hosts = data.hosts
    description = describe_run(config, data.manifest, init_from)
    _compare_hosts(config, description, hosts)
    times = _merge(hosts.gather(data.times))
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


def _compare_hosts(config: TrainConfig, description: dict[str, Any], hosts: Hosts) -> None:
    computing = ("precision", "xla", "deterministic")
    settings = description | {name: getattr(config, name) for name in computing}
    first, here = hosts.from_first(settings), json.loads(json.dumps(settings))
    names = (*run_directory.identity(description), *computing)
    if different := run_directory.differences(first, here, names):
        raise UserError(
            f"host {hosts.index + 1} has other settings than host 1: "
            f"{', '.join(map(str, different))}"
        )


def _merge(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


# ---- Model ----


def make_train_state(
    config: TrainConfig,
    precision: str,
    labels: Sequence[str],
    strategy: tf.distribute.Strategy,
    weights: InitialWeights | None = None,
) -> TrainState:
    """Make the model, with weights drawn from the seed or copied, its optimizer and average.

    Sets Keras' global policy to the precision.
    """
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_dtype_policy(precision)
    with strategy.scope():
        model = build_model(config.experiment, len(labels))
        if weights:
            weights.copy_to(model, labels)
        if config.freeze:
            freeze(model, config.freeze)
        return TrainState(
            model,
            make_optimizer(config, model),
            LossScale() if precision == "mixed_float16" else None,
            MovingAverage(model, config.ema_decay) if config.ema_decay else None,
        )


@dataclasses.dataclass
class Run:
    """A run in progress."""

    config: TrainConfig
    data: VerifiedData
    train_state: TrainState
    training_step: TrainingStep
    evaluation_step: EvaluationStep
    log: Log
    stop: StopRequest
    after_step: Callable[[], None] | None  # called after every training step
    is_verified: bool  # whether all shards were compared when the state was committed last
    is_seen: bool = False  # whether the run directory lists the shards that were compared

    def __post_init__(self) -> None:
        self.hosts = self.data.hosts
        self.host_sync = HostSync(self.hosts)

    # ---- Loop ----

    def train(self, state: State) -> State:
        """Train the epochs after `state`, each with its checkpoint and validation."""
        while not state.is_finished(self.config.epochs, self.config.early_stopping):
            unfinished = state.unfinished or Unfinished("", state.step, Totals())
            meter = Meter(unfinished.step, unfinished.totals)
            self.train_epoch(state, meter)
            state = self.save(state, meter)
            state = self.validate(state, meter)
        self.wait_until_verified(state)
        return state

    def train_epoch(self, state: State, meter: Meter) -> None:
        """Train the rest of the epoch after `state`, with checkpoints at intervals."""
        config, epoch = self.config, state.epoch + 1
        steps = config.steps_per_epoch(self.data.split("train").records)
        done = meter.step - state.step
        if done == steps:
            return
        batches = training_batches(
            *(self.data, config.batch_size),
            seed=config.seed,
            epoch=epoch,
            skip=done,
            hosts=self.hosts,
        )
        saved_step, saved_at = meter.step, time.monotonic()
        for batch, wait_seconds in _timed(batches):
            step = tf.constant(meter.step + 1, tf.int64)
            meter.add(self.training_step(batch, step), wait_seconds)
            if self.after_step:
                self.after_step()
            if meter.interval_seconds >= LOG_SECONDS:
                self.data.raise_if_damaged(wait=False)
                self.log.interval(epoch, meter.step, meter.end_interval(), meter.learning_rate)
            saved_seconds = time.monotonic() - saved_at
            is_due = config.checkpoint_every.has_passed(meter.step - saved_step, saved_seconds)
            stops, saves = self.host_sync.sync(bool(self.stop), is_due)
            if stops:
                self.save(state, meter)
                self._raise_stopped(meter.step)
            if saves:
                if meter.step < state.step + steps:  # the epoch's end has one of its own
                    self.save(state, meter)
                saved_step, saved_at = meter.step, time.monotonic()
        self.log.interval(epoch, meter.step, meter.end_interval(), meter.learning_rate)

    # ---- Checkpoint ----

    def save(self, state: State, meter: Meter) -> State:
        """Save a checkpoint within or at the end of the epoch after `state`; return the new state.

        Raises:
          RunError: a loss or a weight is not finite.
        """
        meter.collect()
        start = time.perf_counter()  # what the device still had to do is training
        name = f"step-{meter.step:08d}"
        if name not in state.names():
            if self.hosts.is_first:
                checkpoints.save(self.config.run_dir, name, self.train_state)
            state = dataclasses.replace(state, unfinished=Unfinished(name, meter.step, meter.epoch))
            self.commit(state)
        meter.exclude(time.perf_counter() - start)
        return state

    def commit(self, state: State) -> None:
        """Make `state`, whose checkpoint is complete, the one to resume from.

        Waits for no shard: until all are compared with the manifest, the state is unverified.
        """
        self.data.raise_if_damaged(wait=False)
        (behind,) = self.hosts.sum([int(not self.data.is_verified)])
        self.is_verified = not behind
        times = None if self.is_verified else _merge(self.hosts.gather(self.data.times))
        if self.hosts.is_first:
            run_directory.commit(self.config.run_dir, state, times)
        if not self.is_seen:
            seen = _merge(self.hosts.gather(dict(self.data.seen)))
            self.is_seen = self.is_verified
            if self.hosts.is_first:
                run_directory.write_seen(self.config.run_dir, seen)

    def wait_until_verified(self, state: State) -> None:
        """Wait until all shards are compared, unless a signal comes, and commit `state`."""
        while not self.is_verified:
            self.data.raise_if_damaged(wait=False)
            behind, stops = self.hosts.sum([int(not self.data.is_verified), int(bool(self.stop))])
            if not behind:
                self.commit(state)
            elif stops:
                self._raise_stopped(state.step)
            else:
                time.sleep(POLL_SECONDS)

    # ---- Validation ----

    def validate(self, state: State, meter: Meter) -> State:
        """End the epoch, whose steps are done and saved, with its validation."""
        assert state.unfinished
        name, batch_size = state.unfinished.name, self.config.batch_size
        batches = evaluation_batches(self.data, "validation", batch_size, self.hosts)
        average = self.train_state.average
        with average.applied() if average else contextlib.nullcontext():
            evaluation, predicted = evaluate(
                self.evaluation_step,
                self._until_stopped(batches, meter.step),
                self.data.manifest.labels,
            )
        if self.hosts.is_first:
            directory = os.path.join(self.config.run_dir, run_directory.CHECKPOINTS)
            predicted = predicted.at(evaluation_order(self.data.split("validation"), batch_size))
            predictions.save(predictions.path_of(directory, name), predicted)
        keep = self.config.keep_checkpoints
        state = state.advance(name, meter.step, meter.epoch, evaluation, keep)
        # A kill between the two logs the lines again: the next start drops those beyond its state.
        self.log.epoch(state, meter.epoch)
        self.commit(state)
        return state

    def _until_stopped(self, batches: Iterable[Batch], step: int) -> Iterator[Batch]:
        for batch in batches:
            stops, _ = self.host_sync.sync(bool(self.stop))
            if stops:
                self._raise_stopped(step)
            yield batch

    def _raise_stopped(self, step: int) -> NoReturn:
        by = f"by {self.stop.signal.name}" if self.stop.signal else "with another host"
        verified = "" if self.is_verified else " before all data was compared with the manifest"
        raise Stopped(
            f"stopped {by} after step {step:,}, saved in {self.config.run_dir}{verified}; rerun "
            "the command to resume"
        )


def _timed(batches: Iterable[Batch]) -> Iterator[tuple[Batch, float]]:
    """Yield each batch with the seconds of waiting for it."""
    iterator = iter(batches)
    while True:
        start = time.perf_counter()
        batch = next(iterator, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - start
