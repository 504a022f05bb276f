"""The page to draw on, in Chromium: strokes in, answers out, the game, what is saved."""

import contextlib
import json
import re
import threading
import time

import numpy as np
import pytest

from pipeline import synthetic
from pipeline.dataset.manifests import read_manifest
from pipeline.drawings.drawing import parse_drawing
from pipeline.rasterize import rasterize_packed
from tests.support.browser import (
    DESKTOP,
    PHONE,
    TABLET,
    axe_violations,
    chromium,
    emulate,
    wider_than_the_page,
)
from tests.support.page import page_driver
from tests.support.page.page_driver import (
    BITMAP,
    DRAW,
    SETTLE,
    allow_downloads,
    button,
    card,
    download,
    find,
    leave,
    pass_time,
    percent,
    settle,
    shown,
    until,
)
from tests.support.page.page_server import LABELS, ink_classifier, page_server
from tests.support.warm_process import run_module
from trainer.exports.classifiers import Classifier, load_run
from trainer.inputs.drawing_files import read_batches
from trainer.predict import predict
from trainer.serving import batching

TAB, ENTER, SPACE, RIGHT, DOWN = "\ue004", "\ue007", " ", "\ue014", "\ue015"  # of WebDriver
BACKSPACE, DELETE, CONTROL = "\ue003", "\ue017", "\ue009"
STROKES = [[[20, 200, 120], [30, 60, 220]], [[60], [200]], [[0, 255], [128, 128]]]

# Keeps what the page asks.
WATCH = """
const ask = window.fetch;
window.asked = [];
window.fetch = (...request) => {
  if (request[1]?.body) window.asked.push(request[1].body);
  return ask(...request);
};
"""
# Draws each drawing on a cleared sheet; resolves to what the page asked and showed of each.
REPLAY = f"""
const [drawings, done] = arguments;
const draw = function () {{{DRAW}}};
const settle = function () {{{SETTLE}}};
const bitmap = () => {{{BITMAP}}};
(async () => {{
  const seen = [];
  for (const strokes of drawings) {{
    draw(strokes);
    await new Promise((resolve) => settle(resolve));
    const rows = [...document.querySelectorAll("#answers li:not(.empty)")];
    const answers = rows.map((row) => row.innerText.split("\\n"));
    seen.push([window.asked.at(-1), bitmap(), answers]);
    document.querySelector("#clear").click();
  }}
  done(seen);
}})();
"""


class Oracle:
    """A classifier that sees in any drawing what it is told to see."""

    label = LABELS[0]

    def classify(self, bitmaps):
        probabilities = np.full((len(bitmaps), len(LABELS)), 0.1 / (len(LABELS) - 1), np.float32)
        probabilities[:, LABELS.index(self.label)] = 0.9
        return probabilities


@pytest.fixture(scope="module")
def driver():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def server():
    with page_server(ink_classifier()) as url:
        yield url


@pytest.fixture
def oracle(driver):
    """An oracle whose page is open."""
    oracle = Oracle()
    with page_server(Classifier(LABELS, oracle.classify), "oracle") as url:
        open_page(driver, url)
        yield oracle
        leave(driver)


def open_page(driver, url, size=DESKTOP, scheme="light", motion="reduce"):
    leave(driver)
    emulate(driver, size, scheme, motion)
    driver.get_log("browser"), driver.get_log("performance")  # of pages before
    driver.get(url)
    until(lambda: url.endswith("/api") or find(driver, "idea-next").is_enabled())
    driver.execute_script(WATCH)


def draw(driver, strokes=STROKES):
    page_driver.draw(driver, strokes)


def drawn(driver):
    """Strokes of the newest question."""
    return json.loads(driver.execute_script("return window.asked.at(-1)"))["drawing"]


