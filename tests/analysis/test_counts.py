"""Counts: every category and split at its number, from the manifest alone."""

import numpy as np
import pytest

from analysis.counts import draw_counts, plot_counts
from analysis.style import figures
from pipeline.cli import UserError
from tests.support.analysis_data import run_command, write_dataset
from tests.support.figure_texts import LABELS, assert_texts_are_apart, text_boxes

COUNTS = {"cat": 9, "The Great Wall of China": 70, "car": 0, "ant": 9}


def shown(figure):
    """(split, label) -> number, as the marks and the names beside them say."""
    numbers = {}
    for axes in figure.axes:
        labels = [label.get_text() for label in axes.get_yticklabels()]
        for line in axes.lines:
            for x, y in zip(*line.get_data(), strict=True):
                numbers[line.get_label(), labels[round(y)]] = x
    return numbers


def test_every_category_and_split_is_at_its_number(tmp_path):
    write_dataset(tmp_path, COUNTS)
    for shard in tmp_path.glob("*.tfrecord-*"):
        shard.unlink()  # the manifest is enough
    numbers = shown(plot_counts(str(tmp_path)))
    expected = {("train", label): count for label, count in COUNTS.items()}
    expected |= {("validation", label): 1 for label in COUNTS}
    assert numbers == expected  # no test split: it is empty


def test_the_largest_categories_are_on_top_and_equal_ones_in_the_given_order(tmp_path):
    write_dataset(tmp_path, COUNTS)
    (axes,) = plot_counts(str(tmp_path)).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["The Great Wall of China", "cat", "ant", "car"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # row 0 is the highest


def test_n_of_every_split_is_told():
    figure = draw_counts({"train": {"cat": 1500, "ant": 1400}, "test": {"cat": 10, "ant": 10}})
    texts = [text for text, _ in text_boxes(figure)]
    assert {"2,920 drawings of 2 categories", "training (n = 2,900)", "test (n = 20)"} <= {*texts}


def test_equal_counts_of_splits_do_not_hide_each_other():
    same = dict.fromkeys(LABELS[:61], 100)
    (axes, *_) = draw_counts({"train": same, "validation": same, "test": same}).axes
    heights = np.array([line.get_ydata()[0] for line in axes.lines])
    pixels = axes.transData.transform([(100, y) for y in heights])[:, 1]
    assert (np.diff(np.sort(pixels)) > 2).all()
    assert abs(heights).max() < 0.5  # each in its own row


def test_names_that_are_too_long_for_a_row_are_shortened():
    names = ["x" * 40, "x" * 39 + "y", "cat"]
    (axes,) = draw_counts({"train": dict(zip(names, (3, 2, 1), strict=True))}).axes
    shown_names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(shown_names)) == 3
    assert max(map(len, shown_names)) < 39
    assert sorted(np.concatenate([line.get_xdata() for line in axes.lines])) == [1, 2, 3]


@pytest.mark.parametrize("count", [1, 60, 345])
@pytest.mark.parametrize(("low", "high"), [(20, 100), (0, 300_000), (1, 2)])
def test_texts_are_apart_at_any_number_and_range(count, low, high):
    rng = np.random.default_rng(count)
    labels = LABELS[:count]
    train = dict(
        zip(labels, rng.integers((low + high) // 2, high + 1, count).tolist(), strict=True)
    )
    validation = dict(zip(labels, rng.integers(low, low + 2, count).tolist(), strict=True))
    assert_texts_are_apart(draw_counts({"train": train, "validation": validation}))


def test_the_axis_is_logarithmic_only_where_counts_would_coincide_otherwise():
    def axis(train, validation):
        figure = draw_counts({"train": train, "validation": validation})
        return figure.axes[0]

    labels = LABELS[:40]
    even, few, many = (dict.fromkeys(labels, count) for count in (2_000, 1_000, 120_000))
    assert axis(even, few).get_xscale() == "linear"
    assert axis(even | {labels[0]: 3}, few).get_xscale() == "linear"  # one of 80
    wide = axis(many, few | {labels[0]: 0})
    assert wide.get_xscale() == "symlog"
    assert wide.get_xlim()[0] == 0
    ticks = [label.get_text() for label in wide.get_xticklabels()]
    assert ticks == ["0", "1k", "10k", "100k"]


def test_the_same_counts_give_the_same_picture():
    first, second = (
        figures.render(draw_counts({"train": {"cat": 2, "ant": 3}}), "svg") for _ in range(2)
    )
    assert first == second


def test_a_data_set_without_drawings_has_nothing_to_show(tmp_path):
    write_dataset(tmp_path, {})
    with pytest.raises(UserError, match="no drawings in any split"):
        plot_counts(str(tmp_path))


def test_the_command_writes_the_pictures(tmp_path):
    write_dataset(tmp_path / "data", COUNTS)
    outputs = [tmp_path / f"counts.{extension}" for extension in ("png", "pdf", "eps")]
    paths = ",".join(map(str, outputs))
    result = run_command("analysis.counts", f"--dataset={tmp_path / 'data'}", f"--output={paths}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"wrote {', '.join(map(str, outputs))}\n"
    starts = [output.read_bytes()[:4] for output in outputs]
    assert starts == [b"\x89PNG", b"%PDF", b"%!PS"]


def test_a_damaged_manifest_is_one_line_and_status_2(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    result = run_command("analysis.counts", f"--dataset={tmp_path}", "--output=x.png")
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {tmp_path}/manifest.json: not a manifest")
    assert len(result.stderr.splitlines()) == 1
