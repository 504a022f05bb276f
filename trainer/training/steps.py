"""One step of training and of evaluation, the same code for one replica and for several.

The loss of a replica is the sum over its rows divided by the size of the global batch, so sums over
replicas are means over the batch, also of the last partial one.

Graphs are made without AutoGraph, which would convert source for a second at the start of a run:
they have no Python control flow over tensors.

Loss scaling is ours: Keras' LossScaleOptimizer looks for overflows in the gradients of the first
replica, before they are summed, and misses those of the others.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.data.augmentation import augment, draw_transforms
from trainer.data.input_pipeline import BATCH_SPEC, Batch, unpack_bitmaps
from trainer.hardware.replicas import (
    BatchSlice,
    computing,
    gather_rows,
    replica_slice,
    whole_batch,
)
from trainer.training.optimizer import LossScale, MovingAverage, Schedule, clip

SUM = tf.distribute.ReduceOp.SUM


@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes; made in the scope of the strategy that trains it."""

    model: keras.Model  # returns logits
    optimizer: keras.optimizers.Optimizer  # built for the model's variables
    loss_scale: LossScale | None = None  # with float16
    average: MovingAverage | None = None  # with --ema_decay

    @property
    def variables(self) -> list[tf.Variable]:
        parts = (self.model, self.optimizer)
        return [
            *(variable.value for part in parts for variable in part.variables),
            *(self.loss_scale.variables if self.loss_scale else []),
            *(self.average.variables if self.average else []),
        ]


class StepResult(NamedTuple):
    """Scalars of one training step over the global batch."""

    loss: tf.Tensor  # float32, mean over the examples
    correct: tf.Tensor  # int32, examples whose class ranked first
    examples: tf.Tensor  # int32
    learning_rate: tf.Tensor  # float32, of this step
    # int32: 0 if the weights were updated; with float16, the number of steps in a row, up to this
    # one, that were skipped because their gradients overflowed
    skipped_in_a_row: tf.Tensor


class Outputs(NamedTuple):
    """A model's outputs for the global batch, host after host."""

    logits: tf.Tensor  # [B, classes] float32
    labels: tf.Tensor  # [B] int64


TrainingStep = Callable[[Batch, tf.Tensor], StepResult]  # the tensor: see make_training_step
EvaluationStep = Callable[[Batch], Outputs]
_Sums = tuple[tf.Tensor, tf.Tensor, tf.Tensor]  # of a replica: loss, correct, examples


