"""Serves a page to draw on, where a trained model says what it sees.

  python -m trainer.serve
  python -m trainer.serve --run_dir=runs/E3_8
  python -m trainer.serve --model=runs/E3_8/export/model_int8.tflite --port=8080

Serves the pretrained model of all 345 categories, or a run, or one of its exports, and prints the
address to open in a browser. Drawings are seen as by trainer.predict. What is drawn can be saved
as ndjson, which pipeline.main reads. Programs send drawings to POST /predict; the page /api says
how. Only this machine can connect, unless --host says otherwise. Ctrl-C or SIGTERM answers the
requests in progress and ends the server with status 0.
"""

import errno
import os
import signal
import socket

import numpy as np
import uvicorn
from absl import flags
from starlette.types import ASGIApp

from pipeline import cli
from pipeline.cli import UserError
from pipeline.dataset.records import IMAGE_SIZE
from trainer.exports import classifiers
from trainer.exports.classifiers import Classifier
from trainer.runs.state import define_checkpoint_flag
from trainer.serving import application

MAX_CONNECTIONS = 256
IDLE_SECONDS = 30  # until a connection without requests is closed
ENDING_SECONDS = 35  # for requests in progress; longer than any may take


def define_flags() -> None:
    cli.define_path("run_dir", None, "Run directory of trainer.main.", is_for_tensorflow=True)
    define_checkpoint_flag("With --run_dir: ")
    cli.define_path(
        "model",
        None,
        "Instead of --run_dir: an export, a .keras or .tflite file or a SavedModel directory.",
        kind="PATH",
        is_for_tensorflow=True,
    )
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Address or name to listen on. Others than this machine's own loopback let others in.",
    )
    cli.define_integer(
        "port", 8000, "Port to listen on; 0 takes a free one.", lower_bound=0, upper_bound=65535
    )


def main(_: list[str]) -> None:
    args = flags.FLAGS
    if args.run_dir and args.model:
        raise UserError("--run_dir and --model exclude each other")
    if args["checkpoint"].present and not args.run_dir:
        raise UserError("--checkpoint chooses from a --run_dir")
    listener = listen(args.host, args.port)  # before the model loads: it may be in use
    classifier, name = load_classifier(args.run_dir, args.checkpoint, args.model)
    classifier(np.zeros((1, IMAGE_SIZE, IMAGE_SIZE), np.uint8))  # the first time is slower
    app = application.make_application(classifier, name, args.host)
    print(f"model  {name}, {len(classifier.labels)} categories", flush=True)
    print(f"open   {url(listener)}   (Ctrl-C ends it)", flush=True)
    serve(app, listener)


def load_classifier(
    run_dir: str | None, checkpoint: str, model: str | None
) -> tuple[Classifier, str]:
    """Load the model to serve: of a run, of an export, or the pretrained one; and its name.

    Raises:
      UserError: it cannot be loaded.
    """
    if run_dir:
        return classifiers.load_run(run_dir, checkpoint), os.path.basename(os.path.abspath(run_dir))
    if model:
        return classifiers.load_export(model), os.path.basename(os.path.abspath(model))
    return classifiers.load_pretrained(), "pretrained"


def listen(host: str, port: int) -> socket.socket:
    """Open the socket that the server listens on.

    Raises:
      UserError: the address is not this machine's, or the port is in use.
    """
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        is_name = isinstance(error, socket.gaierror)  # its numbers are of their own
        reason = error.strerror if is_name else os.strerror(error.errno or 0)
        free = "; --port=0 takes a free one" if error.errno == errno.EADDRINUSE else ""
        raise UserError(f"cannot listen on {host}, port {port}: {reason}{free}") from None
    # Connections inherit it; asyncio sets it only on those of listeners that it opened itself, and
    # without it the second packet of an answer waits 40 ms for the acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url(listener: socket.socket) -> str:
    """Return the address to open in a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or Ctrl-C, and then those in progress."""
    # Uvicorn raises the signal again when it has ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        make_server(app).run([listener])
    except KeyboardInterrupt:
        print("stopped", flush=True)


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Make the server of an application, with its limits of connections and time."""
    config = uvicorn.Config(
        app,
        http="h11",  # limits the size of headers, which httptools does not
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=ENDING_SECONDS,
    )
    return uvicorn.Server(config)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
