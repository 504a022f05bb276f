"""Writing pictures: formats, the same bytes every time, whole files or none; texts and columns."""

import io
import re
import time

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis import confusion, plot_histories
from analysis.reading.runs import Run
from analysis.style import category_rows, figures, texts
from pipeline.cli import UserError
from tests.support.analysis_data import HISTORY


def simple_figure() -> Figure:
    with figures.style():
        figure = Figure(figsize=(2, 1))
        figure.add_axes((0.2, 0.2, 0.7, 0.7)).plot([1, 2], [3, 1])
    return figure


def test_the_extension_chooses_the_format_and_directories_are_made(tmp_path):
    names = ["a.png", "b.SVG", "c.pdf", "d.eps"]
    paths = [tmp_path / "new" / "deep" / name for name in names]
    figures.write(simple_figure(), [str(path) for path in paths])
    starts = [path.read_bytes()[:5] for path in paths]
    assert starts == [b"\x89PNG\r", b"<?xml", b"%PDF-", b"%!PS-"]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == names


@pytest.mark.parametrize("file_format", figures.FORMATS)
def test_the_same_figure_gives_the_same_bytes_at_any_time(file_format, monkeypatch):
    picture = figures.render(simple_figure(), file_format)
    now = time.time()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(now) + 100_000))
    monkeypatch.setattr(time, "time", lambda: now + 100_000)
    assert figures.render(simple_figure(), file_format) == picture


def test_a_picture_without_colours_is_a_gray_png():
    def picture(colour):
        figure = Figure(figsize=(1, 1), dpi=figures.DPI)
        figure.add_axes((0, 0, 1, 1)).plot([1, 2], color=colour)
        return Image.open(io.BytesIO(figures.render(figure, "png")))

    gray, blue = picture("#808080"), picture("#0072b2")
    assert (gray.mode, blue.mode) == ("L", "RGB")
    assert gray.size == blue.size == (200, 200)
    assert (np.asarray(gray) == 128).any()
    assert (np.asarray(blue) == (0, 0x72, 0xB2)).all(axis=2).any()


def test_fonts_are_embedded_as_journals_want_them():
    assert b"/Type3" not in figures.render(simple_figure(), "pdf").replace(b" ", b"")
    assert b"/FontType 42" in figures.render(simple_figure(), "eps")


@pytest.mark.parametrize("name", ["picture", "picture.jpg", ".png"])
def test_an_unknown_extension_is_refused_before_anything_is_written(tmp_path, name):
    paths = [str(tmp_path / "good.png"), str(tmp_path / name)]
    with pytest.raises(
        UserError, match=re.escape(f"{paths[1]}: the name must end in .png, .svg, .pdf or .eps")
    ):
        figures.write(simple_figure(), paths)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder\.png: a directory; name a file in it"):
        figures.write(simple_figure(), [str(tmp_path / "folder.png")])
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_a_picture_of_too_many_pixels_is_one_line(tmp_path):
    figure = Figure(figsize=(400, 1))
    with pytest.raises(UserError, match=r"80,000 x 200 pixels, more than 65,535 in one direction"):
        figures.write(figure, [str(tmp_path / "a.png")])
    figures.write(figure, [str(tmp_path / "a.svg")])


def test_wider_text_is_measured_as_wider():
    narrow, wide = texts.text_width(["ill"], 9), texts.text_width(["ill", "The Great Wall"], 9)
    assert 0.1 < narrow < wide < 1.5
    assert texts.text_width(["ill"], 18) == pytest.approx(2 * narrow, rel=0.1)


def test_long_names_take_no_more_lines_than_there_are():
    assert texts.wrap("ant", 12, 3) == ["ant"]
    assert texts.wrap("aircraft carrier", 12, 3) == ["aircraft", "carrier"]
    long = "a name of very many short words that nobody would ever give to a category"
    assert len(texts.wrap(long, 12, 3)) == 3
    assert " ".join(texts.wrap(long, 12, 3)) == long


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 0.5), (0.1, 3)])
@pytest.mark.parametrize("count", [1, 2, 12, 345])
def test_no_other_number_of_columns_comes_nearer_to_the_aspect(count, width, height):
    def distance(columns):
        aspect = columns * width / (-(-count // columns) * height)
        return max(aspect / figures.ASPECT, figures.ASPECT / aspect)

    best = figures.best_columns(count, width, height)
    assert distance(best) == min(distance(columns) for columns in range(1, count + 1))


def test_long_names_lose_their_middle_and_stay_different():
    names = ["cat", "a" * 97, "b" * 40 + "c" + "b" * 40, "b" * 40 + "d" + "b" * 40]
    short = texts.elide_names(names)
    assert short[:2] == ["cat", "a" * 16 + "…" + "a" * 15]
    assert len({*short}) == 4
    assert max(map(len, short)) <= texts.MAX_NAME + 4
    assert "".join(texts.wrap("x" * 80, 12, 3)) == texts.elide("x" * 80)


@pytest.mark.parametrize("length", [24, 97])
def test_a_long_name_leaves_a_chart_its_size(length):
    name = "x" * length
    rows, _ = category_rows.lay_out([name, "cat"], ["drawings"], "title", [])
    config = {"experiment": name, "drawings": {"train": 6, "validation": 3}, "labels": ["cat"]}
    histories = plot_histories.plot_histories([Run("run", config, HISTORY)])
    matrix = confusion.draw_confusion([name, "cat"], np.eye(2, dtype=int), "title")
    for figure, inches in ((rows, 8), (histories, 16), (matrix, 9)):
        assert figure.get_size_inches()[0] < inches


def test_numbers_are_told_as_one_or_as_a_range():
    assert texts.number_range([1500, 1500]) == "1,500"
    assert texts.number_range([1500, 20]) == "20 to 1,500"
    assert texts.of_each_category(1) == "one category"
    assert texts.of_each_category(345) == "each of 345 categories"
