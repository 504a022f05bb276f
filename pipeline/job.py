"""One run of the pipeline, from globs to a complete data set."""

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.cli import ContactLost, RunError, UserError, is_remote
from pipeline.dataset.manifests import MANIFEST, Manifest
from pipeline.graph import exclusion, sampling
from pipeline.graph.progress import Progress, ProgressLines
from pipeline.graph.sampling import Quotas
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.summary import REJECTS
from pipeline.graph.transforms import prepare
from pipeline.output import acceptance, publish, report, staging
from pipeline.output.commit import commit, finish_exchanges
from pipeline.output.output_lock import locked
from pipeline.output.publish import Summary
from pipeline.output.staging import Job
from pipeline.runners import dataflow
from pipeline.runners.local_runner import run_locally
from pipeline.runners.remote_runner import is_remote_run, run_remotely
from pipeline.sources.categories import file_categories
from pipeline.sources.input_files import (
    InputFile,
    estimated_drawings,
    input_versions,
    match_files,
)

# Of jobs that an earlier version has left to be finished.
_LATER_SETTINGS: dict[str, Any] = {
    "frame": "keep",
    "seed": 0,
    "excluded_keys": [],
    "keep_fields": [],
    "max_reject_fraction": 0.01,
}


def run(
    *,
    patterns: list[str],
    output: str,
    quotas: Quotas,
    labels: tuple[str, ...] | None = None,
    sampling_method: str = "hash",
    recognized_only: bool = False,
    image_encoding: str = "packed",
    keep_fields: Sequence[str] = (),
    frame: str = "auto",
    seed: int = 0,
    excluded_keys: Sequence[str] = (),
    max_reject_fraction: float = 0.01,
    overwrite: bool = False,
    options: PipelineOptions | None = None,
) -> tuple[Summary, Manifest]:
    """Prepare a data set, from globs to the manifest.

    A finished job of an earlier run with the same settings is completed, not run again.

    Returns:
      What the job counted, and what is now in `output`.

    Raises:
      UserError: nothing matches, the input has no drawings or none of a label, or `output` may
        not or cannot be written.
      RunError: the job failed, or rejected more than `max_reject_fraction` of the lines. No data
        set was written, and one that was there before still is.
    """
    _check_sampling(sampling_method, quotas, seed)
    options = options if options is not None else PipelineOptions([])
    FileSystems.set_options(options)  # whose credentials, for example
    if is_remote_run(options):  # its workers have working directories of their own
        patterns = [_absolute(pattern) for pattern in patterns]
        output = _absolute(output)
        dataflow.check_flags(options, patterns, output)
    files = match_files(patterns)
    staging.refuse_foreign(output)
    everywhere = [_absolute(pattern) for pattern in patterns]  # as --finish may start elsewhere
    settings = {
        "patterns": everywhere,
        "inputs": [[*file] for file in files],
        "input_versions": input_versions(everywhere),
        "labels": labels,
        "quotas": dataclasses.asdict(quotas),
        "sampling": sampling_method,
        "recognized_only": recognized_only,
        "image_encoding": image_encoding,
        "keep_fields": sorted(set(keep_fields)),
        "frame": frame,
        "seed": seed,
        "excluded_keys": sorted(set(excluded_keys)),
        "max_reject_fraction": max_reject_fraction,
        "overwrite": overwrite,
        "versions": publish.versions(),
    }
    settings = json.loads(json.dumps(settings))  # as it will be read again
    if dataflow.is_dry_run(options):  # touches no job in the output, where one may be running
        unused = f"{output}/{staging.STAGING}/dry_run"
        _run_remotely(_prepare_settings(settings, files, unused), options)  # raises DryRun
    with _locked(output) as directory:
        left = staging.jobs_in(directory)
        job = next((job for job in left if _is_same(job.settings, settings)), None)
        is_from_before = job is not None and _is_done(job)
        current = staging.read_manifest_file(f"{directory}/{MANIFEST}")
        if current and not overwrite and not (job and current == staging.next_manifest(job)):
            raise UserError(f"{output} already holds a data set; --overwrite replaces it")
        if job is None or not is_from_before:
            for job in left:
                staging.remove(job)
            job = staging.begin(directory, settings)
            _run_job(job, files, options)
        return _complete(job, max_reject_fraction, is_from_before=is_from_before)


