"""Commands in processes forked from one that has imported TensorFlow, which takes four seconds.

TensorFlow has not started in that process: a fork of it is as a process that has just imported it.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["keras", "tensorflow"])


def run_module(
    name: str,
    arguments: Sequence[object],
    directory: str | os.PathLike[str] = ".",
    variables: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m NAME ARGUMENTS`.

    Args:
      name: of the module.
      arguments: its words.
      directory: to run it in.
      variables: all of its environment variables; this process' if there are none.

    Returns:
      Its status, negative for a signal, and what it printed.
    """
    os.environ.setdefault(
        "TF_CPP_MIN_LOG_LEVEL", "3"
    )  # as trainer.hardware.quiet_tensorflow does, but before
    words = [name, *map(str, arguments)]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        # The process is no child of this one and inherits no files: it opens them by name.
        files = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (output, errors)]
        process = _CONTEXT.Process(
            target=_run,
            args=(words, os.path.abspath(directory), dict(variables or os.environ), *files),
        )
        process.start()
        process.join()
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(words, process.exitcode or 0, *texts)


def _run(
    words: list[str], directory: str, variables: dict[str, str], output: str, errors: str
) -> None:
    for target, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), target)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
