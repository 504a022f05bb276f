"""One run of the pipeline, from globs to a complete data set."""

import os
import tempfile

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import dataflow, publish, report, sampling
from pipeline.dataset import Manifest
from pipeline.errors import RunError, UserError
from pipeline.local_runner import run_locally
from pipeline.paths import is_remote
from pipeline.progress import Progress, ProgressLines
from pipeline.remote_runner import is_remote_run, run_remotely
from pipeline.sampling import Quotas
from pipeline.settings import PrepareSettings
from pipeline.sources import match_files
from pipeline.transforms import prepare


def run(
    *,
    patterns: list[str],
    output: str,
    quotas: Quotas,
    labels: tuple[str, ...] | None = None,
    sampling_method: str = "hash",
    recognized_only: bool = False,
    image_encoding: str = "packed",
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
    if sampling_method == "first" and quotas.train is None:
        raise UserError("--sampling=first needs a number for --train_per_category, not 'all'")
    options = options if options is not None else PipelineOptions([])
    FileSystems.set_options(options)  # whose credentials, for example
    if is_remote_run(options):  # its workers have working directories of their own
        patterns = [_absolute(pattern) for pattern in patterns]
        output = _absolute(output)
        dataflow.check_flags(options, patterns, output)
    files = match_files(patterns)
    publish.refuse_existing(output, overwrite=overwrite)
    staging = publish.clear_staging(output)
    settings = PrepareSettings(
        files=tuple(files),
        staging=staging,
        labels=labels,
        quotas=quotas,
        sampling=sampling_method,
        recognized_only=recognized_only,
        image_encoding=image_encoding,
    )
    try:
        _run_job(settings, options)
        summary = publish.read_summary(staging)
        if not summary.drawings.get("read"):
            raise UserError(report.no_drawings(summary, files))
        if summary.reject_fraction > max_reject_fraction:
            raise RunError(report.too_many_rejects(summary, max_reject_fraction, staging))
        for label in summary.labels:
            if label not in summary.drawings["read"]:
                raise UserError(report.unknown_label(label, summary))
        sampling_settings = {
            "method": sampling_method,
            "hash": "blake2b",
            "hash_key": sampling.HASH_KEY.decode(),
            "train_per_category": "all" if quotas.train is None else quotas.train,
            "validation_per_category": quotas.validation,
            "test_per_category": quotas.test,
            "recognized_only": recognized_only,
        }
        manifest = publish.publish(
            output, staging, summary, files, sampling_settings, image_encoding
        )
        return summary, manifest
    except BaseException:  # Ctrl-C too
        publish.discard_shards(staging)
        raise


def _run_job(settings: PrepareSettings, options: PipelineOptions) -> None:
    """Runs the job where the flags say, by default on this machine."""
    if is_remote_run(options):
        run_remotely(lambda pipeline: prepare(pipeline, settings), options)
        if not is_remote(settings.staging) and not os.listdir(settings.staging):
            raise RunError(
                f"the job is done, but {settings.staging} is empty: the workers wrote to the "
                "directory of this name on their machines; it has to be one that all share, or gs://…"
            )
        return
    beside_output = None if is_remote(settings.staging) else settings.staging
    with tempfile.TemporaryDirectory(dir=beside_output, ignore_cleanup_errors=True) as directory:
        progress_file = os.path.join(directory, "progress")
        input_bytes = sum(file.bytes for file in settings.files)
        settings = settings._replace(progress=Progress(progress_file), spill_directory=directory)
        with ProgressLines(progress_file, input_bytes):
            run_locally(lambda pipeline: prepare(pipeline, settings), options)


def _absolute(path: str) -> str:
    return path if is_remote(path) else os.path.abspath(path)
