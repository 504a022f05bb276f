"""A model over a whole split, every example once."""

import math
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from pipeline.dataset import read_manifest
from pipeline.errors import RunError, UserError
from trainer import run_directory, storage
from trainer.dataset_checks import check_split
from trainer.input_pipeline import Batch, evaluation_batches
from trainer.memory import out_of_memory
from trainer.metrics import Metrics
from trainer.predictions import Predictions
from trainer.saved_runs import load_run
from trainer.steps import EvaluationStep, make_evaluation_step


def evaluate(
    step: EvaluationStep, batches: Iterable[Batch], labels: tuple[str, ...]
) -> tuple[dict[str, Any], Predictions]:
    """The metrics of `Metrics.result` over all examples of `batches`, and the answers to each.

    Raises:
      RunError: a logit is not finite.
    """
    metrics = Metrics(len(labels))
    predictions = []
    for batch in batches:
        logits, of_batch = (value.numpy() for value in step(batch))
        metrics.add(logits, of_batch)
        predictions.append(Predictions.from_logits(logits, of_batch))
    result = metrics.result(labels)
    if not math.isfinite(result["loss"]):
        raise RunError(f"the loss of the evaluation is {result['loss']}")
    return result, Predictions.concatenate(predictions)


def evaluate_run(
    run_dir: str, dataset: str, split: str, checkpoint: str, batch_size: int
) -> dict[str, Any]:
    """A checkpoint of a run on a split, as evaluation.json has it, in the run's precision.

    Raises:
      UserError: the run has no checkpoint, the data set cannot be read, has other labels, or no
        drawings in that split.
      RunError: the checkpoint or a shard is damaged, or memory runs out.
    """
    manifest = read_manifest(dataset, storage.read_file)
    check_split(dataset, manifest, split)
    precision = run_directory.read_config(run_dir)["precision"]
    run = load_run(run_dir, checkpoint, precision)
    if run.labels != manifest.labels:
        raise UserError(f"{dataset}: has other labels than {run_dir}, or in another order")
    step = make_evaluation_step(tf.distribute.get_strategy(), run.model)
    try:
        batches = evaluation_batches(dataset, manifest, split, batch_size)
        with out_of_memory(batch_size):
            result, _ = evaluate(step, batches, manifest.labels)
    except tf.errors.DataLossError as error:
        raise RunError(f"{dataset}: damaged ({error.message})") from None
    return {"split": split, "checkpoint": checkpoint, "epoch": run.epoch, **result}
