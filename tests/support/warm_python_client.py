"""`python` of a WarmPython: asks it for commands of the project, and runs all else itself.

Arguments: the server's socket, the true python, and the arguments of python.
"""

import ctypes
import json
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

COMMAND = re.compile(r"(analysis|benchmarks|pipeline|trainer)\.\w+|tensorboard\.main")
WORKER = "pipeline.runners.local_worker"
# What benchmarks start with `python -c`, and what the console script of a test does.
PROGRAM = re.compile(r"from (benchmarks\.(growth|pipeline|trainer)|pipeline\.cli\.scripts) import ")
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def main(address: str, python: str, *arguments: str) -> None:
    words = _forked_words(arguments)
    if not words:
        os.execv(python, [python, *arguments])
    if words[0] == WORKER:
        _end_with(int(words[1]))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        stream = connection.makefile("rw")
        limit_bytes, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        request = [words, os.getcwd(), dict(os.environ), os.getpid(), limit_bytes]
        print(json.dumps(request), file=stream, flush=True)
        process = int(stream.readline())

        def forward(number: int, _: Any) -> None:
            os.kill(process, number)

        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # workers ignore Ctrl-C
                signal.signal(number, forward)
        status = int(stream.readline())
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _forked_words(arguments: Sequence[str]) -> Sequence[str]:
    """Return the words of the WarmProcess that these arguments of python become, or none."""
    option, text = (*arguments, "", "")[:2]
    if option == "-m" and (text == WORKER or COMMAND.fullmatch(text)):
        return arguments[1:]
    if option == "-c" and PROGRAM.match(text):
        return arguments
    return ()


def _end_with(launcher: int) -> None:
    """Let the kernel kill this process, and so its server the worker, when `launcher` ends.

    The worker asks for the same, but is no child of its launcher: this process is.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:  # it ended before the kernel knew
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
