"""Accuracy by category: the right marks in the right rows, with honest intervals."""

import math

import numpy as np
import pytest

from analysis.class_scores import draw_class_scores, plot_class_scores
from analysis.reading.evaluations import validation_of
from analysis.reading.runs import read_run
from analysis.reading.scores import ClassScore
from analysis.style import figures
from pipeline.cli import UserError
from tests.support.analysis_data import check_texts, run_command, write_evaluation, write_run
from trainer.runs.uncertainty import standard_error, wilson_interval

SCORES = {"cat": 8, "The Great Wall of China": 4, "car": 10}


@pytest.fixture
def run_dir(tmp_path):
    directory = write_run(tmp_path / "run", labels=list(SCORES))
    write_evaluation(directory, SCORES, examples=10)
    return directory


def made_up(count):
    rng = np.random.default_rng(0)
    return [
        ClassScore(
            f"The Great Wall of China {i}" if i % 9 == 0 else f"cat {i}",
            30, right := int(rng.integers(0, 31)), rng.random(), right / 30, 0.5,
        )
        for i in range(count)
    ]  # fmt: skip


def test_the_best_category_stands_on_top_and_each_mark_where_its_share_is(run_dir):
    figure = plot_class_scores(validation_of(read_run(run_dir), "last"))
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["car", "cat", "The Great Wall of China"]
    marks = {
        (line.get_marker(), int(line.get_ydata()[0])): float(line.get_xdata()[0])
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }
    recalls = [marks["o", row] for row in range(3)]
    assert recalls == [1, 0.8, 0.4]
    precisions = [marks["D", row] for row in range(3)]
    assert precisions == pytest.approx([10 / 16, 8 / 8, 4 / 6])
    intervals = [tuple(line.get_xdata()) for line in axes.lines if line.get_label() == "_interval"]
    assert intervals == [wilson_interval(right, 10) for right in (10, 8, 4)]
    assert axes.get_xlabel() == "share of drawings (n = 10 each)"


def test_a_category_that_nothing_was_taken_for_has_no_precision():
    scores = [ClassScore("cat", 10, 0, math.nan, 0.0, 0.0), ClassScore("car", 10, 9, 0.5, 0.9, 0.6)]
    (axes,) = draw_class_scores(scores, 0.45, "title").axes
    assert sum(line.get_marker() == "D" for line in axes.lines) == 1


@pytest.mark.parametrize("count", [1, 2, 12, 61, 345])
def test_no_text_lies_on_another(count):
    title = f"E2_7 after epoch 12, 10,350 validation drawings of {count} categories"
    check_texts(draw_class_scores(made_up(count), 0.5, title))


def test_wilsons_interval_is_that_of_published_tables():
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine
    # 17 (1998), table I, method 3.
    for hits, examples, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(hits, examples) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(20, 20)[1] == 1


def test_the_standard_error_is_that_of_the_study():
    assert standard_error(0.905, 20_000) == pytest.approx(0.0021, abs=5e-5)
    assert standard_error(0.87, 53_000) == pytest.approx(0.0015, abs=5e-5)


def test_the_same_scores_give_the_same_bytes():
    pictures = {figures.render(draw_class_scores(made_up(9), 0.5, "t"), "pdf") for _ in range(2)}
    assert len(pictures) == 1


def test_a_run_without_an_evaluation_is_named(tmp_path):
    with pytest.raises(UserError, match=r"evaluation\.json: missing"):
        plot_class_scores(validation_of(read_run(write_run(tmp_path))))


def test_the_command_writes_the_picture(run_dir, tmp_path):
    output = tmp_path / "classes.png"
    result = run_command("analysis.class_scores", f"--run_dir={run_dir}", f"--output={output}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"wrote {output}\n"
    assert output.stat().st_size > 5_000
