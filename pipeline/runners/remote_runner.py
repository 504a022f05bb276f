"""Runs a Beam job on the engine that --runner names: Beam's log lines, every failure one line."""

import contextlib
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.runners.runner import PipelineResult, PipelineState
from apache_beam.runners.worker.bundle_processor import BundleProcessor

from pipeline.cli import ContactLost, DryRun, RunError, UserError
from pipeline.runners.dataflow import is_dry_run
from pipeline.runners.local_runner import worker_error

_LONGEST_REASON = 200  # characters: Go's panics show whole structures
_WORKER_LOG = "apache_beam.runners.worker"  # of workers in this process
_WORKER_SECONDS = 10


def is_remote_run(options: PipelineOptions) -> bool:
    """Tell whether --runner names an engine; none, or `DirectRunner`, is this machine's own."""
    runner = options.view_as(StandardOptions).runner
    return runner is not None and runner.lower() not in ("direct", "directrunner")  # as Beam does


def run_remotely(build: Callable[[beam.Pipeline], None], options: PipelineOptions) -> None:
    """Runs the job that `build` adds to a pipeline where --runner says, and waits for its end.

    What Beam logs on the way goes to the screen: where the job can be seen, its states, what its
    workers say. Ctrl-C cancels the job.

    Raises:
      UserError: Beam knows no such runner, or the runner's flags do not do.
      DryRun: it was to be built only, and was.
      RunError: the job failed, was cancelled, or its runner does not answer.
      ContactLost: the job may go on: its runner does not answer any more, or cannot cancel it.
    """
    standard = options.view_as(StandardOptions)
    setup = options.view_as(SetupOptions)
    if setup.setup_file:  # Beam goes to its directory, which for a plain name is ""
        setup.setup_file = os.path.abspath(setup.setup_file)
    if standard.no_wait_until_finish:
        raise UserError(
            "--no_wait_until_finish: not supported, because this command completes the data set "
            "after the job"
        )
    try:
        pipeline = beam.Pipeline(options=options)
    except (ImportError, AttributeError, ValueError) as error:
        text = str(error).removeprefix("Pipeline has validations errors: ")  # a line each
        raise UserError(f"--runner={standard.runner}: {text.strip()}") from None
    build(pipeline)
    try:
        with _readable_log():
            state = _run(pipeline)
    except _LostError as error:
        raise ContactLost(
            f"{error} {standard.runner}, which may go on ({_reason(error.__cause__)}); when it is "
            "done, rerun the command, or use --finish, to complete the data set"
        ) from error.__cause__
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"--runner={standard.runner}: {_reason(error)}") from error
    except grpc.FutureTimeoutError:
        endpoint = options.view_as(PortableOptions).job_endpoint
        raise UserError(f"--job_endpoint={endpoint}: no job service answers there") from None
    except grpc.RpcError as error:
        text = f"no answer from the job service of {standard.runner}: {_reason(error)}"
        raise RunError(text) from error
    except Exception as error:  # each runner has its own
        own = worker_error(error)
        if isinstance(own, RunError):
            raise RunError(f"on a worker of {standard.runner}: {own}") from error
        raise RunError(f"the job on {standard.runner} failed: {_reason(error)}") from error
    if is_dry_run(options):
        raise DryRun("Dry run: the job was built but not sent, and no data set was written.")
    if state != PipelineState.DONE:
        raise RunError(f"the job on {standard.runner} did not finish; its state is {state}")


class _LostError(Exception):
    """Loss of contact with a job that may go on; `__cause__` says why."""


def _run(pipeline: beam.Pipeline) -> str:
    """Submits the job, waits for it, and returns its last state; Ctrl-C cancels it.

    Raises:
      _LostError: the job was submitted, and may go on.
      Exception: whatever the runner raises.
    """
    on_interrupt = signal.getsignal(signal.SIGINT)
    result = pipeline.run()
    # From here on a job server that Beam has started speaks of itself only, in thousands of lines.
    for name in ("FlinkJarJobServer", "SparkJarJobServer"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if signal.getsignal(signal.SIGINT) != on_interrupt:
        # A job server that Beam has started would end before it could cancel the job.
        signal.signal(signal.SIGINT, on_interrupt)
    try:
        return str(result.wait_until_finish())
    except KeyboardInterrupt:
        _cancel(result)
        raise
    except Exception as error:
        if not _has_ended(result):
            raise _LostError("lost sight of the job on") from error
        raise
    finally:
        _wait_for_workers_here()


def _cancel(result: PipelineResult) -> None:
    try:
        result.cancel()
    except (Exception, KeyboardInterrupt) as error:  # Ctrl-C again
        if not _has_ended(result):
            cause = error if isinstance(error, Exception) else InterruptedError("interrupted")
            raise _LostError("cannot cancel the job on") from cause
    else:
        logging.warning("the job was told to stop")


def _has_ended(result: PipelineResult) -> bool:
    """Tell whether a job is known to be done, failed or cancelled."""
    try:
        return PipelineState.is_terminal(result.state)
    except (Exception, KeyboardInterrupt):  # its runner does not answer
        return False


def _wait_for_workers_here() -> None:
    """Lets workers in this process (LOOPBACK) finish what they are at, for up to ten seconds.

    Beam leaves them to themselves when a job ends early. They would write shards after the others
    were deleted, and Python aborts if it ends while one is inside a library in C++.
    """
    logging.getLogger(_WORKER_LOG).setLevel(logging.CRITICAL)  # they stumble over what is gone
    code = BundleProcessor.process_bundle.__code__
    deadline = time.monotonic() + _WORKER_SECONDS
    while time.monotonic() < deadline:
        stacks = map(traceback.walk_stack, sys._current_frames().values())
        if not any(frame.f_code is code for stack in stacks for frame, _ in stack):
            return
        time.sleep(0.05)


@contextlib.contextmanager
def _readable_log() -> Iterator[None]:
    """Leaves out what only repeats how the run ends, with pages of traceback."""

    def is_news(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (_is_own(error) or _is_own(RuntimeError(record.getMessage())))

    def on_thread_error(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, grpc.RpcError):  # else the main thread gets it too
            logging.error("in a thread of Beam", exc_info=args.exc_value)

    logging.getLogger(_WORKER_LOG).setLevel(logging.WARNING)  # not each channel and cache
    threading.excepthook = on_thread_error  # for good: Beam's threads end after its run
    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(is_news)
    try:
        # Workers in this process (LOOPBACK) print each traceback that they log.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_news)
        # A job server that Beam has started is stopped when this process ends.
        logging.getLogger("apache_beam.utils.subprocess_server").setLevel(logging.ERROR)


def _is_own(error: BaseException | None) -> bool:
    return isinstance(error, Exception) and isinstance(worker_error(error), RunError)


def _reason(error: BaseException | None) -> str:
    """Return the cause in an error of Beam or of an engine, which may hold several tracebacks."""
    text = str(error)
    if details := re.findall(r'^\s*details = "(.*)"$', text, re.MULTILINE):  # of gRPC
        return str(details[-1])
    if raised := re.findall(r"^(?:Caused by: )?([\w.$]+(?:Error|Exception): .*)$", text, re.M):
        return str(raised[-1])
    text = re.sub(r"^Pipeline .* failed in state FAILED: ", "", text)
    line = text.strip().partition("\n")[0] or repr(error)  # a stack of Go's may follow
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}…"
