"""Report: in a browser, and what it says of runs that are finished, going on or damaged."""

import base64
import dataclasses
import html.parser
import io
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from analysis import report
from analysis.mistakes import mistakes_csv
from analysis.reading.evaluations import validation_of
from analysis.reading.runs import read_run
from analysis.report import make_report
from analysis.sections import data_sections
from analysis.sections.comparison_sections import sort_value
from analysis.sections.data_sections import Data
from analysis.sections.page import Column, TableCell, drawings_image, mean_image, table, to_html
from analysis.sections.page_heading import short_number
from pipeline.cli import UserError
from pipeline.dataset import manifests
from tests.support.analysis_data import (
    HISTORY,
    NO_HISTORY,
    run_command,
    write_evaluation,
    write_metrics,
    write_predictions,
    write_run,
)
from tests.support.browser import (
    DESKTOP,
    PHONE,
    axe_violations,
    wider_than_the_page,
)
from tests.support.report_pages import (
    LABELS,
    PER_LABEL,
    open_page,
    texts,
    unfold,
    unpack,
    wait_for,
    wait_until,
    write_data,
    write_whole_run,
)
from trainer.runs.predictions import Predictions

ENTER = "\ue007"  # of WebDriver


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["one", "several", "begun"])
def test_a_browser_shows_it_without_complaint(driver, pages, name, size, scheme):
    assert open_page(driver, pages[name], size, scheme) == []
    broken = driver.execute_script(
        "return [...document.images].filter(i => !i.complete || !i.naturalWidth || !i.width)"
        ".map(i => i.alt)"
    )
    assert broken == []
    requests = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = {
        message["params"]["request"]["url"].partition(":")[0]
        for message in requests
        if message["method"] == "Network.requestWillBeSent"
    }
    assert urls <= {"file", "data"}


@pytest.mark.parametrize("size", [DESKTOP, (1000, 700), PHONE, (320, 640)])
@pytest.mark.parametrize("name", ["one", "several", "begun"])
def test_nothing_is_wider_than_the_page(driver, pages, name, size):
    open_page(driver, pages[name], size)
    unfold(driver)
    assert wider_than_the_page(driver, scrolling=".table, .picture") == []
    if name != "begun":
        driver.execute_script("explorers[0].show(0)")
        wait_for(driver, ".chosen h5", "Wrong")
        assert wider_than_the_page(driver, scrolling=".table, .picture") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["one", "several", "begun"])
def test_axe_finds_nothing_serious(driver, pages, name, size, scheme):
    open_page(driver, pages[name], size, scheme)
    unfold(driver)
    if name != "begun":
        driver.execute_script("explorers[0].show(0)")
        wait_for(driver, ".chosen h5", "Wrong")
    excluded = [".picture svg > *"]  # thousands of marks, which are described
    if (size, scheme) != (DESKTOP, "light"):
        excluded += ["#c3", "#c4"]  # more runs of several, whose chapters are as the first's
    found = axe_violations(driver, *excluded)
    assert [each for each in found if each[1] in ("serious", "critical")] == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_short_names_of_rows_are_in_one_line(driver, pages, size):
    open_page(driver, pages["several"], size)
    for name in driver.find_elements("css selector", ".table[aria-label=Runs] tbody th"):
        assert name.size["height"] < 40


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_are_on_paper_of_the_pages_colour_and_legible(driver, pages, scheme):
    open_page(driver, pages["one"], scheme=scheme)
    page = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    page_colour = [int(part) for part in re.findall(r"\d+", page)]
    assert (min(page_colour) > 240) if scheme == "light" else (max(page_colour) < 40)
    for selector in (".picture svg", ".pairs img", ".gallery img", ".matrix canvas"):
        image = driver.find_element("css selector", selector)
        shown = Image.open(io.BytesIO(image.screenshot_as_png)).convert("RGB")
        paper = max(shown.getcolors(2**24))[1]
        assert np.abs(np.subtract(paper, page_colour)).max() <= 2, selector
        low, high = shown.convert("L").getextrema()
        assert high - low > 150, selector


