"""Prepares a data set: Quick, Draw! ndjson in, sharded TFRecords of 85×85 bitmaps out.

  python -m pipeline.main --input='drawings/*.ndjson' --output=data

Runs on all cores of this machine. Beam's own flags pass through: with --runner=DataflowRunner,
FlinkRunner, SparkRunner or PortableRunner the same job runs there.
"""

import _thread
import argparse
import difflib
import logging
import os
import re
import shlex
import signal
import sys
import tempfile
import threading
import time

import apache_beam as beam
import grpc
from absl import flags
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipeline import command, local_worker, publish, report, sampling
from pipeline.dataset import Manifest, read_labels
from pipeline.errors import RunError, UserError
from pipeline.progress import Progress, ProgressLines
from pipeline.sampling import Quotas
from pipeline.sources import match_files
from pipeline.transforms import PrepareSettings, prepare

_INPUT = flags.DEFINE_list("input", None, "Globs of simplified ndjson files, with commas between.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory to write the data set to.")
_LABELS = flags.DEFINE_string(
    "labels",
    None,
    "File with one label a line; the line number from 0 is the class index, drawings of other "
    "categories are left out. Default: all categories of the input, sorted.",
)
_TRAIN = flags.DEFINE_string(
    "train_per_category",
    "2000",
    "Training drawings of each category, or 'all' that the other splits leave.",
)
_VALIDATION = flags.DEFINE_integer(
    "validation_per_category", 1000, "Validation drawings of each category.", lower_bound=0
)
_TEST = flags.DEFINE_integer(
    "test_per_category", 0, "Test drawings of each category.", lower_bound=0
)
_RECOGNIZED_ONLY = flags.DEFINE_boolean(
    "recognized_only", False, "Use only drawings that Google's own model recognized in the game."
)
_MAX_REJECT_FRACTION = flags.DEFINE_float(
    "max_reject_fraction",
    0.01,
    "Fail if more than this share of the lines holds no usable drawing.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_OVERWRITE = flags.DEFINE_boolean(
    "overwrite",
    False,
    "Replace the data set that the output directory holds, once this one is done.",
)


def main(argv: list[str]) -> None:
    if not _INPUT.value or not _OUTPUT.value:
        raise UserError("--input and --output are needed (--help lists the flags)")
    options = _beam_options(argv[1:])
    quotas = Quotas(_train_quota(_TRAIN.value), _VALIDATION.value, _TEST.value)
    labels = read_labels(_LABELS.value) if _LABELS.value else None
    start = time.monotonic()
    summary, manifest = run(
        patterns=_INPUT.value,
        output=_OUTPUT.value,
        quotas=quotas,
        labels=labels,
        recognized_only=_RECOGNIZED_ONLY.value,
        max_reject_fraction=_MAX_REJECT_FRACTION.value,
        overwrite=_OVERWRITE.value,
        options=options,
    )
    print(report.table(summary, manifest))
    for warning in report.warnings(summary, quotas, _OUTPUT.value):
        print("warning:", warning, file=sys.stderr)
    print(f"Wrote {_OUTPUT.value} in {time.monotonic() - start:.0f} s.")


def run(
    *,
    patterns: list[str],
    output: str,
    quotas: Quotas,
    labels: tuple[str, ...] | None = None,
    recognized_only: bool = False,
    max_reject_fraction: float = 0.01,
    overwrite: bool = False,
    options: PipelineOptions | None = None,
) -> tuple[publish.Summary, Manifest]:
    """Prepares a data set, from globs to the manifest.

    Returns:
      What the job counted, and the manifest of the data set that is now in `output`.

    Raises:
      UserError: nothing matches, or `output` may not or cannot be written.
      RunError: the job failed, or rejected more than `max_reject_fraction` of the lines. No data
        set was written, and one that was there before still is.
    """
    files = match_files(patterns)
    publish.refuse_existing(output, overwrite=overwrite)
    staging = publish.clear_staging(output)
    settings = PrepareSettings(tuple(files), staging, labels, quotas, recognized_only)
    try:
        _run_job(settings, options if options is not None else PipelineOptions([]))
        summary = publish.read_summary(staging)
        if not summary.drawings.get("read"):
            raise RunError(report.no_drawings(summary, files))
        if summary.reject_fraction > max_reject_fraction:
            raise RunError(report.too_many_rejects(summary, max_reject_fraction, staging))
        sampling_settings = {
            "method": "hash",
            "hash": "blake2b-64",
            "hash_key": sampling.HASH_KEY.decode(),
            "train_per_category": "all" if quotas.train is None else quotas.train,
            "validation_per_category": quotas.validation,
            "test_per_category": quotas.test,
            "recognized_only": recognized_only,
        }
        return summary, publish.publish(output, summary, files, sampling_settings)
    except BaseException:  # Ctrl-C too
        publish.discard_shards(staging)
        raise


def _run_job(settings: PrepareSettings, options: PipelineOptions) -> None:
    """Runs the job where the flags say, by default on this machine."""
    if options.view_as(StandardOptions).runner not in (None, "DirectRunner"):
        with beam.Pipeline(options=options) as pipeline:
            prepare(pipeline, settings)
        return
    with tempfile.TemporaryDirectory() as directory:
        progress_file = os.path.join(directory, "progress")
        input_bytes = sum(file.bytes for file in settings.files)
        with ProgressLines(progress_file, input_bytes):
            _run_locally(settings._replace(progress=Progress(progress_file)), options)


def _run_locally(settings: PrepareSettings, options: PipelineOptions) -> None:
    """Runs the job on this machine, in as many processes as --direct_num_workers says.

    Beam's runner for one machine is named explicitly: `DirectRunner` may fetch and start Prism.
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
            prepare(pipeline, settings)
    except (RunError, RuntimeError) as error:  # RuntimeError: a worker's traceback, as text
        raise _own_error(error) from error
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


def _own_error(error: Exception) -> Exception:
    """The RunError that a worker raised, without what Beam put around it; else `error` itself."""
    name = f"{RunError.__module__}.{RunError.__name__}: "
    text = name + str(error) if isinstance(error, RunError) else str(error)
    messages = re.findall(rf"^{re.escape(name)}(.*?)(?: \[while running .*)?$", text, re.MULTILINE)
    return RunError(messages[-1]) if messages else error


def _train_quota(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal():
        raise UserError(f"--train_per_category: a whole number or 'all', not {text!r}")
    return int(text)


def _beam_options(arguments: list[str]) -> PipelineOptions:
    """Beam's own flags; one that neither Beam nor this command knows is refused."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)  # type: ignore[arg-type]
    try:
        _, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None
    if unknown:
        name = unknown[0].lstrip("-").split("=")[0]
        close = difflib.get_close_matches(name, flags.FLAGS)
        hint = f"; did you mean --{close[0]}?" if close else " (--help lists the flags)"
        raise UserError(f"unknown flag or argument {unknown[0]}{hint}")
    return PipelineOptions(["--direct_num_workers=0", *arguments])  # 0: all cores; Beam's own is 1


if __name__ == "__main__":
    command.run(main, pass_unknown_flags=True)
