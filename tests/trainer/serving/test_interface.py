"""JSON interface: answers of trainer.predict, batches, limits, and who may ask."""

import base64
import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import jsonschema
import numpy as np
import pytest
import requests

from pipeline import synthetic
from pipeline.rasterize import rasterize
from tests.support.ndjson import SQUARE
from tests.support.page.page_server import LABELS, ink_classifier, page_server
from trainer.exports.classifiers import Classifier
from trainer.inputs.drawing_files import read_batches
from trainer.predict import predict
from trainer.serving import batching, bodies
from trainer.serving import server as connections
from trainer.serving.server import listen

BODY = {"word": "cake", "key_id": "17", "drawing": SQUARE}
# From a canvas: points, anywhere, of any size; raw, with times; and strokes that may be either.
CANVAS = {"drawing": [[[310.5, 42], [600, 42], [600, 300]], [[50, 60]]]}
RAW = {"drawing": [[[10, 500, 250, 40], [-4, 90, 700, 800], [0, 16, 33, 50]], [[9], [9], [99]]]}
EITHER = {"drawing": [[[0, 255], [0, 255]], [[0, 200], [255, 90]]]}


@pytest.fixture(scope="module")
def server():
    with page_server(ink_classifier()) as url:
        yield url


def post(url, body, **query):
    data = body if isinstance(body, bytes) else json.dumps(body)
    headers = {"Content-Type": "application/json"}
    return requests.post(f"{url}/predict", data, headers=headers, params=query, timeout=60)


def predicted(tmp_path, bodies_, top=3):
    """Answers of trainer.predict to a file of each body alone."""
    answers = []
    for number, body in enumerate(bodies_):
        path = tmp_path / f"{number}.ndjson"
        path.write_text(json.dumps(body) + "\n", encoding="utf-8")
        (batch,) = read_batches([str(path)], 10)
        answers += predict(batch, ink_classifier(), top)
    return answers


def test_an_answer_is_the_line_of_predict(server, tmp_path):
    drawings = [BODY, CANVAS, RAW, EITHER, SQUARE]
    drawings += [json.loads(synthetic.drawing_line("sun", n, seed=1)) for n in range(20)]
    answers = [post(server, body).json() for body in drawings]
    assert answers == predicted(tmp_path, drawings)
    assert len({answer["predictions"][0]["label"] for answer in answers}) > 1
    assert answers[0]["word"] == "cake"


def test_many_drawings_are_answered_in_their_order(server, tmp_path):
    drawings = [BODY, CANVAS, RAW, EITHER]
    answered = post(server, {"drawings": drawings}, top=2)
    assert answered.status_code == 200
    assert answered.json() == {"answers": predicted(tmp_path, drawings, top=2)}


def test_a_bad_drawing_among_others_has_its_error_in_its_place(server):
    answered = post(server, {"drawings": [BODY, {"drawing": []}, 3, BODY]})
    assert answered.status_code == 422
    first, second, third, fourth = answered.json()["answers"]
    assert first == fourth == post(server, BODY).json()
    assert (second, third) == ({"error": "no strokes"}, {"error": "not a JSON object"})


def test_the_bitmap_is_what_the_model_sees(server):
    packed = base64.b64decode(post(server, BODY, bitmap="true").json()["bitmap"])
    pixels = np.unpackbits(np.frombuffer(packed, np.uint8))[: 85 * 85].reshape(85, 85)
    np.testing.assert_array_equal(pixels, rasterize(SQUARE))
    assert "bitmap" not in post(server, BODY).json()


def test_top_is_the_number_of_categories(server):
    for top, count in ((1, 1), (5, 5), (999_999, len(LABELS))):
        assert len(post(server, BODY, top=top).json()["predictions"]) == count


