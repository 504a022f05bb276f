"""Architectures from files: what is read, and that whatever is wrong in one is a line."""

import copy
import dataclasses
import json
import re

import pytest

from pipeline.cli import UserError
from tests.support.trainer_data import tiny_experiment
from tests.trainer.test_main import run
from trainer.models import costs
from trainer.models.architecture_file import MAX_PARAMETERS, read_architecture
from trainer.models.experiments import EXPERIMENTS

TINY = tiny_experiment().architecture.describe()
PLAIN = TINY | {
    **{f"block_{stage}": {"repeat": 1} for stage in "abc"},
    **{f"reduction_{stage}": {"filters": 12} for stage in "ab"},
    "batch_norm": True,
}
DEEPER = TINY | {  # of which no model is built
    "stem": [[[[3, 3], 4, 4, "valid"], [[3, 3], 8, 2, "valid"]]],
    "block_a": TINY["block_a"] | {"branches": [[[1, 1]], [[1, 1], [1, 3], [3, 1]]]},
    "reduction_a": [[4], [4, 4, 4]],
}


@pytest.fixture
def write(tmp_path):
    """Writes a value as JSON, or a text as it is; returns the path."""

    def write(value, name="mine.json"):
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return str(path)

    return write


def places(value, path=()):
    """Place of every value in a description, the whole first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items if isinstance(value, dict | list) else ():
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))
        else:
            yield (*path, key)


def changed(path, change, description=TINY):
    """Return the description with `change(container, key)` done at a place."""
    whole = {"all": copy.deepcopy(description)}
    *parents, key = ("all", *path)
    container = whole
    for parent in parents:
        container = container[parent]
    change(container, key)
    return whole.get("all")


def delete(container, key):
    del container[key]


def assign(value):
    def change(container, key):
        container[key] = value

    return change


def read_or_refusal(path):
    try:
        return read_architecture(path), ""
    except UserError as error:
        return None, str(error)


CHANGES = {
    "delete": delete,
    "null": assign(None),
    "text": assign("many"),
    "list": assign([]),
    "object": assign({"filters": 4}),
    "true": assign(True),
    "0": assign(0),
    "-1": assign(-1),
    "0.5": assign(0.5),
    "2": assign(2),
    "huge": assign(10**9),
    "larger than a float": assign(10**400),
    "NaN": assign(float("nan")),
    "infinite": assign(float("inf")),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_read_from_its_description(name, write):
    architecture = EXPERIMENTS[name].architecture
    read = read_architecture(write(architecture.describe()))
    assert (read.name, read.architecture) == ("mine", architecture)


def test_a_whole_configuration_brings_its_name(write):
    config = {"experiment": "wide", "architecture": TINY, "epochs": 3}
    assert read_architecture(write(config)).name == "wide"
    assert read_architecture(write({"architecture": TINY}, "narrow.v2.json")).name == "narrow.v2"


def test_the_name_of_an_experiment_of_the_study_is_for_its_own_architecture(write):
    """Else tables would show the study's figures beside another model."""
    architecture = dataclasses.replace(EXPERIMENTS["E3_8"].architecture, batch_norm=True)
    path = write(architecture.describe(), "E3_8.json")
    assert read_architecture(path).architecture == architecture
    path = write(TINY, "E3_8.json")
    with pytest.raises(UserError, match="the name of experiment E3_8 but another architecture"):
        read_architecture(path)


