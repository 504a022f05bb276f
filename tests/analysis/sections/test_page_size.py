"""Size of the report on all of Quick, Draw!'s categories, with drawings that were made up."""

import json
import re

import numpy as np

from analysis.report import make_report
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
from trainer.runs.predictions import Predictions

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
