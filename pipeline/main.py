"""Prepares a data set: Quick, Draw! ndjson in, sharded TFRecords of 85×85 bitmaps out.

  python -m pipeline.main --input='drawings/*.ndjson' --output=data

Runs on all cores of this machine. Beam's own flags pass through: with --runner=DataflowRunner,
FlinkRunner, SparkRunner or PortableRunner the same job runs there.
"""

import argparse
import difflib
import logging
import os
import re
import sys
import tempfile
import time

import apache_beam as beam
from absl import flags
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import command, publish, report, sampling
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
    "overwrite", False, "Replace the data set that the output directory holds, once this one is done."
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
    options = options if options is not None else PipelineOptions([])
    with tempfile.TemporaryDirectory() as local_directory:
        local = options.view_as(StandardOptions).runner in (None, "DirectRunner")
        progress_file = os.path.join(local_directory, "progress") if local else None
        settings = PrepareSettings(
            files=tuple(files),
            staging=staging,
            labels=labels,
            quotas=quotas,
            recognized_only=recognized_only,
            progress=Progress(progress_file),
        )
        if progress_file:
            with ProgressLines(progress_file, sum(file.bytes for file in files)):
                _run_locally(settings, options)
        else:
            with beam.Pipeline(options=options) as pipeline:
                prepare(pipeline, settings)
    summary = publish.read_summary(staging)
    if summary.reject_fraction > max_reject_fraction:
        raise RunError(report.too_many_rejects(summary, max_reject_fraction, staging))
    manifest = publish.publish(
        output,
        summary,
        files,
        {
            "method": "hash",
            "hash": "blake2b-64",
            "hash_key": sampling.HASH_KEY.decode(),
            "train_per_category": "all" if quotas.train is None else quotas.train,
            "validation_per_category": quotas.validation,
            "test_per_category": quotas.test,
            "recognized_only": recognized_only,
        },
    )
    return summary, manifest


def _run_locally(settings: PrepareSettings, options: PipelineOptions) -> None:
    """Runs the job on this machine, on as many processes as --direct_num_workers says.

    Beam's runner for one machine is named explicitly: `DirectRunner` may fetch and start Prism.
    It needs both the number of workers and the running mode to use more than one process.
    """
    direct = options.view_as(DirectOptions)
    workers = direct.direct_num_workers = direct.direct_num_workers or len(os.sched_getaffinity(0))
    direct.direct_running_mode = "in_memory" if workers == 1 else "multi_processing"
    beam_log = logging.getLogger("apache_beam")
    level = beam_log.level
    beam_log.setLevel(logging.CRITICAL)  # it logs a worker's error with pages of traceback
    try:
        with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
            prepare(pipeline, settings)
    except RuntimeError as error:  # what a worker raised, as text
        raise RunError(_worker_message(str(error))) from error
    finally:
        beam_log.setLevel(level)


def _worker_message(traceback: str) -> str:
    """The message of our own error inside a worker's traceback, or the traceback's last line."""
    own = re.findall(r"RunError: (.*?)(?: \[while running|$)", traceback, re.MULTILINE)
    return own[-1] if own else traceback.strip().splitlines()[-1]


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
        options._add_argparse_args(parser)
    try:
        _, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None
    if unknown:
        name = unknown[0].lstrip("-").split("=")[0]
        close = difflib.get_close_matches(name, flags.FLAGS)
        hint = f"; did you mean --{close[0]}?" if close else " (--help lists the flags)"
        raise UserError(f"unknown flag or argument {unknown[0]}{hint}")
    return PipelineOptions(arguments)


if __name__ == "__main__":
    command.run(main, pass_unknown_flags=True)
