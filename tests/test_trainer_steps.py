"""One training step: on several replicas as on one, and with float16's loss scale."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.records import pack_bitmaps
from tests.trainer_data import DEVICES, LABELS, bitmap, tiny_experiment
from trainer.devices import make_strategy
from trainer.input_pipeline import pad
from trainer.loss_scale import GROWTH_STEPS, INITIAL_SCALE, LossScale
from trainer.model import build_model
from trainer.steps import make_evaluation_step, make_training_step


@dataclasses.dataclass
class Run:
    """A model on some replicas, trained by plain SGD, whose updates show the gradients."""

    strategy: tf.distribute.Strategy
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss_scale: LossScale | None

    def train(self, batches):
        step = make_training_step(**vars(self))
        return [step(pad(*batch, self.strategy.num_replicas_in_sync)) for batch in batches]

    def scale(self) -> float:
        return float(self.loss_scale.scale.numpy())

    def finished_steps(self) -> int:
        return int(self.optimizer.iterations.value.numpy())

    def weights(self):
        return [variable.numpy() for variable in self.model.trainable_variables]


@pytest.fixture(autouse=True)
def _reset_precision():
    yield
    keras.mixed_precision.set_dtype_policy("float32")


def make_run(replicas: int, precision: str = "float32", dropout_rate: float = 0.5) -> Run:
    keras.utils.set_random_seed(3)
    keras.mixed_precision.set_dtype_policy(precision)
    strategy = make_strategy(DEVICES[:replicas])
    with strategy.scope():
        model = build_model(tiny_experiment(dropout_rate), len(LABELS))
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)
        loss_scale = LossScale() if precision == "mixed_float16" else None
    return Run(strategy, model, optimizer, loss_scale)


def make_batches(*sizes: int):
    rng = np.random.default_rng(0)
    for size in sizes:
        labels = rng.integers(len(LABELS), size=size)
        packed = pack_bitmaps(np.stack([bitmap(label, rng) for label in labels]))
        images = [np.frombuffer(image, np.uint8) for image in packed]
        yield tf.constant(np.stack(images)), tf.constant(labels, tf.int64)


@pytest.mark.parametrize("size", [8, 7, 1])
@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 1e-5), ("mixed_bfloat16", 3e-2), ("mixed_float16", 1e-2)],
)
def test_replicas_train_as_one_device_does(precision, tolerance, size):
    """Loss and update, with dropout, and with batches that do not divide by the replicas."""
    one, two = make_run(1, precision), make_run(2, precision)
    before = one.weights()
    (a,), (b,) = one.train(make_batches(size)), two.train(make_batches(size))
    assert float(a.loss) == pytest.approx(float(b.loss), rel=tolerance)
    assert (int(a.correct), int(a.examples)) == (int(b.correct), int(b.examples))
    for start, end, other_end in zip(before, one.weights(), two.weights(), strict=True):
        update, other_update = end - start, other_end - start
        np.testing.assert_allclose(update, other_update, atol=tolerance * np.abs(update).max())
        assert np.any(update != 0)


def test_the_loss_is_the_mean_over_the_real_examples():
    images, labels = next(make_batches(5))
    run = make_run(2, dropout_rate=0.0)
    logits = make_evaluation_step(run.strategy, run.model)(pad(images, labels, 2))[:5]
    expected = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    (result,) = run.train([(images, labels)])
    assert float(result.loss) == pytest.approx(float(tf.reduce_mean(expected)), rel=1e-5)
    assert int(result.examples) == 5
    assert int(result.correct) == int(
        tf.reduce_sum(tf.cast(tf.argmax(logits, 1) == labels, tf.int32))
    )


def test_logits_come_in_the_order_of_the_rows_on_any_number_of_replicas():
    images, labels = next(make_batches(7))
    one, several = make_run(1), make_run(2)
    a = make_evaluation_step(one.strategy, one.model)(pad(images, labels, 1))
    b = make_evaluation_step(several.strategy, several.model)(pad(images, labels, 2))
    assert (a.shape, b.shape) == ((7, 3), (8, 3))
    assert a.dtype == tf.float32
    np.testing.assert_allclose(a, b[:7], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_step_that_overflows_is_skipped_and_halves_the_loss_scale(replicas):
    run = make_run(replicas, "mixed_float16", dropout_rate=0.0)
    run.loss_scale.scale.assign(2.0**40)  # beyond float16
    before = run.weights()
    (result,) = run.train(make_batches(6))
    assert np.isfinite(float(result.loss))
    np.testing.assert_equal(run.weights(), before)
    assert run.scale() == 2.0**39
    assert run.finished_steps() == 0
    run.train(make_batches(*[6] * 40))
    assert run.scale() < 2.0**39
    assert run.finished_steps() > 0
    assert np.any(run.weights()[0] != before[0])
    assert all(np.isfinite(weight).all() for weight in run.weights())


def test_the_loss_scale_doubles_after_enough_good_steps():
    loss_scale = LossScale()
    for _ in range(GROWTH_STEPS - 1):
        loss_scale.update(tf.constant(True))
    assert float(loss_scale.scale) == INITIAL_SCALE
    loss_scale.update(tf.constant(True))
    assert float(loss_scale.scale) == 2 * INITIAL_SCALE
    assert int(loss_scale.good_steps) == 0
    loss_scale.update(tf.constant(True))
    loss_scale.update(tf.constant(False))
    assert (float(loss_scale.scale), int(loss_scale.good_steps)) == (INITIAL_SCALE, 0)
