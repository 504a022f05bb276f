"""Serves a page to draw on, where a trained model says what it sees.

  python -m trainer.serve
  python -m trainer.serve --run_dir=runs/E3_8
  python -m trainer.serve --model=runs/E3_8/export/model_int8.tflite --port=8080

Serves the pretrained model of all 345 categories, or a run, or one of its exports, and prints the
address to open in a browser (--open opens it). Drawings are preprocessed as by trainer.predict.
They can be saved as ndjson, which pipeline.main reads. Programs send drawings to POST /predict;
the page /api says how. Only this machine can connect, unless --host says otherwise. On Ctrl-C
or SIGTERM the server answers the requests in progress and exits with status 0.
"""

import os
import signal
import socket
import warnings
import webbrowser

import numpy as np
from absl import flags

from pipeline import cli
from pipeline.dataset.records import IMAGE_SIZE
from trainer.exports import classifiers
from trainer.serving import application, server
from trainer.serving.guard import Guard


def define_flags() -> None:
    classifiers.define_flags()
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Address or name to listen on. Other machines can connect unless it is a loopback one.",
    )
    cli.define_integer(
        "port", 8000, "Port to listen on; 0 takes a free one.", lower_bound=0, upper_bound=65535
    )
    flags.DEFINE_boolean("open", False, "Open the page in the browser, where there is a screen.")


def main(_: list[str]) -> None:
    args = flags.FLAGS
    classifiers.check_flags()
    listener = server.listen(args.host, args.port)  # before the model loads: it may be in use
    classifier, name = classifiers.load_chosen()
    classifier(np.zeros((1, IMAGE_SIZE, IMAGE_SIZE), np.uint8))  # the first time is slower
    app = application.make_application(classifier, name, args.host)
    print(f"model  {name}, {len(classifier.labels)} categories", flush=True)
    print(f"open   {server.url(listener)}   (Ctrl-C ends it)", flush=True)
    if args.open and {"BROWSER", "DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        webbrowser.open(server.url(listener))  # it is answered as soon as the server runs
    serve(app, listener)


def serve(app: Guard, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or Ctrl-C, and then those in progress."""
    # Uvicorn raises the signal again when it has ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Of the coroutine of its run, if a signal comes before that starts.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    try:
        server.make_server(app).run([listener])
    except KeyboardInterrupt:
        print("stopped", flush=True)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
