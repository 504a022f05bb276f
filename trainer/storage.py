"""Files of a data set wherever TensorFlow can read: on this machine, on gs://, …"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


def read_file(path: str) -> bytes:
    """The content of a file.

    Raises:
      OSError: it cannot be read; FileNotFoundError if there is none.
    """
    with _os_errors(path), tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def file_bytes(path: str) -> int:
    """The length of a file.

    Raises:
      OSError: it cannot be looked at; FileNotFoundError if there is none.
    """
    with _os_errors(path):
        return tf.io.gfile.stat(path).length


@contextlib.contextmanager
def _os_errors(path: str) -> Iterator[None]:
    """Turns TensorFlow's errors into Python's, of which dataset.read_manifest knows."""
    try:
        yield
    except tf.errors.NotFoundError:
        raise FileNotFoundError(0, "No such file", path) from None
    except tf.errors.OpError as error:
        raise OSError(0, " ".join(error.message.split()), path) from None
