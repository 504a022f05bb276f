"""Jobs in an output directory: whose files it holds, and what jobs that did not end have left.

All that a job writes lies in a directory of its own, `<output>/_incomplete/<id>/`, from `job.json`,
its settings, to `summary.json`, with which it is finished. Its name is new each time: an engine
may go on with the job of a run that was killed, and what that job writes must not be taken for the
next one's. A directory without `job.json` holds what is left of a job that was being deleted, or
what an engine wrote there later. What is not named here or by a manifest of ours is the user's, and
is never deleted.
"""

import contextlib
import json
import os
import re
import uuid
from collections import defaultdict
from typing import Any, NamedTuple

from pipeline.cli import UserError, is_remote
from pipeline.dataset.manifests import MANIFEST, SPLITS, Manifest
from pipeline.dataset.tfds_metadata import SIDE_FILES
from pipeline.files import storage
from pipeline.graph.summary import REJECTS, SUMMARY, reject_file_name
from pipeline.output import report

STAGING = "_incomplete"
LOCK = f"{STAGING}/lock"
# In a job's directory, from before the first file of its data set is put in place until after the
# last: its manifest, and the one of the data set that it replaces. They say what is ours meanwhile.
NEXT = "next.json"
PREVIOUS = "previous.json"
_JOB = "job.json"
# What is left of a job without a `job.json`: it was being deleted, or an engine went on with it.
_REMAINS = re.compile(
    r"quickdraw-\w+\.tfrecord-.*|(summary|next|previous|manifest|features|dataset_info)\.json"
    r"|(label\.)?labels\.txt|rejects/rejects-\d+-of-\d+\.jsonl|(new|tmp\w+)/.+"
)


class Job(NamedTuple):
    """A job in an output directory."""

    output: str
    id: str
    settings: dict[str, Any]  # of job.json

    @property
    def directory(self) -> str:
        """All that it writes."""
        return f"{self.output}/{STAGING}/{self.id}"

    @property
    def beside(self) -> str:
        """Directory where its data set waits to trade places with the output directory."""
        parent, name = os.path.split(os.path.realpath(self.output))
        return os.path.join(parent, f".{name}.{self.id}")


def begin(output: str, settings: dict[str, Any]) -> Job:
    """Make a directory for a new job.

    Raises:
      UserError: `output` cannot be written.
    """
    job = Job(output, uuid.uuid4().hex[:8], settings)
    with storage.errors_as(UserError, f"cannot write to {output}"):
        if not is_remote(output):
            os.makedirs(job.directory)
        storage.write_text(f"{job.directory}/{_JOB}", json.dumps(settings))
    return job


def jobs_in(output: str) -> list[Job]:
    """List the jobs that earlier runs have left in an output directory."""
    files: defaultdict[str, set[str]] = defaultdict(set)  # of each job
    for name in storage.list_files(output):
        if match := re.fullmatch(rf"{STAGING}/([0-9a-f]{{8}})/(.+)", name):
            files[match[1]].add(match[2])
    jobs = []
    for id_, names in sorted(files.items()):
        settings = {}
        if _JOB in names:
            # ValueError: the disk was full, or the run was killed while it wrote. Another run,
            # which has the lock, may have deleted it by now.
            with contextlib.suppress(ValueError, FileNotFoundError):
                settings = json.loads(storage.read_file(f"{output}/{STAGING}/{id_}/{_JOB}"))
        elif not all(map(_REMAINS.fullmatch, names)):
            continue
        jobs.append(Job(output, id_, settings))
    return jobs


def is_remains(job: Job) -> bool:
    """Tell whether a directory holds what is left of a job that was being deleted."""
    return _JOB not in storage.list_files(job.directory)


def refuse_foreign(output: str) -> None:
    """Check that an output directory holds nothing but what runs of ours have left there.

    Raises:
      UserError: it is a file, cannot be listed, or holds files of someone else, which are named.
    """
    storage.check_path(output)
    if is_remote(output) and storage.is_pattern(output):
        raise UserError(f"--output: {output}: * ? [ are not allowed on {output.split(':')[0]}://")
    if os.path.isfile(output):
        raise UserError(f"--output: {output} is a file, not a directory")
    with storage.errors_as(UserError, f"--output: {output}"):
        output = output.rstrip("/") or output
        names = storage.list_files(output)
        jobs = jobs_in(output)
        # Also manifests that jobs are about to put in place or to replace.
        paths = [f"{output}/{MANIFEST}"]
        paths += [f"{job.directory}/{name}" for job in jobs for name in (NEXT, PREVIOUS)]
        manifests = filter(None, map(read_manifest_file, paths))
        ours = {name for manifest in manifests for name in files_of(manifest)}
        prefixes = tuple(f"{STAGING}/{job.id}/" for job in jobs)
    foreign = sorted(name for name in names - ours - {LOCK} if not name.startswith(prefixes))
    if foreign:
        raise UserError(
            f"--output: {output} holds files that are not a data set's: {report.some(foreign)}; "
            "name a new directory, or an empty one"
        )


def files_of(manifest: Manifest) -> set[str]:
    """Name every file of a data set, relative to its directory."""
    number = len(manifest.inputs)
    return {
        MANIFEST,
        *SIDE_FILES,
        *(shard.file for split in SPLITS for shard in manifest.splits[split].shards),
        *(f"{REJECTS}/{reject_file_name(index, number)}" for index in range(number)),
    }


def read_manifest_file(path: str) -> Manifest | None:
    """Read a manifest; None where there is none of ours."""
    try:
        return Manifest.from_json(storage.read_file(path).decode())
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def next_manifest(job: Job) -> Manifest | None:
    """Read the manifest of the data set that a job is about to put in place, or has put there."""
    return read_manifest_file(f"{job.directory}/{NEXT}")


def remove(job: Job, *, keep_rejects: bool = False) -> None:
    """Delete what a job has written, also where the completing of its data set was cut short.

    This can be repeated: without its `job.json`, which goes first, it is no longer completed.
    """
    names = storage.list_files(job.directory)
    rejects = {name for name in names if name.startswith(f"{REJECTS}/")} if keep_rejects else set()
    storage.delete_files([f"{job.directory}/{SUMMARY if rejects else _JOB}"])
    current = read_manifest_file(f"{job.output}/{MANIFEST}")
    kept = files_of(current) if current else set()
    for name in (NEXT, PREVIOUS):
        if (manifest := read_manifest_file(f"{job.directory}/{name}")) is not None:
            storage.delete_files(f"{job.output}/{file}" for file in files_of(manifest) - kept)
    if not is_remote(job.output):
        storage.delete_directory(job.beside)
    storage.delete_files(f"{job.directory}/{name}" for name in names - rejects - {SUMMARY, _JOB})
    if not rejects:
        storage.delete_directory(job.directory)
