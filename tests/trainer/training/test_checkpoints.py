"""Checkpoints: variables by name, and what does not fit."""

import dataclasses

import keras
import numpy as np
import pytest

from pipeline.cli import RunError
from tests.support.stopped_training import make_config
from tests.support.trainer_data import LABELS, tiny_experiment, write_dataset
from trainer import train
from trainer.training import checkpoints
from trainer.training.optimizer import MovingAverage
from trainer.training.steps import TrainState


def make_model(names):
    """Dense layers of equal shape one after another, in the order of `names`."""
    x = image = keras.Input((4,))
    for name in names:
        x = keras.layers.Dense(4, name=name)(x)
    return keras.Model(image, x)


def make_train_state(model, **fields):
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    return TrainState(model, optimizer, **fields)


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return str(tmp_path)


@pytest.mark.parametrize("is_whole", [False, True])
def test_layers_of_equal_shape_that_change_places_keep_their_weights(run_dir, is_whole):
    saved = make_train_state(make_model(["first", "second"]))
    checkpoints.save(run_dir, "step-00000001", saved)
    other = make_train_state(make_model(["second", "first"]))
    if is_whole:
        checkpoints.restore_train_state(run_dir, "step-00000001", other)
    else:
        checkpoints.restore(run_dir, "step-00000001", other.model)
    for name in ("first", "second"):
        kernel, expected = (each.model.get_layer(name).kernel for each in (other, saved))
        np.testing.assert_array_equal(kernel, expected)


def test_an_average_is_found_by_the_names_of_its_weights(run_dir):
    model = make_model(["first", "second"])
    average = MovingAverage(model, 0.9)
    model.get_layer("first").kernel.assign(np.zeros((4, 4)))
    checkpoints.save(run_dir, "step-00000001", make_train_state(model, average=average))
    other = make_model(["second", "first"])
    checkpoints.restore(run_dir, "step-00000001", other)
    assert np.any(other.get_layer("first").kernel != 0)  # the average saw no zeros
    checkpoints.restore(run_dir, "step-00000001", other, raw=True)
    assert np.all(other.get_layer("first").kernel == 0)


def test_names_do_not_depend_on_how_many_models_were_made_before(tmp_path):
    write_dataset(tmp_path / "data")
    config = make_config(tmp_path / "data", tmp_path, ema_decay=0.5)
    manifest = train.VerifiedData(config.dataset, ["train"]).manifest
    names = []
    for _ in range(2):
        state = train.make_train_state(
            config, "float32", manifest.labels, train.devices.make_strategy(["CPU:0"])
        )
        groups = checkpoints.variable_groups(state)
        names.append([f"{group}/{name}" for group in groups for name in groups[group]])
    assert names[0] == names[1]
    assert len(set(names[0])) == len(names[0]) == len(state.variables)
    assert {"model/stem_1_1/kernel", "average/logits/bias", "optimizer/iteration"} < set(names[0])
    assert "model/dropout/seed_generator_state" in names[0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["first", "third"], "of another model: this model has no model/second/bias"),
        (["first", "second", "third"], "of another model: it has no model/third/bias"),
    ],
)
def test_a_checkpoint_of_other_layers_is_refused_naming_the_first(run_dir, names, message):
    checkpoints.save(run_dir, "step-00000001", make_train_state(make_model(["first", "second"])))
    with pytest.raises(RunError, match=message):
        checkpoints.restore(run_dir, "step-00000001", make_model(names))
    with pytest.raises(RunError, match=message):
        checkpoints.restore_train_state(
            run_dir, "step-00000001", make_train_state(make_model(names))
        )


def test_a_checkpoint_of_other_shapes_is_refused_naming_the_first(run_dir):
    config = make_config("", run_dir)
    models = [
        train.build_model(dataclasses.replace(config.experiment, architecture=each), len(LABELS))
        for each in (
            tiny_experiment().architecture,
            dataclasses.replace(tiny_experiment().architecture, reduction_a=((5,),)),
        )
    ]
    checkpoints.save(run_dir, "step-00000001", make_train_state(models[0]))
    with pytest.raises(RunError, match=r"b1_1_1/kernel is \[1, 1, 12, 4\] there, .*13.* here"):
        checkpoints.restore(run_dir, "step-00000001", models[1])


def test_a_missing_checkpoint_is_one_line(run_dir):
    with pytest.raises(RunError, match="step-00000001: cannot be restored"):
        checkpoints.restore(run_dir, "step-00000001", make_model(["first"]))
