"""The 20 experiments against the study's figures, and the models built from them.

Maps and parameters are those of `costs`, which test_costs.py compares with the Keras model of each
experiment: to build one takes long.
"""

import json
import subprocess
import sys

import pytest

from pipeline.cli import UserError
from trainer.model import build_model
from trainer.models import costs, experiments
from trainer.models.experiments import EXPERIMENTS, Architecture

STUDY_20 = ("E1", "E2", "E3", "E4", "E5", "E6", "E7")
STUDY_53 = (
    *("E2_1", "E2_4", "E2_5", "E2_6", "E2_7", "E2_8"),
    *("E3_7", "E3_8", "E3_9", "E4_7", "E4_8", "E4_9", "E4_10"),
)

OURS = ("small", "medium", "large")


def stage_shapes(name):
    """Height and channels after the stem and either reduction."""
    maps = {part.name: part.map for part in costs.stages(EXPERIMENTS[name].architecture, 20)}
    found = [maps[stage] for stage in ("stem", "reduction A", "reduction B")]
    return [(x.height, x.channels) for x in found]


def test_all_experiments_of_the_study_are_there():
    assert set(EXPERIMENTS) == {*STUDY_20, *STUDY_53, *OURS}
    assert all(EXPERIMENTS[name].categories == 20 for name in STUDY_20)
    assert all(EXPERIMENTS[name].categories == 53 for name in STUDY_53)
    assert all(EXPERIMENTS[name].architecture.dropout_rate == 0.8 for name in STUDY_20 + STUDY_53)


@pytest.mark.parametrize(
    ("name", "categories", "parameters"),
    [
        ("E2_7", 53, 7_286_965),
        ("E2_8", 53, 2_008_661),
        ("E3_8", 53, 1_884_341),
        ("E4", 20, 26_058_036),
        ("E4_7", 53, 7_203_829),
        ("E4_10", 53, 5_976_245),
    ],
)
def test_parameters_are_those_of_the_study(name, categories, parameters):
    assert EXPERIMENTS[name].categories == categories
    parts = costs.stages(EXPERIMENTS[name].architecture, categories)
    assert costs.total(parts).parameters == parameters


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("E1", [(36, 256), (17, 896), (8, 1792)]),
        ("E2", [(42, 256), (20, 896), (9, 1792)]),
        ("E3", [(17, 256), (8, 896), (3, 1792)]),
        ("E2_4", [(17, 256), (8, 896), (3, 1792)]),
        ("E5", [(36, 192), (17, 640), (8, 1216)]),
        ("E6", [(36, 128), (17, 448), (8, 896)]),
        ("E7", [(36, 64), (17, 256), (8, 480)]),
        ("E2_8", [(36, 32), (17, 128), (8, 256)]),
        ("E4_7", [(43, 64), (21, 256), (10, 480)]),
    ],
)
def test_maps_have_the_size_and_width_of_the_study(name, shapes):
    assert stage_shapes(name) == shapes


@pytest.mark.parametrize(
    ("name", "depths"),
    [("E2_7", (5, 10, 5)), ("E3_7", (2, 4, 2)), ("E3_8", (1, 2, 1)), ("E3_9", (8, 16, 8))],
)
def test_depths_are_those_of_the_study(name, depths):
    x = EXPERIMENTS[name].architecture
    assert (x.block_a.repeat, x.block_b.repeat, x.block_c.repeat) == depths


def test_modified_blocks_have_the_branches_of_the_study():
    def kernels(model, block, branch):
        layers = (f"{block}1_{branch}_{index}" for index in range(1, 4))
        names = {layer.name for layer in model.layers}
        return [model.get_layer(layer).kernel_size for layer in layers if layer in names]

    unmodified = build_model("E2_7", 3)
    assert kernels(unmodified, "a", 3) == [(1, 1), (3, 3), (3, 3)]
    assert kernels(build_model("E4_8", 3), "a", 3) == []
    assert kernels(build_model("E4_9", 3), "a", 3) == [(1, 1), (1, 7), (7, 1)]
    assert kernels(unmodified, "b", 2) == [(1, 1), (1, 7), (7, 1)]
    assert kernels(build_model("E4_10", 3), "b", 2) == [(1, 1), (1, 3), (3, 1)]


def test_convolutions_have_relu_and_no_bias():
    for layer in build_model("E3_8", 3).layers:
        if hasattr(layer, "kernel_size"):
            assert layer.activation.__name__ == "relu"
            assert not layer.use_bias


def outputs(name, *tensors):
    """Outputs of layers, or their inputs, for two images of noise: (layer, "input" or "output")."""
    import numpy as np

    model = build_model(name, 3)
    probe = type(model)(model.input, [getattr(model.get_layer(a), side) for a, side in tensors])
    image = np.random.default_rng(0).random((2, 85, 85, 1), np.float32)
    return [value.numpy() for value in probe(image)]


def test_a_residual_of_the_study_is_scaled_and_not_activated_after_the_addition():
    import numpy as np

    block = EXPERIMENTS["E3_8"].architecture.block_a
    x, residual, after = outputs(
        "E3_8", ("a1_1_1", "input"), ("a1_project", "output"), ("reduction_a_pool", "input")
    )
    np.testing.assert_allclose(after, x + block.scale * residual, rtol=1e-6)


@pytest.mark.parametrize("name", OURS)
def test_a_plain_residual_is_added_before_relu(name):
    import numpy as np

    x, residual, after, shortcut, branch, reduced = outputs(
        *(name, ("a1_1_1", "input"), ("a1_1_2_norm", "output"), ("reduction_a_pool", "input")),
        *(("reduction_a_shortcut_1_norm", "output"), ("reduction_a_1_2_norm", "output")),
        ("reduction_a_relu", "output"),
    )
    assert residual.min() < 0
    np.testing.assert_array_equal(after, np.maximum(x + residual, 0))
    np.testing.assert_array_equal(reduced, np.maximum(shortcut + branch, 0))


@pytest.mark.parametrize(
    ("name", "maps"), [("small", [11, 6, 3]), ("medium", [21, 11, 6]), ("large", [21, 11, 6])]
)
def test_our_own_models_have_small_maps_and_batch_normalisation(name, maps):
    model = build_model(name, 3)
    layers = ("a1_1_1", "reduction_b_pool", "average_pool")
    assert [model.get_layer(layer).input.shape[1] for layer in layers] == maps
    assert EXPERIMENTS[name].architecture.batch_norm


def test_the_name_of_an_earlier_version_is_that_of_its_successor():
    assert experiments.find("demo") is EXPERIMENTS["small"]


def test_a_description_survives_json():
    for experiment in EXPERIMENTS.values():
        description = json.loads(json.dumps(experiment.architecture.describe()))
        assert Architecture.from_description(description) == experiment.architecture


@pytest.mark.parametrize(
    ("name", "hint"), [("E38", "did you mean E3_8?"), ("resnet", "E2_7, E2_8")]
)
def test_an_unknown_experiment_is_answered_with_the_names(name, hint):
    with pytest.raises(UserError) as error:
        experiments.find(name)
    assert f"no experiment '{name}'" in str(error.value)
    assert hint in str(error.value)


def test_experiments_need_no_tensorflow():
    code = "import sys, trainer.models.experiments; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
