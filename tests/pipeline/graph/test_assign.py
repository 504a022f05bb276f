"""The second pass sends the chosen drawings of a batch on, and spends nothing on the others."""

import pickle
import tracemalloc

import numpy as np

from pipeline.graph import sampling
from pipeline.graph.assign import Place
from pipeline.graph.parse import Batch
from pipeline.graph.sampling import CategorySplits, Selection
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.shards import Entries, Placed

SETTINGS = PrepareSettings((), "", ())


def batch_of(categories: dict[str, list[int]]) -> bytes:
    """A parcel of a Batch; of each category the identities, which are also the entries' text."""
    identities = [identity for of_category in categories.values() for identity in of_category]
    entries = [b"%d" % identity for identity in identities]
    return pickle.dumps(
        Batch(
            tuple(categories),
            np.array([len(i) for i in categories.values()], np.uint32).tobytes(),
            np.array(identities, np.int64).tobytes(),
            b"",
            Entries(np.array(list(map(len, entries)), np.uint32).tobytes(), b"".join(entries)),
        )
    )


def selection_of(bounds: dict[str, tuple[int, int, int]], excluded: dict[str, int]) -> Selection:
    """A choice of one shard a split."""
    splits = {name: CategorySplits(9, of_name, (9, 9, 9)) for name, of_name in bounds.items()}
    ranks = {name: np.array([rank]) for name, rank in excluded.items()}
    return sampling.select("hash", None, splits, ranks)


def placed(batch: bytes, selection: Selection) -> dict[str, dict[int, list[bytes]]]:
    """By split and class index: the entries that went there."""
    found: dict[str, dict[int, list[bytes]]] = {}
    for (split, _), parcel in Place(SETTINGS).process(batch, selection):
        assert isinstance(parcel, bytes)
        part: Placed = pickle.loads(parcel)
        data = part.entries.data
        ends = part.entries.ends().tolist()
        entries = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        labels = np.frombuffer(part.labels, np.int32).tolist()
        for label, count in zip(labels, np.frombuffer(part.counts, np.uint32), strict=True):
            found.setdefault(split, {})[label] = entries[:count]
            del entries[:count]
        assert not entries
    return found


def test_every_category_has_its_own_splits_and_exclusions() -> None:
    batch = batch_of({"sun": [3, 50, 7, 12], "ant": [50, 3, 7], "cat": [7, 12, 800]})
    bounds = {"ant": (5, 5, 60), "cat": (0, 10, 1000), "owl": (9, 9, 9), "sun": (8, 13, 13)}
    assert placed(batch, selection_of(bounds, {"cat": 12, "sun": 7})) == {
        "validation": {0: [b"3"], 3: [b"3"]},
        "test": {1: [b"7"], 3: [b"12"]},
        "train": {0: [b"50", b"7"], 1: [b"800"]},
    }


def test_drawings_that_are_not_chosen_take_no_memory_beside_the_batch() -> None:
    batch = batch_of({"cat": list(range(10**18, 10**18 + 20_000))})
    selection = selection_of({"cat": (0, 0, 0)}, {})
    tracemalloc.start()
    assert placed(batch, selection) == {}
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4 * len(batch)
