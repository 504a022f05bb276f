"""Requests to stop a run: SIGTERM, Ctrl-C and the loss of its terminal."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """Signal that asked to stop; false before one came."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn the first of SIGNALS inside into a request; a second one ends the process.

    Outside of the main thread Python takes no signals, so no request comes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if before[signal.SIGHUP] == signal.SIG_IGN:  # by nohup
        del before[signal.SIGHUP]

    def note(number: int, _: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    try:
        for number in before:
            signal.signal(number, note)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
