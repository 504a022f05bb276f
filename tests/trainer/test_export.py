"""Exports: the checkpoint's model in every form, its labels inside, complete or not there."""

import collections
import contextlib
import dataclasses
import filecmp
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from ai_edge_litert.interpreter import Interpreter

from pipeline.cli import RunError, UserError
from pipeline.dataset.manifests import DataSet
from tests.support.ndjson import ROOT
from tests.support.page.litertjs_packages import write_made_up
from tests.support.trainer_data import LABELS, tiny_experiment, write_dataset
from tests.support.warm_process import run_code
from trainer.config import RECIPES, TrainConfig, describe_run, flags_of_run
from trainer.export import check_formats
from trainer.exports import classifiers, exporters, litertjs
from trainer.exports.classifiers import (
    DEFAULT_FORMATS,
    FILES,
    Classifier,
    load_export,
    load_run,
)
from trainer.exports.job import export_run, first_drawings, replaced
from trainer.exports.model_card import Tested, model_card
from trainer.model import build_model
from trainer.models import experiments
from trainer.runs.run_directory import read_state
from trainer.runs.uncertainty import wilson_interval
from trainer.train import train
from trainer.training.metrics import Metrics

# Keras' own, where it reads weights to write them.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with every kind of layer, and its data set: (run directory, data set, manifest)."""
    directory = tmp_path_factory.mktemp("export")
    manifest = write_dataset(directory / "data", train=300)
    config = TrainConfig(
        dataset=str(directory / "data"),
        run_dir=str(directory / "run"),
        experiment=tiny_experiment(batch_norm=True),
        epochs=5,
        batch_size=10,
        learning_rate=1e-2,
        precision="float32",
    )
    train(config)
    return config.run_dir, config.dataset, manifest


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Files that take the place of LiteRT.js."""
    directory = tmp_path_factory.mktemp("litertjs")
    write_made_up(directory)
    return litertjs.read(str(directory))


@pytest.fixture(scope="module")
def exported(trained, library):
    """Export of all forms: (its directory, what was printed)."""
    run_dir, _, _ = trained
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        export_run(run_dir, "best", list(FILES), litertjs=library)
    return os.path.join(run_dir, "export"), printed.getvalue()


@pytest.fixture(scope="module")
def bitmaps(trained):
    """Of the validation split."""
    _, directory, manifest = trained
    return first_drawings(DataSet(directory, manifest), "validation", 1000)[0]


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy of the run to export from."""
    ignored = shutil.ignore_patterns("export*", "tensorboard")
    return str(shutil.copytree(trained[0], tmp_path / "run", ignore=ignored))


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("keras", 1e-5),
        ("saved_model", 1e-5),
        ("tflite_float32", 1e-5),
        ("tflite_float16", 0.01),
        ("tflite_int8", 0.1),
        ("onnx", 1e-5),
        ("web", 0.1),
    ],
)
def test_an_export_that_was_copied_elsewhere_gives_what_the_checkpoint_gives(
    trained, exported, bitmaps, tmp_path, name, tolerance
):
    folder = tmp_path / "copy[1]*?"  # no pattern
    folder.mkdir()
    source, target = os.path.join(exported[0], FILES[name]), str(folder / FILES[name])
    (shutil.copytree if os.path.isdir(source) else shutil.copyfile)(source, target)
    classifier = load_export(target)
    probabilities = classifier(bitmaps)
    expected = load_run(trained[0], "best")(bitmaps)
    assert np.ptp(expected, axis=0).min() > 0.3  # there is something to get wrong
    assert classifier.labels == LABELS
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=tolerance)
    np.testing.assert_allclose(classifier(bitmaps[:1]), probabilities[:1], atol=1e-5)


def test_an_export_has_layers_of_keras_only():
    layers = exporters.standard_model(
        build_model(tiny_experiment(batch_norm=True), len(LABELS))
    ).layers
    assert {type(layer).__module__.partition(".")[0] for layer in layers} == {"keras"}
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert not any(layer.synchronized for layer in norms)


@pytest.mark.parametrize("name", ["tflite_float32", "tflite_int8"])
def test_batch_normalisation_and_relu_become_part_of_the_convolutions(tmp_path, name):
    model = build_model("small", len(LABELS))
    network = keras.Model(model.input, keras.layers.Softmax(name="probabilities")(model.output))
    path = str(tmp_path / FILES[name])
    drawings = np.eye(85, dtype=np.uint8)[np.newaxis]
    exporters.write_export(name, exporters.standard_model(network), LABELS, path, drawings, {})
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    operations = collections.Counter(each["op_name"] for each in interpreter._get_ops_details())
    del operations["DELEGATE"]  # kernels that take the place of some
    assert operations == {
        **{"CONV_2D": 12, "ADD": 3, "AVERAGE_POOL_2D": 2},
        **{"MEAN": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1},
    }


