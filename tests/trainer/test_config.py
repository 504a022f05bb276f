"""What flags may say."""

import dataclasses

import pytest
from absl import flags
from absl.testing import flagsaver

from pipeline.cli import UserError
from tests.support.commands import flags_of
from trainer.config import RECIPES, Interval, TrainConfig
from trainer.models import experiments


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("500", Interval(steps=500)),
        ("10m", Interval(seconds=600)),
        ("0.5m", Interval(seconds=30)),
    ],
)
def test_intervals_are_steps_or_minutes(text, interval):
    assert Interval.parse(text) == interval


@pytest.mark.parametrize(
    "text", ["", "0", "0m", "-5", "1.5", "10s", "m", "1e3", "1" * 400, f"{'1' * 400}m", "1" * 5000]
)
def test_other_intervals_are_refused(text):
    with pytest.raises(UserError, match=f"--checkpoint_every={text}: "):
        Interval.parse(text)


def test_an_interval_passes_by_its_own_measure():
    assert Interval(steps=5).has_passed(steps=5, seconds=0)
    assert not Interval(steps=5).has_passed(steps=4, seconds=1e9)
    assert Interval(seconds=60).has_passed(steps=0, seconds=60)
    assert not Interval(seconds=60).has_passed(steps=10**9, seconds=59)


@pytest.fixture
def settings():
    """Returns the configuration that flags of trainer.main give."""

    def settings(experiment, *words):
        with flagsaver.flagsaver():
            flags.FLAGS(["trainer.main", "--dataset=data", "--run_dir=run", *words])
            return TrainConfig.from_flags(experiments.find(experiment))

    with flags_of("trainer.main"):
        yield settings


@pytest.mark.parametrize(
    ("experiment", "recipe"),
    [("E2_7", "study"), ("small", "fast"), ("medium", "best"), ("large", "best")],
)
def test_an_experiment_has_a_recipe_of_its_own(settings, experiment, recipe):
    assert settings(experiment) == settings(experiment, f"--recipe={recipe}")
    assert settings(experiment).recipe == recipe


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_sets_what_it_names_and_nothing_else(settings, recipe):
    config = settings("E3_8", f"--recipe={recipe}")
    defaults = settings("E3_8")
    for field in dataclasses.fields(config):
        value = RECIPES[recipe].get(field.name, getattr(defaults, field.name))
        assert getattr(config, field.name) == (recipe if field.name == "recipe" else value)


def test_a_flag_that_is_given_wins_over_the_recipe(settings):
    words = ("--recipe=best", "--epochs=5", "--weight_decay=0", "--augment=")
    config = settings("small", *words)
    assert (config.epochs, config.weight_decay, config.augment) == (5, 0, ())
    assert config.label_smoothing == RECIPES["best"]["label_smoothing"]


def test_the_study_s_recipe_is_that_of_the_study(settings):
    config = settings("E2_7")
    assert (config.epochs, config.batch_size, config.learning_rate) == (12, 100, 1e-3)
    assert (config.learning_rate_schedule, config.weight_decay, config.augment) == (
        *("constant", 0),
        (),
    )


def test_what_a_recipe_sets_are_settings_within_their_bounds():
    fields = {field.name: field.metadata for field in dataclasses.fields(TrainConfig)}
    for recipe in RECIPES.values():
        for name, value in recipe.items():
            low, high = fields[name].get("bounds", (value, value))
            assert low <= value <= high
            assert value in fields[name].get("choices", (value,))
