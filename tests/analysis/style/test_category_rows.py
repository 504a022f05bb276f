"""Charts of a row for each category: legible and complete from 1 row to 345."""

import numpy as np
import pytest
from matplotlib.lines import Line2D

from analysis.style import category_rows
from tests.support.figure_texts import LABELS, assert_texts_are_apart, text_boxes

KEY = [Line2D([], [], marker="o", label=label) for label in ("training", "validation", "test")]
PANELS = ["ink (% of the pixels)", "strokes per drawing", "points per drawing"]


def make(count: int, panels: int = 1):
    figure, columns = category_rows.lay_out(LABELS[:count], PANELS[:panels], "a title", KEY)
    for column in columns:
        for axes in column.panels:
            axes.plot(np.linspace(0, 12_345, len(column.labels)), range(len(column.labels)), "o")
    return figure, columns


@pytest.mark.parametrize("count", [1, 2, 12, 53, 61, 345])
@pytest.mark.parametrize("panels", [1, 3])
def test_no_text_lies_on_another_or_on_a_panel_or_outside(count, panels):
    figure, _ = make(count, panels)
    boxes = dict(assert_texts_are_apart(figure))
    assert set(LABELS[:count]) <= set(boxes)
    for text, (x0, y0, x1, y1) in boxes.items():
        for axes in figure.axes:
            panel = axes.bbox
            assert x1 <= panel.x0 or x0 >= panel.x1 or y1 <= panel.y0 or y0 >= panel.y1, text


@pytest.mark.parametrize("count", [2, 53, 345])
def test_every_name_stands_at_its_row(count):
    figure, columns = make(count)
    assert [label for column in columns for label in column.labels] == LABELS[:count]
    boxes = dict(text_boxes(figure))
    for column in columns:
        for i, label in enumerate(column.labels):
            row = column.panels[0].transData.transform((0, i))[1]
            assert abs(row - (boxes[label][1] + boxes[label][3]) / 2) < 4  # pixels


def test_many_categories_make_no_ribbon_and_fit_on_a_page():
    for count in (53, 345):
        width, height = make(count)[0].get_size_inches()
        assert 0.6 < width / height < 2
        assert max(width, height) < 11.7  # A4


def test_rows_are_of_one_height_and_all_panels_of_a_kind_have_one_scale():
    _, columns = make(120, 3)
    assert len({len(column.labels) for column in columns[:-1]}) == 1
    pitches = [
        axes.get_window_extent().height / len(column.labels)
        for column in columns
        for axes in column.panels
    ]
    assert max(pitches) - min(pitches) < 1e-6
    columns[1].panels[0].set_xlim(0, 7)
    assert [column.panels[0].get_xlim() for column in columns] == [(0, 7)] * len(columns)
    assert columns[0].panels[1].get_xlim() != (0, 7)
