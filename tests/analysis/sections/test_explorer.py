"""The explorer of the report in Chromium: cells, categories, filters, addresses; its size."""

import importlib
import json
import re

import numpy as np
import pytest

from analysis.report import make_report
from analysis.sections import explorer
from pipeline import synthetic
from pipeline.dataset import manifests
from pipeline.rasterize import rasterize
from tests.support.analysis_data import (
    count_predictions,
    write_dataset,
    write_metrics,
    write_predictions,
    write_run,
)
from tests.support.browser import DESKTOP, PHONE
from tests.support.report_pages import (
    LABELS,
    PER_LABEL,
    drawings_of,
    open_page,
    packed_scripts,
    texts,
    unpack,
    wait_for,
    wait_until,
    write_test_evaluation,
    write_whole_run,
)
from trainer.runs.predictions import Predictions

ENTER, RIGHT, DOWN = "\ue007", "\ue014", "\ue015"  # of WebDriver


def matrix_cells(driver):
    """(row, column) of a cell with drawings and of one without."""
    return driver.execute_script(
        """
        const {order} = explorers[0], all = order.map((_, i) => i);
        const cells = all.flatMap(row => all.map(column => [row, column]));
        const has = ([row, column]) => explorers[0].number(order[row], order[column]) > 0;
        return [cells.find(has), cells.find(cell => !has(cell))];
        """
    )


