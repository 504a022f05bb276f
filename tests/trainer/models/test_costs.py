"""Maps, parameters and multiply-adds against the Keras models that are built from the same."""

import math
import subprocess
import sys

import pytest

from trainer.model import build_model
from trainer.models import costs, experiments
from trainer.models.costs import stages, summary, total, widths
from trainer.models.experiments import EXPERIMENTS

# The layers of which the first that there is has the stage's output as its input.
STAGE_LAYERS = (
    ("stem", "a1_1_1"),
    ("blocks A", "reduction_a_pool"),
    ("reduction A", "b1_1_1", "reduction_b_pool"),
    ("blocks B", "reduction_b_pool"),
    ("reduction B", "c1_1_1", "average_pool"),
    ("blocks C", "average_pool"),
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_costs_are_those_of_the_keras_model(name):
    experiment = experiments.find(name)
    num_classes = experiment.categories or 12
    model = build_model(experiment, num_classes)
    parts = stages(experiment.architecture, num_classes)

    inputs = {layer.name: layer.input for layer in model.layers}
    expected_maps = [
        (stage, *next(inputs[layer] for layer in layers if layer in inputs).shape[1:])
        for stage, *layers in STAGE_LAYERS
    ]
    assert [(part.name, *part.map) for part in parts] == [
        *expected_maps,
        ("head", 1, 1, num_classes),
    ]
    assert total(parts).parameters == model.count_params()
    assert total(parts).multiply_adds == multiply_adds(model)


def multiply_adds(model):
    """Of one image, from the shapes of the built layers."""
    count = 0
    for layer in model.layers:
        if hasattr(layer, "kernel"):  # convolutions and the dense layer
            places = math.prod(layer.output.shape[1:-1])
            count += math.prod(layer.kernel.shape) * places
    return count


def test_a_stride_of_2_in_the_stem_saves_multiply_adds_and_no_parameters():
    clean, strided = (total(stages(EXPERIMENTS[name].architecture, 20)) for name in ("E1", "E3"))
    assert clean.parameters == strided.parameters
    assert round(clean.multiply_adds / strided.multiply_adds, 1) == 4.4


def test_widths_and_depths_are_those_of_the_study():
    def of(name):
        architecture = EXPERIMENTS[name].architecture
        return widths(architecture), architecture.depths

    assert of("E4") == ((384, 1152, 2304), (5, 10, 5))
    assert of("E3") == ((256, 896, 1792), (5, 10, 5))
    assert of("E5") == ((192, 640, 1216), (5, 10, 5))
    assert of("E6") == ((128, 448, 896), (5, 10, 5))
    assert of("E2_8") == ((32, 128, 256), (5, 10, 5))
    assert of("E3_8") == ((64, 256, 480), (1, 2, 1))
    assert of("E4_7") == ((64, 256, 480), (5, 10, 5))


def test_batch_normalisation_costs_parameters_and_no_multiply_adds():
    costs_without, costs_with = [], []
    for name in ("E3_8", "small"):
        for norm, found in ((False, costs_without), (True, costs_with)):
            experiment = EXPERIMENTS[name].with_batch_norm(norm)
            model = build_model(experiment, 3)
            cost = total(stages(experiment.architecture, 3))
            assert cost == (model.count_params(), multiply_adds(model))
            found.append(cost)
    for without, with_norm in zip(costs_without, costs_with, strict=True):
        assert with_norm.parameters > without.parameters
        assert with_norm.multiply_adds == without.multiply_adds


def test_a_summary_shows_every_stage_and_the_total():
    lines = summary(experiments.find("E2_7")).splitlines()
    assert lines[0] == "E2_7 (E7 on 53 categories), 53 classes"
    table = {line[:13].strip(): line.split() for line in lines[2:12]}
    assert table["image"] == ["image", "85x85x1"]
    assert table["stem"] == ["stem", "36x36x64", "105,760", "1.5%", "199,502,368", "11.0%"]
    assert table["reduction A"][2:4] == ["17x17x256", "151,552"]
    assert table["head"][:3] == ["head", "1x1x53", "25,493"]
    assert table["total"] == ["total", "7,286,965", "1,811,049,856"]
    assert max(map(len, lines)) <= 100


def test_a_summary_names_the_layers_that_an_experiment_changes():
    layers = summary(experiments.find("E4_9"), 20)
    assert "5 x [1x1:32] [1x1:32 3x3:32] [1x1:32 1x7:32 7x1:32] 1x1, scaled by 0.17" in layers
    layers = summary(experiments.find("E2"))
    assert "[max 3x3/2] [3x3:32 3x3/2:64 1x1:128 3x3:256]" in layers
    text = summary(EXPERIMENTS["small"], 3)
    assert text.splitlines()[0].endswith("3 classes, batch normalisation")
    assert "1 x 3x3:64 3x3:64\n" in text
    assert "[mean 2x2/2 1x1:128] [3x3/2:128 3x3:128]\n" in text
    assert "blocks B     none\n" in text


def test_costs_need_no_tensorflow():
    code = f"import sys, {costs.__name__}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
