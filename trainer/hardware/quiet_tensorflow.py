"""Silence for TensorFlow's start-up messages."""

import contextlib
import os
import sys
from collections.abc import Iterator

from absl import logging


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Discard what is written to standard error inside, such as by importing TensorFlow.

    TensorFlow's C++ code writes before it reads TF_CPP_MIN_LOG_LEVEL, so the file descriptor itself
    is redirected. TF_CPP_MIN_LOG_LEVEL=0 shows everything.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        yield
        return
    sys.stderr.flush()
    standard_error = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        logging.set_verbosity(logging.WARNING)  # of TensorFlow's Python code
        os.dup2(standard_error, 2)
        os.close(standard_error)