def make_training_step(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    config: TrainConfig,
    schedule: Schedule | None = None,
    xla: bool = False,
) -> TrainingStep:
    """Make the step: forward, backward, update.

    The learning rate follows the number of the step, not the optimizer's iterations: those count
    applied updates, as Adam's bias correction needs it, and lag behind once a step was skipped.

    Args:
      strategy: of the replicas.
      state: to train.
      config: for label smoothing, clipping, augmentation and its seed.
      schedule: of the learning rate; None leaves the optimizer's as it is.
      xla: whether to compile forward and backward pass as one XLA program; for one replica.

    Returns:
      A function of a batch and of the number of the step, from 1 over all epochs, an int64 scalar.
    """
    model, optimizer, loss_scale = state.model, state.optimizer, state.loss_scale
    scale = loss_scale.scale if loss_scale else tf.constant(1.0)

    def differentiate(
        bitmaps: tf.Tensor, labels: tf.Tensor, local: BatchSlice
    ) -> tuple[_Sums, list[tf.Tensor], tf.Tensor]:
        """`bitmaps`: [rows, 85, 85, 1] in the model's dtype."""
        with tf.GradientTape() as tape, computing(local):
            logits = model(bitmaps, training=True)
            losses = cross_entropy(labels, logits, config.label_smoothing)  # [rows]
            counts = tf.range(tf.shape(labels)[0]) < local.rows  # [rows]
            loss = tf.reduce_sum(tf.where(counts, losses, 0))
            loss /= tf.cast(local.global_rows, tf.float32)
            scaled_loss = loss * scale
        gradients = tape.gradient(scaled_loss, model.trainable_variables)
        is_correct = (tf.argmax(logits, axis=1) == labels) & counts
        sums = (loss, _count(is_correct), local.rows)
        return sums, gradients, _count_nonfinite(gradients) if loss_scale else tf.constant(0)

    @tf.function(jit_compile=True, autograph=False)
    def differentiate_compiled(
        bitmaps: tf.Tensor, labels: tf.Tensor
    ) -> tuple[_Sums, list[tf.Tensor], tf.Tensor]:
        """For one replica, which has the whole batch: XLA needs to know sizes when it compiles."""
        return differentiate(bitmaps, labels, whole_batch(tf.shape(labels)[0]))

    def replica_step(batch: Batch, step: tf.Tensor) -> tuple[_Sums, list[tf.Tensor], tf.Tensor]:
        local, rows = replica_slice(batch.slice)
        bitmaps = unpack_bitmaps(batch.examples.images[rows], model.inputs[0].dtype)
        if config.augment:
            seed = tf.stack([tf.constant(config.seed, tf.int64), step])
            transforms = draw_transforms(local.global_rows, config.augment, seed)
            bitmaps = augment(bitmaps, local.of_global(transforms))
        labels = batch.examples.labels[rows]
        if xla:
            return differentiate_compiled(bitmaps, labels)
        return differentiate(bitmaps, labels, local)

    def update(gradients: list[tf.Tensor]) -> None:
        if loss_scale:
            gradients = [gradient / scale for gradient in gradients]
        if config.clip_norm:
            gradients = clip(gradients, config.clip_norm)
        optimizer.apply(gradients)  # which adds them up over the replicas

    @tf.function(
        input_signature=[BATCH_SPEC, tf.TensorSpec([], tf.int64)],
        jit_compile=False,
        autograph=False,
    )
    def training_step(batch: Batch, step: tf.Tensor) -> StepResult:
        if schedule:
            optimizer.learning_rate = schedule(step)
        sums, gradients, nonfinite = strategy.run(replica_step, args=(batch, step))
        skipped_in_a_row = tf.constant(0)
        if loss_scale is None:
            strategy.run(update, args=(gradients,))
        else:
            finite = strategy.reduce(SUM, nonfinite, axis=None) == 0
            tf.cond(finite, lambda: strategy.run(update, args=(gradients,)), lambda: None)
            loss_scale.update(finite)
            skipped_in_a_row = tf.identity(loss_scale.skipped_in_a_row)
        if state.average:
            state.average.update(step)
        loss, correct, examples = (strategy.reduce(SUM, value, axis=None) for value in sums)
        learning_rate = tf.identity(optimizer.learning_rate.value)
        return StepResult(loss, correct, examples, learning_rate, skipped_in_a_row)

    return training_step


def make_evaluation_step(strategy: tf.distribute.Strategy, model: keras.Model) -> EvaluationStep:
    """Make the step: forward, in the order of the rows."""

    def replica_step(batch: Batch) -> Outputs:
        local, rows = replica_slice(batch.slice)
        images = unpack_bitmaps(batch.examples.images[rows], model.inputs[0].dtype)
        logits = model(images, training=False)
        return Outputs(logits[: local.rows], batch.examples.labels[rows][: local.rows])

    @tf.function(input_signature=[BATCH_SPEC], jit_compile=False, autograph=False)
    def evaluation_step(batch: Batch) -> Outputs:
        outputs = strategy.run(replica_step, args=(batch,))
        return Outputs(*(gather_rows(strategy, value) for value in outputs))

    return evaluation_step


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Compute the loss of each example: [B] int64 and [B, classes] float32 → [B] float32.

    With label smoothing (Szegedy et al., Rethinking the Inception Architecture, 2016, section 7)
    the target is 1 - smoothing for the label, plus smoothing / classes for every class.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if not smoothing:
        return losses
    uniform = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=1)
    return (1 - smoothing) * losses + smoothing * uniform


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.int32))


def _count_nonfinite(tensors: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n([_count(~tf.math.is_finite(tensor)) for tensor in tensors])
