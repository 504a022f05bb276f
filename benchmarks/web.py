"""Compares the page without a server with trainer.predict: make bench-web DATA=DIR

Writes the page of the model that comes with the package, serves its files, and asks it in Chromium
about drawings of DIR. Prints how many bitmaps are the pipeline's, pixel for pixel, how many answers
are those of trainer.predict, and the time to an answer.
"""

import contextlib
import functools
import http.server
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks.serve import read_drawings
from pipeline import cli
from pipeline.cli import RunError, UserError
from pipeline.rasterize import rasterize_packed
from trainer.exports import litertjs
from trainer.exports.classifiers import PRETRAINED, Classifier, load_export
from trainer.hardware.quiet_tensorflow import quiet_tensorflow
from trainer.inputs.drawing_files import read_batches
from trainer.predict import predict

_AT_ONCE = 50  # drawings that are handed to the browser
_SECONDS = 300  # for them, and for the model to load
# Asks the page about drawings, one by one; waits while the model is loading.
_ASK = """
const [drawings, done] = arguments;
async function ask(classify, drawing) {
  for (;;) {
    try {
      const start = performance.now();
      const { predictions, bitmap } = await classify(drawing, 1);
      const ms = performance.now() - start;
      return { ...predictions[0], bitmap: bitmap.join(""), ms };
    } catch (error) {
      if (!error.seconds) {
        return { error: error.message };
      }
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.seconds));
    }
  }
}
import(new URL("classifier.js", location)).then(async ({ classify }) => {
  const answers = [];
  for (const drawing of drawings) {
    answers.push(await ask(classify, drawing));
  }
  done(answers);
});
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving(directory: str) -> Iterator[str]:
    """Serve the files of a directory inside; yield the URL."""
    handler = functools.partial(_Quiet, directory=directory)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Yield a WebDriver of headless Chromium.

    Raises:
      UserError: it is not installed.
    """
    from selenium import webdriver

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        raise UserError("no browser: Debian's packages chromium and chromium-driver bring it")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield started
    finally:
        started.quit()


def ask(driver: Any, drawings: Sequence[Any]) -> list[dict[str, Any]]:
    """Ask the open page about drawings: of each its strokes, as a line of ndjson has them.

    Returns:
      Of each `label` and `probability` of the likeliest category, `bitmap` (7,225 digits) and
      `ms`; or `error`.
    """
    driver.set_script_timeout(_SECONDS)
    answers = []
    for start in range(0, len(drawings), _AT_ONCE):
        answers += driver.execute_async_script(_ASK, drawings[start : start + _AT_ONCE])
    return answers


def expect(lines: Sequence[bytes], classifier: Classifier) -> list[dict[str, Any]]:
    """Return what the pipeline and trainer.predict give for lines of ndjson.

    Returns:
      Of each `label`, `probability` and `bitmap`, as `ask` does; or `error`.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "drawings.ndjson")
        with open(path, "wb") as file:
            file.writelines(line.rstrip(b"\n") + b"\n" for line in lines)
        (batch,) = read_batches([path], len(lines))
    outputs = predict(batch, classifier, top=1)
    answers: list[dict[str, Any]] = []
    for line, output in zip(batch, outputs, strict=True):
        if not line.drawing or "error" in output:
            answers.append({"error": output["error"]})
            continue
        (bitmap,) = rasterize_packed([line.drawing.strokes])
        (best,) = output["predictions"]
        answers.append({**best, "bitmap": (bitmap + ord("0")).tobytes().decode()})
    return answers


def equal_share(
    answers: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], key: str
) -> float:
    """Return the share of answers that have the same value, or are both errors."""
    pairs = zip(answers, others, strict=True)
    return float(np.mean([answer.get(key) == other.get(key) for answer, other in pairs]))


def define_flags() -> None:
    cli.define_paths("input", None, "Globs of ndjson files.", kind="GLOB", required=True)
    cli.define_integer("drawings", 1000, "Drawings to classify.", lower_bound=1, upper_bound=10**6)
    cli.define_path("litertjs", None, "As of trainer.export.")


def main(_: list[str]) -> None:
    args = flags.FLAGS
    lines = read_drawings(args.input, args.drawings)
    library = litertjs.download() if args.litertjs is None else litertjs.read(args.litertjs)
    drawings = [json.loads(line)["drawing"] for line in lines]
    with quiet_tensorflow():
        from trainer.exports.web_page import Page, write_page
    classifier = load_export(PRETRAINED)
    with open(PRETRAINED, "rb") as file:
        model = file.read()
    with tempfile.TemporaryDirectory() as directory, chromium() as driver:
        write_page(directory, model, classifier.labels, Page("pretrained", library))
        with serving(directory) as url:
            driver.get(url)
            answers = ask(driver, drawings)
            version = driver.capabilities["browserVersion"].partition(".")[0]
    times = [answer["ms"] for answer in answers if "ms" in answer]
    if not times:
        raise RunError(f"the page answers: {answers[0]['error']}")
    expected = expect(lines, classifier)
    print(
        f"{len(lines):,} drawings, Chromium {version}, LiteRT.js {litertjs.VERSION}\n"
        f"the pipeline's bitmap    {equal_share(answers, expected, 'bitmap'):.4f}\n"
        f"trainer.predict's top-1  {equal_share(answers, expected, 'label'):.4f}\n"
        f"ms an answer, median     {np.median(times):.1f}"
    )


if __name__ == "__main__":
    define_flags()
    cli.run(main)
