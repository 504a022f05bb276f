"""One step of training and of evaluation, the same code for one replica and for several.

Every replica is handed the whole packed batch (90 kB for 100 images) and takes its own rows. The
weights of a batch are 1 / number of examples, so sums over replicas are means over the batch, to
the last partial one.

Loss scaling is ours: Keras' LossScaleOptimizer looks for overflows in the gradients of the first
replica, before they are summed, and misses those of the others.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from trainer.input_pipeline import BATCH_SPEC, Batch, unpack_bitmaps
from trainer.loss_scale import LossScale

SUM = tf.distribute.ReduceOp.SUM


class StepResult(NamedTuple):
    """Scalars of one training step over its whole batch."""

    loss: tf.Tensor  # float32, mean over the examples
    correct: tf.Tensor  # int32, how many had their class ranked first
    examples: tf.Tensor  # int32


TrainingStep = Callable[[Batch], StepResult]
EvaluationStep = Callable[[Batch], tf.Tensor]  # → [B, classes] float32 logits


def make_training_step(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss_scale: LossScale | None,
) -> TrainingStep:
    """Forward, backward, update.

    Args:
      strategy: under whose scope the others were made.
      model: gives logits.
      optimizer: built for the model's variables.
      loss_scale: for float16, None for the other precisions.
    """
    scale = loss_scale.scale if loss_scale else tf.constant(1.0)

    def differentiate(batch: Batch) -> tuple[StepResult, list[tf.Tensor], tf.Tensor]:
        images, labels, weights = _own_rows(batch)
        with tf.GradientTape() as tape:
            logits = model(unpack_bitmaps(images, model.inputs[0].dtype), training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # [B]
            loss = tf.reduce_sum(losses * weights)
            scaled_loss = loss * scale
        gradients = tape.gradient(scaled_loss, model.trainable_variables)
        is_correct = (tf.argmax(logits, axis=1) == labels) & (weights > 0)
        result = StepResult(loss, _count(is_correct), _count(weights > 0))
        return result, gradients, _count_nonfinite(gradients) if loss_scale else tf.constant(0)

    def update(gradients: list[tf.Tensor]) -> None:
        if loss_scale:
            gradients = [gradient / scale for gradient in gradients]
        optimizer.apply(gradients)  # which adds them up over the replicas

    @tf.function(input_signature=[BATCH_SPEC], jit_compile=False)
    def training_step(batch: Batch) -> StepResult:
        result, gradients, nonfinite = strategy.run(differentiate, args=(batch,))
        if loss_scale is None:
            strategy.run(update, args=(gradients,))
        else:
            finite = strategy.reduce(SUM, nonfinite, axis=None) == 0
            tf.cond(finite, lambda: strategy.run(update, args=(gradients,)), lambda: None)
            loss_scale.update(finite)
        return StepResult(*(strategy.reduce(SUM, value, axis=None) for value in result))

    return training_step


def make_evaluation_step(strategy: tf.distribute.Strategy, model: keras.Model) -> EvaluationStep:
    """Logits of a batch, in the order of its rows, padding included."""

    def replica_step(batch: Batch) -> tf.Tensor:
        images, _, _ = _own_rows(batch)
        return model(unpack_bitmaps(images, model.inputs[0].dtype), training=False)

    @tf.function(input_signature=[BATCH_SPEC], jit_compile=False)
    def evaluation_step(batch: Batch) -> tf.Tensor:
        logits = strategy.run(replica_step, args=(batch,))
        return tf.concat(strategy.experimental_local_results(logits), axis=0)

    return evaluation_step


def _own_rows(batch: Batch) -> Batch:
    """The rows of the replica that this runs on."""
    context = tf.distribute.get_replica_context()
    rows = tf.shape(batch.labels)[0] // context.num_replicas_in_sync
    start = rows * context.replica_id_in_sync_group
    return Batch(*(part[start : start + rows] for part in batch))


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.int32))


def _count_nonfinite(tensors: list[tf.Tensor]) -> tf.Tensor:
    return tf.add_n([_count(~tf.math.is_finite(tensor)) for tensor in tensors])
