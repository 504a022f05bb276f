"""Reliability diagram: the right predictions in the right bins, the published error."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from analysis.calibration import BINS, calibrate, coverage, plot_calibration
from analysis.reading.evaluations import SplitPredictions, validation_of
from analysis.reading.runs import Run, read_run
from analysis.style import figures
from pipeline.cli import UserError
from tests.support.analysis_data import (
    HISTORY,
    check_texts,
    run_command,
    write_predictions,
    write_run,
)
from trainer.runs.predictions import Predictions

LABELS = ["cat", "The Great Wall of China", "car"]


def make_predictions(confidences, right):
    count = len(confidences)
    top = np.tile(np.array([0, 1, 2], np.int16), (count, 1))
    rest = (1 - np.asarray(confidences)) / 2
    probabilities = np.stack([confidences, rest, rest], axis=1).astype(np.float32)
    labels = np.where(right, 0, 1).astype(np.int16)
    return Predictions(labels, probabilities[np.arange(count), labels], top, probabilities)


def calibration_of(confidences, right):
    config = {"experiment": "E1", "labels": LABELS, "dataset": "", "dataset_fingerprint": ""}
    evaluation = validation_of(Run("r", config, HISTORY))
    return calibrate(SplitPredictions(evaluation, 3, make_predictions(confidences, right)))


def test_bins_hold_the_answers_of_their_confidence():
    result = calibration_of([0.5, 0.51, 0.52, 0.99], [True, False, True, True])
    assert [(each.count, each.correct) for each in result.bins] == [(3, 2), (1, 1)]
    assert result.bins[0].accuracy == 2 / 3
    assert result.bins[0].confidence == pytest.approx(0.51)
    assert (result.accuracy, result.confidence) == (0.75, pytest.approx(0.63))


def test_the_expected_error_is_the_mean_gap_of_the_answers():
    # Two bins: |2/3 - 0.51| for three predictions, |1 - 0.99| for one.
    result = calibration_of([0.5, 0.51, 0.52, 0.99], [True, False, True, True])
    assert result.expected_error == pytest.approx(3 / 4 * (2 / 3 - 0.51) + 1 / 4 * 0.01)


def test_a_calibrated_model_has_no_error_and_an_overconfident_one_has():
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.35, 1, 200_000)
    honest = calibration_of(confidences, rng.random(200_000) < confidences)
    assert honest.expected_error < 0.005
    boastful = calibration_of(confidences, rng.random(200_000) < confidences - 0.2)
    assert boastful.expected_error == pytest.approx(0.2, abs=0.005)


def test_an_answer_at_the_edge_of_a_bin_belongs_to_the_lower_one():
    # In float32 the edges 3/15 and 2/15 round up and 1 is exact.
    result = calibration_of([1.0, 1.0 - 1e-4, 14 / BINS - 1e-4], [True, True, True])
    assert [each.count for each in result.bins] == [1, 2]


@pytest.fixture
def run_dir(tmp_path):
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.35, 1, 500)
    directory = write_run(tmp_path / "run", labels=LABELS, drawings={"train": 6, "validation": 500})
    write_predictions(directory, make_predictions(confidences, rng.random(500) < confidences))
    return directory


def test_the_diagram_shows_bins_and_counts(run_dir):
    figure = plot_calibration(validation_of(read_run(run_dir)))
    counts, diagram = figure.axes
    (line,) = [each for each in diagram.lines if each.get_marker() == "o"]
    assert len(line.get_xdata()) == 10
    heights = [patch.get_height() for patch in counts.patches]
    assert sum(heights[:BINS]) == 500
    assert counts.get_xlabel() == "confidence: probability of the predicted category (n = 500)"
    assert diagram.get_ylabel() == "accuracy (share of correct predictions)"
    ticks = [text.get_text() for axes in figure.axes for text in axes.get_xticklabels()]
    assert "0.2" in ticks  # as in the texts, no percent
    assert any("expected calibration error 0.0" in text.get_text() for text in figure.texts)
    check_texts(figure)


def test_a_model_that_answers_only_when_sure_answers_less():
    config = {"experiment": "E1", "labels": LABELS, "dataset": "", "dataset_fingerprint": ""}
    arrays = make_predictions([0.5, 0.85, 0.99, 0.97], [False, True, True, False])
    found = coverage(SplitPredictions(validation_of(Run("r", config, HISTORY)), 3, arrays))
    assert [(each.threshold, each.answered, each.correct) for each in found] == [
        (0.0, 4, 2), (0.5, 4, 2), (0.7, 3, 2), (0.8, 3, 2), (0.9, 2, 1), (0.95, 2, 1), (0.99, 1, 1)
    ]  # fmt: skip


def test_a_colour_means_one_thing(run_dir):
    counts, diagram = plot_calibration(validation_of(read_run(run_dir))).axes
    bars = {to_hex(patch.get_facecolor()) for patch in counts.patches}
    (gap,) = {to_hex(colour) for colour in diagram.collections[0].get_colors()}
    lines = {to_hex(line.get_color()) for line in diagram.lines}
    assert len(bars | {gap} | lines) == 5  # correct, wrong; gap; bins, calibrated


def test_one_answer_makes_a_diagram(tmp_path):
    directory = write_run(tmp_path, labels=LABELS, drawings={"train": 6, "validation": 1})
    write_predictions(directory, make_predictions([0.9], [True]))
    check_texts(plot_calibration(validation_of(read_run(directory))))


def test_the_same_answers_give_the_same_bytes(run_dir):
    pictures = {
        figures.render(plot_calibration(validation_of(read_run(run_dir))), "svg") for _ in range(2)
    }
    assert len(pictures) == 1


def test_a_run_without_an_epoch_is_named(tmp_path):
    with pytest.raises(UserError, match="no epoch is finished yet"):
        plot_calibration(validation_of(read_run(write_run(tmp_path))))


def test_the_command_writes_the_picture(run_dir, tmp_path):
    output = tmp_path / "calibration.png"
    result = run_command("analysis.calibration", f"--run_dir={run_dir}", f"--output={output}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"wrote {output}\n"
    assert output.stat().st_size > 5_000
