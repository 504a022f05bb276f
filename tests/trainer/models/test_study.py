"""The study's results as they are shipped."""

import subprocess
import sys

import pytest

from pipeline.cli import UserError
from trainer.models import costs, study
from trainer.models.experiments import EXPERIMENTS

STUDY = [name for name, experiment in EXPERIMENTS.items() if experiment.categories]


@pytest.mark.parametrize("name", STUDY)
def test_every_experiment_of_the_study_has_its_history(name):
    history = study.history(name)
    assert set(history) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    epochs = 10 if name == "E2_1" else 12
    assert [len(values) for values in history.values()] == [epochs] * 4
    assert all(0 < value < 1 for value in history["accuracy"] + history["val_accuracy"])
    assert history["accuracy"] == sorted(history["accuracy"])  # training only ever improves


def test_histories_are_the_studys():
    assert study.history("E7")["val_accuracy"][-1] == 0.9077
    assert study.history("E1")["loss"][:2] == [2.337278, 0.975994]
    assert max(study.history("E3_8")["val_accuracy"]) == 0.873226
    assert study.history("E4_10")["val_accuracy"][-1] == 0.859302


def test_groups_compare_what_they_are_named_for_in_the_order_of_the_study():
    def of(group, kind):
        return [kind(EXPERIMENTS[name].architecture) for name in study.GROUPS[group]]

    def first_width(architecture):
        return costs.widths(architecture)[0]

    assert of("width20", first_width) == [384, 256, 192, 128, 64]
    assert of("width53", first_width) == [256, 192, 128, 64, 32]
    assert [depths[0] for depths in of("depth53", lambda each: each.depths)] == [1, 2, 5, 8]
    assert study.GROUPS["mod53"] == ("E2_7", "E4_7", "E4_8", "E4_9", "E4_10")
    for group, names in study.GROUPS.items():
        assert {str(EXPERIMENTS[name].categories) for name in names} == {group[-2:]}
    in_groups = {name for names in study.GROUPS.values() for name in names}
    assert set(STUDY) - in_groups == {"E1", "E2", "E2_1"}


def test_the_runs_with_a_stride_of_2_are_those_whose_maps_are_smaller():
    sizes = {name: costs.stages(EXPERIMENTS[name].architecture, 1)[0].map.height for name in STUDY}
    assert {name for name, size in sizes.items() if size < 36} == set(study.STRIDE_2)


def test_a_history_can_be_changed_without_harm():
    study.history("E1")["loss"].clear()
    assert len(study.history("E1")["loss"]) == 12


def test_an_experiment_that_is_not_the_studys_is_refused():
    with pytest.raises(UserError, match="no experiment 'small' in the study, which has E1, E2,"):
        study.history("small")


def test_the_study_needs_no_tensorflow():
    imports = "import sys; from trainer.models import study"
    code = f"{imports}; study.history('E1'); assert 'keras' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