def column(driver, table, name):
    """Texts of a column, from the top."""
    return driver.execute_script(
        """
        const table = document.querySelector(`.table[aria-label="${arguments[0]}"] > table`);
        const headers = [...table.tHead.rows[0].cells];
        const place = headers.findIndex(header => header.textContent === arguments[1]);
        return [...table.tBodies[0].rows].map(row => row.cells[place].textContent);
        """,
        table,
        name,
    )


def header(driver, table, name):
    """(the header of a column, the button in it)"""
    for found in driver.find_elements("css selector", f".table[aria-label='{table}'] thead th"):
        if found.get_attribute("textContent") == name:
            return found, found.find_element("tag name", "button")
    raise AssertionError(name)


def test_tables_sort_by_click_and_by_key(driver, pages):
    open_page(driver, pages["one"])
    accuracy, button = header(driver, "Categories", "accuracy")
    assert column(driver, "Categories", "accuracy") == ["0.333", "0.500", "0.833", "1.000"]
    assert accuracy.get_attribute("aria-sort") == "ascending"

    category, name_button = header(driver, "Categories", "category")
    name_button.click()
    names = ["<b>bold</b>", 'a "quoted" & name', "cat", "The Great Wall of China"]
    assert column(driver, "Categories", "category") == names
    assert category.get_attribute("aria-sort") == "ascending"
    assert accuracy.get_attribute("aria-sort") is None

    button.send_keys(ENTER)  # of numbers the highest first
    assert column(driver, "Categories", "accuracy") == ["1.000", "0.833", "0.500", "0.333"]
    assert accuracy.get_attribute("aria-sort") == "descending"
    button.send_keys(" ")
    assert column(driver, "Categories", "accuracy") == ["0.333", "0.500", "0.833", "1.000"]


def test_a_long_table_can_be_searched_and_a_short_one_needs_no_field(driver, tmp_path):
    columns = [Column("category", is_number=False), Column("drawings")]
    tables = [
        table(
            f"of {count}",
            columns,
            [[TableCell(f"cat {i}"), TableCell("1", 1)] for i in range(count)],
        )
        for count in (12, 13)
    ]
    page = tmp_path / "page.html"
    page.write_bytes(to_html("title", tables, []))
    open_page(driver, page)
    (field,) = driver.find_elements("css selector", ".find")
    assert field.accessible_name == "Find in 13 rows"
    field.send_keys("CAT 1")
    shown = driver.execute_script(
        "return [...document.querySelectorAll('[aria-label=\"of 13\"] tbody tr')]"
        ".filter(row => row.offsetHeight).map(row => row.cells[0].textContent)"
    )
    assert shown == ["cat 1", "cat 10", "cat 11", "cat 12"]


def test_what_has_no_value_comes_last_either_way(driver, pages):
    open_page(driver, pages["several"])
    _, button = header(driver, "Runs", "top-3")
    for _ in range(2):
        button.click()
        assert column(driver, "Runs", "top-3") == ["0.900", "0.900", "0.900", "-"]


