"""A training run from data set to evaluation, resumable after every epoch."""

import dataclasses
import time
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipeline.dataset import Manifest, read_manifest
from pipeline.errors import RunError
from trainer import checkpoints, devices, run_directory, storage
from trainer.config import TrainConfig, describe_run
from trainer.dataset_checks import check_dataset, damaged_shards
from trainer.evaluation import evaluate
from trainer.input_pipeline import Batch, evaluation_batches, training_batches
from trainer.loss_scale import LossScale
from trainer.meter import Meter, Totals
from trainer.model import build_model
from trainer.report import Report
from trainer.run_directory import HISTORY_KEYS, Checkpoint, State
from trainer.steps import TrainingStep, make_evaluation_step, make_training_step

REPORT_SECONDS = 10.0  # between two lines on the screen
# What TensorFlow's file systems raise, after their own retries, for a file that was there before.
UNREADABLE = (
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnauthenticatedError,
    tf.errors.UnavailableError,
)


@dataclasses.dataclass(frozen=True)
class Trainee:
    """What training changes."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss_scale: LossScale | None  # with float16


def train(config: TrainConfig, replica_devices: Sequence[str] = ()) -> State:
    """Trains, or goes on after the last finished epoch of the run directory.

    Args:
      config: the run.
      replica_devices: to train on; by default all GPUs, or the CPU.

    Raises:
      UserError: the configuration, the data set or the run directory cannot be used.
      RunError: a loss is infinite or NaN, a shard or checkpoint is damaged, or a shard is gone.
    """
    manifest = read_manifest(config.dataset, storage.read_file)
    check_dataset(config.dataset, manifest, config.batch_size)
    precision = devices.choose_precision() if config.precision == "auto" else config.precision
    state = run_directory.open_run(config.run_dir, describe_run(config, precision, manifest))
    if state.epoch >= config.epochs:
        print(f"{config.run_dir}: finished before, after epoch {state.epoch}")
        return state

    replica_devices = replica_devices or devices.training_devices()
    strategy = devices.make_strategy(replica_devices)
    trainee = make_trainee(config, precision, len(manifest.labels), strategy)
    if state.last:
        checkpoints.restore(config.run_dir, state.last.name, **vars(trainee))
    report = Report(config, manifest)
    report.start(trainee.model.count_params(), precision, replica_devices, state)
    try:
        return train_epochs(config, manifest, strategy, trainee, state, report)
    except tf.errors.DataLossError as error:
        paths = damaged_shards(config.dataset, manifest) or [config.dataset]
        raise RunError(f"{', '.join(paths)}: damaged ({error.message})") from None
    except UNREADABLE as error:
        raise RunError(f"{config.dataset}: cannot be read any more ({error.message})") from None


def train_epochs(
    config: TrainConfig,
    manifest: Manifest,
    strategy: tf.distribute.Strategy,
    trainee: Trainee,
    state: State,
    report: Report,
) -> State:
    """The epochs after `state`, each with its validation and checkpoint."""
    replicas = strategy.num_replicas_in_sync
    training_step = make_training_step(strategy, **vars(trainee))
    evaluation_step = make_evaluation_step(strategy, trainee.model)
    for epoch in range(state.epoch + 1, config.epochs + 1):
        batches = training_batches(
            config.dataset,
            manifest,
            config.batch_size,
            seed=config.seed,
            epoch=epoch,
            replicas=replicas,
        )
        validation = evaluation_batches(
            config.dataset, manifest, "validation", config.batch_size, replicas=replicas
        )
        meter = Meter(state.step)
        trained = train_epoch(training_step, batches, meter, epoch, report)
        evaluation = evaluate(evaluation_step, validation, manifest.labels)
        state = advance(state, meter.step, trained, evaluation)
        # In this order a kill anywhere loses at most the epoch: lines beyond the committed step
        # are dropped by the next start, and a checkpoint that no state names does not count.
        report.epoch(state, trained)
        checkpoints.save(config.run_dir, checkpoint_name(meter.step), **vars(trainee))
        run_directory.commit(config.run_dir, state)
    return state


def make_trainee(
    config: TrainConfig, precision: str, num_classes: int, strategy: tf.distribute.Strategy
) -> Trainee:
    """Fresh weights, drawn from the seed; the precision becomes Keras' global policy."""
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_dtype_policy(precision)
    with strategy.scope():
        model = build_model(config.experiment, num_classes)
        optimizer = keras.optimizers.Adam(config.learning_rate)
        optimizer.build(model.trainable_variables)
        loss_scale = LossScale() if precision == "mixed_float16" else None
    return Trainee(model, optimizer, loss_scale)


def train_epoch(
    training_step: TrainingStep, batches: Iterable[Batch], meter: Meter, epoch: int, report: Report
) -> Totals:
    """One pass over the training split; reports every `REPORT_SECONDS` and at the end."""
    epoch_totals = Totals()
    iterator = iter(batches)
    while True:
        start = time.perf_counter()
        batch = next(iterator, None)
        wait_seconds = time.perf_counter() - start
        if batch is not None:
            meter.add(training_step(batch), wait_seconds)
        if batch is None or meter.seconds >= REPORT_SECONDS:
            totals = meter.read()
            report.interval(epoch, meter.step, totals)
            epoch_totals += totals
        if batch is None:
            return epoch_totals


def advance(state: State, step: int, trained: Totals, evaluation: dict[str, Any]) -> State:
    """The state after one more epoch, whose last step is `step`."""
    values = (trained.accuracy, trained.loss, evaluation["top1"], evaluation["loss"])
    history = {
        key: [*state.history[key], value] for key, value in zip(HISTORY_KEYS, values, strict=True)
    }
    last = Checkpoint(checkpoint_name(step), state.epoch + 1, evaluation)
    is_better = state.best is None or evaluation["top1"] > state.best.evaluation["top1"]
    return State(state.epoch + 1, step, history, last, last if is_better else state.best)


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"
