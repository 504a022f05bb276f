"""Content that is kept of every validation drawing."""

import numpy as np
import pytest

from pipeline.cli import UserError
from trainer.runs.predictions import Predictions, load, path_of, save


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    predictions = Predictions.from_logits(rng.normal(size=(7, 5)), rng.integers(5, size=7))
    path = path_of(str(tmp_path), "step-00000001")
    save(path, predictions)
    return path, predictions


def test_probabilities_are_the_softmax_and_of_equals_the_lower_class_comes_first():
    logits = np.log([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
    predictions = Predictions.from_logits(logits, np.array([1, 3]))
    np.testing.assert_array_equal(predictions.top_labels, [[3, 2, 1], [0, 1, 2]])
    np.testing.assert_allclose(predictions.top_probabilities[0], [0.4, 0.3, 0.2], rtol=1e-6)
    np.testing.assert_allclose(predictions.label_probabilities, [0.2, 0.25], rtol=1e-6)


def test_what_is_saved_is_loaded(saved):
    path, predictions = saved
    for name, values in vars(load(path)).items():
        np.testing.assert_array_equal(values, getattr(predictions, name))
        assert values.dtype == getattr(predictions, name).dtype


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-40], lambda data: b"", lambda data: data[9:]]
)
def test_a_damaged_file_is_one_line(saved, damage):
    path, _ = saved
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(damage(data))
    with pytest.raises(UserError, match=rf"{path}: cannot be read"):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.npz: cannot be read"):
        load(str(tmp_path / "nothing.npz"))
