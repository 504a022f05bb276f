"""Confusion matrix: the right shares in the right cells, legible from 2 categories to 345."""

import numpy as np
import pytest

from analysis.confusion import STEPS, draw_confusion, plot_confusion
from analysis.reading.evaluations import validation_of
from analysis.reading.runs import read_run
from analysis.reading.similar_order import cut_groups, similar_order, similarity
from analysis.style import figures
from pipeline.cli import UserError
from tests.support.analysis_data import check_texts, run_command, write_evaluation, write_run

SCORES = {"cat": 8, "The Great Wall of China": 4, "car": 10}


def blocks(count, size=5, seed=0):
    """A confusion matrix of 1,000 drawings each, whose confusion is within blocks, shuffled."""
    rng = np.random.default_rng(seed)
    block = np.arange(count) // size
    shares = np.where(block[:, None] == block, 0.03, 0.0005) + 0.8 * np.eye(count)
    shares /= shares.sum(axis=1, keepdims=True)
    order = rng.permutation(count)
    confusion = np.array([rng.multinomial(1000, row) for row in shares])
    return confusion[np.ix_(order, order)], block[order]


def labels(count):
    return [f"The Great Wall of China {i}" if i % 9 == 0 else f"cat {i}" for i in range(count)]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_cell_holds_the_share_of_the_rows_drawings_taken_for_the_column(tmp_path):
    run_dir = write_run(tmp_path, labels=list(SCORES))
    write_evaluation(run_dir, SCORES, examples=10)
    axes = plot_confusion(validation_of(read_run(run_dir), "last"), order="label").axes[0]
    assert ticks(axes.yaxis) == ticks(axes.xaxis) == list(SCORES)
    np.testing.assert_allclose(
        axes.images[0].get_array(), [[0.8, 0.2, 0], [0, 0.4, 0.6], [0, 0, 1]]
    )
    assert [text.get_text() for text in axes.texts] == [".80", ".20", ".40", ".60", "1.00"]
    assert axes.get_ylabel() == "true category (n = 10 drawings each)"


def test_rows_and_columns_are_ordered_alike():
    confusion, _ = blocks(30)
    names = labels(30)
    axes = draw_confusion(names, confusion, "title").axes[0]
    order = [names.index(name) for name in ticks(axes.yaxis)]
    assert sorted(order) == list(range(30))
    assert ticks(axes.xaxis) == ticks(axes.yaxis)
    np.testing.assert_allclose(axes.images[0].get_array(), confusion[np.ix_(order, order)] / 1000)


def test_similar_categories_become_neighbours():
    confusion, block = blocks(100)
    ordered = block[similar_order(similarity(confusion))]
    assert (np.diff(ordered) != 0).sum() == 19  # each of the 20 blocks in one piece


def test_an_order_is_found_where_nothing_is_confused():
    assert sorted(similar_order(similarity(np.eye(7, dtype=int)))) == list(range(7))
    assert similar_order(similarity(np.array([[3]]))) == [0]
    assert sorted(similar_order(similarity(np.zeros((4, 4), int)))) == list(range(4))


def test_similarity_is_the_share_taken_for_the_other_both_ways_added():
    shares = similarity(np.array([[6, 2, 2], [0, 10, 0], [0, 5, 5]]))
    np.testing.assert_allclose(shares, [[0, 0.2, 0.2], [0.2, 0, 0.5], [0.2, 0.5, 0]])


def test_groups_are_cut_where_categories_stop_being_similar():
    confusion, block = blocks(120, size=8)
    similarities = similarity(confusion)
    order = similar_order(similarities)
    groups = cut_groups(similarities[np.ix_(order, order)], 5, 16)
    assert [len(set(block[order][group.start : group.stop])) for group in groups] == [1] * 15
    assert [i for group in groups for i in group] == list(range(120))


@pytest.mark.parametrize("count", [3, 111, 345])
def test_groups_keep_to_their_sizes(count):
    similarities = similarity(np.random.default_rng(0).integers(0, 9, (count, count)))
    groups = cut_groups(similarities, 5, 16)
    assert [i for group in groups for i in group] == list(range(count))
    assert all(min(5, count) <= len(group) <= 16 for group in groups)


@pytest.mark.parametrize("count", [1, 2, 10, 20, 21, 53, 110, 111, 200, 345])
def test_no_text_lies_on_another(count):
    confusion, _ = blocks(count)
    title = f"E2_7 after epoch 12, 345,000 validation drawings of {count} categories"
    check_texts(draw_confusion(labels(count), confusion, title))


def test_many_categories_are_numbered_by_groups_and_all_listed():
    confusion, _ = blocks(345)
    names = labels(345)
    figure = draw_confusion(names, confusion, "title")
    axes = figure.axes[0]
    numbers = ticks(axes.yaxis)
    assert numbers == [str(i) for i in range(1, len(numbers) + 1)]
    listed = " ".join(text.get_text().replace("\n", " ") for text in figure.texts[1:])
    for name in names:
        assert name in listed
    assert len(axes.patches) == len(numbers)


def test_cells_are_as_dark_as_their_shares_and_nothing_is_white():
    confusion, _ = blocks(30)
    image = draw_confusion(labels(30), confusion, "title").axes[0].images[0]
    colours = [image.cmap(image.norm(share)) for share in (0, *STEPS[1:])]
    brightness = [sum(colour[:3]) for colour in colours]
    assert brightness[0] == 3
    assert brightness == sorted(brightness, reverse=True)
    assert len(set(brightness[:-1])) == len(STEPS) - 1


def test_a_category_without_drawings_is_an_empty_row():
    axes = draw_confusion(["a", "b"], np.array([[3, 1], [0, 0]]), "title", "label").axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])


def test_the_same_matrix_gives_the_same_bytes():
    confusion, _ = blocks(130)
    pictures = {
        figures.render(draw_confusion(labels(130), confusion, "title"), "png") for _ in range(2)
    }
    assert len(pictures) == 1


def test_a_run_without_an_evaluation_is_named(tmp_path):
    with pytest.raises(UserError, match=r"evaluation\.json: missing"):
        plot_confusion(validation_of(read_run(write_run(tmp_path))))


def test_the_command_writes_the_picture(tmp_path):
    run_dir = write_run(tmp_path / "run", labels=list(SCORES))
    write_evaluation(run_dir, SCORES, examples=10)
    output = tmp_path / "confusion.svg"
    result = run_command("analysis.confusion", f"--run_dir={run_dir}", f"--output={output}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"wrote {output}\n"
    assert output.stat().st_size > 10_000
