"""Predictions: the pipeline's rasterizer, a JSON line a drawing, bad lines, open pipes."""

import csv
import io
import json
import math
import pathlib
import select
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from pipeline.cli import UserError
from pipeline.dataset.manifests import DataSet
from pipeline.rasterize import rasterize
from tests.support.trainer_data import LABELS, tiny_experiment, write_dataset
from tests.support.warm_process import run_module
from trainer import predict
from trainer.config import TrainConfig
from trainer.exports.classifiers import FILES, Classifier, load_export, load_run
from trainer.exports.job import export_run, first_drawings
from trainer.inputs.drawing_files import READING, read_batches
from trainer.runs.run_directory import read_state
from trainer.train import train
from trainer.training.checkpoints import load_run as load_saved_run

SQUARE = {"word": "cake", "key_id": "17", "drawing": [[[0, 255, 255, 0, 0], [0, 0, 255, 255, 0]]]}
BAR = {"drawing": [[[0, 255], [100, 100]], [[7], [7]]]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run and its data set: (run directory, data set, manifest)."""
    directory = tmp_path_factory.mktemp("predict")
    manifest = write_dataset(directory / "data")
    config = TrainConfig(
        dataset=str(directory / "data"),
        run_dir=str(directory / "run"),
        experiment=tiny_experiment(),
        epochs=2,
        batch_size=10,
        learning_rate=1e-2,
        precision="float32",
    )
    train(config)
    return config.run_dir, config.dataset, manifest


@pytest.fixture(scope="module")
def lite_model(trained):
    """A model that a process loads in a moment."""
    export_run(trained[0], "best", ["tflite_float32"])
    return f"{trained[0]}/export/{FILES['tflite_float32']}"


def write_lines(path, *lines):
    path.write_bytes(
        b"".join(
            (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n"
            for line in lines
        )
    )
    return str(path)


def answers(path, classify, top=3):
    (batch,) = read_batches([path], 100)
    return predict.predict(batch, Classifier(LABELS, classify), top)


def run_predict(*arguments, **settings):
    return run_module("trainer.predict", arguments, **settings)


def test_the_model_sees_what_the_pipeline_draws(tmp_path):
    seen = []

    def classify(bitmaps):
        seen.append(bitmaps)
        return np.full((len(bitmaps), 3), 1 / 3)

    answers(write_lines(tmp_path / "a.ndjson", SQUARE, BAR), classify)
    (bitmaps,) = seen
    np.testing.assert_array_equal(bitmaps[0], rasterize(SQUARE["drawing"]))
    np.testing.assert_array_equal(bitmaps[1], rasterize(BAR["drawing"]))


def test_an_answer_names_the_drawing_and_the_top_classes(tmp_path):
    path = write_lines(tmp_path / "a.ndjson", SQUARE, BAR)
    first, second = answers(path, lambda bitmaps: np.array([[0.2, 0.7, 0.1]] * 2), top=2)
    assert first == {
        "key_id": "17",
        "word": "cake",
        "predictions": [
            {"label": "cake", "probability": 0.7},
            {"label": "cat", "probability": 0.2},
        ],
    }
    assert set(second) == {"predictions"}


def test_a_bad_line_is_answered_in_its_place(tmp_path):
    path = write_lines(tmp_path / "a.ndjson", SQUARE, b"{", b"", {"drawing": []}, BAR)
    results = answers(path, lambda bitmaps: np.full((len(bitmaps), 3), 1 / 3))
    assert [result.get("error") for result in results] == [None, "not JSON", "no strokes", None]


def test_a_drawing_from_a_canvas_is_seen_as_upstream_would_have_drawn_it(tmp_path):
    seen = []

    def classify(bitmaps):
        seen.append(bitmaps)
        return np.full((len(bitmaps), 3), 1 / 3)

    (stroke,) = SQUARE["drawing"]
    moved = [[[150.5 + x / 2 for x in stroke[0]], [-90 + y / 2 for y in stroke[1]]]]
    lone = [[[215, 255], [128, 128]]]
    path = tmp_path / "a.ndjson"
    answers(write_lines(path, {"drawing": moved}, {"drawing": lone}, BAR), classify)
    np.testing.assert_array_equal(seen[0][0], rasterize(SQUARE["drawing"]))
    assert seen[0].any(axis=(1, 2)).all()


def test_a_drawing_without_ink_is_no_guess(tmp_path):
    off = {
        "key_id": "off",
        "drawing": [
            [
                [190, 255, 190],
                [190, 255, 250],
            ]
        ],
    }
    path = write_lines(tmp_path / "a.ndjson", SQUARE, off, BAR)
    (batch,) = read_batches([path], 100, READING._replace(frame="keep"))
    classifier = Classifier(LABELS, lambda bitmaps: np.full((len(bitmaps), 3), 1 / 3))
    outputs = predict.predict(batch, classifier, 1)
    assert outputs[1] == {"key_id": "off", "error": "no ink: the bitmap is blank"}
    assert [list(output)[-1] for output in outputs] == ["predictions", "error", "predictions"]
    assert predict.predict(batch[1:2], classifier, 1) == outputs[1:2]


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_run_is_loaded_with_its_labels(trained, checkpoint):
    classifier = load_run(trained[0], checkpoint)
    assert classifier.labels == LABELS
    bitmaps = np.stack([rasterize(SQUARE["drawing"]), rasterize(BAR["drawing"])])
    probabilities = classifier(bitmaps)
    assert probabilities.shape == (2, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(classifier(bitmaps[:1]), probabilities[:1], rtol=1e-5)


def test_a_run_is_computed_in_float32_whatever_was_set_before(trained):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        run = load_saved_run(trained[0], "best")
        assert {layer.compute_dtype for layer in run.model.layers} == {"float32"}
        assert keras.mixed_precision.dtype_policy().name == "mixed_bfloat16"
        run = load_saved_run(trained[0], "best", "mixed_bfloat16")
        assert "bfloat16" in {layer.compute_dtype for layer in run.model.layers}
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def test_predictions_on_the_validation_split_have_the_accuracy_of_the_evaluation(trained):
    """The checkpoint restored is the one evaluated, the labels in the same order."""
    run_dir, directory, manifest = trained
    bitmaps, classes = first_drawings(DataSet(directory, manifest), "validation", 1000)
    state = read_state(run_dir)
    for checkpoint in ("best", "last"):
        correct = load_run(run_dir, checkpoint)(bitmaps).argmax(axis=1) == classes
        assert correct.mean() == getattr(state, checkpoint).evaluation["top1"]


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no run directory \(no config.json\)"):
        load_run(str(tmp_path), "best")


def test_a_run_of_another_version_is_not_called_damaged(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text('{"experiment": "E2_7"}')
    (tmp_path / "checkpoints" / "state.json").write_text('{"epoch": 1, "step": 3}')
    with pytest.raises(UserError, match=f"{tmp_path}: of another version of the trainer, with"):
        load_run(str(tmp_path), "best")


def test_an_export_answers_as_its_run_does(trained, lite_model, tmp_path):
    """From a file, from stdin, and through the command."""
    lines = [SQUARE, BAR, SQUARE | {"key_id": "18"}] * 5
    path = write_lines(tmp_path / "a.ndjson", *lines)
    (batch,) = read_batches([path], 100)
    expected = predict.predict(batch, load_run(trained[0], "best"), 3)
    assert predict.predict(batch, load_export(lite_model), 3) == approx(expected)
    for arguments in ([f"--model={lite_model}"], [f"--run_dir={trained[0]}", "--checkpoint=best"]):
        text = pathlib.Path(path).read_text(encoding="utf-8")
        done = run_predict(*arguments, "--batch_size=4", path, "-", stdin=text)
        printed = [json.loads(line) for line in done.stdout.splitlines()]
        assert printed == approx(expected + expected)
        assert (done.returncode, done.stderr) == (0, "")


def test_real_raw_drawings_have_the_classes_of_their_simplified_twins(sample, lite_model, tmp_path):
    with open(sample / "raw_simplified_pairs.ndjson", encoding="utf-8") as file:
        pairs = [json.loads(text) for text in file]
    results = []
    for kind in ("raw", "simplified"):
        lines = [{"key_id": pair["key_id"], "drawing": pair[kind]} for pair in pairs]
        path = write_lines(tmp_path / kind, *lines)
        (batch,) = read_batches([path], len(lines))
        results.append(predict.predict(batch, load_export(lite_model), 1))
    assert results[0] == results[1]
    assert len({answer["predictions"][0]["label"] for answer in results[0]}) > 1


def test_bad_lines_are_named_and_the_others_answered(lite_model, tmp_path):
    path = write_lines(tmp_path / "a.ndjson", SQUARE, b"{", BAR)
    done = run_predict(f"--model={lite_model}", path)
    assert [list(json.loads(line))[-1] for line in done.stdout.splitlines()] == [
        "predictions",
        "error",
        "predictions",
    ]
    assert done.stderr == f"{path}:2: not JSON\nerror: 1 of the lines could not be classified\n"
    assert done.returncode == 1


def test_who_writes_a_line_and_waits_is_answered(lite_model):
    with subprocess.Popen(
        [sys.executable, "-m", "trainer.predict", f"--model={lite_model}", "--top=1", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        for _ in range(3):
            process.stdin.write(json.dumps(SQUARE).encode() + b"\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 60)[0], "no answer in a minute"
            assert json.loads(process.stdout.readline())["key_id"] == "17"
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_the_model_that_comes_along_answers_without_tensorflow():
    code = """
        import runpy, sys
        sys.modules["tensorflow"] = sys.modules["keras"] = None  # importing them is an error
        sys.argv = ["trainer.predict", "--top=1", "-"]
        runpy.run_module("trainer.predict", run_name="__main__")
    """
    circle = [
        [round(128 + 127 * math.cos(turn * math.pi / 16)) for turn in range(33)],
        [round(128 + 127 * math.sin(turn * math.pi / 16)) for turn in range(33)],
    ]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=json.dumps({"drawing": [circle]}),
        capture_output=True,
        text=True,
        check=True,
    )
    (prediction,) = json.loads(done.stdout)["predictions"]
    assert (prediction["label"], done.stderr) == ("circle", "")


def test_csv_has_the_columns_of_the_json_lines(lite_model, tmp_path):
    named = SQUARE | {"word": 'a "square", drawn'}
    path = write_lines(tmp_path / "a.ndjson", named, b"{", BAR)
    as_json = run_predict(f"--model={lite_model}", "--top=2", path)
    as_csv = run_predict(f"--model={lite_model}", "--top=2", "--format=csv", path)
    assert (as_csv.returncode, as_csv.stderr) == (as_json.returncode, as_json.stderr)
    rows = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    outputs = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert len(rows) == len(outputs) == 3
    for row, output in zip(rows, outputs, strict=True):
        assert [row[name] or None for name in ("key_id", "word", "error")] == [
            output.get(name) for name in ("key_id", "word", "error")
        ]
        predictions = output.get("predictions", [{"label": "", "probability": ""}] * 2)
        found = [(row[f"label{rank}"], row[f"probability{rank}"]) for rank in (1, 2)]
        assert found == [(each["label"], str(each["probability"])) for each in predictions]


def test_a_reader_that_goes_away_ends_it_quietly(lite_model, tmp_path):
    path = write_lines(tmp_path / "a.ndjson", *[SQUARE] * 5000)
    with subprocess.Popen(
        [sys.executable, "-m", "trainer.predict", f"--model={lite_model}", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert json.loads(process.stdout.readline())["word"] == "cake"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run_dir=a", "--model=b", "-"], "--run_dir or --model, not both"),
        (["--model=b", "--checkpoint=last", "-"], "--checkpoint chooses from a --run_dir"),
        (["--checkpoint=last", "-"], "--checkpoint chooses from a --run_dir"),
        (["--model=b"], "no input: name ndjson files, or - for stdin"),
        (["--model=b", "nowhere.ndjson"], "nowhere.ndjson: no such file"),
        (["--model=b", "-"], "b: no such file or directory"),
    ],
)
def test_wrong_flags_are_one_line(arguments, message):
    done = run_predict(*arguments)
    assert done.stderr.startswith(f"error: {message}")
    assert (done.stderr.count("\n"), done.stdout, done.returncode) == (1, "", 2)


def approx(results):
    """Answers with probabilities that may differ by a unit in the last place shown."""
    return [
        answer
        | {
            "predictions": [
                {**each, "probability": pytest.approx(each["probability"], abs=1.1e-4)}
                for each in answer["predictions"]
            ]
        }
        for answer in results
    ]