TEXTS = """
return [...document.querySelectorAll(".picture text")].map(text => {
  const matrix = text.getScreenCTM(), scale = Math.hypot(matrix.a, matrix.b);
  return [text.textContent, parseFloat(getComputedStyle(text).fontSize) * scale];
});
"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_texts_of_charts_are_texts_and_large_enough_to_read(driver, pages, size):
    open_page(driver, pages["several"], size)
    driver.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    texts = driver.execute_script(TEXTS)
    assert {"epoch", "images/s", "E2_7"} <= {text for text, _ in texts}
    assert min(pixels for _, pixels in texts) >= 8.9


def test_charts_say_what_their_marks_are_and_have_ids_of_their_own(driver, pages):
    open_page(driver, pages["several"])
    titles = driver.execute_script(
        "return [...document.querySelectorAll('.picture title')].map(each => each.textContent)"
    )
    assert "E2_7: accuracy 0.660, epoch 3" in titles
    assert any(" predictions, confidence 0." in title for title in titles)
    repeated, count, dangling = driver.execute_script(
        "const ids = [...document.querySelectorAll('[id]')].map(each => each.id);"
        "const uses = [...document.querySelectorAll('svg use')].map(each => each.href.baseVal);"
        "return [ids.length - new Set(ids).size, uses.length,"
        " uses.filter(each => !ids.includes(each.slice(1)))]"
    )
    assert (repeated, dangling) == (0, [])
    assert count > 50


def test_a_table_of_drawings_is_saved_as_it_was_packed(driver, made, tmp_path):
    run_dir, data = made
    page = tmp_path / "page.html"
    page.write_bytes(make_report([run_dir])[0])
    open_page(driver, page)
    saved = tmp_path / "saved"
    saved.mkdir()
    behaviour = {"behavior": "allow", "downloadPath": str(saved)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    driver.find_element("css selector", "button[data-file='mistakes.csv']").click()
    wait_until(driver, lambda: (saved / "mistakes.csv").exists())
    evaluation = validation_of(read_run(run_dir))
    assert (saved / "mistakes.csv").read_text() == mistakes_csv(
        evaluation.read_predictions(), str(data)
    )


class Outline(html.parser.HTMLParser):
    """Elements of a page with their depths, and all attributes of one name."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, page):
        super().__init__()
        self.elements, self.attributes, self.depth = [], [], 0
        self.feed(page.decode())
        assert self.depth == 0

    def handle_starttag(self, tag, attributes):
        self.elements.append(f"{self.depth} {tag}")
        self.attributes.append((tag, dict(attributes)))
        self.depth += tag not in self.VOID

    def handle_endtag(self, tag):
        self.depth -= 1


@pytest.mark.parametrize("name", ["one", "several", "begun"])
def test_a_browser_reads_the_elements_that_were_written(driver, pages, name):
    """Where elements are in a wrong place a browser rearranges them."""
    page = pages[name].read_bytes()
    open_page(driver, pages[name])
    elements = driver.execute_script(
        """
        const found = [];
        const visit = (node, depth) => {
          found.push(`${depth} ${node.localName.toLowerCase()}`);
          [...node.children].forEach(child => visit(child, depth + 1));
        };
        visit(new DOMParser().parseFromString(arguments[0], "text/html").documentElement, 0);
        return found;
        """,
        page.decode(),
    )
    assert elements == Outline(page).elements


@pytest.mark.parametrize("name", ["one", "several", "begun"])
def test_contents_lead_to_places_and_pictures_have_descriptions(pages, name):
    attributes = Outline(pages[name].read_bytes()).attributes
    ids = [values["id"] for tag, values in attributes if tag == "section" and "id" in values]
    links = [values["href"] for tag, values in attributes if tag == "a"]
    assert len({*ids}) == len(ids) > 5
    places = [f"#{place}" for place in ids]
    assert links[: len(places)] == places  # the contents, in the order of the page
    others = links[len(places) :]
    assert {link for link in others if not link.startswith("#/")} <= {*places}
    assert all(len(values["alt"]) > 10 for tag, values in attributes if tag == "img")
    assert all(
        values["aria-label"] for tag, values in attributes if values.get("class") == "picture"
    )
    sources = [values[key] for _, values in attributes for key in ("src", "href") if key in values]
    assert all(source.startswith(("data:image/", "#")) for source in sources)


def missing_lines(run_dirs, **arguments):
    return make_report(run_dirs, **arguments)[1]


def test_a_page_of_one_run_says_what_was_trained_and_how_good_it_is(made):
    run_dir, data = made
    page, missing = make_report([run_dir])
    shown = texts(page)
    assert missing == []
    for text in (
        "E3_8 on 4 categories",
        "4 of 4 epochs, on 36 training and 24 validation drawings",
        "E3_8: 1, 2, 1 blocks A, B, C",
        "1,000,000 parameters, 600,000,000 multiply-adds",
        "4 epochs of 18 steps, batch 2, learning rate 0.001",
        "float32",
        f"Data set {data}",
        "best epoch 3 0.662",  # top-1, as the next
        "last epoch 4 0.667",
        "chance – 0.250 – 0.750 0.458 1.386",
        "the study's E3_8, on its own 53 categories 12 0.87",
        *LABELS,
    ):
        assert text in shown, text