def test_the_model_and_the_health_are_told(server):
    model = requests.get(f"{server}/model", timeout=60).json()
    assert (model["model"], tuple(model["labels"])) == ("ink", LABELS)
    before = requests.get(f"{server}/health", timeout=60).json()
    post(server, {"drawings": [BODY] * 3})
    after = requests.get(f"{server}/health", timeout=60).json()
    assert after == {"status": "ok", "answered": before["answered"] + 3, "waiting": 0}


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "the body is not JSON"),
        (b"\xff", 400, "the body is not UTF-8"),
        (b'{"drawing": [[[0, 1], [0, 1]]', 400, "the body is not JSON"),
        (b"[" * 100_001, 400, "the body is more than 50000 lists, objects and fields"),
        (b"[" * 5_000, 400, "the body is not JSON"),
        (b"3", 400, "the body is not a JSON object"),
        ({"drawings": []}, 400, "drawings is not a list of one or more drawings"),
        ({"drawings": {}}, 400, "drawings is not a list of one or more drawings"),
        ({"drawings": [BODY] * 101}, 413, "more than 100 drawings in a request"),
        ({}, 422, "no field drawing"),
        ({"drawing": [[[0, 1], [0]]]}, 422, "the coordinate lists of a stroke differ in length"),
        ({"drawing": [[[0, None], [0, 1]]]}, 422, "a coordinate is not a finite number"),
        ({"drawing": [[[0], [1]]] * 2001}, 422, "more than 2000 strokes"),
        ({"drawing": [[[1] * 50_001, [1] * 50_001]]}, 422, "more than 50000 points"),
        (BODY | {"word": "two\nlines"}, 422, "word is not one line of plain text"),
        (b" " * (1 << 20) + b"1", 413, "the body is longer than 1 MiB"),
    ],
)
def test_a_wrong_body_is_told(server, body, status, error):
    answered = post(server, body)
    assert (answered.status_code, answered.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("top=0", "top is not a whole number of at least 1"),
        ("top=-1", "top is not a whole number of at least 1"),
        ("top=1.5", "top is not a whole number of at least 1"),
        ("top=" + "9" * 5000, "top is not a whole number of at least 1"),
        ("bitmap=perhaps", "bitmap is neither true nor false"),
        ("topp=3", "no parameter 'topp'; there are top and bitmap"),
        ("top=1&top=2", "a parameter is given twice"),
    ],
)
def test_a_wrong_parameter_is_told(server, query, error):
    headers = {"Content-Type": "application/json"}
    answered = requests.post(f"{server}/predict?{query}", "{}", headers=headers, timeout=60)
    assert (answered.status_code, answered.json()) == (400, {"error": error})


def test_a_body_without_a_length_ends_at_the_limit(server):
    chunks = (b" " * 65_536 for _ in range(64))
    headers = {"Content-Type": "application/json"}
    answered = requests.post(f"{server}/predict", chunks, headers=headers, timeout=60)
    assert answered.status_code == 413


def test_a_refused_body_leaves_the_connection_usable(server):
    place = urlsplit(server)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    used = set()
    for _ in range(3):
        for body, status in ((b" " * (3 << 20), 413), (json.dumps(BODY), 200)):
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/predict", body, headers)
            used.add(connection.sock)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
    connection.close()
    assert len(used) == 1


