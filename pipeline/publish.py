"""From a finished job to a data set: checks its summary, renames the shards, writes the manifest.

The job leaves everything in `_incomplete/` inside the output directory. Only this module writes
outside of that; the manifest comes last and makes the directory a data set.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline import rasterize, records
from pipeline.dataset import LABELS, MANIFEST, SPLITS, Manifest, Shard, Split
from pipeline.errors import RunError, UserError
from pipeline.sampling import PRIORITY
from pipeline.sources import InputFile
from pipeline.transforms import SUMMARY

STAGING = "_incomplete"
REJECTS = "rejects"


class Summary(NamedTuple):
    """What a finished job reports; written by transforms.write_summary."""

    labels: list[str]
    available: dict[str, int]  # by label: distinct drawings
    counts: dict[str, list[int]]  # by label: drawings chosen for each split, in PRIORITY's order
    num_shards: list[int]  # in PRIORITY's order
    excluded: int  # drawings that another category keeps
    drawings: dict[
        str, dict[str, int]
    ]  # by kind (see transforms.ParseRange), by category or reason
    shards: list[dict[str, Any]]  # transforms.WrittenShard
    reject_files: list[str]

    def total(self, kind: str) -> int:
        return sum(self.drawings.get(kind, {}).values())

    @property
    def reject_fraction(self) -> float:
        lines = self.total("read") + self.total("other_category") + self.total("rejected")
        return self.total("rejected") / lines if lines else 0.0


def refuse_existing(output: str, *, overwrite: bool) -> None:
    """Raises UserError where `output` holds a data set already and may not lose it."""
    if os.path.isfile(output):
        raise UserError(f"--output: {output} is a file, not a directory")
    if _exists(output, MANIFEST) and not overwrite:
        raise UserError(f"{output} holds a data set already; --overwrite replaces it")


def clear_staging(output: str) -> str:
    """Empties and makes `<output>/_incomplete`, which a killed run may have left; returns it."""
    staging = FileSystems.join(output, STAGING)
    try:
        if FileSystems.exists(staging):
            FileSystems.delete([staging])
        FileSystems.mkdirs(staging)
    except OSError as error:  # BeamIOError is one
        raise UserError(f"cannot write to {output}: {_reason(error)}") from None
    return staging


def discard_shards(staging: str) -> None:
    """Deletes what a failed run has written; the list of its rejects stays."""
    (match,) = FileSystems.match([FileSystems.join(staging, "quickdraw-*")])
    with contextlib.suppress(OSError):  # a worker may still be renaming or deleting
        FileSystems.delete([metadata.path for metadata in match.metadata_list])


def read_summary(staging: str) -> Summary:
    with FileSystems.open(
        FileSystems.join(staging, SUMMARY), compression_type=CompressionTypes.UNCOMPRESSED
    ) as file:
        return Summary(**json.loads(file.read()))


def publish(
    output: str,
    summary: Summary,
    files: Sequence[InputFile],
    sampling_settings: dict[str, Any],
) -> Manifest:
    """Makes `output` a data set of what the job left in its staging directory.

    Raises:
      RunError: the job lost drawings, or a file cannot be renamed or written.
    """
    manifest = _manifest(summary, files, sampling_settings)
    _check_counts(summary, manifest)
    staging = FileSystems.join(output, STAGING)
    try:
        _remove_data_set(output)
        sources = [shard["temporary_path"] for shard in summary.shards]
        targets = [FileSystems.join(output, shard["shard"]["file"]) for shard in summary.shards]
        FileSystems.rename(sources, targets)
        if summary.reject_files:
            _mkdirs(FileSystems.join(output, REJECTS))
            FileSystems.rename(
                [FileSystems.join(staging, REJECTS, name) for name in summary.reject_files],
                [FileSystems.join(output, REJECTS, name) for name in summary.reject_files],
            )
        _write(output, LABELS, "".join(f"{label}\n" for label in manifest.labels))
        temporary = FileSystems.join(staging, MANIFEST)
        _write(staging, MANIFEST, manifest.to_json())
        FileSystems.rename([temporary], [FileSystems.join(output, MANIFEST)])
        FileSystems.delete([staging])
    except OSError as error:
        raise RunError(f"cannot complete the data set in {output}: {_reason(error)}") from error
    return manifest


def _manifest(
    summary: Summary, files: Sequence[InputFile], sampling_settings: dict[str, Any]
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
        image={"height": records.IMAGE_SIZE, "width": records.IMAGE_SIZE, "encoding": "packed"},
        splits=splits,
        rasterizer=rasterize.SETTINGS,
        sampling=sampling_settings,
        inputs=[{"file": file.path, "bytes": file.bytes} for file in files],
        drawings={
            "read": summary.total("read"),
            "other_category": summary.total("other_category"),
            "not_recognized": summary.total("not_recognized"),
            "distinct": sum(summary.available.values()),
            "rejected": summary.total("rejected"),
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
    for position, split in enumerate(PRIORITY):
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
    path = FileSystems.join(directory, name)
    with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        file.write(text.encode())


def _mkdirs(path: str) -> None:
    if not FileSystems.exists(path):
        FileSystems.mkdirs(path)


def _exists(directory: str, name: str) -> bool:
    try:
        return FileSystems.exists(FileSystems.join(directory, name))
    except (BeamIOError, ValueError) as error:
        raise UserError(f"{directory}: {error}") from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
