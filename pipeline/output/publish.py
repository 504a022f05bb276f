"""From a finished job's summary to the manifest of its data set."""

import importlib.metadata
import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline import rasterize
from pipeline.cli import RunError
from pipeline.dataset import records
from pipeline.dataset.manifests import SPLITS, Manifest, Shard, Split
from pipeline.files import storage
from pipeline.graph.summary import SUMMARY
from pipeline.sources.input_files import InputFile


class Summary(NamedTuple):
    """Summary of a finished job; written by summary.write_summary."""

    labels: list[str]
    splits: list[str]  # in the order in which they took their drawings
    available: dict[str, int]  # by label: distinct drawings
    counts: dict[str, list[int]]  # by label: drawings chosen for each of `splits`
    drawings: dict[str, dict[str, int]]  # by kind (see parse.Parse), by category or reason
    shards: list[dict[str, Any]]  # shards.WrittenShard
    reject_files: list[str]

    @property
    def written(self) -> int:
        """Number of drawings in all splits."""
        return sum(shard["shard"]["records"] for shard in self.shards)

    def displaced(self) -> dict[str, int]:
        """Count drawings that were kept outside of the frame by label, see shards.WrittenShard."""
        found: Counter[str] = Counter()
        for shard in self.shards:
            for index, number in shard["displaced"].items():
                found[self.labels[int(index)]] += number
        return dict(found)

    def total(self, kind: str) -> int:
        return sum(self.drawings.get(kind, {}).values())

    @property
    def reject_fraction(self) -> float:
        lines = self.total("read") + self.total("other_category") + self.total("rejected")
        return self.total("rejected") / lines if lines else 0.0


class NotFinished(RunError):  # noqa: N818 - a state
    """State of a job whose last step has not written its summary."""


def read_summary(directory: str) -> Summary:
    """Read the summary of a job.

    Args:
      directory: the job's.

    Raises:
      NotFinished: there is none, or not all of it.
      RunError: it cannot be read.
    """
    path = f"{directory}/{SUMMARY}"
    try:
        return Summary(**json.loads(storage.read_file(path)))
    except FileNotFoundError as error:
        raise NotFinished(f"cannot read {path}: {error.strerror}") from error
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:  # its writer was killed, or the disk full
        raise NotFinished(f"{path} is damaged: {error}") from error


def make_manifest(
    summary: Summary,
    files: Sequence[InputFile],
    sampling_settings: dict[str, Any],
    image_encoding: str,
    keep_fields: tuple[str, ...] = (),
    made_by: dict[str, str] | None = None,
) -> Manifest:
    """Describe the data set of a job, its shards under the names that they are to have.

    Args:
      summary, files, sampling_settings, image_encoding, keep_fields: of the job.
      made_by: the versions with which it was done; None: those of this process.

    Raises:
      RunError: the job has lost drawings: a category has fewer than were chosen.
    """
    splits = {}
    for name in SPLITS:
        written = _shards_of(summary, name)
        counts: Counter[str] = Counter()
        for shard in written:
            counts.update(shard["label_counts"])
        splits[name] = Split(
            records=sum(shard["shard"]["records"] for shard in written),
            class_counts={label: counts[str(index)] for index, label in enumerate(summary.labels)},
            shards=tuple(Shard(**shard["shard"]) for shard in written),
        ).with_generation()
    manifest = Manifest(
        labels=tuple(summary.labels),
        image={
            "height": records.IMAGE_SIZE,
            "width": records.IMAGE_SIZE,
            "encoding": image_encoding,
        },
        splits=splits,
        rasterizer=rasterize.SETTINGS,
        sampling=sampling_settings,
        inputs=_inputs(summary, files),
        drawings={
            kind: summary.total(kind)
            for kind in (
                "read",  # of the labels
                "other_category",
                "not_recognized",
                "excluded",
                "repeated",  # the same drawing was there before
                "kept_elsewhere",  # of these, those that another category keeps
                "other_strokes",  # of a key that was there before with other strokes; kept
                "normalised",  # did not lie in upstream's frame
                "rejected",
            )
        },
        rejects=summary.drawings.get("rejected", {}),
        versions=made_by or versions(),
        fields=keep_fields,
    )
    _check_counts(summary, manifest)
    return manifest


def planned_manifest(summary: Summary, files: Sequence[InputFile]) -> Manifest:
    """Return labels, splits and inputs of a job that wrote no shards, as a manifest."""
    splits = {}
    for position, name in enumerate(summary.splits):
        counts = {label: summary.counts[label][position] for label in summary.labels}
        splits[name] = Split(sum(counts.values()), counts, ())
    inputs = _inputs(summary, files)
    return Manifest(tuple(summary.labels), {}, splits, {}, {}, inputs, {}, {}, versions())


def _inputs(summary: Summary, files: Sequence[InputFile]) -> list[dict[str, Any]]:
    read = summary.drawings.get("file_read", {})
    return [
        {
            "file": file.path,
            "bytes": file.bytes,
            "form": file.form,
            "drawings": read.get(str(index), 0),
        }
        for index, file in enumerate(files)
    ]


def shard_paths(summary: Summary, manifest: Manifest, directory: str) -> Mapping[str, str]:
    """Map the manifest's name of each shard to the path in the job's directory where it is."""
    return {
        shard.file: f"{directory}/{os.path.basename(written['temporary_path'])}"
        for name in SPLITS
        for shard, written in zip(
            manifest.splits[name].shards, _shards_of(summary, name), strict=True
        )
    }


def versions() -> dict[str, str]:
    """Return the versions of the code and of what its output depends on."""
    packages = ("inceptionresnet-quickdraw", "apache-beam", "numpy", "opencv-python-headless")
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _shards_of(summary: Summary, split: str) -> list[dict[str, Any]]:
    written = [shard for shard in summary.shards if shard["split"] == split]
    return sorted(written, key=lambda shard: int(shard["shard_index"]))


def _check_counts(summary: Summary, manifest: Manifest) -> None:
    """Check that every split has the drawings chosen of every category; raises RunError."""
    for position, split in enumerate(summary.splits):
        written = manifest.splits[split]
        for label, counts in summary.counts.items():
            if written.class_counts[label] != counts[position]:
                raise RunError(
                    f"{split} holds {written.class_counts[label]:,} drawings of {label!r} where "
                    f"{counts[position]:,} were chosen; the data set is not completed"
                )
