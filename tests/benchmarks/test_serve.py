"""The load on the server: what it measures, and that its malformed bodies are malformed."""

import asyncio
import collections
import json
import time
from types import SimpleNamespace
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import requests

from benchmarks import serve
from benchmarks.serve import malformed_bodies
from tests.support.page.page_server import LABELS, ink_classifier, page_server
from tests.support.warm_process import run_module
from trainer.exports.classifiers import Classifier
from trainer.serving import batching


def test_each_malformed_body_is_refused_and_the_server_goes_on() -> None:
    bodies = list(malformed_bodies(400, seed=3))
    statuses: collections.Counter[int] = collections.Counter()
    headers = {"Content-Type": "application/json"}
    with page_server(ink_classifier()) as url, requests.Session() as session:
        for body in bodies:
            answer = session.post(f"{url}/predict", body, headers=headers, timeout=60)
            assert 400 <= answer.status_code < 500, (answer.status_code, body[:300])
            found = answer.json()
            assert "error" in found or any("error" in each for each in found["answers"])
            statuses[answer.status_code] += 1
        whole = json.dumps({"drawing": [[[0, 9], [0, 9]]]})
        assert session.post(f"{url}/predict", whole, headers=headers, timeout=60).ok
    assert set(statuses) == {400, 413, 422}


def test_wrong_numbers_of_clients_are_refused_before_a_server_starts() -> None:
    done = run_module("benchmarks.serve", ["--input=nowhere.ndjson", "--clients=1,x"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --clients=x: not a number of clients\n"


def test_a_row_has_what_was_answered_and_what_was_not(capsys, monkeypatch) -> None:
    monkeypatch.setattr(batching, "MAX_WAITING", 2)  # of four clients, some are sent away
    good, bad = b'{"drawing": [[[0, 9], [0, 9]]]}', b'{"drawing": []}'

    def slow(bitmaps: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        return ink_classifier()(bitmaps)

    with page_server(Classifier(LABELS, slow)) as url:
        server = cast(serve.Server, SimpleNamespace(place=urlsplit(url), memory=lambda: 2_000_000))
        one = asyncio.run(serve.measure(server, iter([good, bad, good]), clients=1))
        asyncio.run(serve.load(server, [good], [1, 4], seconds=0.5))
        asyncio.run(serve.harass(server, 50))
    assert one.statuses == {200: 2, 422: 1}
    assert len(one.latencies) == 2
    assert min(one.latencies) >= 0.02
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "memory at the start: 2 MB"
    rows = [line.split() for line in printed[2:4]]
    assert [row[0] for row in rows] == ["1", "4"]
    assert 0 < float(rows[0][1]) < 50  # answers a second, of 20 ms each
    assert rows[0][4] == "0" < rows[1][4]
    assert printed[4:] == [
        "malformed bodies: 50, answered 4xx: 50, otherwise: 0", "memory after them: 2 MB",
    ]  # fmt: skip


def test_a_connection_that_breaks_is_counted() -> None:
    with page_server(ink_classifier()) as url:
        server = cast(serve.Server, SimpleNamespace(place=urlsplit(url)))
    done = asyncio.run(serve.measure(server, iter([b"{}"] * 3), clients=2))
    assert done.statuses == {0: 3}
