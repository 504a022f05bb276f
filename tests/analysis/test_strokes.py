"""Drawings as strokes: every stroke in its order and place, its number where one can read it."""

import itertools
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from analysis import strokes
from analysis.reading.drawings import LabelledDrawing, read_drawings
from analysis.style import stroke_files
from pipeline.cli import UserError
from pipeline.drawings.drawing import Reading, parse_drawing
from pipeline.rasterize import rasterize
from tests.support.analysis_data import run_command
from tests.support.figure_texts import assert_texts_are_apart, text_boxes
from tests.support.ndjson import line

DRAWING = [[[0, 200, 200], [10, 10, 90]], [[40, 60], [50, 50]], [[100], [60]]]


def drawing(points=DRAWING, label="cat", number=7):
    text = line(label, number, drawing=points).encode()
    parsed = parse_drawing(text, Reading(frame="keep"))  # wherever it lies
    return LabelledDrawing(label, parsed)


def random_drawing(stroke_count, seed=0):
    rng = np.random.default_rng(seed)
    return drawing([rng.integers(0, 256, (2, 3)).tolist() for _ in range(stroke_count)])


def drawn_strokes(axes):
    """[points, 2] of each stroke, in the order in which they were drawn, without the dots."""
    return [
        np.stack(each.get_data(), axis=1).tolist()
        for each in axes.lines
        if each.get_linewidth() == strokes.LINE_WIDTH and each.get_marker() == "None"
    ]


def test_strokes_are_drawn_in_their_order_with_a_dot_where_they_begin():
    left, right = strokes.draw_strokes([drawing()]).axes
    assert drawn_strokes(left) == [np.transpose(stroke).tolist() for stroke in DRAWING]
    dots = [each.get_xydata()[0].tolist() for each in left.lines if each.get_marker() == "o"]
    assert dots == [[0, 10], [40, 50], [100, 60]]
    np.testing.assert_array_equal(right.images[0].get_array(), rasterize(DRAWING))
    brightness = [
        np.dot(each.get_color()[:3], (0.2, 0.7, 0.1))
        for each in left.lines
        if len(each.get_xdata()) > 1
    ]
    assert brightness == sorted(brightness)


def test_strokes_lie_where_the_bitmap_has_its_ink():
    points = [[[20, 90, 90], [30, 30, 140]]]  # neither begins at 0 nor fills the canvas
    left, right = strokes.draw_strokes([drawing(points)]).axes
    bitmap = right.images[0].get_array()
    for x, y in zip(*points[0], strict=True):
        share = left.transAxes.inverted().transform(left.transData.transform((x, y)))
        column, row = round(85 * share[0] - 0.5), round(85 * (1 - share[1]) - 0.5)
        assert bitmap[row - 1 : row + 2, column - 1 : column + 2].any()
        assert bitmap[row, column]


def test_each_drawing_has_its_name_key_and_numbers():
    figure = strokes.draw_strokes([drawing(), drawing(DRAWING[:1], "The Great Wall of China")])
    texts = [text for text, _ in text_boxes(figure)]
    key = str(10**15 + 7)
    assert {f"cat, key {key}", f"The Great Wall of China, key {key}"} <= {*texts}
    assert {"3 strokes, 6 points", "1 stroke, 3 points"} <= {*texts}
    share = 100 * rasterize(DRAWING).mean()
    assert f"85×85 pixels, {share:.1f}% ink" in texts
    assert sorted(text for text in texts if text in "123") == ["1", "1", "2", "3"]


@pytest.mark.parametrize("stroke_count", [1, 12, 40, 300])
def test_numbers_are_apart_in_the_panel_and_off_the_dots(stroke_count):
    panel = strokes.PANEL
    starts = np.random.default_rng(stroke_count).random((stroke_count, 2)) * panel
    bitmap = (np.random.default_rng(1).random((85, 85)) < 0.2).astype(np.uint8)
    places = strokes.place_numbers(starts, bitmap)
    found = [place for place in places if place is not None]
    assert len(found) == stroke_count if stroke_count <= 40 else len(found) > 40
    radius = strokes.NUMBER_RADIUS
    for place in found:
        assert (place >= radius).all()
        assert (place <= panel - radius).all()
        assert np.linalg.norm(starts - place, axis=1).min() > radius
    for one, other in itertools.combinations(found, 2):
        assert np.linalg.norm(one - other) > 2 * radius
    for start, place in zip(starts, places, strict=True):
        assert place is None or np.linalg.norm(start - place) <= max(strokes.DISTANCES) + 1e-9


def test_a_number_keeps_off_the_ink_where_it_can():
    bitmap = np.zeros((85, 85), np.uint8)
    bitmap[:, 42:] = 1  # the right half
    (place,) = strokes.place_numbers(np.array([[strokes.PANEL / 2, strokes.PANEL / 2]]), bitmap)
    assert place[0] < strokes.PANEL / 2 - strokes.NUMBER_RADIUS


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_texts_are_apart(count):
    drawings = [
        random_drawing(6, seed)._replace(label="The Great Wall of China") for seed in range(count)
    ]
    assert_texts_are_apart(strokes.draw_strokes(drawings))


def test_the_first_drawings_of_each_file_or_those_of_some_keys_are_shown(write_lines, tmp_path):
    for start, name in ((10, "ant"), (20, "cat")):
        write_lines(f"{name}.ndjson", [line(name, start + i) for i in range(5)])

    def shown(**options):
        figure = strokes.plot_strokes([f"{tmp_path}/*.ndjson"], **options)
        return [text.get_text()[-2:] for text in figure.texts[1:]]

    assert shown() == ["10", "20"]
    assert shown(drawings=2) == ["10", "11", "20", "21"]
    assert shown(key_id=[str(10**15 + 23), str(10**15 + 12)]) == ["23", "12"]


