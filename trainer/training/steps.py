"""One step of training and of evaluation, the same code for one replica and for several.

The loss of a replica is the sum over its rows divided by the size of the whole batch, so sums over
replicas are means over the batch, the last partial one too.

Loss scaling is ours: Keras' LossScaleOptimizer looks for overflows in the gradients of the first
replica, before they are summed, and misses those of the others.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from trainer.data.augmentation import augment, draw_transforms
from trainer.data.input_pipeline import BATCH_SPEC, Batch, unpack_bitmaps
from trainer.hardware.replicas import Rows, all_rows, of_all_replicas, own_rows, working_on
from trainer.training.loss_scale import LossScale
from trainer.training.optimizer import MovingAverage, Schedule, clip

SUM = tf.distribute.ReduceOp.SUM


@dataclasses.dataclass(frozen=True)
class Trainee:
    """What training changes; made under the scope of the strategy that trains it."""

    model: keras.Model  # gives logits
    optimizer: keras.optimizers.Optimizer  # built for the model's variables
    loss_scale: LossScale | None = None  # with float16
    average: MovingAverage | None = None  # with --ema_decay

    @property
    def variables(self) -> list[tf.Variable]:
        """All that training changes."""
        parts = (self.model, self.optimizer)
        return [
            *(variable.value for part in parts for variable in part.variables),
            *(self.loss_scale.variables if self.loss_scale else []),
            *(self.average.variables if self.average else []),
        ]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training step does beyond the study's."""

    label_smoothing: float = 0.0
    clip_norm: float = 0.0  # 0: no clipping
    augment: tuple[str, ...] = ()  # of trainer.config.AUGMENTATIONS
    seed: int = 0  # of the augmentation
    xla: bool = False  # forward and backward as one XLA program; for one replica
    schedule: Schedule | None = None  # of the learning rate; None leaves the optimizer's as it is


class StepResult(NamedTuple):
    """Scalars of one training step over its whole batch."""

    loss: tf.Tensor  # float32, mean over the examples
    correct: tf.Tensor  # int32, how many had their class ranked first
    examples: tf.Tensor  # int32
    learning_rate: tf.Tensor  # float32, of this step
    # int32: 0 where the weights were updated; with float16, how many steps in a row, this one the
    # last, were skipped because their gradients overflowed
    skipped_in_a_row: tf.Tensor


class _Sums(NamedTuple):
    """What a replica adds to a step's result."""

    loss: tf.Tensor
    correct: tf.Tensor
    examples: tf.Tensor


TrainingStep = Callable[[Batch, tf.Tensor], StepResult]  # the tensor: see make_training_step


class Answered(NamedTuple):
    """What a model says of a batch of all hosts, host after host."""

    logits: tf.Tensor  # [B, classes] float32
    labels: tf.Tensor  # [B] int64


EvaluationStep = Callable[[Batch], Answered]


