"""Whether a data set can be trained on: before the start, and when reading it failed."""

import hashlib
import os

from pipeline.dataset import Manifest
from pipeline.errors import UserError
from trainer import storage

SPLITS = ("train", "validation")  # that training reads


def check_dataset(directory: str, manifest: Manifest, batch_size: int) -> None:
    """Checks what shows without reading the shards.

    Raises:
      UserError: a split is empty or smaller than a batch, the images are not packed bits, or a
        shard is missing or of another length.
    """
    encoding = manifest.image["encoding"]
    if encoding != "packed":
        raise UserError(
            f"{directory}: its images are {encoding}; the trainer reads packed ones "
            "(pipeline.main --image_encoding=packed)"
        )
    for split in SPLITS:
        if not manifest.splits[split].records:
            raise UserError(f"{directory}: no drawings in its {split} split")
    records = manifest.splits["train"].records
    if batch_size > records:
        raise UserError(
            f"--batch_size={batch_size} is larger than the training split of {directory}, "
            f"{records} drawings"
        )
    for split in SPLITS:
        for shard in manifest.splits[split].shards:
            _check_length(os.path.join(directory, shard.file), shard.bytes)


def damaged_shards(directory: str, manifest: Manifest) -> list[str]:
    """The paths of the shards whose content is not the manifest's; reads them all."""
    paths = []
    for split in SPLITS:
        for shard in manifest.splits[split].shards:
            path = os.path.join(directory, shard.file)
            if hashlib.sha256(storage.read_file(path)).hexdigest() != shard.sha256:
                paths.append(path)
    return paths


def _check_length(path: str, length_bytes: int) -> None:
    try:
        actual_bytes = storage.file_bytes(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if actual_bytes != length_bytes:
        raise UserError(
            f"{path}: {actual_bytes} bytes long, but {length_bytes} by the manifest; "
            "copy or prepare the data set again"
        )