def test_plain_keras_loads_the_keras_file(exported, bitmaps, tmp_path):
    path = os.path.join(exported[0], FILES["keras"])
    np.savez(
        tmp_path / "in.npz", images=bitmaps[..., np.newaxis], expected=load_export(path)(bitmaps)
    )
    code = f"""
        import sys
        for ours in ("trainer", "pipeline", "analysis"):
            assert ours not in sys.modules
            sys.modules[ours] = None  # importing it is an error
        import keras, numpy
        data = numpy.load({str(tmp_path / "in.npz")!r})
        model = keras.saving.load_model({path!r})
        numpy.testing.assert_allclose(
            model.predict(data["images"], verbose=0), data["expected"], atol=1e-5
        )
        assert model.layers[-2].name == "logits"
        assert {{layer.compute_dtype for layer in model.layers}} == {{"float32"}}
    """
    run_code(textwrap.dedent(code))


def test_the_saved_model_has_a_signature_for_bitmaps_and_one_for_labels(exported, bitmaps):
    path = os.path.join(exported[0], FILES["saved_model"])
    model = tf.saved_model.load(path)
    serve = model.signatures["serving_default"]
    (source,) = serve.structured_input_signature[1].values()
    result = serve.structured_outputs["probabilities"]
    assert (source.name, source.dtype, source.shape.as_list()) == (
        "bitmaps",
        tf.uint8,
        [None, 85, 85],
    )
    assert (result.dtype, result.shape.as_list()) == (tf.float32, [None, 3])
    assert list(serve.structured_outputs) == ["probabilities"]
    served = serve(bitmaps=tf.constant(bitmaps))["probabilities"].numpy()
    np.testing.assert_allclose(served.sum(axis=1), 1, rtol=1e-5)
    labels = model.signatures["labels"]()["labels"].numpy().tolist()
    assert labels == [label.encode() for label in LABELS]
    with open(os.path.join(path, "assets", "labels.txt"), encoding="utf-8") as file:
        assert tuple(file.read().splitlines()) == LABELS


@pytest.mark.parametrize("name", [name for name in DEFAULT_FORMATS if name != "saved_model"])
def test_unzip_shows_the_labels_of_a_file(exported, name):
    with zipfile.ZipFile(os.path.join(exported[0], FILES[name])) as archive:
        assert archive.read("labels.txt").decode() == "cat\ncake\ncar\n"
        assert archive.testzip() is None


@pytest.mark.parametrize(
    ("name", "dtypes", "kernel", "image"),
    [
        ("tflite_float32", {np.float32, np.int32}, np.float32, np.float32),
        ("tflite_float16", {np.float32, np.float16, np.int32}, np.float16, np.float32),
        ("tflite_int8", {np.int8, np.int32}, np.int8, np.int8),  # int32: biases, and shapes
    ],
)
def test_a_tensorflow_lite_model_is_of_its_number_format(exported, name, dtypes, kernel, image):
    interpreter = Interpreter(os.path.join(exported[0], FILES[name]))
    interpreter.allocate_tensors()
    assert {tensor["dtype"] for tensor in interpreter.get_tensor_details()} <= dtypes
    runner = interpreter.get_signature_runner("serving_default")
    (source,) = runner.get_input_details().values()
    (result,) = runner.get_output_details().values()
    assert (source["dtype"], source["shape_signature"].tolist()) == (image, [-1, 85, 85, 1])
    assert (result["dtype"], result["shape_signature"].tolist()) == (image, [-1, 3])
    assert list(runner.get_input_details()) == ["image"]
    assert list(runner.get_output_details()) == ["probabilities"]
    kernels = [t for t in interpreter.get_tensor_details() if t["shape"].tolist() == [8, 5, 5, 1]]
    assert kernels[0]["dtype"] == kernel  # the first convolution's, as the file has it