def test_too_many_drawings_and_unknown_keys_are_refused(write_lines):
    path = write_lines("cat.ndjson", [line("cat", i) for i in range(31)])
    assert len(strokes.plot_strokes([path], drawings=30).axes) == 60
    with pytest.raises(UserError, match="more than 30 drawings to show; fewer --drawings or files"):
        strokes.plot_strokes([path], drawings=31)
    with pytest.raises(UserError, match="--key_id: no drawing has the key '7'"):
        strokes.plot_strokes([path], key_id=["7"])


def test_the_command_writes_the_same_pictures_again(write_lines, tmp_path):
    path = write_lines("cat.ndjson", [line("cat", 1)])
    pictures = []
    for name in ("a", "b"):
        outputs = [str(tmp_path / f"{name}.{extension}") for extension in ("png", "pdf")]
        result = run_command("analysis.strokes", f"--input={path}", f"--output={','.join(outputs)}")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == f"wrote {', '.join(outputs)}\n"
        pictures.append(
            [(tmp_path / f"{name}.{extension}").read_bytes() for extension in ("png", "pdf")]
        )
    assert pictures[0] == pictures[1]


def test_a_file_that_ends_early_is_one_line_and_status_1(tmp_path):
    path = tmp_path / "cat.ndjson.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00half")
    result = run_command("analysis.strokes", f"--input={path}", "--output=x.png")
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: cannot read {path}: ")
    assert len(result.stderr.splitlines()) == 1


def test_strokes_of_real_drawings_are_those_of_the_file(sample):
    path = f"{sample}/categories345/The Great Wall of China.ndjson"
    found = list(read_drawings([path], per_file=4))
    with open(path, encoding="utf-8") as file:
        expected = [json.loads(next(file))["drawing"] for _ in range(4)]
    left = strokes.draw_strokes(found).axes[::2]
    for axes, drawing_of_file in zip(left, expected, strict=True):
        assert drawn_strokes(axes) == [np.transpose(stroke).tolist() for stroke in drawing_of_file]


# In upstream's frame: it is shown as it lies.
IN_FRAME = [[[0, 200, 255], [0, 10, 90]], [[40, 60], [50, 50]], [[100], [60]]]


def write_two(write_lines):
    """A file of two drawings, the second of which is IN_FRAME, and that one's key."""
    texts = [line("cat", 1), line("cat", 2, drawing=IN_FRAME)]
    return write_lines("cat.ndjson", texts), str(10**15 + 2)


def test_one_drawing_as_svg_has_a_path_for_each_stroke(write_lines, tmp_path):
    path, key = write_two(write_lines)
    output = tmp_path / "cat.svg"
    result = run_command("analysis.strokes", f"--key_id={key}", path, "-o", output)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"wrote {output}\n"
    svg = ElementTree.parse(output).getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert svg.find(f"{name}title").text == f"cat, key {key}"
    paths = [each.get("d") for each in svg.iter(f"{name}path")]
    assert paths == ["M0,0L200,10 255,90", "M40,50L60,50", "M100,60L100,60"]
    left, top, width, height = map(float, svg.get("viewBox").split())
    for x, y in [(0, 0), (255, 90)]:  # with the width of the pen
        assert left < x - 2 < x + 2 < left + width
        assert top < y - 2 < y + 2 < top + height


def test_one_drawing_as_gif_is_drawn_stroke_by_stroke(write_lines, tmp_path):
    path, key = write_two(write_lines)
    output = tmp_path / "cat.gif"
    result = run_command("analysis.strokes", f"--key_id={key}", path, "-o", output)
    assert (result.returncode, result.stderr) == (0, "")
    with Image.open(output) as gif:
        assert gif.info["loop"] == 0  # for ever
        assert gif.n_frames == 1 + len(IN_FRAME)
        ink, times = [], []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            ink.append(np.asarray(gif.convert("L")) < 128)
            times.append(gif.info["duration"])
    assert not ink[0].any()
    for before, after, stroke in zip(ink, ink[1:], IN_FRAME, strict=False):
        assert (after | before == after).all()
        rows, columns = np.nonzero(after & ~before)
        xs, ys = np.array(stroke, float)
        scale, margin = stroke_files.GIF_SCALE, stroke_files.MARGIN
        for found, values in ((columns, xs), (rows, ys)):
            expected = (np.array([values.min(), values.max()]) + margin) * scale
            assert np.abs([found.min(), found.max()] - expected).max() <= scale * 4
    assert times[-1] > times[0] > 0


def test_several_drawings_as_svg_are_the_picture_and_as_gif_refused(write_lines, tmp_path):
    path, _ = write_two(write_lines)
    output = tmp_path / "cats.svg"
    result = run_command("analysis.strokes", "--drawings=2", path, "-o", output)
    assert (result.returncode, result.stderr) == (0, "")
    assert "matplotlib" in output.read_text().lower()
    refused = run_command("analysis.strokes", "--drawings=2", path, "-o", tmp_path / "cats.gif")
    assert refused.returncode == 2
    assert "cats.gif: shows one drawing, not 2; --key_id chooses one" in refused.stderr
    assert not (tmp_path / "cats.gif").exists()
