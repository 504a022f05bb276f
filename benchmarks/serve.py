"""Measures the server of trainer.serve under load: make bench-serve DATA=DIR

Starts the server and lets 1, 8 and 64 clients at a time, each with a connection of its own, send
drawings of DIR one by one. Prints answers a second, the time to an answer and the number of errors;
then how malformed bodies are answered, and the server's memory at the start and after each part.
"""

import asyncio
import collections
import itertools
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import psutil
from absl import flags

from pipeline import cli
from pipeline.cli import RunError, UserError
from pipeline.sources.input_files import match_files

_MALFORMED_CLIENTS = 8
_WARM_UP = 200  # answers
_PLAIN = b'{"word": "cat", "key_id": "1", "drawing": [[[0, 255], [7, 90]], [[3, 4], [5, 6]]]}'


class Measured(NamedTuple):
    """Answers to the requests of some clients."""

    seconds: float
    latencies: list[float]  # seconds, of answers with status 200
    statuses: collections.Counter[int]  # of all requests; 0: the connection broke


class Server:
    """A process of trainer.serve."""

    def __init__(self, arguments: Sequence[str]) -> None:
        start = time.perf_counter()
        command = [sys.executable, "-m", "trainer.serve", "--port=0", *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.model = self._process.stdout.readline().removeprefix("model").strip()
        found = re.search(r"http://\S+", self._process.stdout.readline())
        if not found:  # it has said why
            raise RunError("the server did not start")
        self.ready_seconds = time.perf_counter() - start
        self.place = urlsplit(found[0])

    def memory(self) -> int:
        """Return its resident memory, in bytes."""
        return psutil.Process(self._process.pid).memory_info().rss

    def stop(self) -> int:
        """Ask it to end; return its status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait()


# ---- Clients ----


def request(body: bytes) -> bytes:
    """Return an HTTP request to /predict."""
    head = (
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def client(
    server: Server, bodies: Iterator[bytes], goes_on: Callable[[], bool]
) -> tuple[list[float], collections.Counter[int]]:
    """Send bodies one by one while there are any and `goes_on`."""
    latencies: list[float] = []
    statuses: collections.Counter[int] = collections.Counter()
    writer = None
    for body in bodies:
        if not goes_on():
            break
        start = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(
                    server.place.hostname, server.place.port
                )
            writer.write(request(body))
            status, is_open = await _read_answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            status, is_open = 0, False
        if status == 200:
            latencies.append(time.perf_counter() - start)
        statuses[status] += 1
        if writer and not is_open:
            writer.close()
            writer = None
    if writer:
        writer.close()
    return latencies, statuses


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Return the status of an answer, and whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"content-length: (\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    return int(head.split(maxsplit=2)[1]), b"connection: close" not in head


async def measure(
    server: Server, bodies: Iterator[bytes], clients: int, seconds: float = float("inf")
) -> Measured:
    """Let clients share the bodies for some time, or as long as there are any."""
    start = time.perf_counter()
    parts = await asyncio.gather(
        *(
            client(server, bodies, lambda: time.perf_counter() < start + seconds)
            for _ in range(clients)
        )
    )
    statuses = sum((counts for _, counts in parts), collections.Counter[int]())
    latencies = [latency for each, _ in parts for latency in each]
    return Measured(time.perf_counter() - start, latencies, statuses)


# ---- Bodies ----


def read_drawings(patterns: Sequence[str], limit: int) -> list[bytes]:
    """Read drawings, about as many of each ndjson file."""
    files = match_files(patterns)
    bodies: list[bytes] = []
    for file in files:
        with open(file.path, "rb") as lines:
            bodies += itertools.islice(lines, -(-limit // len(files)))
    random.Random(0).shuffle(bodies)
    return bodies[:limit]


def malformed_bodies(count: int, seed: int = 0) -> Iterator[bytes]:
    """Make up bodies of which none has a usable drawing: damaged, of wrong types, too large."""
    rng = random.Random(seed)
    for _ in range(count):
        yield rng.choice(_DAMAGES)(rng)


def _cut(rng: random.Random) -> bytes:
    return _PLAIN[: rng.randrange(len(_PLAIN))]


def _with_control_character(rng: random.Random) -> bytes:
    at = rng.randrange(len(_PLAIN))
    return _PLAIN[:at] + bytes([rng.randrange(9)]) + _PLAIN[at + 1 :]


def _noise(rng: random.Random) -> bytes:
    return b"\xff" + rng.randbytes(rng.randrange(2000))


def _nested(rng: random.Random) -> bytes:
    return rng.choice((b"[", b'{"drawing":', b'{"a":[')) * rng.randrange(1, 30_000)


def _of_wrong_type(rng: random.Random) -> bytes:
    values: tuple[Any, ...] = (
        None, True, 3, -1.5, "", "text", "[[", {}, {"x": 1, "y": 2}, [], [[]], [[[]]], [[[], []]],
        [3], ["a"], [None], [[1, 2]], [[[1], [2], [3], [4]]], [[[1, 2], [3]]], [[["a"], ["b"]]],
        [[[None], [1]]], [[[True], [1]]], [[[[1]], [[2]]]], [[{"x": 1}]], [{"y": [1]}],
        [[[1], [2]], [[1], [2], [3]], 5],
    )  # fmt: skip
    drawing = {rng.choice(("drawing", "image")): rng.choice(values)}
    return json.dumps(drawing if rng.random() < 0.7 else {"drawings": [drawing]}).encode()


def _of_wrong_list(rng: random.Random) -> bytes:
    values: tuple[Any, ...] = (
        None, 3, "a", {}, [], [3], [None], [[]], [{}], [{"word": "cat"}], [{}] * 101,
    )  # fmt: skip
    return json.dumps({"drawings": rng.choice(values)}).encode()


def _of_wrong_word(rng: random.Random) -> bytes:
    words: tuple[Any, ...] = (True, 1.5, [], {}, " cat", "c\nat", "\u2028", "é" * 200)
    return json.dumps(json.loads(_PLAIN) | {"word": rng.choice(words)}).encode()


def _too_large(rng: random.Random) -> bytes:
    stroke = [[1], [2]]
    points = [[1] * 50_001, [2] * 50_001]
    drawing = rng.choice(([stroke] * 2_001, [points], [[[0, 1e300, 0], [0, 1, 0]]] * 2_001))
    return json.dumps({"drawing": drawing}).encode()


def _too_long(rng: random.Random) -> bytes:
    return _PLAIN + b" " * ((1 << 20) + rng.randrange(1000))


_RARE = (_too_large, _too_long)  # they take a thousand times as long
_COMMON = (
    *(_cut, _with_control_character, _noise, _nested),
    *(_of_wrong_type, _of_wrong_list, _of_wrong_word),
)
_DAMAGES = (*_COMMON * 10, *_RARE)


# ---- The command ----


def define_flags() -> None:
    cli.define_paths("input", None, "Globs of ndjson files.", kind="GLOB", required=True)
    cli.define_path("model", None, "An export; default: the pretrained model.", kind="PATH")
    flags.DEFINE_list("clients", ["1", "8", "64"], "Clients at a time, a row for each.")
    cli.define_float(
        "seconds", 60, "Duration for each number of clients.", lower_bound=0.1, upper_bound=10**5
    )
    cli.define_integer("drawings", 2000, "Drawings to send.", lower_bound=1, upper_bound=10**6)
    cli.define_integer("malformed", 10_000, "Bodies to send.", lower_bound=1, upper_bound=10**7)


def main(_: list[str]) -> None:
    args = flags.FLAGS
    for number in args.clients:
        if not number.isdecimal() or not int(number):
            raise UserError(f"--clients={number}: not a number of clients")
    bodies = read_drawings(args.input, args.drawings)
    server = Server([f"--model={args.model}"] if args.model else [])
    try:
        print(f"{server.model}, ready after {server.ready_seconds:.1f} s")
        asyncio.run(load(server, bodies, [int(each) for each in args.clients], args.seconds))
        asyncio.run(harass(server, args.malformed))
    finally:
        status = server.stop()
    print(f"stopped with status {status}")


async def load(server: Server, bodies: list[bytes], clients: Sequence[int], seconds: float) -> None:
    """Print a row for each number of clients."""
    await measure(server, iter(bodies[:_WARM_UP]), 1)
    print(f"memory at the start: {server.memory() / 1e6:.0f} MB")
    print(
        f"{'clients':>7}{'answers/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'errors':>8}{'memory MB':>11}"
    )
    for number in clients:
        done = await measure(server, itertools.cycle(bodies), number, seconds)
        p50, p99 = 1e3 * np.percentile(done.latencies or [np.nan], (50, 99))
        errors = done.statuses.total() - done.statuses[200]
        print(
            f"{number:>7}{done.statuses[200] / done.seconds:>11,.0f}{p50:>9.1f}{p99:>9.1f}"
            f"{errors:>8,}{server.memory() / 1e6:>11.0f}",
            flush=True,
        )


async def harass(server: Server, count: int) -> None:
    """Print how malformed bodies are answered."""
    done = await measure(server, malformed_bodies(count), _MALFORMED_CLIENTS)
    refused = sum(number for status, number in done.statuses.items() if 400 <= status < 500)
    print(
        f"malformed bodies: {count:,}, answered 4xx: {refused:,}, otherwise: {count - refused:,}\n"
        f"memory after them: {server.memory() / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    define_flags()
    cli.run(main)