def canvas_pixel(driver, cell):
    """Colour near the corner of a cell of the matrix; the page's where it is empty."""
    return driver.execute_script(
        """
        const explorer = explorers[0], [row, column] = arguments[0];
        const [x, y] = [column, row].map(at => explorer.margin + (at + 0.2) * explorer.size);
        const pixel = explorer.canvas.getContext("2d").getImageData(x, y, 1, 1).data;
        const page = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
        return pixel[3] ? [...pixel].slice(0, 3) : page;
        """,
        cell,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_least_share_of_the_matrix_is_not_the_colour_of_none(driver, pages, scheme):
    open_page(driver, pages["one"], scheme=scheme)
    page, *seen = driver.execute_script(
        "const probe = document.createElement('i'); document.body.append(probe);"
        "const colour = name => { probe.style.color = `var(${name})`;"
        " return getComputedStyle(probe).color.match(/\\d+/g).map(Number); };"
        "return ['--paper', '--band-1', '--line'].map(colour)"
    )
    for colour in seen:  # the lines between cells, too
        assert np.abs(np.subtract(page, colour)).sum() > 60
    filled, empty = (canvas_pixel(driver, cell) for cell in matrix_cells(driver))
    assert np.abs(np.subtract(filled, empty)).sum() > 60


def point_at(driver, cell, click=False):
    """Move the pointer to a cell of the matrix, and click there."""
    canvas = driver.find_element("css selector", ".matrix canvas")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    x, y = driver.execute_script(
        "const {canvas, margin, size} = explorers[0], box = canvas.getBoundingClientRect();"
        "const [row, column] = arguments[0];"
        "return [box.x + margin + (column + 0.5) * size, box.y + margin + (row + 0.5) * size]",
        cell,
    )
    events = [("mouseMoved", "none", 0)]
    if click:
        events += [("mousePressed", "left", 1), ("mouseReleased", "left", 1)]
    for kind, button, clicks in events:
        event = {"type": kind, "x": x, "y": y, "button": button, "clickCount": clicks}
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_matrix_tells_a_cell_and_shows_its_drawings(driver, pages, size):
    assert open_page(driver, pages["one"], size) == []
    cat = driver.execute_script("return explorers[0].order").index(LABELS.index("cat"))
    point_at(driver, (cat, cat))
    tip = driver.find_element("css selector", ".matrix .tip")
    assert tip.text == "cat recognized: 3 of 6 (0.500)"
    point_at(driver, (cat, cat), click=True)
    assert wait_for(driver, ".chosen h4", "cat").text == "cat recognized: 3 of 6"
    assert driver.execute_script("return location.hash") == "#/E3_8/cat/cat"
    ink = driver.execute_script(
        "const canvas = document.querySelector('.chosen canvas');"
        "const data = canvas.getContext('2d').getImageData(0, 0, 85, 85).data;"
        "return [...Array(85 * 85).keys()].map(i => data[4 * i] < 128 ? 1 : 0)"
    )
    assert ink in drawings_of(pages["one"], "cat")


def test_an_address_leads_to_a_category_and_a_search_to_another(driver, pages):
    open_page(driver, pages["one"])
    driver.get("about:blank")
    driver.get(pages["one"].as_uri() + "#/E3_8/%3Cb%3Ebold%3C%2Fb%3E")
    title = wait_for(driver, ".chosen h4", "bold").text
    assert title == "<b>bold</b>: accuracy 0.833, precision 0.625"
    kinds = [each.text for each in driver.find_elements("css selector", ".chosen h5")]
    assert [kind.partition(" (")[0] for kind in kinds] == ["Wrong", "Typical", "Uncertain"]
    assert "undefined" not in driver.find_element("css selector", ".chosen").text
    driver.find_element("css selector", ".tools input").send_keys("cat", ENTER)
    assert wait_for(driver, ".chosen h4", "cat").text.startswith("cat: accuracy 0.500")
    assert driver.execute_script("return location.hash") == "#/E3_8/cat"


def test_runs_on_the_same_drawings_share_them(driver, pages):
    page = pages["several"]
    text = page.read_text()
    starts = [match.start() for match in re.finditer('class="explorer"', text)]
    held = [[bool(script) for script in packed_scripts(text[start:])] for start in starts]
    # Drawings and predictions of the best epoch, then of the last: all are the same here.
    assert held == [[True, True, False, False], [False] * 4, [False] * 4]
    open_page(driver, page)
    driver.execute_script("explorers[2].show(3)")
    tile = wait_for(driver, ".chosen li", "cat")
    assert tile.find_elements("css selector", "canvas")


def drawings_shown(driver):
    """By heading of the chosen category, (truth, prediction) of the drawings below."""
    return driver.execute_script(
        """
        const kinds = [...document.querySelectorAll(".chosen h5")];
        const texts = (list) => [...list.children].map((tile) => {
          const [truth, predicted] = [...tile.querySelectorAll("p > span:first-child")];
          return [truth.textContent, predicted.textContent];
        });
        return Object.fromEntries(kinds.map(
          (kind) => [kind.textContent.replace(/ \\(.*/, ""), texts(kind.nextElementSibling)]
        ));
        """
    )


def choose(driver, name, value):
    select = importlib.import_module("selenium.webdriver.support.ui").Select
    field = driver.find_element("css selector", f".tools select[aria-label='{name}']")
    select(field).select_by_visible_text(value)


def test_drawings_are_filtered_by_correctness_and_the_address_keeps_it(driver, pages):
    open_page(driver, pages["one"])
    driver.execute_script("location.hash = '#/E3_8/cat'")
    wait_for(driver, ".chosen h5", "Typical")
    truth, predicted = driver.execute_script(
        "const {truth, predicted} = explorers[0].held; return [truth, [...predicted]]"
    )
    wrong = [label for label, guess in zip(truth, predicted, strict=True) if guess != label]
    name = LABELS[wrong[0]]
    driver.execute_script("location.hash = explorers[0].address(arguments[0])", wrong[0])
    wait_for(driver, ".chosen h4", name)
    assert {*drawings_shown(driver)} == {"Wrong", "Typical", "Uncertain"}
    choose(driver, "Drawings", "Mistakes")
    wait_until(driver, lambda: {*drawings_shown(driver)} == {"Wrong", "Uncertain"})
    shown = drawings_shown(driver)["Uncertain"]
    assert len(shown) == wrong.count(wrong[0])
    assert all(label == name != guess for label, guess in shown)
    address = driver.execute_script("return location.hash")
    assert address.endswith("?drawings=mistakes")
    driver.get("about:blank")
    driver.get(pages["one"].as_uri() + address.replace("mistakes", "correct"))
    wait_until(driver, lambda: {*drawings_shown(driver)} == {"Typical", "Uncertain"})
    filters = driver.find_elements("css selector", ".tools select")
    assert filters[-1].get_attribute("value") == "correct"
    drawn = driver.execute_script(
        "const each = explorers[0]; return [each.isShown(0, 0), each.isShown(0, 1)]"
    )
    assert drawn == [True, False]  # of the matrix, too


def test_evaluations_of_other_epochs_and_splits_are_chosen_and_the_address_keeps_it(
    driver, pages, tmp_path
):
    data = pages["one"].parent / "data"
    run_dir = write_whole_run(tmp_path / "run", data)
    path = write_test_evaluation(run_dir, data, tmp_path / "other.json")
    page = tmp_path / "page.html"
    page.write_bytes(make_report([run_dir], evaluation=path)[0])
    open_page(driver, page)
    names = ["train, best epoch 3", "validation, best epoch 3", "validation, last epoch 4"]
    titles = driver.execute_script("return explorers[0].evaluations.map(each => each.title)")
    assert titles == names
    total = "return explorers[0].totals.reduce((sum, each) => sum + each)"
    assert driver.execute_script(total) == 9 * len(LABELS)
    driver.execute_script("location.hash = '#/E3_8/cat'")
    wait_for(driver, ".chosen h4", "cat: accuracy 1.000")
    choose(driver, "Evaluation", names[2])
    wait_for(driver, ".chosen h4", "cat: accuracy 0.500")
    assert driver.execute_script(total) == PER_LABEL * len(LABELS)
    assert len(drawings_shown(driver)["Uncertain"]) == PER_LABEL
    address = driver.execute_script("return location.hash")
    assert address == "#/E3_8/cat?evaluation=validation%2C+last+epoch+4"
    driver.get("about:blank")
    driver.get(page.as_uri() + address)
    wait_for(driver, ".chosen h4", "cat: accuracy 0.500")
    link = driver.find_element("css selector", ".table a[href='#/E3_8/%3Cb%3Ebold%3C%2Fb%3E']")
    driver.execute_script("arguments[0].click()", link)  # an address without a filter
    wait_for(driver, ".chosen h4", "<b>bold</b>: accuracy 1.000")


def test_nothing_is_unpacked_and_redrawn_before_it_is_chosen(driver, pages):
    open_page(driver, pages["one"])
    driver.execute_script(
        "window.drawn = 0; const draw = Explorer.prototype.draw;"
        "Explorer.prototype.draw = function () { window.drawn += 1; draw.call(this); };"
    )
    for cell in ((0, 0), (1, 2), (3, 3)):
        point_at(driver, cell)
    assert not driver.find_element("css selector", ".matrix .tip").get_property("hidden")
    assert driver.execute_script("return [window.drawn, explorers[0].held]") == [0, None]


def test_keys_move_and_select_in_the_matrix(driver, pages):
    open_page(driver, pages["one"])
    canvas = driver.find_element("css selector", ".matrix canvas")
    canvas.send_keys(RIGHT, DOWN)
    assert driver.execute_script("return explorers[0].place") == [1, 1]
    canvas.send_keys(ENTER)
    assert "recognized" in wait_for(driver, ".chosen h4", "recognized").text


def test_only_the_first_button_moves_the_matrix(driver, pages):
    open_page(driver, pages["one"])
    driver.execute_script("explorers[0].zoom = 2; explorers[0].draw()")
    corner = "return [explorers[0].left, explorers[0].top]"
    before = driver.execute_script(corner)
    drag = """
        const [button] = arguments;
        const canvas = document.querySelector(".matrix canvas");
        const { left, top } = canvas.getBoundingClientRect();
        for (const [type, by] of [["pointerdown", 60], ["pointermove", 20], ["pointermove", 10]]) {
          const place = { button, clientX: left + by, clientY: top + by };
          canvas.dispatchEvent(new PointerEvent(type, place));
        }
        canvas.dispatchEvent(new MouseEvent("click"));
    """
    driver.execute_script(drag, 2)
    assert driver.execute_script(corner) == before
    driver.execute_script(drag, 0)
    assert driver.execute_script(corner) != before


def test_drawings_that_the_page_does_not_hold_are_counted(made, monkeypatch):
    run_dir, _ = made
    assert "The page holds" not in texts(make_report([run_dir])[0])
    monkeypatch.setattr(explorer, "MAX_DRAWINGS", 7)
    page = make_report([run_dir])[0].decode()
    text = "The page holds 7 of 24 validation drawings: mistakes of the first evaluation first."
    assert page.count(text) == 1
    drawings, predicted, again, _ = packed_scripts(page)
    assert again == ""  # those of the last epoch are the same
    truth = json.loads(unpack(drawings).partition(b"\n")[0])["truth"]
    guesses = np.frombuffer(unpack(predicted), "<u2").reshape(3, -1)[0]
    assert (len(truth), (guesses != truth).sum()) == (7, 6)


# ---- Size ----


CATEGORIES, DRAWINGS = 345, 40  # of each category
MOST_BYTES = 8_000_000


def write_random_run(root, categories, drawings):
    """A run on made-up drawings that was evaluated on some of each category and knows nothing."""
    lines = [
        json.loads(synthetic.drawing_line(name, index, seed=0))
        for index in range(40)
        for name in synthetic.CATEGORIES
    ]
    bitmaps = [rasterize(line["drawing"]) for line in lines]
    labels = [f"category {index}" for index in range(categories)]
    data = root / "data"
    manifest = write_dataset(data, dict.fromkeys(labels, 10), validation=drawings, bitmaps=bitmaps)
    examples = manifests.DataSet(str(data), manifest).examples("validation")
    truth = np.array([example.label for example in examples])
    logits = np.random.default_rng(0).normal(0, 3, (len(truth), categories))
    run_dir = write_run(
        root / "run", labels=labels, dataset=str(data), dataset_fingerprint=manifest.fingerprint,
        drawings={"train": 10 * categories, "validation": len(truth)},
    )  # fmt: skip
    write_metrics(run_dir, [900.0, 1000.0, 1100.0] * 4)
    predictions = Predictions.from_logits(logits, truth)
    write_predictions(run_dir, predictions)
    write_scores(root / "run" / "evaluation.json", labels, predictions)
    return run_dir


def write_scores(path, labels, predictions):
    confusion = np.array(count_predictions(predictions, len(labels)))
    totals, predicted, right = confusion.sum(1), confusion.sum(0), confusion.diagonal()
    per_class = [
        {
            "label": label, "examples": int(totals[i]), "correct": int(right[i]),
            "precision": right[i] / max(predicted[i], 1), "recall": right[i] / totals[i],
            "f1": 2 * right[i] / (totals[i] + predicted[i]),
        }
        for i, label in enumerate(labels)
    ]  # fmt: skip
    top1 = right.sum() / totals.sum()
    scores = {
        "epoch": 3, "examples": int(totals.sum()), "loss": 6.0, "top1": top1, "top3": 3 * top1,
        "map3": 2 * top1, "per_class": per_class, "confusion": confusion.tolist(),
    }  # fmt: skip
    path.write_text(json.dumps({"split": "validation", **scores, "best": scores}))


def test_a_page_of_345_categories_and_13_800_drawings_has_at_most_8_megabytes(tmp_path):
    run_dir = write_random_run(tmp_path, CATEGORIES, DRAWINGS)
    page, missing = make_report([run_dir])
    assert missing == []
    count = re.search(r'"count":(\d+)', page.decode())[1]
    assert int(count) == CATEGORIES * DRAWINGS  # it holds all of them
    assert len(page) <= MOST_BYTES
