"""Commit: from a finished job's files to a data set, in one step for every reader.

Our readers take manifest.json for the data set, TensorFlow Datasets takes dataset_info.json with
two files beside it. Both find, whatever happens at whichever moment, all of the old data set or all
of the new one. The names of shards end in a generation that follows from their content, so no file
of one data set ever stands in the place of another's, and a reader that has begun with the old one
finds its shards or none.

- A new data set on any storage: shards, then the files that describe them, the manifest last.
- In the place of an old one on this machine: the new directory is put together beside the output,
  and both trade places in one system call (renameat2, RENAME_EXCHANGE).
- In the place of an old one elsewhere (object stores, network file systems and mount points, which
  cannot do that): shards, which disturb nobody; dataset_info.json and its like go, so that
  TensorFlow Datasets finds nothing for a moment; the manifest is replaced; its like come back.

The old shards go last. Every step can be repeated, so that a commit that was cut short is finished
by the next run: what it needs lies in the job's directory until the end.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

from pipeline.cli import RunError, counted, is_remote
from pipeline.dataset.manifests import MANIFEST, SPLITS, Manifest
from pipeline.dataset.tfds_metadata import SIDE_FILES, side_files
from pipeline.files import storage
from pipeline.graph.summary import REJECTS
from pipeline.output import staging
from pipeline.output.staging import Job

_NEW = "new"  # in a job's directory: where the data set is put together


def commit(
    job: Job, manifest: Manifest, shard_paths: Mapping[str, str], reject_files: Sequence[str]
) -> None:
    """Make the output directory the data set of a finished job, and delete what is left of both.

    Args:
      job: the job.
      manifest: of the data set.
      shard_paths: by the name that the manifest has for a shard, the path where the job wrote it.
      reject_files: names in the job's directory of rejects.

    Raises:
      RunError: a file is missing, or cannot be written, moved or deleted. What the job wrote is
        kept, and calling this again goes on from there.
    """
    texts = {**side_files(manifest), MANIFEST: manifest.to_json()}
    rejects = [f"{REJECTS}/{name}" for name in reject_files]
    is_local = not is_remote(job.output)
    try:
        if is_local and os.path.exists(job.beside):  # from a try that got no further
            os.rename(job.beside, f"{job.directory}/{_NEW}")
        # All that may not fit on the disk is written before anything of an old data set goes.
        previous = staging.read_manifest_file(f"{job.output}/{MANIFEST}")
        if previous is not None and previous != manifest:
            storage.write_text(f"{job.directory}/{staging.PREVIOUS}", previous.to_json())
        storage.write_text(f"{job.directory}/{staging.NEXT}", texts[MANIFEST])
        for name, text in texts.items():
            storage.write_text(f"{job.directory}/{name}", text)
        written = dict(shard_paths)
        written |= {name: f"{job.directory}/{name}" for name in (*rejects, *texts)}
        found = _locate(job, written)
        if is_local:
            storage.sync(found.values())
        is_exchanged = (
            is_local
            and previous is not None
            and not _is_in(os.getcwd(), job.output)  # of this process, and maybe of a shell
            and len(found) == len(written)  # none was put in place by an earlier try
            and _exchange(job, found)
        )
        if not is_exchanged:
            _put_in_place(job, _locate(job, written), rejects, previous, manifest)
    except storage.ERRORS as error:
        raise RunError(
            f"cannot complete the data set in {job.output}: {storage.reason(error)}; what the "
            "job wrote is kept: rerun the command, or use --finish, to retry"
        ) from error
    try:
        if is_exchanged:
            finish_exchange(job.beside)
        else:
            staging.remove(job)
    except storage.ERRORS as error:
        text = f"{job.output} is complete, but some replaced files are not deleted yet"
        print(f"warning: {text}: {storage.reason(error)}", file=sys.stderr)


def finish_exchanges(output: str) -> None:
    """Delete old data sets that runs did not get to delete after a commit."""
    if is_remote(output):
        return
    parent, name = os.path.split(os.path.realpath(output))
    entries = []
    with contextlib.suppress(FileNotFoundError, PermissionError):  # one may be entered, not listed
        entries = os.listdir(parent)
    for entry in entries:
        match = re.fullmatch(rf"\.{re.escape(name)}\.([0-9a-f]{{8}})", entry)
        path = os.path.join(parent, entry)
        # The job has gone there with what was the output, or all of it is deleted already.
        is_old = os.path.isdir(f"{path}/{staging.STAGING}")
        if match and (is_old or (os.path.isdir(path) and not os.listdir(path))):
            finish_exchange(path)


def finish_exchange(old: str) -> None:
    """Delete the old data set, which now has the name beside the output, with its jobs.

    What is someone else's, put into the old directory in the meantime, goes to the new one.
    """
    manifest = staging.read_manifest_file(f"{old}/{MANIFEST}")
    output = os.path.join(os.path.dirname(old), os.path.basename(old)[1:].rpartition(".")[0])
    if manifest is not None:  # it goes after what it lists, so that this can be repeated
        names = staging.files_of(manifest) - {MANIFEST}
        storage.delete_files(f"{old}/{name}" for name in names)
        storage.delete_files([f"{old}/{MANIFEST}"])
    storage.delete_empty_directory(f"{old}/{REJECTS}")
    for name in os.listdir(old):
        if name != staging.STAGING and not os.path.lexists(f"{output}/{name}"):
            os.rename(f"{old}/{name}", f"{output}/{name}")
    storage.delete_directory(f"{old}/{staging.STAGING}")
    storage.delete_empty_directory(old)


def _locate(job: Job, written: Mapping[str, str]) -> dict[str, str]:
    """Find the files of the data set that are not in their place yet, by their names there."""
    found = {}
    missing = []
    in_place = storage.list_files(job.output)
    for name, path in written.items():
        relative = path.removeprefix(f"{job.output}/")
        again = f"{staging.STAGING}/{job.id}/{_NEW}/{name}"
        for candidate in (relative, again):
            if candidate in in_place:
                found[name] = f"{job.output}/{candidate}"
                break
        else:
            if name not in in_place:
                missing.append(name)
    if missing:
        raise FileNotFoundError(
            0, f"{counted(len(missing), 'file')} of the job gone: {missing[0]} first"
        )
    return found


def _is_in(path: str, directory: str) -> bool:
    directory = os.path.realpath(directory)
    return os.path.commonpath([os.path.realpath(path), directory]) == directory


def _exchange(job: Job, found: Mapping[str, str]) -> bool:
    """Trade places with the old data set; False where this machine, or this directory, cannot."""
    new = f"{job.directory}/{_NEW}"
    os.makedirs(f"{new}/{REJECTS}", exist_ok=True)
    storage.rename_files((path, f"{new}/{name}") for name, path in found.items())
    storage.copy_owner(job.output, new)
    storage.delete_empty_directory(f"{new}/{REJECTS}")
    storage.sync(path for path in (f"{new}/{REJECTS}", new) if os.path.isdir(path))
    try:
        os.rename(new, job.beside)
    except OSError:  # its parent is not ours to write, or on another file system
        return False
    try:
        storage.exchange_directories(job.beside, os.path.realpath(job.output))
    except OSError:  # the file system does not know how, or the output is a mount point
        os.rename(job.beside, new)
        return False
    storage.sync([os.path.dirname(job.beside)])
    return True


def _put_in_place(
    job: Job,
    found: Mapping[str, str],
    rejects: Sequence[str],
    previous: Manifest | None,
    manifest: Manifest,
) -> None:
    """Move the files into the output directory, one kind after the other; see above."""

    def move(names: Iterable[str]) -> None:
        storage.rename_files((found[n], f"{job.output}/{n}") for n in names if n in found)
        if not is_remote(job.output):
            storage.sync([job.output])

    def move_side_files() -> None:
        if rejects and not is_remote(job.output):
            os.makedirs(f"{job.output}/{REJECTS}", exist_ok=True)
        move([*rejects, *SIDE_FILES[:-1]])
        move(SIDE_FILES[-1:])

    move([name for name in found if name not in (*rejects, *SIDE_FILES, MANIFEST)])  # shards
    if previous is None:
        move_side_files()
        move([MANIFEST])
        return
    if previous != manifest:
        old_shards = {shard.file for split in SPLITS for shard in previous.splits[split].shards}
        for name in reversed(SIDE_FILES):  # dataset_info.json first
            storage.delete_files([f"{job.output}/{name}"])
        others = staging.files_of(previous) - old_shards - {MANIFEST, *SIDE_FILES}
        storage.delete_files(f"{job.output}/{name}" for name in others)
    move([MANIFEST])
    move_side_files()