def dry_run(
    *,
    patterns: list[str],
    quotas: Quotas,
    labels: tuple[str, ...] | None = None,
    sampling_method: str = "hash",
    recognized_only: bool = False,
    frame: str = "auto",
    seed: int = 0,
    excluded_keys: Sequence[str] = (),
    max_reject_fraction: float = 0.01,
    options: PipelineOptions | None = None,
) -> tuple[Summary, Manifest, Exception | None]:
    """Count what `run` would do, and write nothing.

    Returns:
      What the job counted, a manifest without shards, and the error with which `run` would end.

    Raises:
      UserError: nothing matches, or the job is to run elsewhere.
      RunError: the job failed.
    """
    _check_sampling(sampling_method, quotas, seed)
    options = options if options is not None else PipelineOptions([])
    if is_remote_run(options):
        raise UserError("--dry_run counts on this machine; leave --runner out")
    FileSystems.set_options(options)
    files = match_files(patterns)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        given = {
            "labels": labels,
            "quotas": dataclasses.asdict(quotas),
            "sampling": sampling_method,
            "recognized_only": recognized_only,
            "image_encoding": "packed",
            "keep_fields": (),
            "frame": frame,
            "seed": seed,
            "excluded_keys": excluded_keys,
        }
        settings = _prepare_settings(given, files, directory)
        _run_locally(settings._replace(is_dry_run=True), options)
        summary = publish.read_summary(directory)
    manifest = publish.planned_manifest(summary, files)
    try:
        acceptance.check(summary, files, labels, quotas, max_reject_fraction)
    except (UserError, RunError) as error:
        return summary, manifest, error
    return summary, manifest, None


def _check_sampling(method: str, quotas: Quotas, seed: int) -> None:
    if method == "first" and quotas.train is None:
        raise UserError("--sampling=first needs a number for --train_per_category, not 'all'")
    if method == "first" and seed:
        raise UserError("--seed applies to --sampling=hash only; 'first' uses no random numbers")


def finish(
    output: str, max_reject_fraction: float | None = None, options: PipelineOptions | None = None
) -> tuple[Summary, Manifest]:
    """Complete the data set of a finished job whose run was interrupted.

    Args:
      output: directory of the job.
      max_reject_fraction: as of `run`; None: as that run had it.
      options: for the credentials.

    Returns:
      What `run` does.

    Raises:
      UserError: there is no such job in `output`.
      RunError: as `run` does.
    """
    FileSystems.set_options(options if options is not None else PipelineOptions([]))
    staging.refuse_foreign(output)
    if not is_remote(output) and not os.path.isdir(output):
        raise UserError(f"{output}: no such directory")
    with _locked(output) as directory:
        left = staging.jobs_in(directory)
        done = [job for job in left if _is_done(job)]
        if done:
            return _complete(done[0], max_reject_fraction, is_from_before=True)
        for job in [job for job in left if staging.is_remains(job)]:
            staging.remove(job)
            left.remove(job)
        is_complete = staging.read_manifest_file(f"{directory}/{MANIFEST}") is not None
    if left:
        raise UserError(f"{output}: its job is not finished yet, or failed")
    if is_complete:
        raise UserError(f"{output}: the data set is already complete; --finish has nothing to do")
    raise UserError(f"{output}: no job for --finish to complete")


