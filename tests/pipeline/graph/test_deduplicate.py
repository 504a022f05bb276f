import json
from collections import Counter

import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from pipeline.graph import batches, sampling
from pipeline.graph.deduplicate import CategoryRanks, Deduplicate, num_buckets_for
from pipeline.sources.input_files import InputFile


def keys(categories: dict[str, list[tuple[int, int]]], ranks: tuple[int, ...] = ()) -> bytes:
    """A serialised batch of keys; of each category (hash of the key, hash of the strokes)."""
    drawings = [(name, *drawing) for name, of_name in categories.items() for drawing in of_name]
    names, hashes, strokes = zip(*drawings, strict=True)
    columns = {
        "category": pa.array(names).dictionary_encode(),
        "identity": pa.array(hashes, pa.int64()),
        "strokes_hash": pa.array(strokes, pa.int64()),
        **({"rank": pa.array(ranks, pa.int64())} if ranks else {}),
    }
    return batches.to_bytes(pa.RecordBatch.from_pydict(columns)).to_pybytes()


def found(
    elements: list[bytes],
) -> tuple[dict[str, CategoryRanks], dict[str, list[int]], Counter[tuple[str, str]]]:
    categories, excluded = {}, {}
    counts: Counter[tuple[str, str]] = Counter()
    for output in Deduplicate(ranks_needed=3).process((0, elements)):
        if not isinstance(output, TaggedOutput):
            categories[output[0]] = output[1]
        elif output.tag == "excluded":
            excluded[output.value[0]] = output.value[1].tolist()
        elif output.tag == "counts":
            counts.update(output.value)
    return categories, excluded, counts


def ranks_of(category: CategoryRanks) -> list[int]:
    return category.lowest.tolist()


def test_of_an_identity_the_first_category_in_the_alphabet_keeps_one() -> None:
    categories, excluded, counts = found(
        [
            keys({"cat": [(5, 1), (9, 1)], "sun": [(7, 1), (3, 1)]}),
            keys({"sun": [(5, 1), (5, 1), (8, 1)]}),
            keys({"ant": [(9, 1)], "sun": [(2, 4), (1, 4)]}),
        ]
    )
    assert {name: ranks_of(category) for name, category in categories.items()} == {
        "ant": [9],
        "cat": [5],
        "sun": [1, 2, 3],
    }
    assert {name: category.drawings for name, category in categories.items()} == {
        "ant": 1,
        "cat": 1,
        "sun": 5,
    }
    assert excluded == {"cat": [9], "sun": [5]}
    assert counts == {
        ("repeated", ""): 3,
        ("other_strokes", ""): 0,
        ("kept_elsewhere", "cat"): 1,
        ("kept_elsewhere", "sun"): 1,
    }


def test_drawings_of_one_key_and_other_strokes_are_others() -> None:
    elements = [keys({"cat": [(5, 1), (5, 2), (6, 1)]}), keys({"sun": [(5, 3), (5, 1)]})]
    categories, excluded, counts = found(elements)
    assert {name: category.drawings for name, category in categories.items()} == {
        "cat": 3,
        "sun": 1,
    }
    assert 6 in ranks_of(categories["cat"])  # a key that no other drawing has
    assert 5 not in ranks_of(categories["cat"])
    one, two = sampling.distinguish(np.array([5, 5]), np.array([1, 2]), np.array([5])).tolist()
    assert ranks_of(categories["cat"]) == sorted([6, one, two])
    assert excluded == {"sun": [one]}
    assert counts["repeated", ""] == 1
    assert counts["other_strokes", ""] == 2
    (shared,) = [o.value for o in Deduplicate(9).process((0, elements)) if _tag(o) == "shared"]
    assert shared.tolist() == [5]


def _tag(output: object) -> str:
    return output.tag if isinstance(output, TaggedOutput) else ""


def test_by_place_the_lowest_rank_keeps_it() -> None:
    categories, excluded, _ = found(
        [keys({"cat": [(5, 1), (6, 1)]}, (40, 10)), keys({"sun": [(5, 1)]}, (20,))]
    )
    assert {name: ranks_of(category) for name, category in categories.items()} == {
        "cat": [10],
        "sun": [20],
    }
    assert excluded == {"cat": [40]}


def test_counts_are_numbers_that_a_summary_can_hold() -> None:
    categories, _, counts = found([keys({"cat": [(5, 1), (5, 1)]})])
    assert json.dumps([list(counts.values()), categories["cat"].drawings]) == "[[1, 0], 1]"


def test_there_are_more_buckets_for_more_drawings_in_whatever_form() -> None:
    assert num_buckets_for([InputFile("a.ndjson", 10**9)]) == 16
    plain, binary, packed = (
        num_buckets_for([file])
        for file in (
            InputFile("a.ndjson", 10**11),
            InputFile("a.bin", 10**11, form="binary"),
            InputFile("a.ndjson.gz", 10**11, is_compressed=True),
        )
    )
    assert 100 < plain < binary == packed
