"""Adam or AdamW, the learning rate over the steps, clipping, and the average of the weights."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.config import TrainConfig


def make_optimizer(config: TrainConfig, model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer of a run, built for the model's variables; call it in the strategy's scope.

    Its learning rate is a plain number: the training step sets it where there is a schedule.

    Weight decay (Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019) leaves biases
    and the scales and offsets of batch normalisation alone, as is usual: only kernels decay.
    """
    rate = config.learning_rate
    if config.weight_decay:
        optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
        optimizer.exclude_from_weight_decay(
            var_list=[each for each in model.trainable_variables if len(each.shape) < 2]
        )
    else:
        optimizer = keras.optimizers.Adam(rate)
    optimizer.build(model.trainable_variables)
    return optimizer


def make_schedule(config: TrainConfig, training_drawings: int) -> "Schedule | None":
    """None for a learning rate that never changes."""
    steps_per_epoch = config.steps_per_epoch(training_drawings)
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    is_cosine = config.learning_rate_schedule == "cosine"
    if not warmup_steps and not is_cosine:
        return None
    decay_steps = config.epochs * steps_per_epoch - warmup_steps if is_cosine else 0
    return Schedule(config.learning_rate, warmup_steps, decay_steps)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Linear growth over `warmup_steps`, then the peak, or half a cosine down to 0.

    The cosine is that of Loshchilov and Hutter, SGDR, 2017, equation 5, without restarts. Keras'
    CosineDecay gives the same without a warm-up; its own warm-up begins with a step at a learning
    rate of 0 (or, shifted by a step, ends the cosine with one), and cannot go without a cosine.
    """

    peak: float
    warmup_steps: int
    decay_steps: int  # the length of the cosine; 0 for none

    def __call__(self, number: Any) -> tf.Tensor:
        """The learning rate of a step, float32; `number`: of the step, from 1 over all epochs."""
        step = tf.cast(number - 1, tf.float32)
        rate = tf.constant(self.peak, tf.float32)
        if self.decay_steps:
            progress = tf.clip_by_value((step - self.warmup_steps) / self.decay_steps, 0.0, 1.0)
            rate *= 0.5 * (1 + tf.cos(math.pi * progress))
        if self.warmup_steps:
            rate *= tf.minimum(1.0, (step + 1) / self.warmup_steps)
        return rate


def clip(gradients: Sequence[tf.Tensor], clip_norm: float) -> list[tf.Tensor]:
    """Scales one replica's gradients so that the norm of their sum over the replicas is at most
    `clip_norm` (Pascanu et al., On the difficulty of training recurrent neural networks, 2013).

    Keras' own `global_clipnorm` looks at each replica's gradients by themselves.
    """
    context = tf.distribute.get_replica_context()
    norm = tf.linalg.global_norm(context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients)))
    factor = clip_norm / tf.maximum(norm, clip_norm)
    return [gradient * factor for gradient in gradients]


def averaged_weights(model: keras.Model) -> list[tf.Variable]:
    """What is averaged: all weights, the statistics of batch normalisation too."""
    return [each.value for each in model.variables if each.dtype == "float32"]


class MovingAverage:
    """The exponential moving average of a model's weights (Polyak averaging).

    The decay of the first steps is lower, (1 + step) / (10 + step), so that the random start is
    soon forgotten (as in `tf.train.ExponentialMovingAverage`).
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        """Starts with the model's weights; call it in the strategy's scope."""
        self._decay = decay
        self._weights = averaged_weights(model)
        self.variables = [tf.Variable(weight, trainable=False) for weight in self._weights]

    def update(self, step: tf.Tensor) -> None:
        """Takes in the weights after `step` steps; call it outside of the replicas."""
        step = tf.cast(step, tf.float32)
        share = 1 - tf.minimum(self._decay, (1 + step) / (10 + step))
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.assign_sub(share * (average - weight))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model's weights are the average."""
        trained = [weight.numpy() for weight in self._weights]
        for weight, average in zip(self._weights, self.variables, strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, values in zip(self._weights, trained, strict=True):
                weight.assign(values)
