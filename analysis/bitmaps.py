"""Some bitmaps of each category, read from a data set's shards."""

from collections.abc import Sequence

import numpy as np

from pipeline import dataset, records
from pipeline.errors import UserError


def read_bitmaps(
    directory: str,
    manifest: dataset.Manifest,
    split: str,
    categories: Sequence[str],
    per_category: int,
) -> dict[str, np.ndarray]:
    """The first bitmaps of each category in the order of the shards, which is a random one.

    Stops reading when it has enough. A category of fewer drawings gives all that it has.

    Returns:
      for each of `categories`, in their order, [n, 85, 85] uint8 of 0 and 1, n <= per_category.

    Raises:
      UserError: a shard is missing or damaged.
    """
    decode = records.DECODERS[manifest.image["encoding"]]
    counts = manifest.splits[split].class_counts
    missing = {  # class index -> how many bitmaps are still to be found
        manifest.labels.index(label): min(per_category, counts[label])
        for label in categories
        if counts[label]
    }
    found: dict[str, list[np.ndarray]] = {label: [] for label in categories}
    for example in dataset.read_examples(directory, manifest, split):
        if example.label in missing:
            found[manifest.labels[example.label]].append(decode(example.image))
            missing[example.label] -= 1
            if not missing[example.label]:
                del missing[example.label]
        if not missing:
            break
    if missing:
        raise UserError(
            f"{directory}: its {split} shards hold fewer drawings than its manifest says"
        )
    shape = (-1, records.IMAGE_SIZE, records.IMAGE_SIZE)
    return {label: np.array(bitmaps, np.uint8).reshape(shape) for label, bitmaps in found.items()}
