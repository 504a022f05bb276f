"""Files that TensorFlow reads: on this machine, on gs://, …"""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from pipeline.cli import is_remote, printable

_PIECE_BYTES = 1 << 20


def read_file(path: str) -> bytes:
    """Read a file.

    Raises:
      OSError: it cannot be read; FileNotFoundError if there is none.
    """
    with _os_errors(path), tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def sha256(path: str) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits, a piece at a time.

    Raises:
      OSError: it cannot be read; FileNotFoundError if there is none.
    """
    digest = hashlib.sha256()
    with _os_errors(path), tf.io.gfile.GFile(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def length_and_time(path: str) -> tuple[int, int]:
    """Return the length of a file in bytes and the time of its last change in nanoseconds.

    On this machine that is also the inode's time, which cannot be set: a copy that keeps the time
    of its original has another one.

    Raises:
      OSError: it cannot be read; FileNotFoundError if there is none.
    """
    if not is_remote(path):
        found = os.stat(path)
        return found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)
    with _os_errors(path):
        status = tf.io.gfile.stat(path)
        return status.length, status.mtime_nsec


@contextlib.contextmanager
def literal(directory: str) -> Iterator[str]:
    """Yield a name of a directory on this machine that TensorFlow does not take for a pattern.

    It writes checkpoints to names with `*?[` in them, but reads them as patterns.
    """
    if not re.search(r"[*?\[\\]", directory):
        yield directory
        return
    with tempfile.TemporaryDirectory() as links:
        link = os.path.join(links, "directory")
        os.symlink(os.path.abspath(directory), link)
        yield link


@contextlib.contextmanager
def _os_errors(path: str) -> Iterator[None]:
    """Turn TensorFlow's errors into the OSErrors that `read_manifest` handles."""
    if path != printable(path):
        raise OSError(0, "not UTF-8; TensorFlow cannot open such names", path)
    try:
        yield
    except tf.errors.NotFoundError:
        raise FileNotFoundError(0, "No such file", path) from None
    except tf.errors.OpError as error:
        raise OSError(0, " ".join(error.message.split()), path) from None