# ---- How it looks ----


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, TABLET, PHONE])
@pytest.mark.parametrize("path", ["/", "/api"])
def test_the_browser_has_no_complaint_and_asks_nobody_else(driver, server, path, size, scheme):
    open_page(driver, server + path, size, scheme)
    if path == "/":
        draw(driver)
        button(driver, "Play").click()
        button(driver, "Start").click()
    else:
        until(lambda: driver.find_elements("css selector", "#limits dd"))
    assert wider_than_the_page(driver, "#voice, pre") == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert f"{server}/page.css" in urls
    assert [url for url in urls if not url.startswith(f"{server}/")] == []
    assert driver.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_axe_finds_nothing_in_any_state(driver, oracle, size, scheme):
    emulate(driver, size, scheme)
    found = {"empty": axe_violations(driver)}
    draw(driver)
    find(driver, "word").send_keys("my own thing" + ENTER)
    driver.find_element("tag name", "summary").click()
    draw(driver)
    found["drawn and saved"] = axe_violations(driver)
    button(driver, "Play").click()
    found["task"] = axe_violations(driver)
    play_round(driver, oracle)
    found["recognised"] = axe_violations(driver)
    for _ in range(5):
        button(driver, "Next").click()
        play_round(driver, oracle)
    button(driver, "See the result").click()
    found["result"] = axe_violations(driver)
    assert found == {state: [] for state in found}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_page_for_programs(driver, server, scheme):
    open_page(driver, f"{server}/api", scheme=scheme)
    until(lambda: driver.find_elements("css selector", "#limits dd"))
    assert axe_violations(driver) == []
    text = driver.find_element("tag name", "main").text
    for part in ("POST /predict", "GET /health", "?bitmap=", "body_bytes", "429"):
        assert part in text


@pytest.mark.parametrize("size", [DESKTOP, (1440, 1340), (1000, 700), TABLET, PHONE, (320, 640)])
def test_nothing_is_wider_than_the_page_or_its_column(driver, server, size):
    open_page(driver, server, size)
    draw(driver)
    find(driver, "word").send_keys("a word of many letters and spaces" + ENTER)
    draw(driver)
    assert wider_than_the_page(driver, "#voice, pre") == []
    overflowing = """
        return [...document.querySelectorAll("main *")]
          .filter((node) => node.clientWidth && node.scrollWidth > node.clientWidth + 1)
          .filter((node) => node.tagName !== "INPUT").map((node) => node.outerHTML.slice(0, 90));
    """
    assert driver.execute_script(overflowing) == []
    leave(driver)


def test_nothing_moves_for_who_wants_it_so(driver, server):
    style = "return getComputedStyle(document.querySelector('.bar'), '::before').transitionDuration"
    for motion, duration in (("reduce", "0s"), ("no-preference", "0.18s")):
        open_page(driver, server, motion=motion)
        assert driver.execute_script(style) == duration


def test_on_a_phone_the_first_answers_are_in_sight_below_the_sheet(driver, server):
    open_page(driver, server, PHONE)
    draw(driver)
    sheet, first = (
        find(driver, "sheet").rect,
        driver.find_element("css selector", "#answers li").rect,
    )
    assert sheet["width"] > 340
    assert sheet["y"] + sheet["height"] <= first["y"] < PHONE[1] - 100


# ---- Strokes ----


def test_what_the_page_sees_and_says_is_what_predict_sees_and_says(driver, server, tmp_path):
    """On 200 drawings, replayed in the browser: bitmaps bit for bit."""
    open_page(driver, server)
    made_up = [
        synthetic.drawing_line(LABELS[number % len(LABELS)], number, seed=7)
        for number in range(200)
    ]
    seen = driver.execute_async_script(REPLAY, [json.loads(line)["drawing"] for line in made_up])
    asked, bitmaps, answers = (list(part) for part in zip(*seen, strict=True))
    path = tmp_path / "drawn.ndjson"
    path.write_text("".join(f"{line}\n" for line in asked), encoding="utf-8")
    (batch,) = read_batches([str(path)], len(asked))
    assert len(set(asked)) == len(batch) == 200
    expected = rasterize_packed([line.drawing.strokes for line in batch])
    assert bitmaps == [(bitmap + ord("0")).tobytes().decode() for bitmap in expected]
    outputs = predict(batch, ink_classifier(), 5)
    assert answers == [
        [[each["label"], percent(each["probability"])] for each in output["predictions"]]
        for output in outputs
    ]
    assert len({answer[0][0] for answer in answers}) > 3


def actions(driver, kind):
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    builder = ActionBuilder(driver, mouse=PointerInput(kind, kind), duration=30)
    return builder, builder.pointer_action


