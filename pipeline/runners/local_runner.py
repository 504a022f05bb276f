"""Runs a Beam job on this machine: all cores, nothing downloaded, every failure one line."""

import contextlib
import logging
import math
import os
import queue
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.environments import Environment, SubprocessSDKEnvironment

from pipeline.cli import RunError
from pipeline.runners import local_worker

# A worker process starts in about three seconds: of two cores, the second one saves as much on
# 60,000 drawings. 10,000 take 4.4 s in one process, 7.1 s in two workers.
FEW_DRAWINGS = 60_000
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECOND_NEWS_SECONDS = 1.0  # between a worker's death and what came with it
_WORKER_END_SECONDS = 5.0  # for a killed worker to be gone
_BEAM_WORKER_THREAD = "run_worker"  # starts a worker process and waits for its end
_DEATH = "Worker subprocess exited with return code "  # how that thread ends


class _WorkerDeathError(RunError):
    """Death of a worker process that Beam still waits for."""

    def __init__(self, status: int) -> None:
        self.signal = -status  # if positive
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else "failed"
        hint = "; out of memory?" if self.signal == signal.SIGKILL else f" (status {status})"
        super().__init__(f"a worker process {how}{hint}")


def run_locally(
    build: Callable[[beam.Pipeline], None], options: PipelineOptions, drawings: float = math.inf
) -> PipelineResult:
    """Run the job that `build` adds to a pipeline, in as many processes as the options say.

    Beam's runner for one machine is named explicitly: `DirectRunner` may fetch and start Prism.

    Args:
      build: adds the job.
      options: with --direct_num_workers=0, a process a core, or this one for FEW_DRAWINGS.
      drawings: how many there are, about.

    Returns:
      The finished run, which has the counters.

    Raises:
      RunError: a worker raised it, a worker process died, or SIGTERM or SIGHUP came.
    """
    direct = options.view_as(DirectOptions)
    given = direct.direct_num_workers
    cores = len(os.sched_getaffinity(0))
    direct.direct_num_workers = given or (1 if drawings <= FEW_DRAWINGS else cores)

    def run(environment: Environment | None = None) -> PipelineResult:
        with beam.Pipeline(runner=FnApiRunner(environment), options=options) as pipeline:
            build(pipeline)
        return pipeline.result

    with _stop_signals_raise():
        try:
            if direct.direct_num_workers == 1:  # this process
                _quiet_beam()
                return run()
            return _run_with_workers(run)
        except (RunError, RuntimeError) as error:  # RuntimeError: a worker's traceback, as text
            raise worker_error(error) from error
        finally:
            direct.direct_num_workers = given


def _run_with_workers(run: Callable[[Environment], PipelineResult]) -> PipelineResult:
    """Calls `run` in a thread, and kills the workers where it does not end well.

    Beam waits forever for a worker that was killed, in locks that nothing opens. This thread waits
    for the first news instead: the run's end, a worker's death, a signal. Beam's thread and those
    that it starts are daemons, so the process ends without them.
    """
    news: queue.SimpleQueue[PipelineResult | BaseException] = queue.SimpleQueue()

    def run_and_tell() -> None:
        # Workers ignore Ctrl-C, which this process gets too: Python's start would show a traceback.
        # With exec they are children of this process, not of a shell that it would kill instead.
        python = shlex.quote(sys.executable)
        command_line = f"trap '' INT; exec {python} -m {local_worker.__name__} {os.getpid()}"
        try:
            news.put(run(SubprocessSDKEnvironment.from_command_string(command_line)))
        except BaseException as error:
            news.put(error)

    _quiet_beam(news.put)
    try:
        threading.Thread(target=run_and_tell, daemon=True).start()
        end = news.get()
        if isinstance(end, _WorkerDeathError) and end.signal in _STOP_SIGNALS:
            time.sleep(_SECOND_NEWS_SECONDS)  # all of us were sent it: ours is on its way
        elif isinstance(end, BaseException) and not isinstance(worker_error(end), RunError):
            with contextlib.suppress(queue.Empty):  # Beam stumbled over a worker that has died
                end = news.get(timeout=_SECOND_NEWS_SECONDS)
        if isinstance(end, BaseException):
            raise end
        return end
    except BaseException:
        _kill_workers()
        raise


def _kill_workers() -> None:
    """Kills the worker processes of this one until they are gone; one may just be starting."""
    arguments = f"\0-m\0{local_worker.__name__}\0{os.getpid()}\0".encode()
    deadline = time.monotonic() + _WORKER_END_SECONDS
    while time.monotonic() < deadline:
        if not any(thread.name == _BEAM_WORKER_THREAD for thread in threading.enumerate()):
            return
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                if (process / "cmdline").read_bytes().endswith(arguments):
                    os.kill(int(process.name), signal.SIGKILL)
        time.sleep(0.02)


@contextlib.contextmanager
def _stop_signals_raise() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end what is inside as Ctrl-C does, so that all can be cleaned up.

    One that is ignored (nohup) or that the caller handles stays so. Only the main thread can do
    this.

    Raises:
      KeyboardInterrupt: Ctrl-C came, whatever the code inside has made of the exception: Beam turns
        one in a DoFn into a RuntimeError.
      RunError: another of the signals came.
    """
    came: list[signal.Signals] = []

    def stop(number: int, _: FrameType | None) -> None:
        came.append(signal.Signals(number))
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    ours = [n for n in before if before[n] in (signal.SIG_DFL, signal.default_int_handler)]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    try:
        for number in ours:
            signal.signal(number, stop)
        yield
    except BaseException:
        if not came:
            raise
    finally:
        for number in ours:
            signal.signal(number, before[number])
    if came:
        if came[0] == signal.SIGINT:
            raise KeyboardInterrupt
        raise RunError(f"stopped by {came[0].name}")


def _quiet_beam(on_death: Callable[[_WorkerDeathError], None] | None = None) -> None:
    """Keeps Beam's pages of traceback off the screen; tells `on_death` of a worker that dies.

    All this lasts as long as the process: Beam's threads end after its run.
    """

    def on_thread_error(args: threading.ExceptHookArgs) -> None:
        message = str(args.exc_value)
        if message.startswith(_DEATH) and on_death is not None:
            on_death(_WorkerDeathError(int(message.removeprefix(_DEATH))))
        elif not isinstance(args.exc_value, grpc.RpcError):  # the connection to one that is gone
            threading.__excepthook__(args)

    threading.excepthook = on_thread_error
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL + 1)


def worker_error(error: BaseException) -> BaseException:
    """Return the RunError that a worker raised, out of Beam's traceback; else `error` itself."""
    name = f"{RunError.__module__}.{RunError.__name__}: "
    text = name + str(error) if isinstance(error, RunError) else str(error)
    messages = re.findall(rf"^{re.escape(name)}(.*?)(?: \[while running .*)?$", text, re.MULTILINE)
    return RunError(messages[-1]) if messages else error
