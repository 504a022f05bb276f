"""Learning rate over the steps, and what decays."""

import keras
import numpy as np
import pytest

from tests.support.trainer_data import LABELS, tiny_experiment
from trainer.config import TrainConfig
from trainer.model import build_model
from trainer.training.optimizer import Schedule, make_optimizer, make_schedule

DRAWINGS = 100


def config_of(**changes):
    """5 epochs of 10 steps."""
    return TrainConfig("", "", tiny_experiment(), epochs=5, batch_size=10, **changes)


def optimizer_of(**changes):
    keras.utils.set_random_seed(0)
    model = build_model(tiny_experiment(batch_norm=True), len(LABELS))
    return make_optimizer(config_of(**changes), model), model


def test_by_default_it_is_adam_as_tensorflow_sets_it():
    optimizer, _ = optimizer_of()
    expected = keras.optimizers.Adam(1e-3, name=optimizer.name).get_config()
    assert optimizer.get_config() == expected


def test_the_cosine_is_that_of_keras_and_ends_at_zero():
    schedule = make_schedule(config_of(learning_rate_schedule="cosine"), DRAWINGS)
    expected = keras.optimizers.schedules.CosineDecay(1e-3, 50)
    for number in range(1, 52):
        assert float(schedule(number)) == pytest.approx(float(expected(number - 1)), abs=1e-9)
    assert float(schedule(51)) == 0


def test_a_constant_learning_rate_has_no_schedule():
    assert make_schedule(config_of(), DRAWINGS) is None


def test_the_warm_up_grows_evenly_up_to_the_peak():
    schedule = make_schedule(config_of(warmup_epochs=0.5), DRAWINGS)  # 5 of 50 steps
    grown = [float(schedule(number)) for number in range(1, 8)]
    assert grown == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 1e-3, 1e-3])


def test_after_a_warm_up_the_whole_cosine_follows():
    schedule = Schedule(1.0, 10, 40)
    assert float(schedule(11)) == 1
    assert float(schedule(31)) == pytest.approx(0.5)
    assert float(schedule(51)) == 0


def test_weight_decay_shrinks_kernels_and_nothing_else():
    """Without gradients AdamW only decays: by learning rate × decay."""
    optimizer, model = optimizer_of(weight_decay=0.5)
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    optimizer.apply([np.zeros(variable.shape, np.float32) for variable in variables])
    kernels = {v.path for v in variables if v.path.endswith("kernel")}
    assert 0 < len(kernels) < len(variables)
    for variable in variables:
        expected = 1 - 1e-3 * 0.5 if variable.path in kernels else 1
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)