def test_the_onnx_model_has_names_and_takes_any_batch(exported, bitmaps):
    import onnx  # a second that others need not wait for
    import onnxruntime

    session = onnxruntime.InferenceSession(os.path.join(exported[0], FILES["onnx"]))
    (source,), (result,) = session.get_inputs(), session.get_outputs()
    assert (source.name, source.shape) == ("image", ["batch", 85, 85, 1])
    assert (result.name, result.shape) == ("probabilities", ["batch", 3])
    assert {node.domain for node in onnx.load(session._model_path).graph.node} == {""}


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x08\x08"])
def test_a_damaged_onnx_model_is_refused(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model.onnx"):
        load_export(str(path))


def test_the_comparison_is_printed_and_kept(exported, trained):
    directory, printed = exported
    with open(os.path.join(directory, "export.json"), encoding="utf-8") as file:
        kept = json.load(file)
    best = read_state(trained[0]).best
    assert (kept["labels"], kept["epoch"]) == (list(LABELS), best.epoch)
    assert (kept["compared_drawings"], kept["calibration_drawings"]) == (23, 300)
    assert list(kept["files"]) == list(FILES.values())
    rows = {row.split()[0]: row.split()[1:] for row in printed.splitlines() if row}
    for name, figures in kept["files"].items():
        assert rows[name] == [
            f"{figures['bytes'] / 1e6:.1f}",
            f"{figures['ms_single']:.2f}",
            f"{figures['ms_batched']:.2f}",
            f"{figures['top1']:.3f}",
            f"{figures['same_top1']:.3f}",
            f"{figures['largest_difference']:.6f}",
        ]
    top1 = best.evaluation["top1"]
    assert rows["checkpoint"][2:] == [f"{top1:.3f}", "1.000", "0.000000"]
    assert kept["files"]["saved_model"]["top1"] == pytest.approx(top1)
    assert kept["files"]["model.keras"]["same_top1"] == 1
    size_bytes = os.path.getsize(os.path.join(directory, "model.keras"))
    assert kept["files"]["model.keras"]["bytes"] == size_bytes


def test_the_card_says_what_was_measured_and_its_snippets_run(exported, trained, monkeypatch):
    directory, _ = exported
    with open(os.path.join(directory, "README.md"), encoding="utf-8") as file:
        card = file.read()
    best = read_state(trained[0]).best
    scores = best.evaluation
    front, body = card.removeprefix("---\n").split("---\n", 1)
    (accuracy, map3) = yaml.safe_load(front)["model-index"][0]["results"][0]["metrics"]
    assert accuracy == {"type": "accuracy", "value": round(scores["top1"], 4)}
    assert map3["value"] == round(scores["map3"], 4)
    assert f"after epoch {best.epoch} of 5" in body
    low, high = wilson_interval(round(scores["top1"] * 23), 23)
    figures = f"{scores['top1']:.4f} | {low:.3f} to {high:.3f} | {scores['top3']:.4f}"
    assert f"| checkpoint |  | {figures} |" in body
    for each in scores["per_class"]:
        row = f"| {each['label']} | {each['examples']} | {each['recall']:.2f} |"
        assert row in body
    snippets = re.findall(r"^`(.+)`:\n\n```python\n((?:.*\n)+?)```$", body, re.MULTILINE)
    assert [name for name, _ in snippets] == [name for name in FILES.values() if name != "web"]
    assert "`web`: a page to draw on" in body
    monkeypatch.chdir(directory)
    for name, code in snippets:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, {})
        blank = load_export(os.path.join(directory, name))(np.zeros((1, 85, 85), np.uint8))
        label = LABELS[blank.argmax()]
        assert printed.getvalue().split()[-1] in (str(blank.argmax()), label)


def test_the_card_of_a_run_that_went_on_tells_all_its_epochs(tmp_path):
    manifest = write_dataset(tmp_path, train=8, validation=4)
    config = TrainConfig("data", "run", tiny_experiment(), epochs=2, early_stopping=1)
    written = describe_run(config, manifest) | {"sessions": [{"epochs": 5, "early_stopping": 0}]}
    metrics = Metrics(len(LABELS))
    metrics.add(np.eye(3, dtype=np.float32), np.arange(3))
    tested = [Tested("checkpoint", None, metrics.result(LABELS))]
    card = model_card(written, 4, manifest, tested, np.ones(3, np.float32))
    assert "The weights after epoch 4 of 5, trained by" in card
    assert "--epochs=5" in card
    assert "--early_stopping" not in card


