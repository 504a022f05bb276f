"""Labels in letters that Matplotlib's font lacks: other installed fonts, or one line of warning."""

import io

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

from analysis.style import figures, fonts, texts
from tests.support.trainer_data import write_dataset
from tests.support.warm_process import run_module

# pytest replaces the filters of the process; the last test is of a process of its own.
pytestmark = pytest.mark.filterwarnings("ignore:Glyph")
FAMILY = "Blocks Sans"
CAT, DOG = "猫", "犬"
NO_FONT = "\U0010fffd"  # of private use
PRIVATE = f"no installed font has {CAT} (as in 'a {CAT}'): pictures show boxes in their place; "


def write_font(path, inked, blank=""):
    """Write a font that draws some letters as blocks, and others as nothing, as coloured ones."""
    glyphs = {".notdef": TTGlyphPen(None).glyph()}
    for letter in inked + blank:
        pen = TTGlyphPen(None)
        if letter in inked:
            pen.moveTo((0, 0))
            for corner in ((0, 1000), (1000, 1000), (1000, 0)):
                pen.lineTo(corner)
            pen.closePath()
        glyphs[f"u{ord(letter):x}"] = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([*glyphs])
    builder.setupCharacterMap({ord(letter): f"u{ord(letter):x}" for letter in inked + blank})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    name = {"familyName": FAMILY, "styleName": "Regular", "psName": "BlocksSans-Regular"}
    builder.setupNameTable(name)
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def install(monkeypatch):
    """Return a function that makes these the only fonts beside Matplotlib's own."""
    manager = font_manager.fontManager
    own = [entry for entry in manager.ttflist if "mpl-data" in entry.fname]

    def forget():
        for cached in (fonts._fallback, fonts._fallbacks, fonts._charmap):
            cached.cache_clear()
        manager._findfont_cached.cache_clear()
        fonts._named.clear()

    def set_installed(*paths):
        monkeypatch.setattr(manager, "ttflist", list(own))
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(paths))
        forget()

    yield set_installed
    monkeypatch.undo()
    forget()


def labelled(label):
    with figures.style():
        figure = Figure(figsize=(2, 1), dpi=figures.DPI)
        figure.add_axes((0.5, 0.2, 0.4, 0.6)).barh([label, "cat"], [1, 2])
    return figure


@pytest.mark.parametrize("file_format", figures.FORMATS)
def test_letters_come_from_an_installed_font(file_format, install, tmp_path, capsys):
    install()
    boxes = figures.render(labelled(CAT), file_format)
    install(write_font(tmp_path / "a.ttf", CAT))
    capsys.readouterr()
    drawn = figures.render(labelled(CAT), file_format)
    assert drawn != boxes
    assert file_format == "png" or b"BlocksSans" in drawn.replace(b" ", b"")
    assert figures.render(labelled(CAT), file_format) == drawn
    assert capsys.readouterr().err == ""


def test_a_block_is_seen_where_the_letter_stands(install, tmp_path):
    install(write_font(tmp_path / "a.ttf", CAT))
    picture = Image.open(io.BytesIO(figures.render(labelled(CAT), "png"))).convert("L")
    pixels = np.asarray(picture)[:, :190]  # left of the bars
    block = round(9 / 72 * figures.DPI)  # of 9 points
    assert (pixels < 64).sum() > 0.9 * block**2


def test_letters_that_no_font_has_are_named_in_one_line_once(install, capsys):
    install()
    for label in (f"a {CAT}", CAT):
        figures.render(labelled(label), "png")
    error = capsys.readouterr().err
    assert error.startswith(PRIVATE)
    assert error.count("\n") == 1
    figures.render(labelled(CAT + DOG), "svg")
    assert capsys.readouterr().err.startswith(f"no installed font has {DOG} (as in '{CAT}{DOG}')")


def test_a_font_with_blank_glyphs_is_not_taken(install, tmp_path, capsys):
    """As one whose emoji are coloured layers."""
    install(write_font(tmp_path / "a.ttf", DOG, blank=CAT))
    assert fonts.families(DOG) == [fonts.FONT, FAMILY]
    assert fonts.families(CAT) == [fonts.FONT]
    figures.render(labelled(f"a {CAT}"), "png")
    assert capsys.readouterr().err.startswith(PRIVATE)


def test_a_font_that_cannot_be_read_is_passed_over(install, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0")
    install(str(tmp_path / "broken.ttf"), write_font(tmp_path / "whole.ttf", CAT))
    assert fonts.families(CAT) == [fonts.FONT, FAMILY]


def test_a_text_is_measured_in_the_font_that_draws_it(install, tmp_path):
    install(write_font(tmp_path / "a.ttf", CAT))
    assert texts.text_width([CAT * 10], 9) == pytest.approx(10 * 9 / 72, abs=0.02)
    assert texts.wrap_to_width(f"{CAT * 5} {CAT * 5}", 11 * 9 / 72, 9) == [f"{CAT * 5} {CAT * 5}"]
    assert len(texts.wrap_to_width(f"{CAT * 5} {CAT * 5}", 9 * 9 / 72, 9)) == 2


def test_usual_letters_look_for_no_other_font(install, monkeypatch):
    install()
    monkeypatch.setattr(fonts, "_fallbacks", lambda: pytest.fail("looked"))
    figures.render(labelled("дом ± 3 – 4 é\u200d"), "png")


def test_a_command_warns_in_one_line_and_matplotlib_not_at_all(tmp_path):
    write_dataset(tmp_path / "data")
    manifest = tmp_path / "data" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"cat"', f'"cat {NO_FONT}{NO_FONT}"'))
    output = tmp_path / "a.png"
    done = run_module("analysis.counts", [str(tmp_path / "data"), "-o", str(output)])
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"no installed font has {NO_FONT} (as in ")
    assert (done.returncode, done.stdout) == (0, f"wrote {output}\n")
