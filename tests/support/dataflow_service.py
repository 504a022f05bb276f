"""Part of Dataflow's service that a launching command talks to, on the loopback."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "localhost"  # this name has Beam speak HTTP without TLS, and skip its check of the flags


class DataflowService:
    """Keeps what it is sent. A job is accepted, then has come to its end when it is asked about.

    With `run` it does the job first, in this process, and answers only then.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.requests: list[bytes] = []  # each to create a job
        self.paths: list[str] = []  # of these
        self.run: Callable[[dict[str, Any]], None] | None = None
        self.failure: Exception | None = None  # of `run`; the job has failed then
        self.last_state = "JOB_STATE_DONE"
        self.error_message = ""
        self.answers = True  # else 503 to who asks about the job, which runs

    def create(self, path: str, request: bytes) -> dict[str, Any]:
        self.requests.append(request)
        self.paths.append(path)
        if self.run:
            try:
                self.run(json.loads(request))
            except Exception as error:
                self.failure, self.last_state = error, "JOB_STATE_FAILED"
        # A job that is not seen to run need not be asked about again, which takes Beam 10 seconds.
        is_seen = self.error_message or not self.answers
        state = "JOB_STATE_RUNNING" if is_seen else self.last_state
        return {"id": "the-job", "name": json.loads(request)["name"], "currentState": state}

    def job(self) -> dict[str, Any]:
        return {"id": "the-job", "currentState": self.last_state}

    def messages(self) -> dict[str, Any]:
        message = {
            "id": "1",
            "time": "2026-01-01T00:00:00Z",
            "messageText": self.error_message,
            "messageImportance": "JOB_MESSAGE_ERROR",
        }
        return {"jobMessages": [message]}


@contextmanager
def running_dataflow() -> Iterator[DataflowService]:
    """A service for as long as the context lasts."""
    service = DataflowService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(service.create(self.path.partition("?")[0], request))

        def do_GET(self) -> None:
            if not service.answers:
                self.send_error(503)
                return
            path = self.path.partition("?")[0]
            self._answer(service.messages() if path.endswith("/messages") else service.job())

        def _answer(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        service.endpoint = f"http://{HOST}:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield service
        server.shutdown()