@pytest.mark.parametrize("kind", ["mouse", "pen", "touch"])
def test_a_pointer_draws_while_it_is_down_and_is_answered_meanwhile(driver, server, kind):
    open_page(driver, server)
    rect = find(driver, "sheet").rect
    x, y = int(rect["x"]), int(rect["y"])
    builder, pointer = actions(driver, kind)
    pointer.move_to_location(x + 100, y + 100).pointer_down()
    pointer.move_to_location(x + 200, y + 100).move_to_location(x + 200, y + 300)
    builder.perform()
    until(lambda: shown(driver))  # it is still down
    settle(driver)
    ((xs, ys, ts),) = drawn(driver)
    scale = 1000 / rect["width"]
    assert [xs[0], ys[0]] == pytest.approx([100 * scale, 100 * scale], abs=2)
    assert [xs[-1], ys[-1]] == pytest.approx([200 * scale, 300 * scale], abs=2)
    assert ts[0] == 0
    assert ts == sorted(ts)
    builder, pointer = actions(driver, kind)
    pointer.release()
    if kind != "touch":  # a finger that is lifted is nowhere
        pointer.move_to_location(x + 10, y + 10)
    builder.perform()
    settle(driver)
    assert [[len(xs), len(ys), len(ts)] for xs, ys, ts in drawn(driver)] == [[len(xs)] * 3]


def test_undo_takes_off_a_stroke_and_clear_all(driver, server):
    open_page(driver, server)
    assert not button(driver, "Undo").is_enabled()
    draw(driver)
    three = drawn(driver)
    button(driver, "Undo").click()
    settle(driver)
    assert drawn(driver) == three[:2]
    find(driver, "sheet").send_keys(CONTROL + "z")
    settle(driver)
    assert drawn(driver) == three[:1]
    button(driver, "Clear").click()
    assert shown(driver) == []
    assert driver.execute_script(BITMAP) == "0" * 85 * 85
    assert not button(driver, "Undo").is_enabled()
    assert driver.switch_to.active_element.get_attribute("id") == "sheet"
    assert find(driver, "hint").is_displayed()


def test_keys_draw_undo_and_clear(driver, server):
    open_page(driver, server)
    sheet = find(driver, "sheet")
    sheet.send_keys(RIGHT, RIGHT, SPACE, DOWN, DOWN, DOWN)
    settle(driver)
    assert [axes[:2] for axes in drawn(driver)] == [[[540] * 4, [500, 520, 540, 560]]]
    assert said(driver) == "Pen down"
    sheet.send_keys(SPACE, RIGHT, RIGHT)
    until(lambda: said(driver) == "Pen up")
    sheet.send_keys(ENTER, RIGHT, ENTER)
    settle(driver)
    assert [axes[:2] for axes in drawn(driver)][1:] == [[[580, 600], [560, 560]]]
    sheet.send_keys(BACKSPACE)
    settle(driver)
    assert len(drawn(driver)) == 1
    sheet.send_keys(DELETE)
    assert shown(driver) == []


def said(driver):
    return until(lambda: find(driver, "voice").get_attribute("textContent"))


def test_the_likeliest_is_read_out_once_when_it_has_settled(driver, oracle):
    driver.execute_script(
        "window.heard = []; new MutationObserver(() => { const { textContent } = "
        "document.querySelector('#voice'); textContent && window.heard.push(textContent); })"
        ".observe(document.querySelector('#voice'), { childList: true });"
    )
    for _ in range(3):
        draw(driver)
    sentence = f"It thinks: {oracle.label}, 90 %"
    until(lambda: driver.execute_script("return window.heard") == [sentence])
    draw(driver)
    time.sleep(1.5)  # longer than it waits
    assert driver.execute_script("return window.heard") == [sentence]


# ---- When the server cannot ----


@pytest.fixture
def gate(driver):
    """An event: until it is set, the model of the open page computes."""
    gate = threading.Event()
    warmed = iter([True])  # the first drawing is answered

    def classify(bitmaps):
        assert next(warmed, False) or gate.wait(60)
        return ink_classifier()(bitmaps)

    with contextlib.ExitStack() as stack:
        stack.callback(gate.set)
        open_page(driver, stack.enter_context(page_server(Classifier(LABELS, classify))))
        yield gate
        gate.set()
        leave(driver)