def test_the_card_gives_the_flags_that_repeat_the_run(tmp_path):
    config = TrainConfig("data", "run", experiments.find("small"), recipe="fast", epochs=5)
    config = dataclasses.replace(config, **(RECIPES["fast"] | {"epochs": 5, "seed": 7}))
    manifest = write_dataset(tmp_path, train=8, validation=4)
    expected = ["--experiment=small", "--recipe=fast", "--epochs=5", "--seed=7"]
    assert flags_of_run(describe_run(config, manifest)) == expected
    changed = dataclasses.replace(config, experiment=tiny_experiment(), augment=(), seed=0)
    assert flags_of_run(describe_run(changed, manifest)) == [
        *("--architecture=config.json", "--recipe=fast", "--epochs=5", "--augment="),
    ]


def test_an_export_that_gives_no_numbers_is_none(run_dir, monkeypatch):
    load = classifiers.load_export

    def load_spoiled(path):
        labels, classify = load(path)
        return Classifier(labels, lambda bitmaps: classify(bitmaps) * np.float32("nan"))

    monkeypatch.setattr(classifiers, "load_export", load_spoiled)
    with pytest.raises(RunError, match=r"model_float16.tflite gives probabilities that are NaN"):
        export_run(run_dir, "best", ["tflite_float16"])


@pytest.fixture
def exported_run(trained, exported, tmp_path):
    """A copy of the run with its export of all formats."""
    return str(shutil.copytree(trained[0], tmp_path / "run"))


def test_formats_of_an_earlier_export_that_go_are_named(exported_run, exported, capsys):
    assert "removed" not in exported[1]
    export_run(exported_run, "best", ["tflite_float16"])
    gone = ", ".join(sorted({*FILES.values()} - {FILES["tflite_float16"]}))
    assert f"\nearlier exports removed: {gone} (" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["tflite_int8", "web"])
def test_an_export_that_loses_accuracy_is_none(exported_run, library, monkeypatch, name):
    before = tree(pathlib.Path(exported_run, "export"))
    load = classifiers.load_export

    def load_spoiled(path):
        labels, classify = load(path)
        return Classifier(labels, lambda bitmaps: np.roll(classify(bitmaps), 1, axis=1))

    monkeypatch.setattr(classifiers, "load_export", load_spoiled)
    with pytest.raises(RunError, match=rf"{FILES[name]}: top-1 0\.\d+, the checkpoint's 1\.0000"):
        export_run(exported_run, "best", [name], litertjs=library)
    assert tree(pathlib.Path(exported_run, "export")) == before


def test_a_page_has_what_a_host_needs_and_the_int8_model(exported, bitmaps, library):
    directory = os.path.join(exported[0], "web")
    names = set(tree(pathlib.Path(directory)))
    assert {"index.html", "page.js", "classifier.js", "LICENSE", "model.tflite"} <= names
    assert not names & {"page.html", "api.html", "openapi.json"}  # of the server
    assert set(library) <= names
    with open(os.path.join(directory, "model.json"), encoding="utf-8") as file:
        assert json.load(file) == {"model": "run", "labels": list(LABELS)}
    int8 = load_export(os.path.join(exported[0], FILES["tflite_int8"]))
    np.testing.assert_array_equal(load_export(directory)(bitmaps), int8(bitmaps))


