"""The page without a server, in Chromium: bitmaps, answers, the game; nothing from elsewhere."""

import contextlib
import functools
import http.server
import json
import random
import threading
from fractions import Fraction

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from benchmarks import web
from pipeline import synthetic
from pipeline.drawings.drawing import parse_drawing
from pipeline.drawings.reject import Reject
from pipeline.drawings.strokes import unpack_strokes
from pipeline.rasterize import rasterize_packed
from tests.support.browser import DESKTOP, chromium, emulate
from tests.support.page.litertjs_packages import downloaded
from tests.support.page.page_driver import (
    BITMAP,
    DRAW,
    allow_downloads,
    button,
    card,
    download,
    draw,
    find,
    leave,
    pass_time,
    percent,
    settle,
    shown,
    until,
)
from tests.support.trainer_data import LABELS, tiny_experiment
from trainer.exports import exporters
from trainer.exports.classifiers import PRETRAINED, load_export
from trainer.exports.job import export_pretrained
from trainer.exports.web_page import Page, for_browser
from trainer.inputs.drawing_files import read_batches
from trainer.model import build_model
from trainer.predict import predict

ENTER = "\ue007"  # of WebDriver
# Of drawings [strokes, bitmap] as the page makes them, or why it refuses them.
RASTERIZE = """
const [drawings, done] = arguments;
const load = (name) => import(new URL(name, location));
Promise.all([load("drawing.js"), load("rasterizer.js")]).then(([{ normalise }, { rasterize }]) => {
  done(drawings.map((drawing) => {
    try {
      const strokes = normalise(drawing);
      return [strokes, rasterize(strokes).join("")];
    } catch (error) {
      return error.message;
    }
  }));
});
"""
FUSED = """
const [pairs, done] = arguments;
import(new URL("numbers.js", location)).then(({ fusedSquareAdd }) => {
  done(pairs.map(([x, z]) => fusedSquareAdd(x, z)));
});
"""


class Host(http.server.ThreadingHTTPServer):
    """A static host, which serves files below a folder and knows nothing of the page."""

    daemon_threads = True

    def __init__(self, directory):
        handler = functools.partial(_Handler, directory=str(directory))
        super().__init__(("127.0.0.1", 0), handler)
        self.missing = ""  # the end of a path that is not there
        self.wasm = threading.Event()  # until it is set, WebAssembly does not come
        self.wasm.set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/a/page/"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path.endswith(".wasm"):
            self.server.wasm.wait(60)
        if self.server.missing and self.path.endswith(self.server.missing):
            self.send_error(404)
            return
        with contextlib.suppress(ConnectionError):
            super().do_GET()


@pytest.fixture(scope="module")
def driver():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the page of the pretrained model somewhere in it."""
    library = downloaded()
    directory = tmp_path_factory.mktemp("site")
    with contextlib.redirect_stdout(None):
        export_pretrained(str(directory / "a" / "page"), library)
    return directory


@pytest.fixture
def host(site):
    with Host(site) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.wasm.set()
        server.shutdown()


@pytest.fixture
def page(driver, host):
    """Open the page; yield its URL."""
    open_page(driver, host)
    yield host.url
    leave(driver)


def open_page(driver, host):
    emulate(driver, DESKTOP)
    driver.set_script_timeout(300)
    driver.get_log("browser"), driver.get_log("performance")  # of pages before
    driver.get(host.url)
    until(lambda: find(driver, "idea-next").is_enabled() or find(driver, "notice").text)


def requested(driver):
    """Return the URLs that the page has asked for since it was opened."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


# ---- Bitmaps ----


def made_up_drawing(rng):
    """Make up strokes: in upstream's frame and out of it, raw, of dots, of lines along the axes."""
    kind = rng.choice(("frame", "off the canvas", "canvas", "raw"))
    size = {"frame": 255, "off the canvas": 255, "canvas": rng.choice((9, 100, 255))}.get(
        kind, rng.choice((1, 30, 1000, 1e5))
    )
    strokes = [made_up_stroke(rng, size) for _ in range(rng.randrange(1, 5))]
    if kind == "raw":
        is_whole = rng.random() < 0.7
        return [
            [[round(v) if is_whole else v - size / 3 for v in axis] for axis in stroke]
            + [list(range(len(stroke[0])))]
            for stroke in strokes
        ]
    # A drawing that begins further in is drawn further out, up to 23 pixels off the canvas.
    least = {"frame": (0, 0), "canvas": (20, 30), "off the canvas": rng.choice(((7, 7), (46, 1)))}
    strokes.append([[0, 255, 3], [255, 1, 0]] if kind != "canvas" else [[0], [0]])
    return [
        [
            [min(255, max(low, round(v))) for v in axis]
            for axis, low in zip(stroke, least[kind], strict=True)
        ]
        for stroke in strokes
    ]


