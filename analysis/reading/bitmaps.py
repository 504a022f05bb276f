"""Bitmaps of some or all categories, read from a data set's shards."""

import difflib
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.cli import UserError
from pipeline.dataset import manifests, records


def decode_image(directory: str, encoding: str, example: records.Example) -> np.ndarray:
    """Return the bitmap of an example, [85, 85] uint8 of 0 and 1.

    Raises:
      UserError: it is damaged.
    """
    try:
        bitmap = records.DECODERS[encoding](example.image)
        return bitmap.reshape(records.IMAGE_SIZE, records.IMAGE_SIZE)
    except ValueError:
        name = example.key_id.decode(errors="replace")
        raise UserError(f"{directory}: drawing {name} has a damaged image") from None


def too_few_drawings(directory: str, split: str) -> UserError:
    """Return the error for shards that do not hold what the manifest states."""
    return UserError(f"{directory}: the {split} shards hold fewer drawings than manifest.json says")


def choose_categories(
    directory: str, manifest: manifests.Manifest, categories: Sequence[str], splits: Sequence[str]
) -> Sequence[str]:
    """Return `categories`, each once, or all of the data set in the order of the labels.

    Raises:
      UserError: the data set has no such category, or no drawing of any in one of the splits.
    """
    for label in categories:
        if label not in manifest.labels:
            near = difflib.get_close_matches(label, manifest.labels, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "; labels.txt lists them"
            raise UserError(f"--categories: {directory} has no category {label!r}{hint}")
    chosen = tuple(dict.fromkeys(categories)) or manifest.labels
    for split in splits:
        if not any(manifest.splits[split].class_counts[label] for label in chosen):
            raise UserError(f"{directory}: no drawings in the {split} split to show")
    return chosen


def stream_bitmaps(
    directory: str,
    manifest: manifests.Manifest,
    split: str,
    categories: Sequence[str],
    per_category: int | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the first bitmaps of each category in the order of the shards, which is random.

    Stops reading when it has enough. A category of fewer drawings gives all that it has, as do all
    categories without `per_category`.

    Yields:
      (label, [85, 85] uint8 of 0 and 1)

    Raises:
      UserError: a shard is missing or damaged.
    """
    counts = manifest.splits[split].class_counts
    missing = {  # class index -> how many bitmaps are still to be found
        manifest.labels.index(label): min(per_category or counts[label], counts[label])
        for label in categories
        if counts[label]
    }
    for example in manifests.DataSet(directory, manifest).examples(split):
        if example.label in missing:
            bitmap = decode_image(directory, manifest.image["encoding"], example)
            yield manifest.labels[example.label], bitmap
            missing[example.label] -= 1
            if not missing[example.label]:
                del missing[example.label]
        if not missing:
            return
    if missing:
        raise too_few_drawings(directory, split)


def read_bitmaps(
    directory: str,
    manifest: manifests.Manifest,
    split: str,
    categories: Sequence[str],
    per_category: int,
) -> dict[str, np.ndarray]:
    """Read what `stream_bitmaps` yields, by category.

    Returns:
      For each of `categories`, in their order, [n, 85, 85] uint8 of 0 and 1, n <= per_category.

    Raises:
      UserError: a shard is missing or damaged.
    """
    found: dict[str, list[np.ndarray]] = {label: [] for label in categories}
    for label, bitmap in stream_bitmaps(directory, manifest, split, categories, per_category):
        found[label].append(bitmap)
    shape = (-1, records.IMAGE_SIZE, records.IMAGE_SIZE)
    return {label: np.array(bitmaps, np.uint8).reshape(shape) for label, bitmaps in found.items()}
