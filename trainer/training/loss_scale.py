"""Dynamic loss scaling, for float16."""

import tensorflow as tf

INITIAL_SCALE = 2.0**15
SMALLEST_SCALE, LARGEST_SCALE = 1.0, 2.0**24
GROWTH_STEPS = 2000  # steps without an overflow after which the scale is doubled
# From the largest scale to the smallest it takes 24 skipped steps; a run that skips more than
# these in a row learns nothing at the smallest scale either.
MAX_SKIPPED_IN_A_ROW = 40


class LossScale:
    """The factor on the loss that keeps small gradients from vanishing in float16.

    A step whose gradients overflow is skipped and halves the factor; `GROWTH_STEPS` good ones
    double it, within bounds (Micikevicius et al., Mixed Precision Training, 2018, section 3.2).
    """

    def __init__(self) -> None:
        self.scale = tf.Variable(INITIAL_SCALE, trainable=False, name="loss_scale")
        self.good_steps = tf.Variable(0, trainable=False, name="loss_scale_good_steps")
        self.skipped_in_a_row = tf.Variable(0, trainable=False, name="loss_scale_skipped_in_a_row")

    @property
    def variables(self) -> list[tf.Variable]:
        """What a checkpoint has to hold."""
        return [self.scale, self.good_steps, self.skipped_in_a_row]

    def update(self, finite: tf.Tensor) -> None:
        """Takes note of a step; `finite`: whether all of its gradients were, a boolean scalar."""
        good_steps = tf.where(finite, self.good_steps + 1, 0)
        grows = good_steps == GROWTH_STEPS
        factor = tf.where(finite, tf.where(grows, 2.0, 1.0), 0.5)
        scale = tf.clip_by_value(self.scale * factor, SMALLEST_SCALE, LARGEST_SCALE)
        self.scale.assign(scale)
        self.good_steps.assign(tf.where(grows, 0, good_steps))
        self.skipped_in_a_row.assign(tf.where(finite, 0, self.skipped_in_a_row + 1))
