"""One run of the pipeline, from globs to a complete data set."""

import os
import tempfile

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from pipeline import publish, report, sampling
from pipeline.dataset import Manifest
from pipeline.errors import RunError, UserError
from pipeline.local_runner import run_locally
from pipeline.progress import Progress, ProgressLines
from pipeline.sampling import Quotas
from pipeline.sources import match_files
from pipeline.transforms import PrepareSettings, prepare


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
      UserError: nothing matches, the input has no drawings or none of a label, or `output` may
        not or cannot be written.
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
            raise UserError(report.no_drawings(summary, files))
        if summary.reject_fraction > max_reject_fraction:
            raise RunError(report.too_many_rejects(summary, max_reject_fraction, staging))
        for label in summary.labels:
            if label not in summary.drawings["read"]:
                raise UserError(report.unknown_label(label, summary))
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
            settings = settings._replace(progress=Progress(progress_file))
            run_locally(lambda pipeline: prepare(pipeline, settings), options)
