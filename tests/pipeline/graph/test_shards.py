"""The second pass sends the chosen drawings of a batch on, and spends nothing on the others."""

import tracemalloc

import numpy as np
import pyarrow as pa

from pipeline.graph import batches, sampling, shards
from pipeline.graph.sampling import CategorySplits, Selection
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.shards import AssignShards

SETTINGS = PrepareSettings((), "", ())


def batch_of(categories: dict[str, list[int]]) -> bytes:
    """A serialised batch; of each category the identities, which are also the strokes' text."""
    drawings = [(name, n) for name, identities in categories.items() for n in identities]
    columns = {
        "category": pa.array([name for name, _ in drawings]).dictionary_encode(),
        "identity": pa.array([identity for _, identity in drawings], pa.int64()),
        "key_id": pa.array([b""] * len(drawings)),
        "strokes": pa.array([b"%d" % identity for _, identity in drawings]),
    }
    return batches.to_bytes(pa.RecordBatch.from_pydict(columns)).to_pybytes()


def selection_of(bounds: dict[str, tuple[int, int, int]], excluded: dict[str, int]) -> Selection:
    """A choice of one shard a split."""
    splits = {name: CategorySplits(9, of_name, (9, 9, 9)) for name, of_name in bounds.items()}
    ranks = {name: np.array([rank]) for name, rank in excluded.items()}
    return sampling.select("hash", None, splits, ranks)


def assigned(batch: bytes, selection: Selection) -> dict[str, dict[int, list[bytes]]]:
    """By split and class index: the strokes that went there."""
    found: dict[str, dict[int, list[bytes]]] = {}
    for (split, shard), element in AssignShards(SETTINGS).process(batch, selection):
        assert shard == 0
        for row in batches.read_slice(element).to_pylist():
            assert row["key_id"] == b""
            assert row["order"] == sampling.order_of(np.array([int(row["strokes"])]))[0]
            found.setdefault(split, {}).setdefault(row["label"], []).append(row["strokes"])
    return found


def test_every_category_has_its_own_splits_and_exclusions() -> None:
    batch = batch_of({"sun": [3, 50, 7, 12], "ant": [50, 3, 7], "cat": [7, 12, 800]})
    bounds = {"ant": (5, 5, 60), "cat": (0, 10, 1000), "owl": (9, 9, 9), "sun": (8, 13, 13)}
    assert assigned(batch, selection_of(bounds, {"cat": 12, "sun": 7})) == {
        "validation": {0: [b"3"], 3: [b"3"]},
        "test": {1: [b"7"], 3: [b"12"]},
        "train": {0: [b"50", b"7"], 1: [b"800"]},
    }


def test_drawings_that_are_not_chosen_take_no_memory_beside_the_batch() -> None:
    batch = batch_of({"cat": list(range(10**18, 10**18 + 20_000))})
    selection = selection_of({"cat": (0, 0, 0)}, {})
    tracemalloc.start()
    assert assigned(batch, selection) == {}
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4 * len(batch)


def test_drawings_of_very_many_points_are_drawn_a_few_at_a_time() -> None:
    chunks = list(shards._chunks(np.array([400_000] * 5 + [100] * 600)))
    assert chunks == [(0, 3), (3, 259), (259, 515), (515, 605)]


def test_a_shard_is_in_order_and_of_copies_holds_the_lowest() -> None:
    strokes = [b"b", b"c", b"a", b"c"]
    columns = [[0, 1, 0, 0], [7, 5, 7, 7], [b"k"] * 4, strokes]
    table = pa.table(columns, schema=batches.SLICE_SCHEMA)
    rows = [row for chunk in shards._in_order(table) for row in chunk.to_pylist()]
    assert [(row["label"], row["order"], row["strokes"]) for row in rows] == [
        (1, 5, b"c"),
        (0, 7, b"a"),
    ]
