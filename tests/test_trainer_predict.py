"""Predictions: the pipeline's rasterizer, a JSON line a drawing, bad lines."""

import io
import json

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.rasterize import rasterize
from tests.trainer_data import LABELS, tiny_experiment, write_dataset
from trainer import predict, train
from trainer.predict import load_classifier, read_lines

SQUARE = {"word": "cake", "key_id": "17", "drawing": [[[0, 255, 255, 0, 0], [0, 0, 255, 255, 0]]]}
BAR = {"drawing": [[[0, 255], [100, 100]], [[7], [7]]]}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("predict")
    write_dataset(directory / "data")
    train.train(
        train.TrainConfig(
            dataset=str(directory / "data"),
            run_dir=str(directory / "run"),
            experiment=tiny_experiment(),
            epochs=2,
            batch_size=10,
            learning_rate=1e-2,
            precision="float32",
        )
    )
    return str(directory / "run")


def write_lines(path, *lines):
    path.write_bytes(
        b"".join(
            (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n"
            for line in lines
        )
    )
    return str(path)


def answers(paths, classify, top=3, labels=LABELS):
    return predict.predict(list(read_lines(paths)), classify, labels, top)


def test_the_model_sees_what_the_pipeline_draws(tmp_path):
    seen = []

    def classify(bitmaps):
        seen.append(bitmaps)
        return np.full((len(bitmaps), 3), 1 / 3)

    answers([write_lines(tmp_path / "a.ndjson", SQUARE, BAR)], classify)
    (bitmaps,) = seen
    np.testing.assert_array_equal(bitmaps[0], rasterize(SQUARE["drawing"]))
    np.testing.assert_array_equal(bitmaps[1], rasterize(BAR["drawing"]))


def test_an_answer_names_the_drawing_and_the_top_classes(tmp_path):
    path = write_lines(tmp_path / "a.ndjson", SQUARE, BAR)
    first, second = answers([path], lambda bitmaps: np.array([[0.2, 0.7, 0.1]] * 2), top=2)
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
    lines = list(read_lines([path]))
    assert [line.place for line in lines] == [f"{path}:{number}" for number in (1, 2, 4, 5)]
    results = answers([path], lambda bitmaps: np.full((len(bitmaps), 3), 1 / 3))
    assert [result.get("error") for result in results] == [None, "not JSON", "no strokes", None]


def test_lines_come_from_standard_input_and_several_files(tmp_path, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps(BAR).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    path = write_lines(tmp_path / "a.ndjson", SQUARE)
    assert [line.place for line in read_lines([path, "-"])] == [f"{path}:1", "standard input:1"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.ndjson: No such file"):
        list(read_lines([str(tmp_path / "nowhere.ndjson")]))


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_run_is_loaded_with_its_labels(run_dir, checkpoint):
    classify, labels = load_classifier(run_dir, checkpoint)
    assert labels == LABELS
    bitmaps = np.stack([rasterize(SQUARE["drawing"]), rasterize(BAR["drawing"])])
    probabilities = classify(bitmaps)
    assert probabilities.shape == (2, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(classify(bitmaps[:1]), probabilities[:1], rtol=1e-5)


def test_predictions_on_the_validation_split_have_the_accuracy_of_the_evaluation(run_dir):
    """The checkpoint restored is the one evaluated, the labels in the same order."""
    from pipeline import dataset, records

    config, state = (
        train.run_directory.read_config(run_dir),
        train.run_directory.read_state(run_dir),
    )
    examples = list(
        dataset.read_examples(
            config["dataset"], dataset.read_manifest(config["dataset"]), "validation"
        )
    )
    bitmaps = np.stack([records.unpack_bitmap(example.image) for example in examples])
    for checkpoint in ("best", "last"):
        classify, _ = load_classifier(run_dir, checkpoint)
        correct = classify(bitmaps).argmax(axis=1) == [example.label for example in examples]
        assert correct.mean() == getattr(state, checkpoint).evaluation["top1"]


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no run directory \(no config.json\)"):
        load_classifier(str(tmp_path), "best")
