"""How far an export is from its checkpoint, and how quick, on drawings of a data set."""

import itertools
import time
from typing import NamedTuple

import numpy as np

from pipeline.dataset import records
from pipeline.dataset.manifests import DataSet
from trainer.exports.classifiers import Classifier

BATCH_SIZE = 100  # drawings at once, where they are classified in batches
_TIMED_SINGLY = 50  # drawings


class Measured(NamedTuple):
    """What a classifier says of some drawings, and how long it takes."""

    probabilities: np.ndarray  # [N, classes] float32
    ms_single: float  # of a drawing by itself, the median
    ms_batched: float  # of a drawing among BATCH_SIZE at once, the median


class Figures(NamedTuple):
    """A classifier beside the checkpoint's."""

    top1: float  # share of drawings whose true class is the most probable one
    same_top1: float  # share of drawings to which both give the same class
    largest_difference: float  # of a probability
    ms_single: float
    ms_batched: float


def first_drawings(data: DataSet, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first drawings of a split: a random sample, since shards are shuffled; always the same.

    Returns:
      [N, 85, 85] uint8 of 0 and 1, and [N] class indices; `count` of them if there are as many.

    Raises:
      UserError: the split is empty, or a shard is missing or damaged.
    """
    data.split(split)  # which says so if it is empty
    examples = list(itertools.islice(data.examples(split), count))
    decode = records.DECODERS[data.manifest.image["encoding"]]
    bitmaps = np.stack([decode(example.image) for example in examples])
    return bitmaps, np.array([example.label for example in examples])


def measure(classifier: Classifier, bitmaps: np.ndarray) -> Measured:
    """Classifies [N, 85, 85] bitmaps in batches, and some of them again one at a time."""
    batches = [bitmaps[at : at + BATCH_SIZE] for at in range(0, len(bitmaps), BATCH_SIZE)]
    probabilities, ms_batched = _timed(classifier, batches)
    _, ms_single = _timed(classifier, list(bitmaps[:_TIMED_SINGLY, np.newaxis]))
    return Measured(probabilities, ms_single, ms_batched)


def compare(export: Measured, checkpoint: Measured, classes: np.ndarray) -> Figures:
    """Both on the same drawings, whose true classes are `classes`, [N]."""
    top = export.probabilities.argmax(axis=1)
    return Figures(
        top1=float((top == classes).mean()),
        same_top1=float((top == checkpoint.probabilities.argmax(axis=1)).mean()),
        largest_difference=float(np.abs(export.probabilities - checkpoint.probabilities).max()),
        ms_single=export.ms_single,
        ms_batched=export.ms_batched,
    )


def _timed(classifier: Classifier, batches: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """The probabilities of all batches, and the median of the milliseconds a drawing."""
    classifier(batches[0])  # what is slower the first time
    parts, milliseconds = [], []
    for batch in batches:
        start = time.perf_counter()
        parts.append(classifier(batch))
        milliseconds.append(1e3 * (time.perf_counter() - start) / len(batch))
    return np.concatenate(parts), float(np.median(milliseconds))
