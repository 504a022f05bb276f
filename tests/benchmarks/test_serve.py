"""The load on the server: what it measures, and that its malformed bodies are malformed."""

import collections
import json

import requests

from benchmarks.serve import malformed_bodies
from tests.support.page_server import ink_classifier, page_server


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
