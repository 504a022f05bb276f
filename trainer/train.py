"""A training run from data set to evaluation, resumable after any step."""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import keras
import tensorflow as tf

from pipeline.dataset import Manifest, read_manifest
from pipeline.errors import RunError, Stopped, UserError
from trainer import checkpoints, devices, predictions, run_directory, storage
from trainer.config import TrainConfig, describe_run
from trainer.dataset_checks import ShardCheck, check_dataset
from trainer.evaluation import evaluate
from trainer.hosts import ONE_HOST, Agreement, Hosts, lost_hosts
from trainer.input_pipeline import (
    Batch,
    evaluation_batches,
    evaluation_order,
    training_batches,
)
from trainer.loss_scale import LossScale
from trainer.meter import Meter
from trainer.model import build_model
from trainer.optimizer import MovingAverage, make_optimizer, make_schedule
from trainer.profile import profiled
from trainer.report import NoReport, Report
from trainer.state import State, Totals, Unfinished
from trainer.steps import (
    EvaluationStep,
    Recipe,
    Trainee,
    TrainingStep,
    make_evaluation_step,
    make_training_step,
)
from trainer.stop import StopRequest, stop_request

REPORT_SECONDS = 10.0  # between two lines on the screen
# What TensorFlow's file systems raise, after their own retries, for a file that was there before.
UNREADABLE = (
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnauthenticatedError,
    tf.errors.UnavailableError,
)


@dataclasses.dataclass(frozen=True)
class Run:
    """What stays the same while a run goes on."""

    config: TrainConfig
    manifest: Manifest
    hosts: Hosts
    agreement: Agreement
    trainee: Trainee
    training_step: TrainingStep
    evaluation_step: EvaluationStep
    shard_check: ShardCheck
    report: Report
    after_step: Callable[[], None]  # called after every training step
    stop: StopRequest

    def commit(self, state: State) -> None:
        """Makes `state`, whose checkpoint is complete, what the next start goes on from."""
        self.shard_check.raise_if_damaged(wait=True)
        self.hosts.wait_for_all()  # whose shards are good, too
        if self.hosts.is_first:
            run_directory.commit(self.config.run_dir, state)


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
      RunError: a loss is infinite or NaN, a shard or checkpoint is damaged, a shard is gone, or
        another host is.
      Stopped: SIGTERM or Ctrl-C came, to any host, and a checkpoint was saved.
    """
    if config.deterministic:
        devices.make_deterministic()
    with lost_hosts(hosts):
        return _train(config, replica_devices, hosts)


def _train(config: TrainConfig, replica_devices: Sequence[str], hosts: Hosts) -> State:
    manifest = read_manifest(config.dataset, storage.read_file)
    check_dataset(config.dataset, manifest, config.batch_size, hosts)
    replica_devices = replica_devices or devices.training_devices()
    precision = devices.choose_precision() if config.precision == "auto" else config.precision
    of_first = hosts.from_first(precision)  # what "auto" comes to may differ between machines
    precision = of_first if config.precision == "auto" else precision
    xla = devices.choose_xla(config.xla, replica_devices, hosts, config.deterministic)
    description = describe_run(config, precision, xla, manifest, hosts.count)
    with run_directory.locked(config.run_dir) if hosts.is_first else contextlib.nullcontext():
        state = open_run(config, description, hosts)
        if state.is_finished(config.epochs, config.early_stopping):
            print(f"{config.run_dir}: finished before, after epoch {state.epoch}")
            return state
        strategy = hosts.strategy or devices.make_strategy(replica_devices)
        trainee = make_trainee(config, precision, manifest, strategy)
        if state.newest:
            if hosts.is_first:
                checkpoints.restore_trainee(config.run_dir, state.newest.name, trainee)
            hosts.copy_variables(trainee.variables)
        recipe = Recipe(
            config.label_smoothing,
            config.clip_norm,
            config.augment,
            config.seed,
            xla=xla,
            schedule=make_schedule(config, manifest.splits["train"].records),
        )
        directory = os.path.join(config.run_dir, run_directory.TENSORBOARD)
        is_profiled = config.profile and hosts.is_first
        profile = profiled(directory) if is_profiled else contextlib.nullcontext(lambda: None)
        with stop_request() as stop, profile as after_step:
            run = Run(
                config,
                manifest,
                hosts,
                Agreement(hosts),
                trainee,
                make_training_step(strategy, trainee, recipe),
                make_evaluation_step(strategy, trainee.model),
                ShardCheck(config.dataset, manifest, hosts),
                Report(config, manifest) if hosts.is_first else NoReport(),
                after_step,
                stop,
            )
            run.report.start(trainee.model.count_params(), precision, replica_devices, hosts, state)
            with _reading_errors(run), lost_hosts(hosts):
                return train_epochs(run, state)


def open_run(config: TrainConfig, description: dict[str, Any], hosts: Hosts) -> State:
    """Begins or continues the run, whose directory the first host has.

    Raises:
      UserError: the directory belongs to another run, or this host was told another run than the
        first one.
    """
    first = hosts.from_first(description)
    if different := run_directory.differences(first, json.loads(json.dumps(description))):
        raise UserError(f"host {hosts.index + 1} was told another run than host 1: {different}")
    state = run_directory.open_run(config.run_dir, description) if hosts.is_first else State()
    return State.from_json(hosts.from_first(dataclasses.asdict(state)))


def make_trainee(
    config: TrainConfig, precision: str, manifest: Manifest, strategy: tf.distribute.Strategy
) -> Trainee:
    """Fresh weights, drawn from the seed; the precision becomes Keras' global policy."""
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_dtype_policy(precision)
    with strategy.scope():
        model = build_model(config.experiment, len(manifest.labels))
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
    return state


