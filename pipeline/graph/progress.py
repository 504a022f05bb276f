"""Progress of a local run: a line every few seconds; an error here never fails the run.

Workers are processes of their own, so they append what they did to a file, a line a work item;
a thread of the launching process adds it up. Remote runners have their own displays, which show
the Beam counters; there the path is None and nothing is written.
"""

import contextlib
import json
import sys
import threading
import time
from collections import Counter

from pipeline.cli import counted

INTERVAL_SECONDS = 5.0


class Progress:
    """Writer of the workers' progress."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def add(self, **amounts: int) -> None:
        """Reports work done; one small write to a file opened for appending is atomic.

        A full disk may take a part of a line or none of it; the work goes on.
        """
        if self._path is None:
            return
        with contextlib.suppress(OSError), open(self._path, "ab", buffering=0) as file:
            file.write(json.dumps(amounts).encode() + b"\n")


class ProgressLines:
    """Context manager: prints to standard error what the workers have done so far."""

    def __init__(self, path: str, input_bytes: int) -> None:
        self._path = path
        self._input_bytes = input_bytes
        self._start = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "ProgressLines":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            with contextlib.suppress(OSError):  # no one reads it any more
                print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """Return the progress so far, as one line."""
        totals: Counter[str] = Counter()
        with contextlib.suppress(OSError), open(self._path, "rb") as file:  # none yet: no news
            for report in file:
                with contextlib.suppress(ValueError):  # broken off where the disk was full
                    totals.update(json.loads(report))
        seconds = time.monotonic() - self._start
        share = totals["bytes_read"] / max(self._input_bytes, 1)
        line = (
            f"{seconds:5.0f} s  read {share:4.0%} of {self._input_bytes / 1e6:,.0f} MB, "
            f"{counted(totals['drawings_read'], 'drawing')}"
        )
        if totals["rejected"]:
            line += f", {totals['rejected']:,} rejected"
        if totals["shards_written"]:
            shards = counted(totals["shards_written"], "shard")
            line += f"; wrote {totals['drawings_written']:,} in {shards}"
        return line
