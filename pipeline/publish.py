"""From a finished job to a data set: checks its summary, renames the shards, writes the manifest.

The job leaves everything in a directory of its own in `_incomplete/` inside the output directory.
Only this module writes outside of that; the manifest comes last and makes the output a data set.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from apache_beam.io.filesystems import FileSystems

from pipeline import rasterize, records, storage, tfds_metadata
from pipeline.dataset import LABELS, MANIFEST, SPLITS, Manifest, Shard, Split
from pipeline.errors import RunError, UserError
from pipeline.paths import is_remote
from pipeline.sources import InputFile
from pipeline.summary import REJECTS, SUMMARY

STAGING = "_incomplete"


class Summary(NamedTuple):
    """What a finished job reports; written by summary.write_summary."""

    labels: list[str]
    splits: list[str]  # in the order in which they took their drawings
    available: dict[str, int]  # by label: distinct drawings
    counts: dict[str, list[int]]  # by label: drawings chosen for each of `splits`
    drawings: dict[str, dict[str, int]]  # by kind (see parse.Parse), by category or reason
    shards: list[dict[str, Any]]  # shards.WrittenShard
    reject_files: list[str]

    def total(self, kind: str) -> int:
        return sum(self.drawings.get(kind, {}).values())

    @property
    def reject_fraction(self) -> float:
        lines = self.total("read") + self.total("other_category") + self.total("rejected")
        return self.total("rejected") / lines if lines else 0.0


def refuse_existing(output: str, *, overwrite: bool) -> None:
    """Raises UserError where `output` holds a data set already and may not lose it."""
    storage.check_path(output)
    if os.path.isfile(output):
        raise UserError(f"--output: {output} is a file, not a directory")
    try:
        exists = FileSystems.exists(FileSystems.join(output, MANIFEST))
    except storage.ERRORS as error:
        raise UserError(f"--output: {output}: {storage.reason(error)}") from None
    if exists and not overwrite:
        raise UserError(f"{output} holds a data set already; --overwrite replaces it")


def clear_staging(output: str) -> str:
    """Empties `<output>/_incomplete`, which a killed run may have left; makes a directory in it.

    Its name is new each time: an engine may go on with the job of a run that was killed, and what
    that job writes, its summary above all, must not be taken for this run's.
    """
    staging = FileSystems.join(output, STAGING, uuid.uuid4().hex[:8])
    try:
        storage.delete_directory(FileSystems.join(output, STAGING))
        FileSystems.mkdirs(staging)
        if is_remote(output):  # where making a directory does nothing, this shows who may write
            _write(staging, MANIFEST, "")
    except storage.ERRORS as error:
        raise UserError(f"cannot write to {output}: {storage.reason(error)}") from None
    return staging


def discard_shards(staging: str) -> None:
    """Deletes what a failed run has written; the list of its rejects stays."""
    with contextlib.suppress(*storage.ERRORS):  # a worker may still be renaming or deleting
        (match,) = FileSystems.match([FileSystems.join(staging, "quickdraw-*")])
        FileSystems.delete([metadata.path for metadata in match.metadata_list])


def read_summary(staging: str) -> Summary:
    path = FileSystems.join(staging, SUMMARY)
    try:
        return Summary(**json.loads(storage.read_file(path)))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error


def publish(
    output: str,
    staging: str,
    summary: Summary,
    files: Sequence[InputFile],
    sampling_settings: dict[str, Any],
    image_encoding: str,
) -> Manifest:
    """Makes `output` a data set of what the job left in `staging`.

    Raises:
      RunError: the job lost drawings, or a file cannot be renamed or written.
    """
    manifest = _manifest(summary, files, sampling_settings, image_encoding)
    _check_counts(summary, manifest)
    texts = {LABELS: "".join(f"{label}\n" for label in manifest.labels)}
    texts |= tfds_metadata.metadata_files(manifest)
    texts[MANIFEST] = manifest.to_json()
    try:
        # All that may not fit on the disk is written before anything of an old data set goes.
        for name, text in texts.items():
            _write(staging, name, text)
        _remove_data_set(output)
        sources = [shard["temporary_path"] for shard in summary.shards]
        targets = [FileSystems.join(output, shard["shard"]["file"]) for shard in summary.shards]
        FileSystems.rename(sources, targets)
        if summary.reject_files:
            _mkdirs(FileSystems.join(output, REJECTS))
            _move([f"{REJECTS}/{name}" for name in summary.reject_files], staging, output)
        _move(list(texts)[:-1], staging, output)
        _move([MANIFEST], staging, output)  # from here on it is a data set
        storage.delete_directory(FileSystems.join(output, STAGING))
    except storage.ERRORS as error:
        reason = storage.reason(error)
        raise RunError(f"cannot complete the data set in {output}: {reason}") from error
    return manifest


def _manifest(
    summary: Summary,
    files: Sequence[InputFile],
    sampling_settings: dict[str, Any],
    image_encoding: str,
) -> Manifest:
    splits = {}
    for name in SPLITS:
        written = [shard for shard in summary.shards if shard["split"] == name]
        written.sort(key=lambda shard: shard["shard_index"])
        splits[name] = Split(
            records=sum(shard["shard"]["records"] for shard in written),
            class_counts={
                label: sum(shard["label_counts"].get(str(index), 0) for shard in written)
                for index, label in enumerate(summary.labels)
            },
            shards=tuple(Shard(**shard["shard"]) for shard in written),
        )
    return Manifest(
        labels=tuple(summary.labels),
        image={
            "height": records.IMAGE_SIZE,
            "width": records.IMAGE_SIZE,
            "encoding": image_encoding,
        },
        splits=splits,
        rasterizer=rasterize.SETTINGS,
        sampling=sampling_settings,
        inputs=[{"file": file.path, "bytes": file.bytes} for file in files],
        drawings={
            kind: summary.total(kind)
            for kind in (
                "read",  # of the labels
                "other_category",
                "not_recognized",
                "repeated",  # the same drawing was there before
                "other_strokes",  # a drawing of the same key was there before
                "rejected",
            )
        },
        rejects=summary.drawings.get("rejected", {}),
        versions={
            "python": platform.python_version(),
            **{
                name: importlib.metadata.version(name)
                for name in (
                    "inceptionresnet-quickdraw",
                    "apache-beam",
                    "numpy",
                    "opencv-python-headless",
                )
            },
        },
    )


def _check_counts(summary: Summary, manifest: Manifest) -> None:
    """Raises RunError unless every category has in every split what was chosen for it."""
    for position, split in enumerate(summary.splits):
        written = manifest.splits[split]
        for label, counts in summary.counts.items():
            if written.class_counts[label] != counts[position]:
                raise RunError(
                    f"{split} holds {written.class_counts[label]:,} drawings of {label!r} where "
                    f"{counts[position]:,} were chosen; the data set is not completed"
                )


def _remove_data_set(output: str) -> None:
    """Deletes what an earlier run left in `output`, its manifest first."""
    for pattern in (MANIFEST, "quickdraw-*.tfrecord-*", LABELS, f"{REJECTS}/rejects-*.jsonl"):
        (match,) = FileSystems.match([FileSystems.join(output, pattern)])
        if match.metadata_list:
            FileSystems.delete([metadata.path for metadata in match.metadata_list])


def _write(directory: str, name: str, text: str) -> None:
    with storage.create_file(FileSystems.join(directory, name)) as file:
        file.write(text.encode())


def _move(names: Sequence[str], source: str, target: str) -> None:
    """Renames files of one directory into another, over those that are there."""
    FileSystems.rename(
        [FileSystems.join(source, name) for name in names],
        [FileSystems.join(target, name) for name in names],
    )


def _mkdirs(path: str) -> None:
    if not FileSystems.exists(path):
        FileSystems.mkdirs(path)
