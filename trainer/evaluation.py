"""A model over a whole split, every example once."""

import math
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from pipeline.errors import RunError
from trainer.input_pipeline import Batch
from trainer.metrics import Metrics
from trainer.steps import EvaluationStep


def evaluate(
    step: EvaluationStep, batches: Iterable[Batch], labels: tuple[str, ...]
) -> dict[str, Any]:
    """The metrics of `Metrics.result` over all examples of `batches`.

    Raises:
      RunError: a logit is not finite.
    """
    metrics = Metrics(len(labels))
    for batch in batches:
        real = batch.weights > 0
        logits = tf.boolean_mask(step(batch), real).numpy()
        metrics.add(logits, tf.boolean_mask(batch.labels, real).numpy())
    result = metrics.result(labels)
    if not math.isfinite(result["loss"]):
        raise RunError(f"the loss of the evaluation is {result['loss']}")
    return result