@contextlib.contextmanager
def _locked(output: str) -> Iterator[str]:
    """Hold the output's lock; yields its name without slashes at the end."""
    output = output.rstrip("/") or output
    with locked(output):
        finish_exchanges(output)
        yield output


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two jobs give the same shards from the same input."""
    others: dict[str, Any] = {"overwrite": None, "max_reject_fraction": None}
    return {**one, **others} == {**other, **others}


def _is_done(job: Job) -> bool:
    """Tell whether a job has finished.

    Raises:
      RunError: that cannot be found out now.
    """
    try:
        publish.read_summary(job.directory)
    except publish.NotFinished:
        return False
    return bool(job.settings)


def _run_job(job: Job, files: Sequence[InputFile], options: PipelineOptions) -> None:
    """Run the job; if it fails, only the list of its rejects is kept.

    Raises:
      ContactLost: nothing is known of how it ended, and all that it wrote is kept.
    """
    settings = _prepare_settings(job.settings, files, job.directory)
    try:
        if is_remote_run(options):
            _run_remotely(settings, options)
        else:
            _run_locally(settings, options)
    except RunError as error:  # of the job, or after it: a worker that dies at the very end, say
        if not _is_done(job):
            if not isinstance(error, ContactLost):
                _clean_up(job)
            raise
    except BaseException:  # Ctrl-C too
        if not _is_done(job):
            _clean_up(job)
        raise


def _prepare_settings(
    given: dict[str, Any], files: Sequence[InputFile], staging_directory: str
) -> PrepareSettings:
    """Return what the graph is told, and say where folders are taken for categories."""
    paths = [file.path for file in files]
    settings = PrepareSettings(
        files=tuple(files),
        staging=staging_directory,
        file_categories=tuple(file_categories(paths, given["labels"])),
        labels=None if given["labels"] is None else tuple(given["labels"]),
        quotas=Quotas(**given["quotas"]),
        sampling=given["sampling"],
        recognized_only=given["recognized_only"],
        image_encoding=given["image_encoding"],
        keep_fields=tuple(given["keep_fields"]),
        frame=given["frame"],
        seed=given["seed"],
        excluded_keys=exclusion.hashes(given["excluded_keys"]),
    )
    if note := report.folder_note(paths, settings.file_categories):
        print(note, file=sys.stderr)
    return settings


def _run_remotely(settings: PrepareSettings, options: PipelineOptions) -> None:
    run_remotely(lambda pipeline: prepare(pipeline, settings), options)
    if not is_remote(settings.staging) and len(os.listdir(settings.staging)) == 1:
        raise RunError(
            f"the job is done, but {settings.staging} is empty: the workers wrote to the "
            "directory of this name on their own machines; --output has to be shared, or on gs://"
        )


def _run_locally(settings: PrepareSettings, options: PipelineOptions) -> None:
    beside_output = None if is_remote(settings.staging) else settings.staging
    with tempfile.TemporaryDirectory(dir=beside_output, ignore_cleanup_errors=True) as directory:
        progress_file = os.path.join(directory, "progress")
        input_bytes = sum(file.bytes for file in settings.files)
        settings = settings._replace(progress=Progress(progress_file), spill_directory=directory)
        with ProgressLines(progress_file, input_bytes):
            drawings = estimated_drawings(settings.files)
            run_locally(lambda pipeline: prepare(pipeline, settings), options, drawings)


def _complete(
    job: Job, max_reject_fraction: float | None, *, is_from_before: bool
) -> tuple[Summary, Manifest]:
    """Make a data set of a finished job if its result passes the checks; else delete it.

    It is kept where the fault is not the job's: its input cannot be seen now, or it was done by an
    earlier run, which may have allowed more rejects.

    Args:
      job: the job.
      max_reject_fraction: as of `finish`.
      is_from_before: whether an earlier run did it, since when its files may have been damaged.
    """
    given = {**_LATER_SETTINGS, **job.settings}
    quotas = Quotas(**given["quotas"])
    files = [InputFile(*file) for file in given["inputs"]]
    if max_reject_fraction is None:
        max_reject_fraction = given["max_reject_fraction"]
    summary = publish.read_summary(job.directory)
    before = given["input_versions"]
    now = before  # of a commit that was cut short, which began after this comparison
    if staging.next_manifest(job) is None:
        now = _input_versions_now(given["patterns"])
    if is_from_before:
        acceptance.check_inputs_exist(before, now)
    try:
        acceptance.check_inputs(before, now)
        rejects = f"{job.directory}/{REJECTS}"
        acceptance.check(summary, files, given["labels"], quotas, max_reject_fraction, rejects)
        sampling_settings = {
            "method": given["sampling"],
            "hash": "blake2b",
            "hash_key": sampling.hash_key(given["seed"]).decode(),
            "seed": given["seed"],
            **quotas.as_settings(),
            "recognized_only": given["recognized_only"],
            "frame": given["frame"],
            "excluded_keys": len(given["excluded_keys"]),
        }
        manifest = publish.make_manifest(
            summary,
            files,
            sampling_settings,
            given["image_encoding"],
            tuple(given["keep_fields"]),
            given["versions"],
        )
        shard_paths = publish.shard_paths(summary, manifest, job.directory)
        if is_from_before:
            acceptance.check_shards(manifest, shard_paths)
    except (UserError, RunError) as error:
        if not (is_from_before and isinstance(error, acceptance.TooManyRejects)):
            _clean_up(job)
        raise
    commit(job, manifest, shard_paths, summary.reject_files)
    return summary, manifest


def _input_versions_now(patterns: Sequence[str]) -> dict[str, str]:
    """Return the versions of a finished job's inputs; raises RunError if they cannot be listed."""
    try:
        return input_versions(patterns)
    except UserError as error:
        raise RunError(
            f"{error}; what the job wrote is kept: rerun the command, or use --finish, to complete "
            "the data set"
        ) from error


def _clean_up(job: Job) -> None:
    with contextlib.suppress(Exception):  # a worker may still be writing; what ended the run counts
        staging.remove(job, keep_rejects=True)


def _absolute(path: str) -> str:
    return path if is_remote(path) else os.path.abspath(path)