@pytest.mark.parametrize("description", [TINY, PLAIN], ids=["inception", "plain"])
def test_a_changed_description_is_refused_in_a_line_or_makes_a_model_that_runs(write, description):
    import numpy as np

    from trainer.model import build_model

    built = {}
    for place in places(description):
        for name, change in CHANGES.items():
            path = write(changed(place, change, description))
            experiment, refusal = read_or_refusal(path)
            if experiment is None:
                assert refusal.startswith(f"{path}: ")
                assert len(refusal.splitlines()) == 1
                assert len(refusal) < len(path) + 250
                continue
            built.setdefault(experiment.architecture, (place, name))
    assert len(built) > 20  # such as other numbers of filters
    for number, architecture in enumerate(built):
        model = build_model(dataclasses.replace(tiny_experiment(), architecture=architecture), 3)
        logits = model(np.ones((1, 85, 85, 1), np.float32), training=number % 2 == 0)
        assert logits.shape == (1, 3), built[architecture]
        assert costs.total(costs.stages(architecture, 3)).parameters == model.count_params()


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (("block_b",), delete, "block_b: missing"),
        (("block_b", "scale"), delete, "block_b.scale: missing"),
        (("block_d",), assign(1), "block_d: no such key; there are stem, block_a, reduction_a"),
        (("block_a", "filters"), assign(0), "block_a.filters: 0: it has to be an integer from 1"),
        (("block_a", "filters"), assign(4.0), "block_a.filters: 4.0: it has to be an integer"),
        (("block_a", "branches", 1, 2), assign([3]), "block_a.branches[1][2]: [3]: it has to be a"),
        (("stem", 0, 1, 2), assign(-2), "stem[0][1][2]: -2: it has to be an integer from 1 to 85"),
        (("stem", 0, 1, 3), assign("full"), 'stem[0][1][3]: "full": it has to be "same" or'),
        (("stem", 0), assign([]), "stem[0]: []: it has to be a list that is not empty"),
        (("reduction_a", 1, 0), assign(True), "reduction_a[1][0]: true: it has to be an integer"),
        (("batch_norm",), assign(1), "batch_norm: 1: it has to be true or false"),
        (("dropout_rate",), assign(1), "dropout_rate: 1: it has to be less than 1"),
        ((), assign([]), "the architecture: []: it has to be an object"),
        (("stem", 0, 0, 2), assign(85), "stem: nothing is left of the map"),
        (("stem", 0, 0, 2), assign(9), "reduction B: nothing is left of the map"),
        (
            ("stem",),
            assign([[[[3, 3], 8, 4, "valid"]], [[[3, 3], 8, 2, "valid"]]]),
            "stem: its branches have outputs 21x21x8, 42x42x8, which cannot be added",
        ),
        (
            ("stem",),
            assign([[[[3, 3], 8, 4, "valid"]], [[[3, 3], 4, 4, "valid"]]]),
            "stem: its branches have outputs 21x21x8, 21x21x4, which cannot be added",
        ),
        (
            ("reduction_a",),
            assign([[8192, 8192, 8192]]),
            f"at most {MAX_PARAMETERS:,} can be trained",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(write, place, change, message):
    path = write(changed(place, change, DEEPER))
    with pytest.raises(UserError, match=f"^{re.escape(path)}: .*{re.escape(message)}"):
        read_architecture(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{'stem': 1}", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "it has to be an object"),
        ('{"architecture": null}', "the architecture: null: it has to be an object"),
    ],
)
def test_a_file_that_is_no_description_is_refused(write, text, message):
    with pytest.raises(UserError, match=message):
        read_architecture(write(text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none.json: No such file"):
        read_architecture(str(tmp_path / "none.json"))
    with pytest.raises(UserError, match=r"Is a directory"):
        read_architecture(str(tmp_path))
    with pytest.raises(UserError, match=r"has to be a file on this machine"):
        read_architecture("gs://bucket/mine.json")


def test_the_command_describes_and_trains_an_architecture_from_a_file(write, tmp_path):
    from tests.support.trainer_data import write_dataset

    write_dataset(tmp_path / "data", train=20, validation=6)
    path = write(TINY, "my model (1) ü.json")  # names in a graph may hold no such characters
    flag = f"--architecture={path}"
    result = run("trainer.main", flag, "--summary")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"my model (1) ü (described in {path}), 20 classes\n")
    with_norm = run("trainer.main", flag, "--summary", "--batch_norm").stdout
    assert "20 classes, batch normalisation" in with_norm

    both = run("trainer.main", flag, "--experiment=small", "--summary")
    assert (both.returncode, both.stdout) == (2, "")
    assert both.stderr == "error: --architecture and --experiment: give one of them\n"

    flags = (f"--dataset={tmp_path}/data", f"--run_dir={tmp_path}/run", "--epochs=1")
    result = run("trainer.main", flag, *flags, "--batch_size=10")
    assert (result.returncode, result.stderr) == (0, "")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["experiment"], config["architecture"]) == ("my model (1) ü", TINY)
