"""First pass of the graph: which drawings are distinct, where the splits of a category end."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from pipeline.graph import batches, sampling
from pipeline.graph.batches import Element
from pipeline.graph.sampling import CategorySplits, Quotas, Selection
from pipeline.sources.input_files import InputFile, estimated_drawings

# Keys of so many drawings meet in one bucket, about: 25 MB, and 200 MB while they are sorted.
# Every batch sends something to every bucket: smaller ones would mean more, smaller elements.
BUCKET_DRAWINGS = 2_000_000
_LEAST_BUCKETS = 16  # to keep the cores busy


class CategoryRanks(NamedTuple):
    """Distinct drawings of one category, of one bucket or of several."""

    drawings: int
    lowest: np.ndarray  # [≤ ranks needed] int64, ascending


def num_buckets_for(files: Sequence[InputFile]) -> int:
    """Return the number of buckets for the keys of the drawings in such files."""
    return max(_LEAST_BUCKETS, estimated_drawings(files) // BUCKET_DRAWINGS)


class Deduplicate(beam.DoFn):
    """(bucket, [keys]) → (category, CategoryRanks); excluded: (category, ranks); shared: hashes of
    keys; counts: Counter.

    Drawings of one key (or without one) and the same strokes are one drawing. Of its copies the one
    of lowest rank is kept; where the rank is the identity, the one whose category comes first in
    the alphabet. Drawings of one key and other strokes are others: their identity is of both.

    The counts are "repeated", drawings that were there before; "kept_elsewhere", by category, those
    of them that another category keeps; and "other_strokes", drawings of a key that was there
    before with other strokes.
    """

    def __init__(self, ranks_needed: int | None) -> None:
        self._ranks_needed = ranks_needed
        self._sizes = Metrics.distribution("pipeline", "bucket_drawings")

    def process(self, bucket: tuple[int, Iterable[Element]]) -> Iterator[Any]:
        table = batches.concat(map(batches.read_batch, bucket[1]))
        names, categories = _sorted_categories(table["category"].chunk(0))
        keys, strokes = (table[name].to_numpy() for name in ("identity", "strokes_hash"))
        self._sizes.update(len(keys))

        shared = _shared_keys(keys, strokes)
        if len(shared):
            yield beam.pvalue.TaggedOutput("shared", shared)
        identities = sampling.distinguish(keys, strokes, shared)
        ranks = batches.ranks_of(table, identities)

        order = np.lexsort((categories, ranks, identities))
        identities, ranks, categories = identities[order], ranks[order], categories[order]
        is_kept = np.diff(identities, prepend=-1) != 0
        keeper = np.flatnonzero(is_kept)[np.cumsum(is_kept) - 1]  # [N], of each one's identity
        is_lost = categories != categories[keeper]
        dropped: Counter[tuple[str, str]] = Counter()
        dropped["repeated", ""] = len(keys) - int(np.sum(is_kept))
        dropped["other_strokes", ""] = int(np.sum(is_kept)) - len(np.unique(keys))
        is_elsewhere = (ranks != ranks[keeper]) | is_lost
        for index in np.unique(categories[is_elsewhere]).tolist():
            excluded = np.unique(ranks[is_elsewhere & (categories == index)])
            yield beam.pvalue.TaggedOutput("excluded", (names[index], excluded))
        for index in np.unique(categories[is_lost]).tolist():
            lost = identities[is_lost & (categories == index)]
            dropped["kept_elsewhere", names[index]] = len(np.unique(lost))
        yield from _category_ranks(names, categories[is_kept], ranks[is_kept], self._ranks_needed)
        yield beam.pvalue.TaggedOutput("counts", dropped)


def _sorted_categories(column: Any) -> tuple[list[str], np.ndarray]:
    """Return the names of a dictionary column, sorted, and each row's index of them, [N] int32."""
    found = column.dictionary.to_pylist()
    names = sorted(found)
    index_of = {name: index for index, name in enumerate(names)}
    sorted_indices = np.array([index_of[name] for name in found], np.int32)
    return names, sorted_indices[column.indices.to_numpy()]


def _category_ranks(
    names: Sequence[str], categories: np.ndarray, ranks: np.ndarray, ranks_needed: int | None
) -> Iterator[tuple[str, CategoryRanks]]:
    """[N] indices into `names` and int64 ranks → every name's ranks, also where it has none."""
    ranks = ranks[np.lexsort((ranks, categories))]
    numbers = np.bincount(categories, minlength=len(names))
    starts = np.cumsum(numbers) - numbers
    for name, number, start in zip(names, numbers.tolist(), starts.tolist(), strict=True):
        yield name, CategoryRanks(number, ranks[start : start + number][:ranks_needed])


def _shared_keys(keys: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """[N] int64 each → the keys, ascending, that drawings of different strokes have."""
    order = np.lexsort((strokes, keys))
    keys, strokes = keys[order], strokes[order]
    follows_other = (np.diff(keys) == 0) & (np.diff(strokes) != 0)
    return np.unique(keys[1:][follows_other])


class LowestRanks(beam.CombineFn):
    """Merges the CategoryRanks of the buckets, keeping the ranks needed."""

    def __init__(self, ranks_needed: int | None) -> None:
        self._ranks_needed = ranks_needed

    def create_accumulator(self) -> CategoryRanks:
        return CategoryRanks(0, np.empty(0, np.int64))

    def add_input(self, accumulator: CategoryRanks, element: CategoryRanks) -> CategoryRanks:
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[CategoryRanks]) -> CategoryRanks:
        parts = [part for part in accumulators if part.drawings]
        if len(parts) == 1:  # of its drawings the lowest already
            return parts[0]
        lowest = sampling.lowest((part.lowest for part in parts), self._ranks_needed)
        return CategoryRanks(sum(part.drawings for part in parts), lowest)

    def extract_output(self, accumulator: CategoryRanks) -> CategoryRanks:
        return accumulator


def fix_splits(
    category_ranks: tuple[str, CategoryRanks], method: str, quotas: Quotas
) -> tuple[str, CategorySplits]:
    """Reduce the ranks of a category to where its splits end: see sampling.fix_splits."""
    category, found = category_ranks
    return category, sampling.fix_splits(method, quotas, found.drawings, found.lowest)


def make_selection(
    _: None,
    method: str,
    labels: Sequence[str] | None,
    splits: Sequence[tuple[str, CategorySplits]],
    excluded: Sequence[tuple[str, np.ndarray]],
    shared: Sequence[np.ndarray],
) -> Selection:
    """Merge the findings of all buckets: see sampling.select."""
    of_category: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    for category, ranks in excluded:
        of_category[category].append(ranks)
    return sampling.select(
        method,
        labels,
        dict(splits),
        {category: np.concatenate(ranks) for category, ranks in of_category.items()},
        np.concatenate([np.empty(0, np.int64), *shared]),
    )
