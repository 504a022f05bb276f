"""The map of the drawings in Chromium: what is pointed at, clicked, framed and chosen."""

import importlib
import re

import numpy as np
import pytest

from analysis.report import make_report
from tests.support.browser import (
    DESKTOP,
    PHONE,
    axe_violations,
)
from tests.support.report_pages import (
    LABELS,
    drawings_of,
    open_page,
    texts,
    unpack,
    wait_for,
    wait_until,
    write_test_evaluation,
    write_whole_run,
)
from trainer.runs.feature_map import FeatureMap

# Dispatches a mouse event at the place of a drawing on the map, with an offset in CSS pixels.
ON_THE_MAP = """
const [kind, drawing, dx, dy] = arguments, {canvas} = maps[0], box = canvas.getBoundingClientRect();
const [x, y] = maps[0].at(drawing);
canvas.dispatchEvent(new PointerEvent(kind, {
  pointerType: "mouse", clientX: box.x + x + dx, clientY: box.y + y + dy, bubbles: true,
}));
"""


@pytest.fixture
def map_page(pages, tmp_path):
    """A page with a map of 36 drawings: one apart from the others, one on no place."""
    data = pages["one"].parent / "data"
    run_dir = write_whole_run(tmp_path / "run", data)
    places = np.random.default_rng(0).normal(size=(9 * len(LABELS), 2)).astype(np.float32)
    places[0], places[1] = (9, -9), np.nan
    found = FeatureMap(places, (0.4, 0.2))
    path = write_test_evaluation(run_dir, data, tmp_path / "other.json", found)
    page = tmp_path / "page.html"
    page.write_bytes(make_report([run_dir], evaluation=path)[0])
    return page


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_map_shows_a_drawing_that_is_pointed_at_and_those_around_it(
    driver, pages, map_page, size
):
    assert open_page(driver, map_page, size) == []
    assert "40% and 20% of the variance" in texts(map_page.read_bytes())
    frame = driver.find_element("css selector", ".map")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", frame)
    wait_until(driver, lambda: driver.execute_script("return Boolean(maps[0].scale)"))
    assert driver.execute_script("return maps[0].left.length") == 9 * len(LABELS) - 1
    x, y = driver.execute_script("return maps[0].at(0)")
    width, height = driver.execute_script(
        "const {canvas} = maps[0]; return [canvas.clientWidth, canvas.clientHeight]"
    )
    assert x > 0.9 * width  # to the right, and down
    assert y > 0.9 * height
    driver.execute_script(ON_THE_MAP, "pointermove", 0, 3, 0)
    tip = driver.find_element("css selector", ".map .tip")
    label = driver.execute_script("return maps[0].evaluation.labels[maps[0].held.truth[0]]")
    assert tip.text == label
    shown = driver.execute_script(
        "const canvas = document.querySelector('.map .tip canvas');"
        "const data = canvas.getContext('2d').getImageData(0, 0, 85, 85).data;"
        "return [...Array(85 * 85).keys()].map(i => data[4 * i] < 128 ? 1 : 0)"
    )
    assert shown in drawings_of(pages["one"], label, "train")
    driver.execute_script(ON_THE_MAP, "pointerdown", 0, -30, -30)
    driver.execute_script(ON_THE_MAP, "click", 0, 5, 5)
    title = wait_for(driver, ".drawing-map h4", "In the rectangle (1)")
    driver.execute_script(ON_THE_MAP, "pointerdown", 0, 0, 0)
    driver.execute_script(ON_THE_MAP, "click", 0, 0, 0)
    title = wait_for(driver, ".drawing-map h4", "The nearest (12)")
    first = driver.find_element("css selector", ".drawing-map .gallery strong")
    assert (title.text, first.text) == ("The nearest (12)", label)
    assert axe_violations(driver) == []


def test_choices_leave_a_part_of_the_map(driver, map_page):
    open_page(driver, map_page)
    frame = driver.find_element("css selector", ".map")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", frame)
    wait_until(driver, lambda: driver.execute_script("return Boolean(maps[0].scale)"))
    select = importlib.import_module("selenium.webdriver.support.ui").Select
    category, drawings = driver.find_elements("css selector", ".drawing-map select")
    select(category).select_by_visible_text("cat")
    left = driver.execute_script("return maps[0].left.map(i => maps[0].held.truth[i])")
    assert {*left} == {LABELS.index("cat")}
    assert len(left) in (8, 9)
    select(drawings).select_by_visible_text("Mistakes")
    assert driver.execute_script("return maps[0].left") == []


def test_without_the_drawings_the_section_says_why(made, tmp_path):
    run_dir, data = made
    places = np.zeros((9 * len(LABELS), 2), np.float32)
    path = write_test_evaluation(run_dir, data, tmp_path / "e.json", FeatureMap(places, (0.4, 0.2)))
    data.rename(tmp_path / "elsewhere")
    page, missing = make_report([run_dir], evaluation=path)
    assert missing == [f"{data}: no such directory"]
    section = texts(page[page.index(b"<h3>Map of the drawings") :])
    assert section.strip().startswith(f"Map of the drawings {data}: no such directory")


def test_equal_places_are_one_point(made, tmp_path):
    run_dir, data = made
    places = np.ones((9 * len(LABELS), 2), np.float32)
    path = write_test_evaluation(run_dir, data, tmp_path / "e.json", FeatureMap(places, (0.0, 0.0)))
    page = make_report([run_dir], evaluation=path)[0].decode()
    packed = re.search(r'class="drawing-map"[^>]*><script[^>]*>(.*?)<', page)[1]
    assert not np.frombuffer(unpack(packed), "<u2").any()


def test_a_map_without_a_drawing_has_no_section(made, tmp_path):
    run_dir, data = made
    places = np.full((9 * len(LABELS), 2), np.nan, np.float32)
    path = write_test_evaluation(run_dir, data, tmp_path / "e.json", FeatureMap(places, (0.0, 0.0)))
    page, missing = make_report([run_dir], evaluation=path)
    assert missing == []
    assert "Map of the drawings" not in texts(page)


def test_without_a_map_the_page_says_which_command_makes_it(made):
    shown = texts(make_report([made[0]])[0])
    assert "Map of the drawings" not in shown
    assert f"trainer.evaluate --run_dir={made[0]} --output=FILE.json and --evaluation" in shown