def test_a_page_of_one_run_has_every_section(made):
    titles = re.findall(r"<h[23]>(.*?)</h", make_report([made[0]])[0].decode())
    assert titles == [
        "The run", "Scores", "Categories", "Confusion matrix", "Most confused pairs",
        "Worst mistakes", "Least certain predictions", "Likely label errors", "Calibration",
        "Thresholds by category", "Histories", "Setup", "Speed",
        "The data", "Drawings", "Counts", "Ink", "Origin",
    ]  # fmt: skip


def test_a_page_begins_with_what_was_found_and_each_sentence_leads_to_it(made):
    run_dir, _ = made
    page = make_report([run_dir])[0].decode()
    found = re.search(r'<ul class="findings">(.*?)</ul>', page, re.S)[1]
    assert page.index("findings") < page.index("<h2>")
    sentences = texts(found.encode())
    for sentence in (
        "Top-1 0.662 ± 0.097 on 24 validation drawings, in epoch 3; guessing gives 0.250.",
        'Weakest category: a "quoted" & name 0.333 ; 4 of its 6 drawings are taken for '
        "The Great Wall of China",
        "6 mistakes , 0 of them with a probability of 0.9 or more.",
        "The model is underconfident by 0.165 : mean confidence 0.585, accuracy 0.750.",
        "Best epoch: 3 of 4 , 0.020 above the last; training accuracy is then 0.050 below validat",
    ):
        assert sentence in sentences, sentence
    places = {values["id"] for _, values in Outline(page.encode()).attributes if "id" in values}
    addresses = re.findall(r'href="#(.*?)"', found)
    assert {each for each in addresses if not each.startswith("/")} <= places
    assert "/E3_8/a%20%22quoted%22%20%26%20name" in addresses


def test_a_page_of_several_runs_begins_with_the_best(made, tmp_path):
    run_dir, data = made
    other = write_whole_run(tmp_path / "other", data, "E2_7")
    pathlib.Path(other, "history.json").write_text(
        json.dumps(HISTORY | {"val_accuracy": [0.4, 0.58, 0.61, 0.6]})
    )
    shown = texts(make_report([run_dir, other])[0])
    assert "Best: E3_8, top-1 0.660 ± 0.097 , epoch 3." in shown
    assert "Next: E2_7, top-1 0.610 ± 0.100 , 0.050 below." in shown


def test_mistakes_have_keys_that_lead_to_their_strokes_and_a_table(made):
    run_dir, data = made
    path = data / manifests.MANIFEST
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"inputs": [{"file": "/my drawings/cat.ndjson"}]}))
    page = make_report([run_dir])[0].decode()
    assert re.search(r'<a href="file:///my%20drawings/cat.ndjson">validation-0-\d+</a>', page)
    table = re.search(r'data-file="mistakes.csv"[^<]*</button><script[^>]*>(.*?)<', page)[1]
    lines = unpack(table).decode().splitlines()
    assert len(lines) == 1 + 6
    assert lines[0].startswith("key_id,category,predicted,")


def test_thresholds_by_category_tell_what_is_answered_and_how_sure_that_is(made):
    shown = texts(make_report([made[0]])[0])
    assert re.search(r"For 0.95, \d+ of 24 drawings are answered \(0\.\d+\), \d+ of them", shown)
    assert "4 of 4 categories have fewer than 20 predictions, too few to tell 0.95" in shown
    assert "4 of 4 categories have fewer than 100 predictions, too few to tell 0.99" in shown
    # Wrong answers are as probable as correct ones here: sure ones of a category are few.
    section = shown[shown.index("predicted predictions 0.95: from 0.95: answers") :]
    row = re.search(r"cat (\d+) (–|0\.\d{3}) (\d+) (–|0\.\d{3}–[01]\.000)", section)
    assert int(row[3]) < int(row[1])