def train_epoch(run: Run, state: State, meter: Meter) -> None:
    """What is left of the training steps of the epoch after `state`, with their checkpoints."""
    config, epoch = run.config, state.epoch + 1
    steps = config.steps_per_epoch(run.manifest.splits["train"].records)
    done = meter.step - state.step
    if done == steps:
        return
    batches = training_batches(
        config.dataset,
        run.manifest,
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
            run.shard_check.raise_if_damaged(wait=False)
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
    split, batch_size = run.manifest.splits["validation"], run.config.batch_size
    batches = evaluation_batches(
        run.config.dataset, run.manifest, "validation", batch_size, run.hosts
    )
    average = run.trainee.average
    with average.applied() if average else contextlib.nullcontext():
        evaluation, answers = evaluate(
            run.evaluation_step, _until_stopped(run, batches, meter.step), run.manifest.labels
        )
    if run.hosts.is_first:
        directory = os.path.join(run.config.run_dir, run_directory.CHECKPOINTS)
        answers = answers.at(evaluation_order(split, batch_size, run.hosts.count))
        predictions.save(predictions.path_of(directory, name), answers)
    state = state.advance(name, meter.step, meter.epoch, evaluation)
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
    raise Stopped(
        f"stopped {by} after step {step:,}, which is saved in {run.config.run_dir}; the same "
        f"command goes on from there"
    )


@contextlib.contextmanager
def _reading_errors(run: Run) -> Iterator[None]:
    """One line for a shard that is damaged or goes away while it is read."""
    try:
        yield
    except tf.errors.DataLossError as error:
        run.shard_check.raise_if_damaged(wait=True)  # which names it
        raise RunError(f"{run.config.dataset}: damaged ({error.message})") from None
    except UNREADABLE as error:
        raise RunError(f"{run.config.dataset}: cannot be read any more ({error.message})") from None
    except tf.errors.InvalidArgumentError:  # of a record that is no example of this data set
        run.shard_check.raise_if_damaged(wait=True)
        raise
