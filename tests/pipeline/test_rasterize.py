import json
import pathlib

import cv2
import numpy as np
import pytest

from pipeline.drawings.strokes import pack_strokes, unpack_strokes
from pipeline.rasterize import rasterize, rasterize_packed


def study_rasterize(strokes: list[list[list[int]]]) -> np.ndarray:
    """Rasterize as the study is described, with one `line` a segment."""
    canvas = np.zeros((262, 262), np.uint8)
    xs = [x for stroke in strokes for x in stroke[0]]
    ys = [y for stroke in strokes for y in stroke[1]]
    offset_x = int((262 - (max(xs) - min(xs))) / 2)
    offset_y = int((262 - (max(ys) - min(ys))) / 2)
    for x, y in strokes:
        for i in range(len(x) - 1):
            start = (x[i] + offset_x, y[i] + offset_y)
            end = (x[i + 1] + offset_x, y[i + 1] + offset_y)
            cv2.line(canvas, start, end, 1, 5)
    return cv2.resize(canvas, (85, 85), interpolation=cv2.INTER_LINEAR)


def packed(strokes: list[list[list[int]]]) -> bytes:
    return pack_strokes([bytes(x) for x, _ in strokes], [bytes(y) for _, y in strokes])


def test_equals_the_study_bit_for_bit_on_real_drawings(sample: pathlib.Path) -> None:
    files = sorted((sample / "categories345").glob("*.ndjson"))
    assert len(files) == 345
    for path in files:
        drawings = [json.loads(text)["drawing"] for text in path.read_text().splitlines()[:20]]
        expected = np.stack([study_rasterize(strokes) for strokes in drawings])
        one_by_one = np.stack([rasterize(strokes) for strokes in drawings])
        np.testing.assert_array_equal(one_by_one, expected)
        at_once = rasterize_packed([packed(strokes) for strokes in drawings])
        np.testing.assert_array_equal(at_once, expected)


def test_the_minimum_of_the_coordinates_is_not_subtracted() -> None:
    at_zero = rasterize([[[0, 100], [0, 100]]])
    at_two = rasterize([[[2, 102], [2, 102]]])
    assert not np.array_equal(at_zero, at_two)
    np.testing.assert_array_equal(at_two, study_rasterize([[[2, 102], [2, 102]]]))


def test_is_a_bitmap_of_zeros_and_ones() -> None:
    bitmap = rasterize([[[0, 255, 128], [0, 10, 255]]])
    assert bitmap.shape == (85, 85)
    assert bitmap.dtype == np.uint8
    assert set(np.unique(bitmap)) == {0, 1}


def test_a_stroke_of_one_point_is_a_dot() -> None:
    line = [[0, 200], [0, 0]]
    with_dot = rasterize([line, [[100], [150]]])
    without = study_rasterize([line, [[100], [150]]])
    rows, columns = np.nonzero(with_dot != without)
    assert len(rows) > 0
    assert rows.max() - rows.min() <= 3
    assert columns.max() - columns.min() <= 3


@pytest.mark.parametrize(
    "strokes",
    [[[[0, 100, 200], [0, 100]]], [[[0, 100, 200], [0, 100]], [[5, 60], [5, 60, 250]]]],
)
def test_strokes_of_more_x_than_y_are_an_error(strokes: list[list[list[int]]]) -> None:
    with pytest.raises(ValueError, match="x and y of a stroke differ in length"):
        rasterize(strokes)


@pytest.mark.parametrize("strokes", [[], [[[], []]], [[[1, 2], [1, 2]], [[], []]]])
def test_a_drawing_without_points_is_an_error(strokes: list[list[list[int]]]) -> None:
    with pytest.raises(ValueError, match="needs a stroke"):
        rasterize(strokes)


def test_packed_strokes_come_back_as_they_were() -> None:
    one = packed([[[0, 1, 255], [9, 8, 7]], [[5], [6]]])
    other = packed([[[3] * 700, [4] * 700]])
    unpacked = unpack_strokes([one, other])
    assert unpacked.stroke_counts.tolist() == [2, 1]
    assert unpacked.lengths.tolist() == [3, 1, 700]
    assert unpacked.x.tolist() == [0, 1, 255, 5] + [3] * 700
    assert unpacked.y.tolist() == [9, 8, 7, 6] + [4] * 700