@pytest.mark.parametrize("content", ["{", "[]", '{"model": "run"}'])
def test_a_page_without_labels_is_refused(tmp_path, content):
    (tmp_path / "model.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"model.json: no labels in it; damaged, or not written"):
        load_export(str(tmp_path))


def test_the_licence_in_the_page_is_the_projects():
    page = ROOT / "trainer" / "page" / "browser" / "LICENSE"
    assert page.read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_calibration_is_the_same_every_time(run_dir, exported):
    export_run(run_dir, "best", ["tflite_int8"])
    again = os.path.join(run_dir, "export", FILES["tflite_int8"])
    assert filecmp.cmp(again, os.path.join(exported[0], FILES["tflite_int8"]), shallow=False)


def test_an_export_is_replaced_as_a_whole(tmp_path):
    target = str(tmp_path / "export")
    for name in ("first", "second"):
        with replaced(target) as directory:
            write(os.path.join(directory, name))
    assert tree(tmp_path) == ["export/second"]


def test_a_failed_export_leaves_the_old_one(tmp_path):
    target = str(tmp_path / "export")
    with replaced(target) as directory:
        write(os.path.join(directory, "old"))
    with contextlib.suppress(RunError), replaced(target) as directory:
        write(os.path.join(directory, "new"))
        raise RunError("planned")
    assert tree(tmp_path) == ["export/old"]


@pytest.mark.parametrize("step", range(5))
def test_a_kill_at_any_step_leaves_an_export_or_its_former_self(tmp_path, monkeypatch, step):
    """A kill is an error that nothing handles: no step of the clean-up is done after it."""
    target = str(tmp_path / "export")
    with replaced(target) as directory:
        write(os.path.join(directory, "old"))
    steps = itertools.count()
    for module, name in ((os, "makedirs"), (os, "rename"), (shutil, "rmtree")):
        monkeypatch.setattr(module, name, _until_killed(getattr(module, name), steps, step + 2))
    with contextlib.suppress(KeyboardInterrupt), replaced(target) as directory:
        write(os.path.join(directory, "new"))
    monkeypatch.undo()
    assert set(tree(tmp_path)) & {"export/old", "export.former/old", "export/new"}
    with contextlib.suppress(RunError), replaced(target):
        raise RunError("the next one fails")
    assert tree(tmp_path) in (["export/old"], ["export/new"])


def test_an_export_of_another_model_is_not_kept(run_dir, monkeypatch):
    standard_model = exporters.standard_model

    def spoil(model):
        copy = standard_model(model)
        weights = copy.get_layer("logits").get_weights()
        copy.get_layer("logits").set_weights([-weight for weight in weights])
        return copy

    monkeypatch.setattr(exporters, "standard_model", spoil)
    with pytest.raises(RunError, match=r"model.keras has other probabilities than the checkpoint"):
        export_run(run_dir, "best", ["keras"])
    assert not os.path.exists(f"{run_dir}/export")


def test_a_data_set_with_other_labels_is_refused(run_dir, trained, tmp_path):
    other = shutil.copytree(trained[1], tmp_path / "data")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(
        json.dumps(manifest | {"labels": ["cake", "cat", "car"]}), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"data: its labels are not the run's"):
        export_run(run_dir, "best", ["keras"], str(other))


def test_a_data_set_that_has_moved_is_asked_for(run_dir, trained, tmp_path):
    config_path = os.path.join(run_dir, "config.json")
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    with open(config_path, "w", encoding="utf-8") as file:
        json.dump(config | {"dataset": str(tmp_path / "gone")}, file)
    with pytest.raises(
        UserError, match=r"gone: no such directory; if it has moved, pass --dataset=DIR"
    ):
        export_run(run_dir, "best", ["keras"])
    export_run(run_dir, "best", ["keras"], trained[1])
    assert os.path.exists(f"{run_dir}/export/model.keras")


def test_a_damaged_shard_is_named(run_dir, trained, tmp_path):
    data = shutil.copytree(trained[1], tmp_path / "data")
    shard = data / "quickdraw-validation.tfrecord-00000-of-00003"
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(UserError, match=f"{shard}: truncated at byte"):
        export_run(run_dir, "best", ["keras"], str(data))


def test_formats_are_checked_at_the_start(monkeypatch):
    with pytest.raises(UserError, match=r"no format 'pt'; there are keras, saved_model, tflite"):
        check_formats(["keras", "pt"])
    with pytest.raises(UserError, match="none given"):
        check_formats([])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_formats(["keras", "saved_model"])
    with pytest.raises(UserError, match=r"needs ai-edge-litert: pip install '.\[trainer\]'"):
        check_formats(["keras", "tflite_int8"])
    with pytest.raises(UserError, match=r"web needs ai-edge-litert: pip install '.\[trainer\]'"):
        check_formats(["web"])
    with pytest.raises(UserError, match=r"onnx needs tf2onnx: pip install '.\[onnx\]'"):
        check_formats(["onnx"])


def test_the_command_prints_nothing_but_its_own_lines(run_dir, tmp_path):
    write_made_up(tmp_path / "litertjs")
    arguments = [f"--run_dir={run_dir}", "--formats=tflite_int8,web"]
    arguments.append(f"--litertjs={tmp_path}/litertjs")
    done = subprocess.run(
        [sys.executable, "-m", "trainer.export", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    starts = [line.split()[0] for line in done.stdout.splitlines() if line]
    files = ["model_int8.tflite", "web"]
    assert starts == ["run", "data", "MB", "checkpoint", *files, "ms", "exports"]
    assert done.stderr == ""


def write(path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("content")


def tree(directory):
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )


def _until_killed(function, steps, last):
    """`function`, which does nothing any more after the step `last` of all such functions."""

    def call(*arguments, **options):
        if next(steps) >= last:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    return call
