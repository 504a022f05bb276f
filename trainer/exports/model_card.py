"""The model card of an export, in the form of Hugging Face's hub: README.md with YAML metadata."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.dataset.manifests import Manifest
from trainer.config import flags_of_run
from trainer.runs.run_directory import latest
from trainer.runs.uncertainty import CONFIDENCE, wilson_interval

_SHOWN_CONFUSIONS = 10


class Tested(NamedTuple):
    """Outcome of one file of the export, or of the checkpoint, on the compared drawings."""

    name: str
    size_bytes: int | None  # None: the checkpoint
    scores: Mapping[str, Any]  # of `trainer.training.metrics`


def model_card(
    config: Mapping[str, Any],
    epoch: int,
    manifest: Manifest,
    tested: Sequence[Tested],
    confidences: np.ndarray,
) -> str:
    """Write the card.

    Args:
      config: the run's config.json.
      epoch: of the checkpoint.
      manifest: of the data set whose validation drawings were classified.
      tested: the checkpoint, then each file of the export.
      confidences: [N] float32, the checkpoint's probability of its first answer to each drawing.
    """
    checkpoint = tested[0].scores
    labels = config["labels"]
    name = config["experiment"]
    drawings = config["drawings"]["train"]
    sections = [
        _metadata(name, checkpoint),
        f"# {name}: drawings of {len(labels):,} categories",
        f"Classifies a drawing, as a bitmap of 85×85 pixels, into {len(labels):,} categories: "
        f"{config['parameters']:,} parameters, {config['multiply_adds'] / 1e6:,.0f} M "
        "multiply-adds a drawing. Made with InceptionResNet QuickDraw.",
        "## Load it",
        "`image` is [drawings, 85, 85, 1] of 0 (paper) and 1 (ink). `python -m trainer.predict "
        "--model=FILE drawings.ndjson`, of the project that made it, rasterizes strokes as in "
        "training and runs every file below. All files contain their labels.",
        *(_snippet(each.name) for each in tested[1:]),
        "## Data",
        f"{drawings:,} training drawings of {len(labels):,} categories, from "
        f"{len(manifest.inputs):,} files. Drawings: strokes scaled to 256×256 and drawn with a pen "
        f"of 2 pixels. Data set fingerprint: `{config['dataset_fingerprint']}`.",
        "## Training",
        f"The weights after epoch {epoch} of {latest(config, 'epochs')}, trained by",
        _code("sh", _command(config)),
        "## Scores",
        f"On {checkpoint['examples']:,} validation drawings, which were not trained on.",
        _table(
            ("file", "MB", "top-1", f"{CONFIDENCE:.0%} interval", "top-3", "MAP@3"),
            map(_scores_row, tested),
        ),
        _calibration(confidences, checkpoint["top1"]),
        "### Confusions",
        _confusions(checkpoint, labels),
        "### Categories",
        _table(
            ("category", "drawings", "recall", "precision"), map(_class_row, _by_recall(checkpoint))
        ),
        "## Limits",
        "The model knows only these categories: it assigns every drawing to one of them. It was "
        "trained on drawings of one collection; expect lower scores on drawings made in other "
        "ways, on scans and on photos. Drawings from a game are made in seconds by people who may "
        "draw stereotypes: unusual drawings of a category are often misclassified. Do not use it "
        "to judge the people who draw.",
        "## Licence",
        "The code is under the Apache License 2.0. Weights and scores derive from the drawings: if "
        'these are of the Quick, Draw! Dataset, it is "made available by Google, Inc. under the '
        'Creative Commons Attribution 4.0 International license"; credit it where you use them.',
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(name: str, scores: Mapping[str, Any]) -> str:
    """Return the front matter, as JSON, which is YAML, where texts need quotes."""
    return f"""---
license: apache-2.0
pipeline_tag: image-classification
tags: [quickdraw, sketch-recognition]
metrics: [accuracy]
model-index:
- name: {json.dumps(name)}
  results:
  - task: {{type: image-classification}}
    dataset:
      type: quickdraw
      name: drawings of {len(scores["per_class"])} categories
      split: validation
    metrics:
    - {{type: accuracy, value: {scores["top1"]:.4f}}}
    - {{type: map3, name: MAP@3, value: {scores["map3"]:.4f}}}
---"""


_KERAS = """
import keras, numpy as np

