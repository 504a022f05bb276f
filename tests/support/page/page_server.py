"""Server of trainer.serve in this process, around a classifier that needs no model file."""

import contextlib
import threading
from collections.abc import Iterator

import numpy as np

from pipeline import synthetic
from trainer.exports.classifiers import Classifier
from trainer.serving import application, server

LABELS = tuple(synthetic.CATEGORIES)


def ink_classifier() -> Classifier:
    """Return a classifier whose probabilities follow from where the ink lies."""
    weights = np.random.default_rng(0).normal(size=(85 * 85, len(LABELS)))

    def classify(bitmaps: np.ndarray) -> np.ndarray:
        flat = bitmaps.reshape(len(bitmaps), -1).astype(float)
        powers = np.exp(8 * flat @ weights / (1 + flat.sum(axis=1, keepdims=True)) ** 0.5)
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    return Classifier(LABELS, classify)


@contextlib.contextmanager
def page_server(classifier: Classifier, name: str = "ink") -> Iterator[str]:
    """Serve inside; yield the URL, without a slash at its end."""
    listener = server.listen("127.0.0.1", 0)
    app = application.make_application(classifier, name, "127.0.0.1")
    running = server.make_server(app)
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        yield server.url(listener)
    finally:
        running.should_exit = True
        thread.join(60)
        listener.close()
        assert not thread.is_alive()
