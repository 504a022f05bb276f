"""Evaluation of a model on a whole split, every example once."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipeline.cli import RunError, UserError, is_remote
from trainer.data.input_pipeline import Batch, Examples, evaluation_batches, evaluation_order
from trainer.data.verified_data import VerifiedData
from trainer.hardware.replicas import whole_batch
from trainer.model import CLASSIFIER
from trainer.runs import feature_map, run_directory
from trainer.runs.feature_map import FeatureMap
from trainer.runs.predictions import Predictions
from trainer.training.checkpoints import load_run
from trainer.training.memory import out_of_memory
from trainer.training.metrics import Metrics
from trainer.training.steps import EvaluationStep, Outputs, make_evaluation_step


def evaluate(
    step: EvaluationStep, batches: Iterable[Batch], labels: tuple[str, ...]
) -> tuple[dict[str, Any], Predictions]:
    """Return the metrics of `Metrics.result` over all examples of `batches`, and the predictions.

    Raises:
      RunError: a logit is not finite.
    """
    metrics = Metrics(len(labels))
    predictions = []
    for batch in batches:
        logits, classes = (value.numpy() for value in step(batch))
        metrics.add(logits, classes)
        predictions.append(Predictions.from_logits(logits, classes))
    result = metrics.result(labels)
    if not math.isfinite(result["loss"]):
        raise RunError(f"the loss of the evaluation is {result['loss']}")
    return result, Predictions.concatenate(predictions)


class Categories(NamedTuple):
    """Categories to evaluate: only their drawings count, and only they are predicted."""

    labels: tuple[str, ...]
    logits: np.ndarray  # [labels] int64, the index of each among the logits of the run's model
    classes: np.ndarray  # [labels of the data set] int64, the index of each in `labels`, or -1


def evaluate_run(
    run_dir: str,
    dataset: str,
    split: str,
    checkpoint: str,
    batch_size: int,
    *,
    labels: Sequence[str] | None = None,
    mirror: bool = False,
    raw_weights: bool = False,
) -> tuple[dict[str, Any], Predictions, FeatureMap]:
    """Evaluate a checkpoint of a run on a split, in the run's precision.

    Args:
      run_dir: the run directory.
      dataset: its labels may be a part of the run's, in any order.
      split: of the data set.
      checkpoint: "best", "last" or the number of an epoch.
      batch_size: drawings at once.
      labels: the categories to evaluate, as if the model knew no others; None: all of the run.
      mirror: whether to average the probabilities of a drawing and of its mirror image.
      raw_weights: whether to add, as "raw", the scores of the weights beside their average.

    Returns:
      The content of trainer.evaluate's JSON file, the predictions for the split's drawings of the
      categories, in the order of the files, and their map; classes are indices in its "labels".

    Raises:
      UserError: the run has no checkpoint, or no average beside the raw weights; the data set
        cannot be read or has no such drawings; a label is not the run's or not the data set's.
      RunError: the checkpoint or a shard is damaged, or memory runs out.
    """
    data = VerifiedData(dataset, [split])
    manifest = data.manifest
    config = run_directory.read_config(run_dir)
    categories = choose_categories(run_dir, config["labels"], data, labels)
    counts = manifest.splits[split].class_counts
    if not sum(counts[label] for label in manifest.labels if label in categories.labels):
        raise UserError(f"{dataset}: no drawings of these categories in its {split} split")
    precision = run_directory.latest(config, "precision")
    run = load_run(run_dir, checkpoint, precision, with_raw=raw_weights)
    data.start(run_directory.read_seen(run_dir))

    def evaluate_model(model: keras.Model) -> tuple[dict[str, Any], Predictions, FeatureMap]:
        adapted = adapt_model(model, categories, mirror)
        features: list[np.ndarray] = []
        step = keep_features(
            make_evaluation_step(tf.distribute.get_strategy(), adapted),
            len(categories.labels),
            features,
        )
        positions: list[np.ndarray] = []
        with data.reading(), out_of_memory(batch_size):
            batches = evaluation_batches(data, split, batch_size)
            order = evaluation_order(manifest.splits[split], batch_size)
            selected = select_drawings(batches, order, categories, batch_size, positions)
            scores, predictions = evaluate(step, selected, categories.labels)
        places = np.concatenate(positions)
        return scores, predictions.at(places), make_map(features, places)

    scores, predictions, mapped = evaluate_model(run.model)
    raw = {}
    if run.raw_model:
        raw_scores, *_ = evaluate_model(run.raw_model)
        raw = {"raw": {name: raw_scores[name] for name in ("top1", "top3", "map3", "loss")}}
    data.raise_if_damaged(wait=True)
    return (
        {
            "run_dir": os.path.abspath(run_dir),
            "checkpoint": checkpoint,
            "epoch": run.epoch,
            "dataset": dataset if is_remote(dataset) else os.path.abspath(dataset),
            "dataset_fingerprint": manifest.fingerprint,
            "split": split,
            "mirror": mirror,
            "labels": list(categories.labels),
            **raw,
            **scores,
            "run": run.config,
        },
        predictions,
        mapped,
    )


def choose_categories(
    run_dir: str, run_labels: Sequence[str], data: VerifiedData, labels: Sequence[str] | None
) -> Categories:
    """Find `labels`, or all labels of the run, by name in the run and in the data set.

    Raises:
      UserError: one of `labels` is not in both, or, without them, the data set has one that the run
        does not know.
    """
    known = data.manifest.labels
    for label in labels or ():
        for owner, there in ((run_dir, run_labels), (data.directory, known)):
            if label not in there:
                raise UserError(f"--labels: {label!r} is no category of {owner}")
    if labels is None and (unknown := [each for each in known if each not in run_labels]):
        more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
        raise UserError(
            f"{data.directory}: {', '.join(map(repr, unknown[:3]))}{more} are not among the labels "
            f"of {run_dir}; --labels=FILE can leave them out"
        )
    chosen = tuple(run_labels if labels is None else labels)
    indices = {label: index for index, label in enumerate(chosen)}
    return Categories(
        chosen,
        np.array([run_labels.index(label) for label in chosen], np.int64),
        np.array([indices.get(label, -1) for label in known], np.int64),
    )


def adapt_model(model: keras.Model, categories: Categories, mirror: bool) -> keras.Model:
    """Restrict a model to the categories, weights shared; `mirror`: see `evaluate_run`.

    The mean of two softmax is returned as its logarithm: the softmax of such logits is that mean.
    It is computed from log-probabilities, so that it is finite where the probabilities underflow.

    Returns:
      [B, 85, 85, 1] → [B, categories + F] float32: logits, and the F features that the model's
      classifier takes, of the drawing that is not mirrored.
    """
    is_whole = np.array_equal(categories.logits, np.arange(model.output.shape[-1]))
    classifier = model.get_layer(CLASSIFIER)
    outputs = keras.Model(model.inputs, [model.output, classifier.input])
    (image,) = model.inputs

    def outputs_of(bitmaps: keras.KerasTensor) -> list[keras.KerasTensor]:
        logits, features = outputs(bitmaps)
        return [logits if is_whole else keras.ops.take(logits, categories.logits, axis=1), features]

    logits, features = outputs_of(image)
    if mirror:
        mirrored, _ = outputs_of(keras.ops.flip(image, axis=2))
        logits = keras.ops.logaddexp(
            keras.ops.log_softmax(logits), keras.ops.log_softmax(mirrored)
        ) - math.log(2)
    return keras.Model(image, keras.ops.concatenate([logits, features], axis=1))


def keep_features(step: EvaluationStep, classes: int, features: list[np.ndarray]) -> EvaluationStep:
    """Return the step of an adapted model that returns logits alone.

    Args:
      step: of a model of `adapt_model`.
      classes: the number of logits; the features follow.
      features: to which those of the first drawings are appended, [B, F] each, until they are
        feature_map.MOST or more.
    """

    def step_of_logits(batch: Batch) -> Outputs:
        outputs = step(batch)
        if sum(map(len, features)) < feature_map.MOST:
            features.append(outputs.logits[:, classes:].numpy())
        return outputs._replace(logits=outputs.logits[:, :classes])

    return step_of_logits


def make_map(features: Sequence[np.ndarray], positions: np.ndarray) -> FeatureMap:
    """Return the map of a split, where each drawing is at its position, [N] int64.

    Args:
      features: of its first drawings, [B, F] each.
      positions: of all drawings.
    """
    mapped = feature_map.project(np.concatenate(features)[: feature_map.MOST])
    places = np.full((len(positions), 2), np.nan, np.float32)
    places[: len(mapped.places)] = mapped.places
    return mapped._replace(places=places[np.argsort(positions)])


def select_drawings(
    batches: tf.data.Dataset,
    order: np.ndarray,
    categories: Categories,
    batch_size: int,
    positions: list[np.ndarray],
) -> Iterator[Batch]:
    """Yield the drawings of the categories, as `Batch`es of one host, with their indices there.

    Args:
      batches: of all drawings.
      order: their positions in the files, [N] int64.
      categories: to evaluate.
      batch_size: of what is selected.
      positions: to which those of the selected drawings are appended.
    """
    if np.array_equal(categories.classes, np.arange(len(categories.classes))):
        positions.append(order)
        yield from batches
        return
    classes = tf.constant(categories.classes)
    drawings = batches.map(
        lambda batch: Examples(batch.examples.images, tf.gather(classes, batch.examples.labels))
    )
    selected = (
        tf.data.Dataset.zip((drawings.unbatch(), tf.data.Dataset.from_tensor_slices(order)))
        .filter(lambda drawing, _: drawing.labels >= 0)
        .batch(batch_size)
    )
    for examples, of_batch in selected:
        positions.append(of_batch.numpy())
        yield Batch(examples, whole_batch(tf.size(examples.labels)))