def test_an_answer_about_what_was_cleared_comes_too_late(driver, gate):
    driver.execute_script(DRAW, STROKES[:1])
    until(lambda: shown(driver))  # to its first point; the rest waits
    button(driver, "Clear").click()
    gate.set()
    settle(driver)
    assert shown(driver) == []
    assert "1" not in driver.execute_script(BITMAP)


def test_a_busy_model_is_told_and_asked_again(driver, gate, monkeypatch):
    monkeypatch.setattr(batching, "MAX_WAITING", 0)
    driver.execute_script(DRAW, STROKES)
    until(lambda: find(driver, "notice").text == "The model is busy.")
    monkeypatch.undo()
    gate.set()
    until(lambda: shown(driver))
    settle(driver)
    assert find(driver, "notice").text == ""
    assert len(drawn(driver)) == len(STROKES)


def test_a_server_that_has_ended_is_told(driver):
    with page_server(ink_classifier()) as url:
        open_page(driver, url)
    draw(driver)
    assert find(driver, "notice").text == "The server does not answer. Is it still running?"


# ---- The game ----


def play_round(driver, oracle, is_recognized=True):
    word = driver.find_element("css selector", "#card h2").text
    oracle.label = word if is_recognized else LABELS[LABELS.index(word) - 1]
    button(driver, "Start").click()
    draw(driver)
    return word


def test_a_game_has_six_rounds_a_result_and_drawings_to_save(driver, oracle):
    button(driver, "Play").click()
    words = []
    for number in range(6):
        assert card(driver)[0] == f"Round {number + 1} of 6"
        assert not driver.execute_script("return document.activeElement.inert")
        is_recognized = number != 2
        words.append(play_round(driver, oracle, is_recognized))
        if is_recognized:
            until(lambda: card(driver)[0] == "Recognised!")
            assert re.fullmatch(rf"{words[-1]}, after \d\.\d seconds", card(driver)[1])
        else:
            assert not find(driver, "card").is_displayed()
            pass_time(driver, 15.5)
            until(lambda: said(driver) in ("10 seconds left", "5 seconds left"))
            pass_time(driver, 6)
            until(lambda: card(driver)[0] == "Time is up")
            assert card(driver)[1] == f"The model saw {oracle.label}, not {words[-1]}."
        before = len(driver.execute_script("return window.asked"))
        driver.execute_script(DRAW, STROKES)  # the sheet is locked
        assert len(driver.execute_script("return window.asked")) == before
        driver.switch_to.active_element.send_keys(ENTER)  # Next, or See the result
    assert len(set(words)) == 6
    assert card(driver)[0] == "5 of 6 recognised"
    assert [line[2:] for line in card(driver)[1:7]] == words
    assert [line[0] for line in card(driver)[1:7]] == list("✓✓✗✓✓✓")
    button(driver, "Save 6 drawings").click()
    assert find(driver, "kept-title").text == "6 saved drawings"
    assert not button(driver, "Saved").is_enabled()
    button(driver, "Draw").click()
    assert not find(driver, "card").is_displayed()
    draw(driver)
    assert shown(driver)


@pytest.mark.parametrize("size", [DESKTOP, TABLET, PHONE])
def test_the_result_of_a_game_fits_on_the_sheet(driver, oracle, size):
    emulate(driver, size)
    button(driver, "Play").click()
    for number in range(6):
        play_round(driver, oracle)
        button(driver, "Next" if number < 5 else "See the result").click()
    sizes = "const { scrollHeight, clientHeight } = document.querySelector('#card');"
    scroll, client = driver.execute_script(f"{sizes} return [scrollHeight, clientHeight]")
    assert scroll <= client
    assert find(driver, "task").text == "The game is over"


def test_a_round_without_a_drawing_has_nothing_to_save(driver, oracle):
    button(driver, "Play").click()
    for _ in range(6):
        button(driver, "Start").click()
        pass_time(driver, 20.1)
        until(lambda: card(driver)[0] == "Time is up")
        assert card(driver)[1].startswith("Nothing was drawn for ")
        driver.switch_to.active_element.send_keys(ENTER)
    assert card(driver) == ["0 of 6 recognised", "Play again"]


