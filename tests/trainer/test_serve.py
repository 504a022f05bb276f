"""Command trainer.serve: its models, its start without TensorFlow, its end, and wrong flags."""

import itertools
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from pipeline.cli import UserError
from tests.support.ndjson import ROOT, SQUARE
from tests.support.trainer_data import LABELS, tiny_experiment
from tests.support.warm_process import WarmProcess, run_module
from trainer.config import TrainConfig
from trainer.exports.classifiers import FILES
from trainer.exports.job import export_run
from trainer.serving import server
from trainer.train import train


@pytest.fixture(scope="module")
def run_dir(data, tmp_path_factory):
    """A run with an int8 export."""
    directory = str(tmp_path_factory.mktemp("serve") / "run")
    config = TrainConfig(
        dataset=data, run_dir=directory, experiment=tiny_experiment(), epochs=1, batch_size=10,
        learning_rate=1e-2, precision="float32",
    )  # fmt: skip
    train(config)
    export_run(directory, "best", ["tflite_int8"])
    return directory


@pytest.fixture(scope="module")
def model(run_dir):
    return f"{run_dir}/export/{FILES['tflite_int8']}"


class Served:
    """A process of the command, and where it listens."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self.first = self.process.stdout.readline()
        second = self.process.stdout.readline()
        found = re.fullmatch(r"open {3}(http://127\.0\.0\.1:\d+) {3}\(Ctrl-C ends it\)\n", second)
        assert found, self.process.communicate()
        self.url = found[1]

    def end(self, number=signal.SIGTERM):
        """Send a signal; return the status and what was printed from then on."""
        self.process.send_signal(number)
        output = self.process.communicate(timeout=60)
        return self.process.returncode, *output


@pytest.fixture
def started():
    """Function that starts the command; what it started is killed at the end."""
    all_served = []

    def start(*command):
        all_served.append(Served(command))
        return all_served[-1]

    yield start
    for served in all_served:
        served.process.kill()
        served.process.communicate()


def answer(url):
    return requests.post(f"{url}/predict", json={"drawing": SQUARE}, timeout=60).json()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_lite_model_is_served_without_tensorflow_until_a_signal(model, started, number):
    served = started(sys.executable, "-m", "trainer.serve", f"--model={model}", "--port=0")
    assert served.first == f"model  {FILES['tflite_int8']}, 3 categories\n"
    assert {each["label"] for each in answer(served.url)["predictions"]} == set(LABELS)
    assert requests.get(served.url, timeout=60).headers["Content-Type"].startswith("text/html")
    libraries = pathlib.Path(f"/proc/{served.process.pid}/maps").read_text(encoding="utf-8")
    assert "litert" in libraries
    assert "tensorflow/" not in libraries
    assert served.end(number) == (0, "stopped\n", "")


def test_clients_with_open_connections_lose_nothing_at_the_end(model, started):
    served = started(sys.executable, "-m", "trainer.serve", f"--model={model}", "--port=0")

    def ask_until_told_to_close(_):
        with requests.Session() as session:
            for count in itertools.count(1):
                answered = session.post(
                    f"{served.url}/predict", json={"drawing": SQUARE}, timeout=60
                )
                assert answered.status_code == 200
                if answered.headers.get("Connection") == "close":
                    return count

    assert answer(served.url)["predictions"]
    with ThreadPoolExecutor(4) as pool:
        counts = pool.map(ask_until_told_to_close, range(4))
        time.sleep(0.5)
        assert served.end() == (0, "stopped\n", "")
        assert min(counts) > 1


def test_a_second_signal_ends_it_at_once(model, started):
    code = (
        "from trainer import serve; from pipeline import cli;"
        "serve.server.LAST_CALL_SECONDS = 1000; serve.define_flags(); cli.run(serve.main)"
    )
    served = started(sys.executable, "-c", code, f"--model={model}", "--port=0")
    assert answer(served.url)["predictions"]  # it has started
    served.process.send_signal(signal.SIGTERM)
    headers = {}
    while headers.get("Connection") != "close":  # it has seen the signal
        headers = requests.get(f"{served.url}/health", timeout=60).headers
    assert served.end(signal.SIGINT) == (0, "stopped\n", "")


def test_the_answer_is_a_line_of_predict(model, started):
    served = started(sys.executable, "-m", "trainer.serve", f"--model={model}", "--port=0")
    line = json.dumps({"drawing": SQUARE}) + "\n"
    done = run_module("trainer.predict", [f"--model={model}", "-"], stdin=line)
    assert answer(served.url) == json.loads(done.stdout)


def test_a_run_is_served_with_its_name(run_dir):
    arguments = (f"--run_dir={run_dir}", "--checkpoint=last", "--port=0")
    served = WarmProcess("trainer.serve", arguments)
    served.wait_for_line("open   http://")
    served.send_signal(signal.SIGTERM)
    done = served.finish()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("model  run, 3 categories\n")


def test_make_draw_starts_the_server(model, started):
    flags = f"FLAGS=--port=0 --model={shlex.quote(model)}"
    command = ["make", "--dry-run", "draw", flags]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in printed.splitlines() if "trainer.serve" in line]
    served = started(sys.executable, *shlex.split(line)[1:])
    assert answer(served.url)["predictions"]
    assert served.end()[0] == 0


def test_the_page_opens_in_the_browser_if_asked_to(model, started, tmp_path, monkeypatch):
    opened = tmp_path / "opened"
    monkeypatch.setenv("BROWSER", f"sh -c 'echo %s > {opened}'")
    served = started(sys.executable, "-m", "trainer.serve", f"--model={model}", "--port=0")
    assert answer(served.url)["predictions"]
    assert not opened.exists()
    served = started(
        sys.executable, "-m", "trainer.serve", f"--model={model}", "--port=0", "--open"
    )
    assert answer(served.url)["predictions"]
    assert opened.read_text() == f"{served.url}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run_dir=a", "--model=b"], "--run_dir or --model, not both"),
        (["--model=b", "--checkpoint=last"], "--checkpoint chooses from a --run_dir"),
        (["--model=none.tflite"], "none.tflite: no such file or directory"),
        (["--host=192.0.2.1"], "cannot listen on 192.0.2.1, port 0: "),
        (["--host=no such name"], "cannot listen on no such name, port 0: "),
        (["drawing.ndjson"], "'drawing.ndjson' is not a flag"),
    ],
)
def test_wrong_flags_are_one_line(arguments, message):
    done = run_module("trainer.serve", ["--port=0", *arguments])
    assert done.stderr.startswith(f"error: {message}")
    assert (done.stderr.count("\n"), done.stdout, done.returncode) == (1, "", 2)


def test_a_port_in_use_is_told_before_a_model_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_module("trainer.serve", [f"--port={port}", "--model=none.tflite"])
    assert done.stderr == (
        f"error: cannot listen on 127.0.0.1, port {port}: Address already in use; "
        "--port=0 takes a free one\n"
    )
    assert done.returncode == 2


def test_the_address_of_the_sixth_version_has_brackets():
    try:
        listener = server.listen("::1", 0)
    except UserError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert server.url(listener) == f"http://[::1]:{listener.getsockname()[1]}"
