"""Metrics from logits against plain counting."""

import math

import numpy as np
import pytest

from trainer.training.metrics import Metrics


def random_examples(count=500, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += 1
    return logits, labels


def names(classes):
    return tuple(f"class {index}" for index in range(classes))


def test_metrics_equal_plain_counting_at_any_batch_size():
    logits, labels = random_examples()
    top1 = top3 = map3 = loss = 0.0
    for row, label in zip(logits.astype(float).tolist(), labels.tolist(), strict=True):
        order = sorted(range(7), key=lambda index: (-row[index], index))
        rank = order.index(label) + 1
        top1 += rank == 1
        top3 += rank <= 3
        map3 += 1 / rank if rank <= 3 else 0
        loss += math.log(sum(map(math.exp, row))) - row[label]
    for batch_size in (1, 64, 500):
        metrics = Metrics(7)
        for start in range(0, 500, batch_size):
            metrics.add(logits[start : start + batch_size], labels[start : start + batch_size])
        result = metrics.result(names(7))
        assert result["examples"] == 500
        assert result["top1"] == pytest.approx(top1 / 500, abs=1e-12)
        assert result["top3"] == pytest.approx(top3 / 500, abs=1e-12)
        assert result["map3"] == pytest.approx(map3 / 500, abs=1e-12)
        assert result["loss"] == pytest.approx(loss / 500, rel=1e-12)


def test_the_confusion_matrix_and_the_classes_agree():
    logits, labels = random_examples(classes=4)
    metrics = Metrics(4)
    metrics.add(logits, labels)
    result = metrics.result(names(4))
    predicted = logits.argmax(axis=1)
    for index, entry in enumerate(result["per_class"]):
        correct = int(((labels == index) & (predicted == index)).sum())
        assert entry["label"] == f"class {index}"
        assert (entry["examples"], entry["correct"]) == (int((labels == index).sum()), correct)
        row = [int(((labels == index) & (predicted == other)).sum()) for other in range(4)]
        assert result["confusion"][index] == row


@pytest.mark.parametrize("classes", [3, 10])
def test_metrics_are_those_of_scikit_learn(classes):
    import sklearn.metrics  # a second that other tests need not wait for

    logits, labels = random_examples(count=300, classes=classes)
    metrics = Metrics(classes)
    metrics.add(logits, labels)
    result = metrics.result(names(classes))
    predicted, every = logits.argmax(axis=1), range(classes)
    exponentials = np.exp(logits.astype(float))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = {
        "loss": sklearn.metrics.log_loss(labels, probabilities, labels=every),
        "top1": sklearn.metrics.accuracy_score(labels, predicted),
        "top3": sklearn.metrics.top_k_accuracy_score(labels, logits, k=3, labels=every)
        if classes > 3
        else 1.0,
    }
    assert {key: result[key] for key in expected} == pytest.approx(expected)
    np.testing.assert_array_equal(
        result["confusion"], sklearn.metrics.confusion_matrix(labels, predicted, labels=every)
    )
    columns = sklearn.metrics.precision_recall_fscore_support(labels, predicted, labels=every)
    for name, column in zip(("precision", "recall", "f1", "examples"), columns, strict=True):
        np.testing.assert_allclose([entry[name] for entry in result["per_class"]], column)


def test_of_equal_logits_the_lower_class_comes_first():
    metrics = Metrics(5)
    metrics.add(np.zeros((5, 5), np.float32), np.arange(5))
    result = metrics.result(names(5))
    assert (result["top1"], result["top3"]) == (1 / 5, 3 / 5)
    assert result["map3"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 5)


def test_two_classes_are_enough():
    metrics = Metrics(2)
    metrics.add(np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([0, 1]))
    result = metrics.result(names(2))
    assert (result["top1"], result["top3"], result["map3"]) == (0.5, 1.0, 0.75)


def test_a_share_of_nothing_is_none():
    metrics = Metrics(3)
    metrics.add(np.array([[1.0, 0.0, 0.0]]), np.array([0]))
    absent = metrics.result(names(3))["per_class"][2]
    assert (absent["precision"], absent["recall"], absent["f1"]) == (None, None, None)


def test_large_logits_do_not_overflow():
    metrics = Metrics(2)
    metrics.add(np.array([[5000.0, 0.0]]), np.array([1]))
    assert metrics.result(names(2))["loss"] == pytest.approx(5000.0)