def make_training_step(
    strategy: tf.distribute.Strategy, trainee: Trainee, recipe: Recipe
) -> TrainingStep:
    """Forward, backward, update.

    The learning rate follows the number of the step, not the optimizer's iterations: those count
    applied updates, as Adam's bias correction needs it, and lag behind once a step was skipped.

    Returns:
      A function of a batch and of the number of the step, from 1 over all epochs, an int64 scalar.
    """
    model, optimizer, loss_scale = trainee.model, trainee.optimizer, trainee.loss_scale
    scale = loss_scale.scale if loss_scale else tf.constant(1.0)

    def differentiate(
        bitmaps: tf.Tensor, labels: tf.Tensor, rows: Rows
    ) -> tuple[_Sums, list[tf.Tensor], tf.Tensor]:
        """`bitmaps`: [rows, 85, 85, 1] in the model's dtype."""
        with tf.GradientTape() as tape, working_on(rows):
            logits = model(bitmaps, training=True)
            losses = cross_entropy(labels, logits, recipe.label_smoothing)  # [rows]
            counts = tf.range(tf.shape(labels)[0]) < rows.own  # [rows]
            loss = tf.reduce_sum(tf.where(counts, losses, 0))
            loss /= tf.cast(rows.share.count, tf.float32)
            scaled_loss = loss * scale
        gradients = tape.gradient(scaled_loss, model.trainable_variables)
        is_correct = (tf.argmax(logits, axis=1) == labels) & counts
        sums = _Sums(loss, _count(is_correct), rows.own)
        return sums, gradients, _count_nonfinite(gradients) if loss_scale else tf.constant(0)

    @tf.function(jit_compile=True)
    def differentiate_compiled(
        bitmaps: tf.Tensor, labels: tf.Tensor
    ) -> tuple[_Sums, list[tf.Tensor], tf.Tensor]:
        """For one replica, whose rows are all: XLA needs to know sizes when it compiles."""
        return differentiate(bitmaps, labels, all_rows(tf.shape(labels)[0]))

    def replica_step(batch: Batch, step: tf.Tensor) -> tuple[_Sums, list[tf.Tensor], tf.Tensor]:
        rows = own_rows(batch.share)
        bitmaps = unpack_bitmaps(rows.of(batch.examples.images), model.inputs[0].dtype)
        if recipe.augment:
            seed = tf.stack([tf.constant(recipe.seed, tf.int64), step])
            transforms = draw_transforms(rows.share.count, recipe.augment, seed)
            bitmaps = augment(bitmaps, rows.of_all(transforms))
        labels = rows.of(batch.examples.labels)
        if recipe.xla:
            return differentiate_compiled(bitmaps, labels)
        return differentiate(bitmaps, labels, rows)

    def update(gradients: list[tf.Tensor]) -> None:
        if loss_scale:
            gradients = [gradient / scale for gradient in gradients]
        if recipe.clip_norm:
            gradients = clip(gradients, recipe.clip_norm)
        optimizer.apply(gradients)  # which adds them up over the replicas

    @tf.function(input_signature=[BATCH_SPEC, tf.TensorSpec([], tf.int64)], jit_compile=False)
    def training_step(batch: Batch, step: tf.Tensor) -> StepResult:
        if recipe.schedule:
            optimizer.learning_rate = recipe.schedule(step)
        sums, gradients, nonfinite = strategy.run(replica_step, args=(batch, step))
        skipped_in_a_row = tf.constant(0)
        if loss_scale is None:
            strategy.run(update, args=(gradients,))
        else:
            finite = strategy.reduce(SUM, nonfinite, axis=None) == 0
            tf.cond(finite, lambda: strategy.run(update, args=(gradients,)), lambda: None)
            loss_scale.update(finite)
            skipped_in_a_row = tf.identity(loss_scale.skipped_in_a_row)
        if trainee.average:
            trainee.average.update(step)
        loss, correct, examples = (strategy.reduce(SUM, value, axis=None) for value in sums)
        learning_rate = tf.identity(optimizer.learning_rate.value)
        return StepResult(loss, correct, examples, learning_rate, skipped_in_a_row)

    return training_step


def make_evaluation_step(strategy: tf.distribute.Strategy, model: keras.Model) -> EvaluationStep:
    """Forward, in the order of the rows."""

    def replica_step(batch: Batch) -> Answered:
        rows = own_rows(batch.share)
        images = unpack_bitmaps(rows.of(batch.examples.images), model.inputs[0].dtype)
        logits = model(images, training=False)
        return Answered(logits[: rows.own], rows.of(batch.examples.labels)[: rows.own])

    @tf.function(input_signature=[BATCH_SPEC], jit_compile=False)
    def evaluation_step(batch: Batch) -> Answered:
        answered = strategy.run(replica_step, args=(batch,))
        return Answered(*(of_all_replicas(strategy, value) for value in answered))

    return evaluation_step


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float) -> tf.Tensor:
    """[B] int64 and [B, classes] float32 → [B] float32.

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