def test_top3_and_a_constant_learning_rate_are_told(made):
    run_dir, _ = made
    write_metrics(run_dir, [900.0, 1000.0, 1100.0])
    shown = texts(make_report([run_dir])[0])
    assert "validation accuracy validation top-3 training loss" in shown
    assert "4 0.700 0.640 0.900 0.700 0.880" in shown
    assert "The learning rate is 0.001 throughout." in shown


def test_two_runs_are_compared_drawing_by_drawing(made, tmp_path):
    run_dir, data = made
    other = write_whole_run(tmp_path / "other", data, "E2_7", seed=7)
    path = next(pathlib.Path(other, "checkpoints").glob("*.npz"))
    with np.load(path) as arrays:
        predictions = Predictions(**arrays)
    top = np.stack([(predictions.labels + i) % 4 for i in range(3)], axis=1).astype(np.int16)
    top[1] = np.roll(top[1], 1)  # all right but one, which the first run recognizes
    write_predictions(other, dataclasses.replace(predictions, top_labels=top))
    history = HISTORY | {"val_accuracy": [0.4, 0.58, 0.7, 0.6]}
    pathlib.Path(other, "history.json").write_text(json.dumps(history))
    page, missing = make_report([run_dir, other])
    assert missing == []
    shown = texts(page)
    assert "E2_7 mends 6 and breaks 1 of E3_8's 24 drawings; p = 0.12, McNemar." in shown
    section = shown[shown.index("The best run against the others Settings that differ") :]
    assert "E3_8 0.750 -0.208 6 1 0.12" in section
    assert "experiment E3_8 → E2_7" in section
    assert "seed None → 7" in section
    assert "E2_7 mends 6 of E3_8; the surest 6, " in section
    assert "E2_7 breaks 1 of E3_8; the surest 1, " in section


def test_the_table_of_runs_has_the_best_first_and_the_differences_to_it(made, tmp_path):
    run_dir, data = made
    other = write_whole_run(tmp_path / "other", data, "E2_7")
    write_evaluation(other, dict.fromkeys(LABELS, 6), PER_LABEL)  # top-1 1.000, not 0.667
    page = make_report([run_dir, other])[0].decode()
    body = page[page.index('aria-label="Runs"') :]
    rows = [texts(row.encode()) for row in re.findall(r"<tr>(.*?)</tr>", body, re.S)[1:3]]
    assert "E2_7" in rows[0]
    assert "1.000 ± 0.000 best 0.900" in rows[0]
    assert "0.667 ± 0.096 -0.333 0.900" in rows[1]


def test_runs_of_several_seeds_are_told_as_mean_and_standard_deviation(made, tmp_path):
    run_dir, data = made
    for seed, last in ((1, 0.6), (2, 0.7), (3, 0.8)):
        directory = write_whole_run(tmp_path / f"seed{seed}", data, "E2_7", seed=seed)
        history = HISTORY | {"val_accuracy": [0.1, 0.2, 0.3, last]}
        pathlib.Path(directory, "history.json").write_text(json.dumps(history))
    begun = write_whole_run(tmp_path / "seed4", data, "E2_7", seed=4, epochs=9)
    runs = [run_dir, begun, *(str(tmp_path / f"seed{seed}") for seed in (1, 2, 3))]
    shown = texts(make_report(runs)[0])
    assert "highest E2_7 3 0.700 0.100 0.600 0.800" in shown


def test_runs_that_stopped_early_are_finished(made, tmp_path):
    _, data = made
    one, two = (
        write_whole_run(tmp_path / f"{count}", data, "E2_7", epochs=9, early_stopping=count)
        for count in (1, 2)
    )
    assert "1 of 2 runs are finished" in texts(make_report([one, two])[0])
    assert "4 of 9 epochs, stopped early, on" in texts(make_report([one])[0])
    assert "4 of 9 epochs, on" in texts(make_report([two])[0])


