"""Adam or AdamW, the learning rate over the steps, clipping, loss scaling and averaged weights."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.config import TrainConfig

INITIAL_SCALE = 2.0**15
SMALLEST_SCALE, LARGEST_SCALE = 1.0, 2.0**24
GROWTH_STEPS = 2000  # without an overflow, after which the loss scale doubles
# From the largest scale to the smallest it takes 24 skipped steps; a run that skips more than this
# many in a row learns nothing at the smallest scale either.
MAX_SKIPPED_IN_A_ROW = 40


def make_optimizer(config: TrainConfig, model: keras.Model) -> keras.optimizers.Optimizer:
    """Build the optimizer of a run for the model's variables; call it in the strategy's scope.

    Its learning rate is a plain number, which the training step sets if there is a schedule.

    Weight decay (Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019) applies to
    kernels only, as is usual, not to biases or the scales and offsets of batch normalisation.
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


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Linear growth over `warmup_steps`, then the peak, or half a cosine down to 0.

    The cosine is that of Loshchilov and Hutter, SGDR, 2017, equation 5, without restarts. Keras'
    CosineDecay has another warm-up: it starts with a step at a learning rate of 0, or, shifted by a
    step, ends the cosine with one, and it requires a cosine.
    """

    peak: float
    warmup_steps: int
    decay_steps: int  # the length of the cosine; 0 for none

    def __call__(self, number: Any) -> tf.Tensor:
        """Return the learning rate of a step, float32; `number`: from 1 over all epochs."""
        step = tf.cast(number - 1, tf.float32)
        rate = tf.constant(self.peak, tf.float32)
        if self.decay_steps:
            progress = tf.clip_by_value((step - self.warmup_steps) / self.decay_steps, 0.0, 1.0)
            rate *= 0.5 * (1 + tf.cos(math.pi * progress))
        if self.warmup_steps:
            rate *= tf.minimum(1.0, (step + 1) / self.warmup_steps)
        return rate


def make_schedule(config: TrainConfig, training_drawings: int) -> Schedule | None:
    """Return the schedule of a run; None for a constant learning rate."""
    steps_per_epoch = config.steps_per_epoch(training_drawings)
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    is_cosine = config.learning_rate_schedule == "cosine"
    if not warmup_steps and not is_cosine:
        return None
    decay_steps = config.epochs * steps_per_epoch - warmup_steps if is_cosine else 0
    return Schedule(config.learning_rate, warmup_steps, decay_steps)


def clip(gradients: Sequence[tf.Tensor], clip_norm: float) -> list[tf.Tensor]:
    """Scale a replica's gradients so that the norm of their sum over the replicas is at most
    `clip_norm` (Pascanu et al., On the difficulty of training recurrent neural networks, 2013).

    Keras' own `global_clipnorm` clips each replica's gradients by themselves.
    """
    context = tf.distribute.get_replica_context()
    norm = tf.linalg.global_norm(context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients)))
    factor = clip_norm / tf.maximum(norm, clip_norm)
    return [gradient * factor for gradient in gradients]


class LossScale:
    """Factor on the loss that keeps small gradients from vanishing in float16.

    A step whose gradients overflow is skipped and halves the factor; `GROWTH_STEPS` good ones
    double it, within bounds (Micikevicius et al., Mixed Precision Training, 2018, section 3.2).
    """

    def __init__(self) -> None:
        self.scale = tf.Variable(INITIAL_SCALE, trainable=False, name="loss_scale")
        self.good_steps = tf.Variable(0, trainable=False, name="loss_scale_good_steps")
        self.skipped_in_a_row = tf.Variable(0, trainable=False, name="loss_scale_skipped_in_a_row")
        self.variables = [self.scale, self.good_steps, self.skipped_in_a_row]

    def update(self, finite: tf.Tensor) -> None:
        """Update after a step; `finite`: whether all of its gradients are, a boolean scalar."""
        good_steps = tf.where(finite, self.good_steps + 1, 0)
        grows = good_steps == GROWTH_STEPS
        factor = tf.where(finite, tf.where(grows, 2.0, 1.0), 0.5)
        scale = tf.clip_by_value(self.scale * factor, SMALLEST_SCALE, LARGEST_SCALE)
        self.scale.assign(scale)
        self.good_steps.assign(tf.where(grows, 0, good_steps))
        self.skipped_in_a_row.assign(tf.where(finite, 0, self.skipped_in_a_row + 1))


def averaged_weights(model: keras.Model) -> list[tf.Variable]:
    """Return the weights to average: all, with the statistics of batch normalisation."""
    return [each.value for each in model.variables if each.dtype == "float32"]


class MovingAverage:
    """Exponential moving average of a model's weights (Polyak averaging).

    The decay of the first steps is lower, (1 + step) / (10 + step), so that the random start is
    soon forgotten (as in `tf.train.ExponentialMovingAverage`).
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        """Start with the model's weights; call it in the strategy's scope."""
        self._decay = decay
        self._weights = averaged_weights(model)
        self.variables = [tf.Variable(weight, trainable=False) for weight in self._weights]

    def update(self, step: tf.Tensor) -> None:
        """Add the weights after `step` steps; call it outside of the replicas."""
        step = tf.cast(step, tf.float32)
        rate = 1 - tf.minimum(self._decay, (1 + step) / (10 + step))
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.assign_sub(rate * (average - weight))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the model's weights by their average inside."""
        trained = [weight.numpy() for weight in self._weights]
        for weight, average in zip(self._weights, self.variables, strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, values in zip(self._weights, trained, strict=True):
                weight.assign(values)
