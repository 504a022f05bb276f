"""Checks of a job for Dataflow before it is sent; Beam or a worker would fail late."""

from collections.abc import Iterable

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)

from pipeline.cli import UserError


def check_flags(options: PipelineOptions, patterns: Iterable[str], output: str) -> None:
    """Refuses flags with which a job on Dataflow cannot end in a data set.

    Raises:
      UserError: the job is for Dataflow, and input, output or the temporary directory is not on
        gs://, its workers would not have this code, or the job is to be a template.
    """
    if not _is_for_dataflow(options):
        return
    google = options.view_as(GoogleCloudOptions)
    if google.template_location:
        raise UserError(
            "--template_location: not supported, because the command that starts a job completes "
            "its data set"
        )
    # Beam would make a bucket of its own without it, or where it is a local path.
    temporary = google.temp_location or google.staging_location
    if temporary is None:
        raise UserError("--temp_location=gs://BUCKET/… is needed for Dataflow")
    for flag, path in (
        *(("--input", pattern) for pattern in patterns),
        ("--output", output),
        ("--temp_location", temporary),
    ):
        if not path.startswith("gs://"):
            raise UserError(f"{flag}: Dataflow's workers see gs://BUCKET/…, but not {path}")
    setup = options.view_as(SetupOptions)
    image = options.view_as(WorkerOptions).sdk_container_image
    if not (image or setup.setup_file or setup.extra_packages or setup.requirements_file):
        raise UserError(
            "--setup_file=./setup.py is needed for Dataflow, or an image made with "
            "pipeline/worker.Dockerfile as --sdk_container_image; that is how its workers get this "
            "code"
        )


def is_dry_run(options: PipelineOptions) -> bool:
    """Tell whether the job is built and not sent, which Beam supports only for Dataflow."""
    return _is_for_dataflow(options) and bool(options.view_as(TestOptions).dry_run)


def _is_for_dataflow(options: PipelineOptions) -> bool:
    runner = options.view_as(StandardOptions).runner or ""
    return runner.lower() in ("dataflow", "dataflowrunner")  # as Beam does
