"""Out of memory as one line. Imports no TensorFlow: LiteRT needs none."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator

from pipeline.cli import RunError
from trainer.runs import run_directory

# TensorFlow's file systems raise the error of memory for these, too.
_OF_FILES = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)]


@contextlib.contextmanager
def out_of_memory(
    batch_size: int, *, devices: int = 1, run_dir: str | None = None, is_flag: bool = True
) -> Iterator[None]:
    """Turn errors of memory into one line with the batch size to try.

    Args:
      batch_size: drawings at once, over all devices together.
      devices: that share a batch.
      run_dir: of the run that trains; another batch size makes another run.
      is_flag: whether --batch_size chooses the batch size.

    Raises:
      RunError: memory ran out inside, on a device or in Python, or the disk did.
    """
    try:
        yield
    except _errors() as error:
        text = str(error)
        if file := re.search(rf"(\S+; )?({'|'.join(_OF_FILES)})", text):
            raise RunError(f"{(file[1] or '').replace('; ', ': ')}{file[2]}") from None
        batch = f"--batch_size={batch_size}" if is_flag else f"{batch_size} drawings at once"
        among = f" on {devices} devices" if devices > 1 else ""
        advice = _advice(batch_size, run_dir) if is_flag else "close other programs"
        raise RunError(f"out of memory{_place(text)} with {batch}{among}; {advice}") from None


def _errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of memory that runs out."""
    if tensorflow := sys.modules.get("tensorflow"):
        return (MemoryError, tensorflow.errors.ResourceExhaustedError)
    return (MemoryError,)


def _place(text: str) -> str:
    """Extract from TensorFlow's message the device and the tensor that does not fit."""
    place = ""
    if device := re.search(r"device:(\w+:\d+) by allocator", text):
        place += f" on {device[1]}"
    if tensor := re.search(r"tensor with shape\[([\d,]+)\] and type (\w+)", text):
        place += f" (no room for {tensor[2]}[{tensor[1]}])"
    return place


def _advice(batch_size: int, run_dir: str | None) -> str:
    if batch_size == 1:
        return "no smaller batch is possible"
    advice = f"try --batch_size={batch_size // 2}"
    if run_dir and run_directory.read_state(run_dir).newest:
        advice += " in another --run_dir, since the batch size is part of a run's identity"
    return advice