def test_no_packet_waits_for_an_acknowledgement():
    with listen("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_forms_of_other_sites_are_refused_by_their_type(server):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        headers = {"Content-Type": kind}
        answered = requests.post(f"{server}/predict", "{}", headers=headers, timeout=60)
        assert answered.status_code == 415
    assert post(server, BODY).ok


def ask(url, method="GET", path="/health", **headers):
    """Send one request as it is, without what a client would mend; return status and headers."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200), ("localhost:{port}", 200), ("[::1]:{port}", 200),
        ("LOCALHOST", 200), ("10.1.2.3", 200), ("evil.example", 421),
        ("evil.example:{port}", 421), ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421), ("", 421), ("[", 421), ("user@evil.example", 421),
    ],
)  # fmt: skip
def test_only_own_names_are_served(server, host, status):
    host = host.format(port=urlsplit(server).port)
    assert ask(server, Host=host)[0] == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("{url}", 200), ("http://evil.example", 403), ("null", 403), ("http://localhost:1", 403)],
)
def test_pages_of_other_origins_get_no_answer(server, origin, status):
    origin = origin.format(url=server)
    headers = {"Content-Type": "application/json", "Origin": origin}
    answered = requests.post(f"{server}/predict", json.dumps(BODY), headers=headers, timeout=60)
    assert answered.status_code == status
    assert "Access-Control-Allow-Origin" not in answered.headers


@pytest.mark.parametrize(
    "path",
    [
        "/../serve.py",
        "/..%2fserve.py",
        "/page/page.html",
        "//etc/passwd",
        "/page.html",
        "/%00",
        "/a",
    ],
)
def test_no_path_but_the_pages_own_is_there(server, path):
    status, headers = ask(server, path=path)
    assert status == 404
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_every_answer_has_the_headers_of_a_closed_page(server):
    for answered in (
        ask(server), ask(server, path="/"), ask(server, Host="evil.example"),
        ask(server, "DELETE", "/predict"), ask(server, path="/nowhere"),
    ):  # fmt: skip
        policy = answered[1]["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert answered[1]["X-Content-Type-Options"] == "nosniff"


# ---- The queue ----


class Gate:
    """A classifier that waits until it is opened, and keeps the sizes of its batches."""

    def __init__(self):
        self.open = threading.Event()
        self.entered = threading.Event()
        self.sizes = []
        self.classifier = Classifier(LABELS, self.classify)

    def classify(self, bitmaps):
        self.sizes.append(len(bitmaps))
        self.entered.set()
        assert self.open.wait(60)
        return ink_classifier()(bitmaps)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def waiting(url):
    return requests.get(f"{url}/health", timeout=60).json()["waiting"]


def test_what_waits_is_one_batch_and_each_gets_its_own_answer(gate, tmp_path):
    drawings = [json.loads(synthetic.drawing_line("star", n, seed=2)) for n in range(12)]
    tops = [1 + n % 4 for n in range(12)]
    with page_server(gate.classifier) as url, ThreadPoolExecutor(13) as pool:
        first = pool.submit(post, url, BODY)
        assert gate.entered.wait(60)
        others = [pool.submit(post, url, d, top=t) for d, t in zip(drawings, tops, strict=True)]
        wait_until(lambda: waiting(url) == 12)
        gate.open.set()
        assert first.result().ok
        answers = [future.result().json() for future in others]
    assert gate.sizes == [1, 12]
    expected = predicted(tmp_path, drawings, top=4)
    for answer, whole, top in zip(answers, expected, tops, strict=True):
        assert answer == whole | {"predictions": whole["predictions"][:top]}


def test_a_full_queue_asks_to_come_back(gate, monkeypatch):
    monkeypatch.setattr(batching, "MAX_WAITING", 2)
    with page_server(gate.classifier) as url, ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(post, url, BODY)]
        assert gate.entered.wait(60)
        futures += [pool.submit(post, url, BODY) for _ in range(2)]
        wait_until(lambda: waiting(url) == 2)
        refused = post(url, BODY)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.json() == {"error": "2 drawings wait already; try again"}
        gate.open.set()
        assert [future.result().status_code for future in futures] == [200] * 3
        assert post(url, BODY).ok


def test_others_are_answered_while_a_large_body_is_parsed(server, monkeypatch):
    gate, parse = threading.Event(), bodies.parse_body

    def wait(body):
        assert len(body) < 1000 or gate.wait(60)
        return parse(body)

    monkeypatch.setattr(bodies, "parse_body", wait)
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(post, server, BODY | {"drawing": SQUARE * 1000})
        try:
            assert post(server, BODY).ok
            assert not large.done()
        finally:
            gate.set()
        assert large.result().ok


def test_an_answer_that_takes_too_long_is_given_up(gate, monkeypatch):
    monkeypatch.setattr(batching, "MAX_SECONDS", 0.2)
    with page_server(gate.classifier) as url:
        late = post(url, BODY)
        assert (late.status_code, late.headers["Retry-After"]) == (503, "5")
        assert post(url, BODY).status_code == 503
        gate.open.set()
        monkeypatch.setattr(batching, "MAX_SECONDS", 60)
        assert post(url, BODY).ok
    assert gate.sizes == [1, 1]  # nobody waits for the second


def test_a_body_that_does_not_arrive_is_given_up(server, monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    place = urlsplit(server)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        received = b"".join(iter(lambda: connection.recv(4096), b""))  # until it is closed
    assert received.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("has_asked", [False, True])
def test_a_connection_without_a_request_is_closed_and_others_stay(server, monkeypatch, has_asked):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    place = urlsplit(server)
    other = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    assert ask_on(other) == 200
    used = other.sock
    with socket.create_connection((place.hostname, place.port), timeout=60) as silent:
        head = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
        if has_asked:
            silent.sendall(head + b"\r\n")
            assert silent.recv(4096).startswith(b"HTTP/1.1 200 ")
        silent.sendall(head)
        silent.settimeout(5)
        while silent.recv(4096):  # the rest of the answer
            pass  # until it is closed
    assert ask_on(other) == 200
    assert other.sock is used
    other.close()


def test_no_more_than_so_many_connections_are_served(monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    with page_server(ink_classifier()) as url:
        place = urlsplit(url)
        kept = [http.client.HTTPConnection(place.hostname, place.port) for _ in range(2)]
        statuses = [ask_on(connection) for connection in kept]
        assert statuses.count(503) >= 1
        for connection in kept:
            connection.close()
        wait_until(lambda: ask(url)[0] == 200)


def ask_on(connection):
    connection.request("GET", "/health")
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_requests_in_progress_are_answered_when_the_server_ends(gate):
    with ThreadPoolExecutor(3) as pool:
        with page_server(gate.classifier) as url:
            futures = [pool.submit(post, url, BODY)]
            assert gate.entered.wait(60)
            futures += [pool.submit(post, url, BODY) for _ in range(2)]
            wait_until(lambda: waiting(url) == 2)
            threading.Timer(0.3, gate.open.set).start()
        assert [future.result().status_code for future in futures] == [200] * 3
        with pytest.raises(requests.ConnectionError):
            post(url, BODY)


def test_a_model_that_fails_once_answers_the_next(capfd):
    failures = iter([ValueError("broken")])

    def classify(bitmaps):
        for failure in failures:
            raise failure
        return ink_classifier()(bitmaps)

    with page_server(Classifier(LABELS, classify)) as url:
        failed = post(url, BODY)
        assert failed.status_code == 500
        assert "default-src 'none'" in failed.headers["Content-Security-Policy"]
        assert "broken" not in failed.text
        assert post(url, BODY).ok
    assert "ValueError: broken" in capfd.readouterr().err


# ---- Its description ----


def schema_of(api, path, method, status):
    """Schema of an answer, with all that it refers to."""
    response = api["paths"][path][method]["responses"][str(status)]
    if "$ref" in response:
        response = api["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return response["content"]["application/json"]["schema"] | {"components": api["components"]}


def test_the_description_has_every_answer_and_its_form(server):
    api = requests.get(f"{server}/openapi.json", timeout=60).json()
    many = {"drawings": [BODY, CANVAS]}
    answers = [
        ("/model", "get", requests.get(f"{server}/model", timeout=60)),
        ("/health", "get", requests.get(f"{server}/health", timeout=60)),
        *(
            ("/predict", "post", post(server, body, **query))
            for body, query in [
                (BODY, {}), (BODY, {"bitmap": "true"}), (many, {}), (b"{", {}),
                ({"drawing": []}, {}), ({"drawings": [{}, BODY]}, {}), (b" " * (1 << 21), {}),
            ]
        ),
    ]  # fmt: skip
    for path, method, answered in answers:
        schema = schema_of(api, path, method, answered.status_code)
        jsonschema.validate(answered.json(), schema)
    assert {answered.status_code for *_, answered in answers} == {200, 400, 413, 422}
    drawings = api["components"]["schemas"]["Drawings"]["properties"]["drawings"]
    assert drawings["maxItems"] == bodies.MAX_DRAWINGS
    statuses = set(api["paths"]["/predict"]["post"]["responses"])
    assert statuses == {*("200", "400", "403", "408", "413", "415", "421", "422", "429", "503")}
