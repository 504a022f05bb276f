"""Writing pictures: formats, the same bytes every time, whole files or none."""

import re

import pytest
from matplotlib.figure import Figure

from analysis import figures
from pipeline.errors import UserError


def simple_figure() -> Figure:
    with figures.style():
        figure = Figure(figsize=(2, 1))
        figure.add_axes((0.2, 0.2, 0.7, 0.7)).plot([1, 2], [3, 1])
    return figure


def test_the_extension_chooses_the_format_and_directories_are_made(tmp_path):
    paths = [tmp_path / "new" / "deep" / name for name in ("a.png", "b.SVG")]
    figures.write(simple_figure(), [str(path) for path in paths])
    png, svg = (path.read_bytes() for path in paths)
    assert png.startswith(b"\x89PNG")
    assert svg.startswith(b"<?xml")
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["a.png", "b.SVG"]


@pytest.mark.parametrize("file_format", figures.FORMATS)
def test_the_same_figure_gives_the_same_bytes(file_format):
    assert figures.render(simple_figure(), file_format) == figures.render(
        simple_figure(), file_format
    )


@pytest.mark.parametrize("name", ["picture", "picture.jpg", ".png"])
def test_an_unknown_extension_is_refused_before_anything_is_written(tmp_path, name):
    paths = [str(tmp_path / "good.png"), str(tmp_path / name)]
    with pytest.raises(
        UserError, match=re.escape(f"{paths[1]}: the name must end in .png or .svg")
    ):
        figures.write(simple_figure(), paths)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder\.png: cannot write it: Is a directory"):
        figures.write(simple_figure(), [str(tmp_path / "folder.png")])
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_wider_text_is_measured_as_wider():
    narrow, wide = figures.text_width(["ill"], 9), figures.text_width(["ill", "The Great Wall"], 9)
    assert 0.1 < narrow < wide < 1.5
    assert figures.text_width(["ill"], 18) == pytest.approx(2 * narrow, rel=0.1)
