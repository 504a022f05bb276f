"""Runs a Beam job on this machine: all cores, nothing downloaded, every failure one line."""

import _thread
import logging
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipeline import local_worker
from pipeline.errors import RunError


def run_locally(build: Callable[[beam.Pipeline], None], options: PipelineOptions) -> PipelineResult:
    """Runs the job that `build` adds to a pipeline, in as many processes as the options say.

    --direct_num_workers=0 is one process a core.
    Beam's runner for one machine is named explicitly: `DirectRunner` may fetch and start Prism.

    Returns:
      The finished run, which has the counters.

    Raises:
      RunError: a worker raised it, or a worker process died.
    """
    direct = options.view_as(DirectOptions)
    direct.direct_num_workers = direct.direct_num_workers or len(os.sched_getaffinity(0))
    environment = None  # this process
    if direct.direct_num_workers > 1:
        command_line = f"{shlex.quote(sys.executable)} -m {local_worker.__name__}"
        environment = SubprocessSDKEnvironment.from_command_string(command_line)
    dead_workers = _quiet_beam()
    try:
        with beam.Pipeline(runner=FnApiRunner(environment), options=options) as pipeline:
            build(pipeline)
        return pipeline.result
    except (RunError, RuntimeError) as error:  # RuntimeError: a worker's traceback, as text
        raise own_error(error) from error
    except KeyboardInterrupt:
        if dead_workers:
            raise RunError(f"a worker process died ({dead_workers[0]}); out of memory?") from None
        raise


def _quiet_beam() -> list[str]:
    """Keeps Beam's pages of traceback off the screen, and ends the run when a worker dies.

    Beam waits forever for a worker process that was killed. Here the main thread is interrupted
    then, and the list that is returned says what died. All this lasts as long as the process:
    Beam's threads end after its run.
    """
    dead_workers: list[str] = []

    def on_thread_error(args: threading.ExceptHookArgs) -> None:
        message = str(args.exc_value)
        if isinstance(args.exc_value, grpc.RpcError):
            pass  # the connection to a worker that is gone
        elif not message.startswith("Worker subprocess exited"):
            threading.__excepthook__(args)
        elif not message.endswith(f" {-signal.SIGINT}"):  # that is Ctrl-C, which we get ourselves
            dead_workers.append(message)
            _thread.interrupt_main()

    threading.excepthook = on_thread_error
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL + 1)
    return dead_workers


def own_error(error: Exception) -> Exception:
    """The RunError that a worker raised, without what Beam put around it; else `error` itself."""
    name = f"{RunError.__module__}.{RunError.__name__}: "
    text = name + str(error) if isinstance(error, RunError) else str(error)
    messages = re.findall(rf"^{re.escape(name)}(.*?)(?: \[while running .*)?$", text, re.MULTILINE)
    return RunError(messages[-1]) if messages else error
