import json
import pickle
from collections import Counter

import numpy as np
from apache_beam.pvalue import TaggedOutput

from pipeline.graph import sampling
from pipeline.graph.deduplicate import CategoryRanks, Distinct, num_buckets_for
from pipeline.graph.parse import Marks
from pipeline.sources.input_files import InputFile


def marks(categories: dict[str, list[tuple[int, int]]], ranks: tuple[int, ...] = ()) -> bytes:
    """A parcel of Marks; of each category (hash of the key, hash of the strokes)."""
    drawings = [drawing for of_category in categories.values() for drawing in of_category]
    keys, strokes = np.array(drawings).T
    return pickle.dumps(
        Marks(
            tuple(categories),
            np.array([len(d) for d in categories.values()], np.uint32).tobytes(),
            keys.astype(np.int64).tobytes(),
            np.array(ranks, np.int64).tobytes(),
            strokes.astype(np.int64).tobytes(),
        )
    )


def found(
    parcels: list[bytes],
) -> tuple[dict[str, CategoryRanks], dict[str, list[int]], Counter[tuple[str, str]]]:
    categories, excluded = {}, {}
    counts: Counter[tuple[str, str]] = Counter()
    for output in Distinct(bounded=3).process((0, parcels)):
        if not isinstance(output, TaggedOutput):
            categories[output[0]] = output[1]
        elif output.tag == "excluded":
            excluded[output.value[0]] = np.frombuffer(output.value[1], np.int64).tolist()
        elif output.tag == "counts":
            counts.update(output.value)
    return categories, excluded, counts


def ranks_of(category: CategoryRanks) -> list[int]:
    return np.frombuffer(category.lowest, np.int64).tolist()


def test_of_an_identity_the_first_category_in_the_alphabet_keeps_one() -> None:
    categories, excluded, counts = found(
        [
            marks({"cat": [(5, 1), (9, 1)], "sun": [(7, 1), (3, 1)]}),
            marks({"sun": [(5, 1), (5, 1), (8, 1)]}),
            marks({"ant": [(9, 1)], "sun": [(2, 4), (1, 4)]}),
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
    parcels = [marks({"cat": [(5, 1), (5, 2), (6, 1)]}), marks({"sun": [(5, 3), (5, 1)]})]
    categories, excluded, counts = found(parcels)
    assert {name: category.drawings for name, category in categories.items()} == {
        "cat": 3,
        "sun": 1,
    }
    assert 6 in ranks_of(categories["cat"])  # a key that no other drawing has
    assert 5 not in ranks_of(categories["cat"])
    one, two = sampling.told_apart(np.array([5, 5]), np.array([1, 2]), np.array([5])).tolist()
    assert ranks_of(categories["cat"]) == sorted([6, one, two])
    assert excluded == {"sun": [one]}
    assert counts["repeated", ""] == 1
    assert counts["other_strokes", ""] == 2
    (shared,) = [o.value for o in Distinct(9).process((0, parcels)) if _tag(o) == "shared"]
    assert np.frombuffer(shared, np.int64).tolist() == [5]


def _tag(output: object) -> str:
    return output.tag if isinstance(output, TaggedOutput) else ""


def test_by_place_the_lowest_rank_keeps_it() -> None:
    categories, excluded, _ = found(
        [marks({"cat": [(5, 1), (6, 1)]}, (40, 10)), marks({"sun": [(5, 1)]}, (20,))]
    )
    assert {name: ranks_of(category) for name, category in categories.items()} == {
        "cat": [10],
        "sun": [20],
    }
    assert excluded == {"cat": [40]}


def test_counts_are_numbers_that_a_summary_can_hold() -> None:
    categories, _, counts = found([marks({"cat": [(5, 1), (5, 1)]})])
    assert json.dumps([list(counts.values()), categories["cat"].drawings]) == "[[1, 0], 1]"


def test_there_are_more_buckets_for_more_drawings_in_whatever_form() -> None:
    assert num_buckets_for([InputFile("a.ndjson", 10**9)]) == 16
    plain, binary, packed = (
        num_buckets_for([InputFile(name, 10**11)]) for name in ("a.ndjson", "a.bin", "a.ndjson.gz")
    )
    assert 100 < plain < binary == packed