def test_runs_on_different_drawings_are_not_paired(made, tmp_path):
    write_data(tmp_path / "other", drawings=3)
    other = write_whole_run(tmp_path / "small", tmp_path / "other")
    page, _ = make_report([made[0], other])
    assert "against the others" not in texts(page)


def test_equal_counts_are_one_sentence(made):
    data = Data(str(made[1]), manifests.read_manifest(str(made[1])))
    (sentence,) = data_sections.counts(data)
    assert sentence.text == "Every category has 9 training and 6 validation drawings."


def test_counts_of_the_pipeline_are_told_once(made):
    manifest = manifests.read_manifest(str(made[1]))
    counted = dataclasses.replace(manifest, drawings={"read": 22_800, "excluded": 0})
    names = [item.text for part in data_sections.origin(Data("d", counted)) for item in part.iter()]
    assert names[names.index("22,800 read") - 1] == "Selection"


def test_the_same_input_gives_the_same_bytes(made, tmp_path):
    run_dir, _ = made
    done = run_command("analysis.report", "--run_dir", run_dir, "--output", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").read_bytes() == make_report([run_dir])[0]


def test_the_last_epoch_can_be_shown_instead_of_the_best(made):
    def first_tile(checkpoint):
        return re.search(
            r'class="value">(.*?)<', make_report([made[0]], None, checkpoint)[0].decode()
        )

    assert first_tile("best")[1] == "0.662"
    assert first_tile("last")[1] == "0.667"


def test_several_runs_are_compared_and_the_three_best_are_detailed(made, tmp_path):
    _, data = made
    runs = []
    for number in range(5):
        run_dir = write_whole_run(tmp_path / f"run{number}", data, seed=number)
        accuracy = [0.3, 0.5, 0.6, 0.7 + (number * 2 % 5) / 10]  # 0.7, 0.9, 1.1, 0.8, 1.0
        history = HISTORY | {"val_accuracy": [min(each, 0.99) for each in accuracy]}
        pathlib.Path(run_dir, "history.json").write_text(json.dumps(history))
        runs.append(run_dir)
    page, missing = make_report(runs)
    assert missing == []
    chapters = re.findall(r"<h2>(.*?)</h2>", page.decode())
    assert chapters == ["Comparison", "run1", "run2", "run4", "The data"]
    for number in range(5):
        assert f'scope="row">run{number}<' in page.decode()


def test_the_studys_comparisons_are_drawn_where_there_are_runs_of_them(made, tmp_path):
    _, data = made
    runs = [write_whole_run(tmp_path / name, data, name) for name in ("E2_7", "E3_9", "E1")]
    assert "The study's comparisons" in texts(make_report(runs)[0])  # depth53
    assert "The study's comparisons" not in texts(make_report(runs[1:])[0])


def test_a_run_without_a_finished_epoch_says_so_in_every_section_that_needs_one(made, tmp_path):
    _, data = made
    manifest = manifests.read_manifest(str(data))
    run_dir = write_run(
        tmp_path / "begun", NO_HISTORY, LABELS,
        dataset=str(data), dataset_fingerprint=manifest.fingerprint,
    )  # fmt: skip
    page, missing = make_report([run_dir])
    assert missing == [
        f"{run_dir}/evaluation.json: missing; it is written when an epoch is finished",
        f"{run_dir}: no epoch is finished yet",
        f"{run_dir}: no step of training in metrics.jsonl yet",
    ]
    assert "0 of 4 epochs" in texts(page)
    assert "9 drawings of cat" in page.decode() or "8 drawings of cat" in page.decode()


@pytest.mark.parametrize(
    "name", ["evaluation.json", "metrics.jsonl", "checkpoints/step-00000009.predictions.npz"]
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(made, name):
    run_dir, _ = made
    pathlib.Path(run_dir, name).write_bytes(b"{\n")
    page, missing = make_report([run_dir])
    assert missing
    assert all(line.startswith(f"{run_dir}/{name}: ") and "\n" not in line for line in missing)
    assert "Line charts of accuracy and loss" in page.decode()
    assert missing[0] in texts(page)


def test_a_damaged_run_does_not_keep_others_from_being_compared(made, tmp_path):
    run_dir, data = made
    others = [write_whole_run(tmp_path / name, data, name) for name in ("E2_7", "E1")]
    pathlib.Path(others[0], "history.json").write_text("{")
    pathlib.Path(others[1], "evaluation.json").write_text("{")
    page, missing = make_report([run_dir, *others])
    assert [line.partition(": ")[0] for line in missing] == [
        f"{others[0]}/history.json", f"{others[1]}/evaluation.json"
    ]  # fmt: skip
    assert ">E3_8</th>" in page.decode()


def test_damaged_runs_alone_are_not_compared(made, tmp_path):
    run_dir, data = made
    other = write_whole_run(tmp_path / "other", data)
    for each in (run_dir, other):
        pathlib.Path(each, "evaluation.json").write_text("{")
    page, missing = make_report([run_dir, other])
    assert len(missing) == 2
    assert "Line charts of accuracy and loss" in page.decode()  # in their own chapters


def test_a_category_that_is_never_recognized_has_no_drawings_beside_its_mistakes(made):
    """Where a pair's second category is taken for the first in no case, and never recognized."""
    run_dir, _ = made
    path = next(pathlib.Path(run_dir, "checkpoints").glob("*.npz"))
    with np.load(path) as arrays:
        predictions = Predictions(**arrays)
    top = np.stack([(predictions.labels + i) % 4 for i in (1, 2, 3)], axis=1).astype(np.int16)
    write_predictions(
        run_dir,
        dataclasses.replace(predictions, top_labels=top),
    )
    page, missing = make_report([run_dir])
    assert missing == []
    assert "0 of 6" in texts(page)


def test_a_run_that_is_always_right_has_no_wrong_answers(made):
    run_dir, _ = made
    path = next(pathlib.Path(run_dir, "checkpoints").glob("*.npz"))
    with np.load(path) as arrays:
        predictions = Predictions(**arrays)
    top = np.stack([(predictions.labels + i) % 4 for i in range(3)], axis=1).astype(np.int16)
    shares = predictions.top_probabilities
    write_predictions(run_dir, Predictions(predictions.labels, shares[:, 0], top, shares))
    page, missing = make_report([run_dir])
    assert missing == []
    assert texts(page).count("every drawing is recognized") == 2


def test_a_damaged_shard_is_named(made):
    run_dir, data = made
    shard = next(data.glob("*train*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    page, (line,) = make_report([run_dir])
    assert line.startswith(str(shard))
    assert "Reliability diagram" in page.decode()


def test_without_a_data_set_there_is_no_chapter_about_it(made):
    run_dir, data = made
    shutil.rmtree(data)
    page, missing = make_report([run_dir])
    assert missing == [f"{data}: no such directory"]
    assert "The data" not in re.findall(r"<h2>(.*?)</h2>", page.decode())
    assert "Confusion matrix of 4 categories" in page.decode()


def test_a_data_set_that_was_moved_is_found_with_dataset(made, tmp_path):
    run_dir, data = made
    data.rename(tmp_path / "elsewhere")
    assert missing_lines([run_dir], dataset=str(tmp_path / "elsewhere")) == []


def test_another_data_set_is_refused(made, tmp_path):
    write_data(tmp_path / "other", drawings=3)
    with pytest.raises(UserError, match="trained on a different data set"):
        make_report([made[0]], str(tmp_path / "other"))


def test_runs_on_different_data_have_a_chapter_for_each(made, tmp_path):
    write_data(tmp_path / "other", drawings=3)
    other = write_whole_run(tmp_path / "small", tmp_path / "other")
    page, missing = make_report([made[0], other], str(tmp_path / "other"))
    assert missing == []
    chapters = re.findall(r"<h2>(.*?)</h2>", page.decode())
    assert chapters[-2:] == ["The data in data", "The data in other"]


def test_the_command_tells_where_the_page_is(made):
    run_dir, data = made
    done = run_command("analysis.report", "--run_dir", run_dir)
    assert (done.returncode, done.stderr) == (0, "")
    page = pathlib.Path(run_dir, "report.html")
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"{run_dir}: E3_8, 4 of 4 epochs", f"{data}: the data"]
    assert re.fullmatch(r"wrote (.*), \d\.\d MB", lines[2])[1].endswith("run/report.html")
    assert page.stat().st_size > 100_000
    assert not list(page.parent.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--run_dir=none",), "none: no run directory (no config.json)"),
        (("--run_dir={run}", "--output=page.pdf"), "--output=page.pdf: "),
        (("--run_dir={run}", "--output=gs://bucket/page.html"), "--output=gs://bucket/page.html: "),
        (("--run_dir={run}", "--dataset=none"), "none: no such directory"),
        (
            ("--run_dir={run}", "--output=/dev/null/p.html"),
            "--output=/dev/null/p.html: ",
        ),
    ],
)
def test_what_the_user_got_wrong_is_one_line(made, arguments, error):
    arguments = [argument.format(run=made[0]) for argument in arguments]
    done = run_command("analysis.report", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {error}")
    assert done.stderr.count("\n") == 1


def test_a_page_lies_by_default_in_the_directory_that_holds_the_runs():
    assert report.default_output(["runs/a"]) == "runs/a/report.html"
    assert report.default_output(["runs/a", "runs/b/c"]) == "runs/report.html"
    assert report.default_output(["."]) == "report.html"
    assert report.default_output(["/here/runs/a", "/here/b"]) == "/here/report.html"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.915 ± 0.003", 0.915), ("0.915 (11)", 0.915), ("20,952,372", 20_952_372),
        ("19 M", 19), ("10/12", 10), ("48 s", 48), ("2 min 05 s", 125), ("3 h 12 min", 11_520),
        ("1e-05", 1e-5), ("-", None), ("mirror shift", None),
    ],
)  # fmt: skip
def test_cells_are_sorted_by_the_numbers_that_they_begin_with(text, value):
    assert sort_value(text) == value


@pytest.mark.parametrize(
    ("number", "text"),
    [(999, "999"), (1_000, "1.00 k"), (261_788, "262 k"), (19_375_936, "19.4 M"),
     (999_999, "1.00 M"), (9_996_000, "10.0 M"), (1_340_000_000, "1.34 G")],
)  # fmt: skip
def test_short_numbers_have_three_digits(number, text):
    assert short_number(number) == text


def decode(image):
    data = image.get("src").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))


def test_drawings_stand_in_rows_pixel_by_pixel():
    rng = np.random.default_rng(0)
    drawings = (rng.random((5, 85, 85)) < 0.2).astype(np.uint8)
    pixels = decode(drawings_image(drawings, "five", 3, [20, 20, 20, 20, 165]))
    assert pixels.shape == (2 * 85 + 11, 3 * 85 + 2 * 11)
    for i, (drawing, ink) in enumerate(zip(drawings, [20] * 4 + [165], strict=True)):
        top, left = i // 3 * 96, i % 3 * 96
        cell = pixels[top : top + 85, left : left + 85]
        assert (cell == np.where(drawing, ink, 255)).all()
    assert (pixels[96:, 2 * 96 :] == 255).all()  # no sixth


def test_a_mean_is_darkest_at_the_end_of_its_scale_and_beyond():
    mean = np.linspace(0, 1, 85 * 85).reshape(85, 85)
    pixels = decode(mean_image(mean, 0.5, "mean")).astype(int)
    assert pixels[0, 0] == 255
    assert (pixels[43:] == pixels.min()).all()
    assert pixels.min() < 10
    assert np.abs(pixels - 255 * (1 - np.minimum(mean / 0.5, 1))).max() < 12