model = keras.saving.load_model("model.keras")
image = np.zeros((1, 85, 85, 1), np.float32)
print(model.predict(image).argmax())  # unzip -p model.keras labels.txt: its line, from 0
"""
_SAVED_MODEL = """
import numpy as np, tensorflow as tf

signatures = tf.saved_model.load("saved_model").signatures
bitmaps = tf.constant(np.zeros((1, 85, 85), np.uint8))
best = signatures["serving_default"](bitmaps=bitmaps)["probabilities"].numpy().argmax()
print(signatures["labels"]()["labels"].numpy()[best].decode())
"""
_TFLITE = """
import numpy as np
from ai_edge_litert.interpreter import Interpreter

classify = Interpreter("FILE").get_signature_runner()
image = np.zeros((1, 85, 85, 1), np.float32)
print(classify(image=image)["probabilities"].argmax())
"""
_ONNX = """
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
image = np.zeros((1, 85, 85, 1), np.float32)
best = session.run(["probabilities"], {"image": image})[0].argmax()
print(session.get_modelmeta().custom_metadata_map["labels"].splitlines()[best])
"""
_TFLITE_INT8 = """
import numpy as np
from ai_edge_litert.interpreter import Interpreter

classify = Interpreter("FILE").get_signature_runner()
image = np.zeros((1, 85, 85, 1), np.uint8)  # 1 becomes 127, 0 becomes -128
print(classify(image=(image * 255 - 128).astype(np.int8))["probabilities"].argmax())
"""
_WEB = "python -m http.server --bind=127.0.0.1 --directory=web"


def _snippet(file: str) -> str:
    if file == "web":
        return (
            "`web`: a page to draw on, which runs the model in the browser; any static host can "
            f"serve it:\n\n{_code('sh', _WEB)}"
        )
    texts = {"model.keras": _KERAS, "saved_model": _SAVED_MODEL, "model.onnx": _ONNX}
    text = texts.get(file, _TFLITE_INT8 if "int8" in file else _TFLITE)
    return f"`{file}`:\n\n{_code('python', text.strip().replace('FILE', file))}"


def _command(config: Mapping[str, Any]) -> str:
    """Return the command that trains all epochs, which a run may have got in several starts."""
    lasting = {name: latest(config, name) for name in ("epochs", "early_stopping")}
    flags = " ".join(flags_of_run({**config, **lasting}))
    return f"python -m trainer.main --dataset=DATA --run_dir=RUN {flags}"


def _scores_row(tested: Tested) -> tuple[str, ...]:
    scores = tested.scores
    size = "" if tested.size_bytes is None else f"{tested.size_bytes / 1e6:.1f}"
    top1 = scores["top1"]
    low, high = wilson_interval(round(top1 * scores["examples"]), scores["examples"])
    return (
        tested.name,
        size,
        f"{top1:.4f}",
        f"{low:.3f} to {high:.3f}",
        *(f"{scores[name]:.4f}" for name in ("top3", "map3")),
    )


def _calibration(confidences: np.ndarray, top1: float) -> str:
    """Say how sure the model is, and how far that is from how often it is right."""
    mean = float(confidences.mean())
    difference = 100 * (mean - top1)
    side = "overconfident" if difference > 0 else "underconfident"
    return (
        f"The mean probability of its first answer is {mean:.3f}: it is {side} by "
        f"{abs(difference):.1f} points."
    )


def _confusions(scores: Mapping[str, Any], labels: Sequence[str]) -> str:
    confusion = np.array(scores["confusion"])
    examples = confusion.sum(axis=1)
    np.fill_diagonal(confusion, 0)
    order = np.argsort(-confusion, axis=None, kind="stable")[:_SHOWN_CONFUSIONS]
    pairs = [divmod(int(index), len(labels)) for index in order if confusion.flat[index]]
    if not pairs:
        return "None: every drawing was classified correctly."
    rows = [
        (labels[true], labels[taken], f"{confusion[true, taken]:,} of {examples[true]:,}")
        for true, taken in pairs
    ]
    return _table(("drawn", "taken for", "drawings"), rows)


def _by_recall(scores: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return sorted(scores["per_class"], key=lambda each: -(each["recall"] or 0))


def _class_row(scores: Mapping[str, Any]) -> tuple[str, ...]:
    ratios = (scores["recall"], scores["precision"])
    return (
        scores["label"],
        f"{scores['examples']:,}",
        *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
    )


def _table(headers: Sequence[str], rows: Any) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in line)} |" for line in lines)


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"