def made_up_stroke(rng, size):
    x, y = rng.uniform(0, size), rng.uniform(0, size)
    axes = [[], []]
    mode = rng.choice(("walk", "jump", "straight", "stay"))
    for _ in range(rng.choice((1, 1, 2, 3, 8, 30))):
        axes[0].append(x)
        axes[1].append(y)
        if mode == "walk":
            x, y = x + rng.gauss(0, size / 15), y + rng.gauss(0, size / 15)
        elif mode == "jump":
            x, y = rng.uniform(0, size), rng.uniform(0, size)
        elif mode == "straight":
            x, y = x + rng.choice((0, 0, 1, -1)) * size / 8, y + rng.choice((0, 1)) * size / 8
    return axes


def expected(drawing):
    """Return [strokes, bitmap] as the pipeline makes them, or why it rejects the drawing."""
    try:
        packed = parse_drawing(json.dumps({"drawing": drawing}).encode()).strokes
    except Reject as reject:
        return str(reject)
    unpacked = unpack_strokes([packed])
    ends = np.cumsum(unpacked.lengths)[:-1]
    axes = (np.split(axis, ends) for axis in (unpacked.x, unpacked.y))
    strokes = [[x.tolist(), y.tolist()] for x, y in zip(*axes, strict=True)]
    return [strokes, (rasterize_packed([packed])[0] + ord("0")).tobytes().decode()]


def differing(driver, drawings):
    """Return the numbers of drawings of which the page makes something else than the pipeline."""
    made = []
    for start in range(0, len(drawings), 250):
        made += driver.execute_async_script(RASTERIZE, drawings[start : start + 250])
    return [n for n, drawing in enumerate(drawings) if made[n] != expected(drawing)]


@pytest.mark.usefixtures("page")
def test_strokes_and_bitmaps_of_made_up_drawings_are_the_pipelines(driver):
    rng = random.Random(0)
    drawings = [made_up_drawing(rng) for _ in range(3000)]
    # In the bitmap of this one it shows that OpenCV leaves out the last row of a band.
    drawings.append([[[0, 255], [0, 250]], [[248, 21], [68, 199]]])
    assert len({expected(drawing)[1] for drawing in drawings[:300]}) > 250
    assert differing(driver, drawings) == []


