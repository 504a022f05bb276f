import numpy as np
import pytest

from pipeline.graph import sampling
from pipeline.graph.sampling import CategorySplits, Quotas, fix_splits, select


def ranks(number: int, seed: int = 0) -> np.ndarray:
    return np.unique(np.random.default_rng(seed).integers(0, 1 << 62, number))


def split_sets(found: np.ndarray, quotas: Quotas, method: str = "hash") -> dict[str, set[int]]:
    lowest = sampling.lowest([found], quotas.ranks_needed)
    selection = select(method, None, {"cat": fix_splits(method, quotas, len(found), lowest)}, {})
    splits = selection.splits_of(np.zeros(len(found), np.int32), found)
    return {name: set(found[splits == i].tolist()) for i, name in enumerate(selection.splits)}


def test_splits_have_exactly_their_quotas_and_share_nothing() -> None:
    splits = split_sets(ranks(100), Quotas(train=40, validation=20, test=10))
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [40, 20, 10]
    assert len(set.union(*splits.values())) == 70


@pytest.mark.parametrize("train", [41, 70, 1000, None])
def test_a_larger_training_quota_keeps_everything_that_was_chosen(train: int | None) -> None:
    small = split_sets(ranks(100), Quotas(train=40, validation=20, test=10))
    large = split_sets(ranks(100), Quotas(train=train, validation=20, test=10))
    assert large["validation"] == small["validation"]
    assert large["test"] == small["test"]
    assert large["train"] > small["train"]


def test_a_larger_quota_of_any_split_keeps_what_that_split_had() -> None:
    small = split_sets(ranks(100), Quotas(train=40, validation=20, test=10))
    larger = {
        "train": Quotas(train=50, validation=20, test=10),
        "validation": Quotas(train=40, validation=25, test=10),
        "test": Quotas(train=40, validation=20, test=15),
    }
    for split, quotas in larger.items():
        assert split_sets(ranks(100), quotas)[split] > small[split]


@pytest.mark.parametrize(
    ("number", "expected"), [(0, (0, 0, 0)), (15, (15, 0, 0)), (25, (20, 5, 0)), (31, (20, 10, 1))]
)
@pytest.mark.parametrize("train", [40, None])
def test_too_few_drawings_validate_first_then_test_then_train(
    number: int, expected: tuple[int, int, int], train: int | None
) -> None:
    splits = split_sets(ranks(number), Quotas(train=train, validation=20, test=10))
    assert tuple(len(splits[name]) for name in ("validation", "test", "train")) == expected


def test_the_highest_rank_can_be_chosen() -> None:
    found = np.array([0, (1 << 62) - 1])
    assert split_sets(found, Quotas(train=1, validation=1))["train"] == {(1 << 62) - 1}
    assert split_sets(found, Quotas(train=None, validation=1))["train"] == {(1 << 62) - 1}


def test_excluded_ranks_are_in_no_split() -> None:
    found = ranks(50)
    is_excluded = np.isin(np.arange(50), [0, 7, 19, 30, 49])
    own = found[~is_excluded]
    cat_splits = fix_splits("hash", Quotas(15, 5), len(own), own[:20])
    selection = select("hash", None, {"cat": cat_splits}, {"cat": found[is_excluded][::-1]})
    splits = selection.splits_of(np.zeros(len(found), np.int32), found)
    assert splits[is_excluded].tolist() == [3] * 5
    assert np.bincount(splits, minlength=4).tolist() == [5, 0, 15, 30]


def test_class_indices_come_from_the_labels_or_the_sorted_categories() -> None:
    one = CategorySplits(1, (1, 1, 1), (1, 0, 0))
    by_name = select("hash", None, {"sun": one, "cat": one, "ant": one}, {})
    assert by_name.labels == ("ant", "cat", "sun")
    as_given = select("hash", ("sun", "ant", "owl"), {"sun": one, "cat": one, "ant": one}, {})
    assert as_given.labels == ("sun", "ant", "owl")
    assert as_given.available.tolist() == [1, 1, 0]
    assert as_given.num_shards == [1, 0, 0]


def test_by_place_the_first_train_the_next_validate_the_next_test() -> None:
    splits = split_sets(np.arange(100), Quotas(train=40, validation=20, test=10), "first")
    assert splits["train"] == set(range(40))
    assert splits["validation"] == set(range(40, 60))
    assert splits["test"] == set(range(60, 70))


def test_ranks_by_place_ascend_with_the_file_and_the_offset_in_it() -> None:
    places = [(0, 0), (0, 1), (0, 10**12), (1, 0), (10**6, 5)]
    ranks = [sampling.rank_by_position(*place) for place in places]
    assert ranks == sorted(set(ranks))
    assert ranks[-1] < 1 << 62


def test_identity_depends_on_the_key_or_on_the_strokes_without_one() -> None:
    assert (
        sampling.identity_of("1", b"a")
        == sampling.identity_of("1", b"b")
        != sampling.identity_of("2", b"a")
    )
    assert sampling.identity_of(None, b"a") != sampling.identity_of(None, b"b")
    assert sampling.identity_of("a", b"") != sampling.identity_of(None, b"a")
    assert 0 <= sampling.identity_of("1", b"") < 1 << 62


def test_order_is_independent_of_the_rank_and_distinct() -> None:
    found = ranks(10_000)
    orders = sampling.order_of(found)
    assert len(np.unique(orders)) == len(found)
    # The lowest ranks, which validate, are spread over all shards: each within 5 sigma of 1/16.
    counts = np.bincount(sampling.shard_of(orders[:1600], 16), minlength=16)
    assert abs(counts - 100).max() < 50


def test_shards_follow_the_high_bits_of_the_order() -> None:
    orders = np.array([0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1], np.uint64)
    assert sampling.shard_of(orders, 2).tolist() == [0, 0, 1, 1]
    assert sampling.shard_of(orders, 5).tolist() == [0, 2, 2, 4]


@pytest.mark.parametrize(
    ("drawings", "shards"),
    [
        (0, 0),
        (1, 1),
        (1001, 2),
        (18_000, 16),
        (800_000, 16),
        (10**6, 20),
        (50_000_000, 1000),
        (50_000_001, 1000),
        (500_000_000, 1000),
        (500_000_001, 1001),
        (5_000_000_000, 10_000),
    ],
)
def test_number_of_shards(drawings: int, shards: int) -> None:
    assert sampling.num_shards_for(drawings) == shards