def test_a_round_without_an_answer_says_so(driver):
    with page_server(ink_classifier()) as url:
        open_page(driver, url)
    button(driver, "Play").click()
    button(driver, "Start").click()
    draw(driver)
    pass_time(driver, 20.1)
    until(lambda: card(driver)[0] == "Time is up")
    assert card(driver)[1] == "The model gave no answer."


# ---- Saving ----


def test_saved_drawings_are_downloaded_as_raw_ndjson(driver, oracle, tmp_path):
    allow_downloads(driver, tmp_path)
    saved = []
    for word in ("sun", "my own thing", "sun"):
        oracle.label = "sun"
        draw(driver)
        saved.append((word, drawn(driver)))
        find(driver, "word").clear()
        find(driver, "word").send_keys(word + ENTER)
        assert shown(driver) == []
    draw(driver)
    find(driver, "word").clear()
    find(driver, "word").send_keys("mistake" + ENTER)
    driver.find_element("css selector", "[aria-label='Remove mistake']").click()
    assert find(driver, "kept-title").text == "3 saved drawings"
    lines = download(driver, tmp_path).splitlines()
    assert len(lines) == 3
    for line, (word, strokes) in zip(lines, saved, strict=True):
        fields = json.loads(line)
        assert list(fields) == ["word", "timestamp", "recognized", "key_id", "drawing"]
        assert (fields["word"], fields["drawing"]) == (word, strokes)
        assert fields["recognized"] is (word == "sun")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC", fields["timestamp"])
        assert re.fullmatch(r"[1-9]\d{15}", fields["key_id"])
        drawing = parse_drawing(line.encode())
        assert (drawing.word, drawing.is_normalised) == (word, False)  # raw, as upstream's
    assert len({json.loads(line)["key_id"] for line in lines}) == 3


def test_leaving_with_drawings_that_are_not_downloaded_asks_first(driver, oracle, tmp_path):
    asks = "const e = new Event('beforeunload', {cancelable: true}); return !dispatchEvent(e)"
    allow_downloads(driver, tmp_path)
    assert not driver.execute_script(asks)
    draw(driver)
    find(driver, "word").send_keys("sun" + ENTER)
    assert driver.execute_script(asks)
    download(driver, tmp_path)
    assert not driver.execute_script(asks)


def test_own_categories_are_drawn_saved_prepared_trained_and_served(driver, data, tmp_path):
    from tests.support.trainer_data import tiny_experiment  # imports TensorFlow
    from trainer.config import TrainConfig
    from trainer.train import train

    source, tuned = str(tmp_path / "source"), str(tmp_path / "tuned")
    train(
        TrainConfig(
            dataset=data, run_dir=source, experiment=tiny_experiment(), epochs=1, batch_size=10,
            learning_rate=1e-2, precision="float32",
        )
    )  # fmt: skip
    allow_downloads(driver, tmp_path)
    with page_server(load_run(source, "best"), "source") as url:
        open_page(driver, url)
        for number in range(16):
            word, shape = (("my loop", "circle"), ("my star", "star"))[number % 2]
            draw(driver, json.loads(synthetic.drawing_line(shape, number, seed=4))["drawing"])
            find(driver, "word").clear()
            find(driver, "word").send_keys(word + ENTER)
        download(driver, tmp_path)
        leave(driver)
    for module, *arguments in (
        ("pipeline.main", f"--input={tmp_path}/drawings.ndjson", f"--output={tmp_path}/own",
         "--validation_share=0.25", "--direct_num_workers=1"),
        ("trainer.main", f"--dataset={tmp_path}/own", f"--run_dir={tuned}",
         f"--init_from={source}", "--epochs=1", "--batch_size=4"),
    ):  # fmt: skip
        done = run_module(module, arguments)
        assert done.returncode == 0, done.stderr
    manifest = read_manifest(str(tmp_path / "own"))
    assert manifest.labels == ("my loop", "my star")
    assert sum(split.records for split in manifest.splits.values()) == 16
    with page_server(load_run(tuned, "best"), "tuned") as url:
        open_page(driver, url)
        assert find(driver, "model").text == "Model: tuned, 2 categories"
        draw(driver)
        assert {label for label, _ in shown(driver)} == {"my loop", "my star"}
        leave(driver)
