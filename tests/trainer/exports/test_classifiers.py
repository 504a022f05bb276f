"""Loading classifiers: what is no model is named, and LiteRT needs no TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline.cli import UserError
from tests.support.trainer_data import LABELS, tiny_experiment
from trainer.exports import exporters
from trainer.exports.classifiers import FILES, load_export
from trainer.model import build_model
from trainer.training.checkpoints import SavedRun

# Keras' own, where it reads weights to write them.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A directory with a file of every kind, of a model with fresh weights."""
    directory = tmp_path_factory.mktemp("classifiers")
    run = SavedRun({"labels": LABELS}, 1, build_model(tiny_experiment(), len(LABELS)))
    model = exporters.standard_model(run.with_probabilities())
    for name in ("keras", "saved_model", "tflite_float32"):
        exporters.write_export(name, model, LABELS, str(directory / FILES[name]), np.empty(0), {})
    return directory


def test_a_tensorflow_lite_model_is_used_without_tensorflow(exports):
    code = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None  # importing them is an error
import numpy
from trainer.exports.classifiers import load_export
classifier = load_export(sys.argv[1])
print(classifier.labels, classifier(numpy.zeros((2, 85, 85), numpy.uint8)).shape)
"""
    path = str(exports / FILES["tflite_float32"])
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{LABELS} (2, 3)\n", "")


@pytest.mark.parametrize("name", ["keras", "saved_model", "tflite_float32"])
def test_the_number_of_drawings_is_free(exports, name):
    classifier = load_export(str(exports / FILES[name]))
    bitmaps = (np.random.default_rng(0).random((5, 85, 85)) < 0.1).astype(np.uint8)
    one_by_one = np.concatenate([classifier(bitmaps[row : row + 1]) for row in range(5)])
    np.testing.assert_allclose(classifier(bitmaps), one_by_one, atol=1e-6)
    np.testing.assert_allclose(one_by_one.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["keras", "tflite_float32"])
def test_a_file_that_was_cut_off_is_named(exports, tmp_path, name):
    path = tmp_path / FILES[name]
    path.write_bytes((exports / FILES[name]).read_bytes()[:-1000])
    with pytest.raises(UserError, match=f"{path}: no labels.txt in it; damaged, or not written by"):
        load_export(str(path))


def test_what_is_no_export_is_named(exports, tmp_path):
    cases = {
        tmp_path / "nowhere.keras": "no such file or directory",
        tmp_path: "no SavedModel .no saved_model.pb.; --model takes one of a directory's",
        exports
        / "saved_model"
        / "saved_model.pb": "neither a .keras, .tflite or .onnx file nor a Saved",
    }
    for path, message in cases.items():
        with pytest.raises(UserError, match=f"{path}: {message}"):
            load_export(str(path))


@pytest.mark.parametrize("name", ["keras", "tflite_float32"])
def test_a_damaged_file_is_named(exports, tmp_path, name):
    path = tmp_path / FILES[name]
    content = bytearray((exports / FILES[name]).read_bytes())
    content[:2000] = bytes(2000)  # the labels stand at the end
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: cannot be loaded: "):
        load_export(str(path))


def test_a_damaged_saved_model_is_named(exports, tmp_path):
    path = tmp_path / "saved_model"
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(UserError, match=f"{path}: cannot be loaded: "):
        load_export(str(path))


def test_a_missing_package_is_named(exports, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    path = str(exports / FILES["tflite_float32"])
    with pytest.raises(UserError, match=r"needs ai-edge-litert: pip install '.\[trainer\]'"):
        load_export(path)
