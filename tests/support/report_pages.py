"""Report pages of made-up runs on four categories, and what a browser shows of them."""

import base64
import html
import importlib
import json
import pathlib
import re
import zlib

import numpy as np

from pipeline.dataset import manifests, records
from tests.support.analysis_data import (
    write_dataset,
    write_evaluation,
    write_metrics,
    write_predictions,
    write_run,
)
from tests.support.browser import DESKTOP, emulate
from trainer.runs import evaluation_files
from trainer.runs.predictions import Predictions

# What would break a page that does not escape it, and what is long.
LABELS = ["<b>bold</b>", 'a "quoted" & name', "The Great Wall of China", "cat"]
PER_LABEL = 6
CORRECT = dict(zip(LABELS, (5, 2, 6, 3), strict=True))


def write_data(directory, drawings=9):
    return write_dataset(directory, dict.fromkeys(LABELS, drawings), validation=PER_LABEL)


def write_whole_run(directory, data, name="E3_8", **config):
    """A run of four epochs with everything that a report reads; its path."""
    manifest = manifests.read_manifest(str(data))
    examples = manifests.DataSet(str(data), manifest).examples("validation")
    truth = np.array([example.label for example in examples])
    count = len(truth)
    run_dir = write_run(
        directory, labels=LABELS, dataset=str(data), dataset_fingerprint=manifest.fingerprint,
        drawings={"train": manifest.splits["train"].records, "validation": count},
        experiment=name, precision="float32", learning_rate=0.001, **config,
    )  # fmt: skip
    write_evaluation(run_dir, CORRECT, PER_LABEL)
    write_metrics(run_dir, [900.0, 1000.0, 1100.0] * 4)
    top = np.stack([truth, (truth + 1) % 4, (truth + 2) % 4], axis=1).astype(np.int16)
    top[::4] = np.roll(top[::4], 1, axis=1)  # a wrong answer
    shares = np.tile(np.array([0.7, 0.2, 0.1], np.float32), (count, 1))
    shares[:, 0] -= np.arange(count) / 100
    of_truth = np.where(top == truth[:, None], shares, 0).sum(axis=1).astype(np.float32)
    write_predictions(run_dir, Predictions(truth.astype(np.int16), of_truth, top, shares))
    return run_dir


def write_test_evaluation(run_dir, data, path, feature_map=None):
    """A file of trainer.evaluate --output: all training drawings are recognized."""
    manifest = manifests.read_manifest(str(data))
    truth = np.array(
        [each.label for each in manifests.DataSet(str(data), manifest).examples("train")], np.int16
    )
    top = np.stack([(truth + i) % len(LABELS) for i in range(3)], axis=1)
    shares = np.tile(np.array([0.8, 0.1, 0.05], np.float32), (len(truth), 1))
    write_evaluation(run_dir, dict.fromkeys(LABELS, 9), 9)
    scores = json.loads(pathlib.Path(run_dir, "evaluation.json").read_text())["best"]
    write_evaluation(run_dir, CORRECT, PER_LABEL)
    config = json.loads(pathlib.Path(run_dir, "config.json").read_text())
    fields = {
        **{"run_dir": run_dir, "checkpoint": "best", "dataset": str(data), "split": "train"},
        **{"dataset_fingerprint": manifest.fingerprint, "mirror": False, "labels": LABELS},
        **scores,
        "run": config,
    }
    predictions = Predictions(truth, shares[:, 0], top, shares)
    evaluation_files.write(str(path), fields, predictions, feature_map)
    return str(path)


def open_page(driver, page, size=DESKTOP, scheme="light"):
    """Loads it; returns what the browser has to say about it."""
    emulate(driver, size, scheme)
    driver.get("about:blank")
    driver.get_log("browser"), driver.get_log("performance")  # of pages before
    driver.get(page.as_uri())
    return driver.get_log("browser")


def unfold(driver):
    driver.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")


def wait_for(driver, selector, text=""):
    wait = importlib.import_module("selenium.webdriver.support.ui").WebDriverWait(driver, 20)
    wait.until(
        lambda each: any(
            text in found.text for found in each.find_elements("css selector", selector)
        )
    )
    return driver.find_element("css selector", selector)


def wait_until(driver, condition):
    wait = importlib.import_module("selenium.webdriver.support.ui").WebDriverWait(driver, 20)
    wait.until(lambda _: condition())


def drawings_of(page, label, split="validation"):
    """Bitmaps of a category's drawings of a split, as lists of 0 and 1."""
    directory = str(page.parent / "data")
    manifest = manifests.read_manifest(directory)
    return [
        records.unpack_bitmap(example.image).ravel().tolist()
        for example in manifests.DataSet(directory, manifest).examples(split)
        if manifest.labels[example.label] == label
    ]


def texts(page):
    """Return the texts that a reader sees, without marks."""
    body = re.sub(r"<(script|style)>.*?</\1>", "", page.decode(), flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)))


def unpack(text):
    return zlib.decompress(base64.b64decode(text))


def packed_scripts(page):
    """Return the content of the first explorer, without what other scripts hold, too."""
    explorer = page[page.index('class="explorer"') :]
    return re.findall(r'<script type="text/plain"[^>]*>(.*?)</script>', explorer)[:4]
