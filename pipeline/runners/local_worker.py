"""A worker process of a local run: Beam's own, but silent, and gone when its launcher is.

  python -m pipeline.runners.local_worker LAUNCHER_PID

What goes wrong here reaches the launching process over Beam's channel; it prints it, once.
"""

import ctypes
import logging
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def main() -> None:
    _end_with(int(sys.argv[1]))
    logging.disable(logging.CRITICAL)
    from apache_beam.runners.worker import sdk_worker_main

    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - Beam prints tracebacks here too
    sdk_worker_main.main(sys.argv)


def _end_with(launcher: int) -> None:
    """Let the kernel kill this process when its parent, which should be `launcher`, ends.

    More exactly: when the thread ends that started this process. It is Beam's thread that waits for
    this process' end, so it lasts as long as the launching process.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:  # it ended before the kernel knew
        sys.exit(1)


if __name__ == "__main__":
    main()
