"""Whether a data set can be trained on: before the start, and when reading it failed."""

import os
import threading

from pipeline.dataset import Manifest, Shard
from pipeline.errors import RunError, UserError
from pipeline.records import DECODERS
from trainer import storage
from trainer.hosts import ONE_HOST, Hosts
from trainer.readers import MAX_READERS, deal

SPLITS = ("train", "validation")  # that training reads


def check_dataset(
    directory: str, manifest: Manifest, batch_size: int, hosts: Hosts = ONE_HOST
) -> None:
    """Checks for training what shows without reading the shards.

    Raises:
      UserError: a split is empty or smaller than a batch, the images are of an unknown encoding, a
        shard of this host is missing or of another length, or there are more hosts than readers or
        rows in a batch.
    """
    for split in SPLITS:
        check_split(directory, manifest, split, hosts)
    records, readers = manifest.splits["train"].records, deal(manifest.splits["train"].shards)
    if batch_size < hosts.count:
        raise UserError(f"--batch_size={batch_size}: not a drawing for each of {hosts.count} hosts")
    if hosts.count > len(readers):
        raise UserError(
            f"{hosts.count} hosts, but {len(readers)} readers of the training shards in "
            f"{directory} (one a shard, at most {MAX_READERS}, whatever the number of hosts)"
        )
    if batch_size > records:
        raise UserError(
            f"--batch_size={batch_size} is larger than the training split of {directory}, "
            f"{records} drawings"
        )


def check_split(directory: str, manifest: Manifest, split: str, hosts: Hosts = ONE_HOST) -> None:
    """The same for one split and any batch size.

    Raises:
      UserError: the split is empty, its images are of an unknown encoding, or a shard of this host
        is missing or of another length.
    """
    encoding = manifest.image["encoding"]
    if encoding not in DECODERS:
        raise UserError(
            f"{directory}: its images are {encoding}; the trainer reads "
            f"{' and '.join(DECODERS)} ones (pipeline.main --image_encoding)"
        )
    if not manifest.splits[split].records:
        raise UserError(f"{directory}: no drawings in its {split} split")
    for shard in own_shards(manifest, split, hosts):
        _check_length(os.path.join(directory, shard.file), shard.bytes)


def own_shards(manifest: Manifest, split: str, hosts: Hosts) -> list[Shard]:
    """The shards of a split that this host's readers read."""
    return [s for shards in hosts.own(deal(manifest.splits[split].shards)) for s in shards]


class ShardCheck:
    """Compares the content of this host's shards with the manifest, while training goes on.

    A record's own checksums find damage, but not a shard of another data set that happens to have
    the right length. No checkpoint counts before this has ended well.
    """

    def __init__(self, directory: str, manifest: Manifest, hosts: Hosts = ONE_HOST) -> None:
        """Starts at once, in a thread, and costs a core about a second per GB."""
        self._directory = directory
        self._shards = [s for split in SPLITS for s in own_shards(manifest, split, hosts)]
        self._problems: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def raise_if_damaged(self, wait: bool) -> None:
        """Looks at what was found so far, or waits for the end.

        Raises:
          RunError: a shard is not the manifest's.
        """
        if wait:
            self._thread.join()
        if self._problems:
            raise RunError("; ".join(self._problems))

    def _run(self) -> None:
        for shard in self._shards:
            path = os.path.join(self._directory, shard.file)
            try:
                if storage.sha256(path) != shard.sha256:
                    self._problems.append(f"{path}: damaged, or of another data set")
            except OSError as error:
                self._problems.append(f"{path}: cannot be read any more: {error.strerror}")


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
