"""A worker process of a local run: Beam's own, but silent.

What goes wrong here reaches the launching process over Beam's channel; it prints it, once.
"""

import logging
import os
import signal
import sys


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: end at once, without a traceback
    logging.disable(logging.CRITICAL)
    from apache_beam.runners.worker import sdk_worker_main

    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - Beam prints tracebacks here too
    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
