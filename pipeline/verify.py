"""Checks a data set against its manifest: python -m pipeline.verify --dataset=DIR

Every shard must be there, of the length, the SHA-256 and the number of records that the manifest
says, every record's checksum must match, and every class must have its drawings. The files that
others read, labels.txt and TensorFlow Datasets', must be those that the manifest makes; those that
0.1.0 made pass, with a line that says so.
"""

import hashlib
import os
import sys
from collections import Counter

from absl import flags

from pipeline import cli
from pipeline.cli import RunError, UserError, counted
from pipeline.dataset import records
from pipeline.dataset.manifests import SPLITS, Manifest, Shard, read_file, read_manifest
from pipeline.dataset.tfds_metadata import CROISSANT, earlier_side_files, side_files


def check_shard(directory: str, manifest: Manifest, shard: Shard) -> tuple[list[str], Counter[str]]:
    """Return the faults of a shard, and the number of drawings of each label in it."""
    path = os.path.join(directory, shard.file)
    counts: Counter[str] = Counter()
    try:
        data = read_file(path)  # at most 50,000 records, 50 MB
    except OSError as error:
        return [f"{path}: {error.strerror}"], counts
    faults = []
    if len(data) != shard.bytes:
        faults.append(f"{path}: {len(data):,} bytes instead of {shard.bytes:,}")
    elif hashlib.sha256(data).hexdigest() != shard.sha256:
        faults.append(f"{path}: its SHA-256 does not match")
    try:
        for example in records.read_examples(data, path):
            label = example.label
            counts[manifest.labels[label] if label < len(manifest.labels) else str(label)] += 1
    except UserError as error:
        faults.append(str(error))
    if counts.total() != shard.records:
        faults.append(f"{path}: {counted(counts.total(), 'record')} instead of {shard.records:,}")
    return faults, counts


def check_dataset(directory: str, manifest: Manifest) -> list[str]:
    """Return the faults of a data set directory, a line each."""
    faults = []
    for name in SPLITS:
        split = manifest.splits[name]
        counts: Counter[str] = Counter()
        for shard in split.shards:
            shard_faults, shard_counts = check_shard(directory, manifest, shard)
            faults += shard_faults
            counts.update(shard_counts)
        for label in sorted(counts.keys() | split.class_counts):
            if counts[label] != (expected := split.class_counts.get(label, 0)):
                found = f"{counts[label]:,} of {label!r} instead of {expected:,}"
                faults.append(f"{directory}: {name} has {found}")
    return faults + check_side_files(directory, manifest)


def check_side_files(directory: str, manifest: Manifest) -> list[str]:
    """Return the faults of labels.txt and TensorFlow Datasets' files, a line each."""
    faults = _compare(directory, side_files(manifest))
    if faults and has_earlier_side_files(directory, manifest):
        return _compare(directory, earlier_side_files(manifest))
    return faults


def _compare(directory: str, texts: dict[str, str]) -> list[str]:
    faults = []
    for name, text in texts.items():
        path = os.path.join(directory, name)
        try:
            if read_file(path) != text.encode():
                faults.append(f"{path}: the content is not what the manifest says")
        except OSError as error:
            faults.append(f"{path}: {error.strerror}")
    return faults


def has_earlier_side_files(directory: str, manifest: Manifest) -> bool:
    """Tell whether 0.1.0 described the data set: dataset_info.json is as then, no croissant.json.

    A data set whose croissant.json was lost later is told by its dataset_info.json.
    """
    info = "dataset_info.json"
    try:
        if read_file(os.path.join(directory, info)) != earlier_side_files(manifest)[info].encode():
            return False
        read_file(os.path.join(directory, CROISSANT))
    except OSError as error:  # others are faults of their own
        return isinstance(error, FileNotFoundError) and str(error.filename).endswith(CROISSANT)
    return False


def define_flags() -> None:
    cli.define_path("dataset", None, "Data set directory.", required=True)


def main(argv: list[str]) -> None:
    directory = flags.FLAGS.dataset
    manifest = read_manifest(directory)
    faults = check_dataset(directory, manifest)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        raise RunError(f"{directory}: {counted(len(faults), 'fault')}")
    splits = [manifest.splits[name] for name in SPLITS]
    shards = counted(sum(len(split.shards) for split in splits), "shard")
    drawings = counted(sum(split.records for split in splits), "drawing")
    print(f"{directory}: {shards} with {drawings}: all as the manifest says")
    if has_earlier_side_files(directory, manifest):
        print(
            f"{directory}: version 0.1.0 wrote its description: {CROISSANT} is missing, and "
            "dataset_info.json lacks supervisedKeys; to renew them, rerun pipeline.main as it was "
            "run, with --overwrite"
        )


if __name__ == "__main__":
    define_flags()
    cli.run(main)