@pytest.mark.usefixtures("page")
def test_real_raw_drawings_become_the_published_strokes(driver, sample):
    with open(sample / "raw_simplified_pairs.ndjson", encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    drawings = [pair["raw"] for pair in pairs]
    made = driver.execute_async_script(RASTERIZE, drawings)
    assert [strokes for strokes, _ in made] == [pair["simplified"] for pair in pairs]


@pytest.mark.usefixtures("page")
def test_drawings_over_a_limit_are_refused_as_by_the_pipeline(driver):
    zigzag = [[0, 1000] * 300, list(range(600)), [0] * 600]
    numbers = range(1200)
    fan = [[n / 5 for n in numbers], [(-1) ** n * 0.03 * n for n in numbers], [0] * 1200]
    drawings = [[[[1], [2]]] * 2001, [[[1] * 50_001, [2] * 50_001]], [zigzag], [fan]]
    assert [expected(drawing) for drawing in drawings] == [
        "more than 2000 strokes",
        "more than 50000 points",
        "more than 50000 pixels of ink",
        "more than 500000 distances to simplify",
    ]
    drawings += [drawing[:-1] for drawing in drawings[:1]] + [[[axis[:900] for axis in fan]]]
    assert differing(driver, drawings) == []


@pytest.mark.usefixtures("page")
def test_the_fused_multiply_add_rounds_once(driver):
    rng = random.Random(0)
    pairs = [
        (rng.uniform(-300, 300), rng.choice((0, 1e-9, 1, 1e5)) * rng.random()) for _ in range(2000)
    ]
    exact = [float(Fraction(x) ** 2 + Fraction(z)) for x, z in pairs]
    assert driver.execute_async_script(FUSED, pairs) == exact
    assert any(x * x + z != value for (x, z), value in zip(pairs, exact, strict=True))


@pytest.mark.usefixtures("page")
def test_bitmaps_and_answers_to_real_drawings_are_those_of_predict(driver, sample):
    """On 1,000, of which 240 are raw: all bitmaps, and 998 answers at least."""
    lines = web.read_drawings([f"{sample}/categories345/*.ndjson"], 760)
    lines += web.read_drawings([f"{sample}/raw/*.ndjson"], 240)
    assert len(lines) == 1000
    drawings = [json.loads(line)["drawing"] for line in lines]
    answers = web.ask(driver, drawings)
    predicted = web.expect(lines, load_export(PRETRAINED))
    assert sum("label" in answer for answer in answers) == 1000
    assert web.equal_share(answers, predicted, "bitmap") == 1
    assert web.equal_share(answers, predicted, "label") >= 0.998
    assert len({answer["label"] for answer in answers}) > 200


# ---- The model ----


def test_the_model_for_browsers_computes_what_the_int8_model_computes(tmp_path):
    with open(PRETRAINED, "rb") as file:
        content = file.read()
    (tmp_path / "model.tflite").write_bytes(for_browser(content))
    interpreter = Interpreter(str(tmp_path / "model.tflite"))
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    for details, shape in ((source, [1, 85, 85, 1]), (result, [1, 345])):
        assert details["dtype"] is np.float32
        assert details["shape_signature"].tolist() == shape
    lines = [synthetic.drawing_line(word, 3, seed=5) for word in synthetic.CATEGORIES]
    bitmaps = rasterize_packed([parse_drawing(line).strokes for line in lines])
    answers = load_export(PRETRAINED)(bitmaps)
    for bitmap, answer in zip(bitmaps, answers, strict=True):
        interpreter.set_tensor(source["index"], bitmap.reshape(1, 85, 85, 1).astype(np.float32))
        interpreter.invoke()
        np.testing.assert_array_equal(interpreter.get_tensor(result["index"])[0], answer)
    assert len(set(answers.argmax(axis=1))) > 5
    runner = interpreter.get_signature_runner("serving_default")
    assert list(runner.get_input_details()) == ["image"]
    assert list(runner.get_output_details()) == ["probabilities"]


def test_every_kind_of_layer_runs_in_the_browser(driver, tmp_path):
    model = build_model(tiny_experiment(batch_norm=True), len(LABELS))
    network = keras.Model(model.input, keras.layers.Softmax(name="probabilities")(model.output))
    lines = [synthetic.drawing_line(word, 1, seed=2) for word in synthetic.CATEGORIES]
    bitmaps = rasterize_packed([parse_drawing(line).strokes for line in lines])
    path, page = str(tmp_path / "web"), Page("tiny", downloaded())
    exporters.write_export(
        "web", exporters.standard_model(network), LABELS, path, bitmaps, {}, page
    )
    with web.serving(path) as url:
        driver.get(url)
        answers = web.ask(driver, [json.loads(line)["drawing"] for line in lines])
    predicted = web.expect(lines, load_export(path))
    probabilities = [[each["probability"] for each in part] for part in (answers, predicted)]
    np.testing.assert_allclose(*probabilities, atol=0.005)  # one step of int8 is 0.004
    assert np.ptp(probabilities[1]) > 0.02  # there is something to get wrong


# ---- The page ----


@pytest.mark.usefixtures("page")
def test_what_the_page_sees_and_says_is_what_predict_sees_and_says(driver, tmp_path):
    allow_downloads(driver, tmp_path)
    bitmaps, answers = [], []
    words = list(synthetic.CATEGORIES)
    for number, word in enumerate(words):
        draw(driver, json.loads(synthetic.drawing_line(word, number, seed=3))["drawing"])
        bitmaps.append(driver.execute_script(BITMAP))
        answers.append(shown(driver))
        find(driver, "word").clear()
        find(driver, "word").send_keys(word + ENTER)
    lines = download(driver, tmp_path).splitlines()
    (batch,) = read_batches([str(tmp_path / "drawings.ndjson")], len(words) + 1)
    assert [json.loads(line)["word"] for line in lines] == words
    seen = rasterize_packed([line.drawing.strokes for line in batch])
    assert bitmaps == [(bitmap + ord("0")).tobytes().decode() for bitmap in seen]
    outputs = predict(batch, load_export(PRETRAINED), 5)
    assert answers == [
        [(each["label"], percent(each["probability"])) for each in output["predictions"]]
        for output in outputs
    ]
    assert find(driver, "model").text == "Model: pretrained, 345 categories"
    assert (
        find(driver, "footnote").text == "The model runs in this browser; your strokes stay in it."
    )


def test_the_page_asks_no_other_host_and_no_policy_is_broken(driver, page):
    draw(driver, [[[20, 200, 120], [30, 60, 220]]])
    assert len(shown(driver)) == 5
    urls = requested(driver)
    assert f"{page}model.tflite" in urls
    assert [url for url in urls if not url.startswith(page)] == []
    log = driver.get_log("browser")
    assert [entry for entry in log if "Content Security Policy" in entry["message"]] == []
    # LiteRT.js writes what it does to the log of errors.
    errors = [entry for entry in log if entry["level"] == "SEVERE"]
    assert [entry for entry in errors if f"{page}litertjs/" not in entry["message"]] == []
    assert not driver.execute_script("return self.crossOriginIsolated")  # no host has to be set up


@pytest.mark.usefixtures("page")
def test_code_from_elsewhere_and_in_the_page_is_not_run(driver):
    script = """
        const [done] = arguments;
        const broken = [];
        addEventListener("securitypolicyviolation", (event) => broken.push(event.blockedURI));
        const add = (fill) => document.body.append(fill(document.createElement("script")));
        add((script) => Object.assign(script, { textContent: "window.ran = true" }));
        add((script) => Object.assign(script, { src: "http://127.0.0.1:9/x.js" }));
        fetch("http://127.0.0.1:9/").catch(() => setTimeout(() => done([broken, window.ran]), 200));
    """
    broken, ran = driver.execute_async_script(script)
    assert sorted(broken) == ["http://127.0.0.1:9/", "http://127.0.0.1:9/x.js", "inline"]
    assert ran is None


@pytest.mark.usefixtures("page")
def test_the_game_is_played(driver):
    button(driver, "Play").click()
    word = driver.find_element("css selector", "#card h2").text
    button(driver, "Start").click()
    draw(driver, [[[0, 255], [0, 0]], [[0, 255], [80, 90]]])
    best = shown(driver)[0][0]
    if best != word:  # of 345
        pass_time(driver, 20.1)
        until(lambda: card(driver)[0] == "Time is up")
        assert card(driver)[1] == f"The model saw {best}, not {word}."
    assert button(driver, "Next").is_enabled()


def test_a_browser_without_relaxed_simd_runs_the_model_too(driver, host):
    """LiteRT.js finds out by compiling a few bytes, which fails there."""
    hide = """
        const { instantiate } = WebAssembly;
        WebAssembly.instantiate = (source, ...rest) =>
          source.length < 100 ? Promise.reject(new Error("none")) : instantiate(source, ...rest);
    """
    command = "Page.addScriptToEvaluateOnNewDocument"
    script = driver.execute_cdp_cmd(command, {"source": hide})
    try:
        open_page(driver, host)
        draw(driver, [[[20, 200, 120], [30, 60, 220]]])
        assert len(shown(driver)) == 5
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    asked = [url for url in requested(driver) if url.endswith(".wasm")]
    assert asked == [f"{host.url}litertjs/core/wasm/litert_wasm_compat_internal.wasm"]
    leave(driver)


# ---- While the model is not there ----


def test_a_drawing_waits_for_a_model_that_is_loading(driver, host):
    host.wasm.clear()
    open_page(driver, host)
    driver.execute_script(DRAW, [[[0, 255], [0, 255]]])
    until(lambda: find(driver, "notice").text == "The model is loading.")
    assert shown(driver) == []
    host.wasm.set()
    until(lambda: shown(driver))
    settle(driver)
    assert find(driver, "notice").text == ""
    leave(driver)


@pytest.mark.parametrize("missing", ["litert_wasm_internal.js", "core/dist/index.js"])
def test_a_model_that_cannot_run_is_told(driver, host, missing):
    host.missing = missing
    open_page(driver, host)
    draw(driver, [[[0, 255], [0, 255]]])
    until(lambda: find(driver, "notice").text.startswith("The model cannot run in this browser: "))
    leave(driver)


def test_a_page_without_its_description_says_so(driver, host):
    host.missing = "model.json"
    open_page(driver, host)
    assert find(driver, "notice").text == "model.json cannot be read: status 404."
    leave(driver)


@pytest.mark.usefixtures("page")
def test_a_drawing_over_a_limit_is_told(driver):
    draw(driver, [[[0], [0]]])
    draw(driver, [[[n % 250], [n // 250]] for n in range(2000)])
    until(
        lambda: (
            find(driver, "notice").text == "The page refused the drawing: more than 2000 strokes."
        )
    )
