"""The first pass of the job: which drawings are distinct, where the splits of a category end."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from pipeline.graph import arrays, sampling
from pipeline.graph.parse import Marks
from pipeline.graph.sampling import CategorySplits, Quotas, Selection
from pipeline.graph.spill import Parcel, unpack
from pipeline.sources.input_files import InputFile, estimated_drawings

# Marks of so many drawings meet in one bucket, about: 25 MB, and 200 MB while they are sorted.
# Every batch sends something to every bucket: smaller ones would mean more, smaller elements.
BUCKET_DRAWINGS = 2_000_000
_LEAST_BUCKETS = 16  # to keep the cores busy


class CategoryRanks(NamedTuple):
    """What a bucket of identities says about one category."""

    drawings: int  # distinct
    lowest: bytes  # [≤ bounded] int64, ascending


def num_buckets_for(files: Sequence[InputFile]) -> int:
    """How many groups the identities of the drawings in such files are dealt to."""
    return max(_LEAST_BUCKETS, estimated_drawings(files) // BUCKET_DRAWINGS)


class Distinct(beam.DoFn):
    """(bucket, [Marks]) → (category, CategoryRanks); excluded: (category, ranks); shared: hashes of
    keys; counts: Counter.

    Drawings of one key (or without one) and the same strokes are one drawing. Of its marks the one
    of lowest rank is kept; where the rank is the identity, the one whose category comes first in
    the alphabet. Drawings of one key and other strokes are others: their identity is of both.

    The counts are "repeated", drawings that were there before; "kept_elsewhere", by category, those
    of them that another category keeps; and "other_strokes", drawings of a key that was there
    before with other strokes.
    """

    def __init__(self, bounded: int | None) -> None:
        self._bounded = bounded
        self._sizes = Metrics.distribution("pipeline", "bucket_drawings")

    def process(self, bucket: tuple[int, Iterable[Parcel]]) -> Iterator[Any]:
        marks: list[Marks] = [unpack(parcel) for parcel in bucket[1]]
        names = sorted({name for mark in marks for name in mark.categories})
        indices = {name: index for index, name in enumerate(names)}
        keys = np.concatenate([np.frombuffer(m.identities, np.int64) for m in marks])
        strokes = np.concatenate([np.frombuffer(m.strokes, np.int64) for m in marks])
        counts = np.concatenate([np.frombuffer(m.counts, np.uint32) for m in marks])
        runs = np.array([indices[name] for mark in marks for name in mark.categories], np.int32)
        categories = np.repeat(runs, counts)
        self._sizes.update(len(keys))

        shared = _shared_keys(keys, strokes)
        if len(shared):
            yield beam.pvalue.TaggedOutput("shared", shared.tobytes())
        identities = sampling.told_apart(keys, strokes, shared)
        ranks = identities
        if marks[0].ranks:
            ranks = np.concatenate([np.frombuffer(m.ranks, np.int64) for m in marks])

        order = np.lexsort((categories, ranks, identities))
        identities, ranks, categories = identities[order], ranks[order], categories[order]
        is_kept = np.diff(identities, prepend=-1) != 0
        keeper = np.flatnonzero(is_kept)[np.cumsum(is_kept) - 1]  # [N], of each one's identity
        is_elsewhere = (ranks != ranks[keeper]) | (categories != categories[keeper])
        dropped: Counter[tuple[str, str]] = Counter()
        dropped["repeated", ""] = len(keys) - int(np.sum(is_kept))
        dropped["other_strokes", ""] = int(np.sum(is_kept)) - len(np.unique(keys))
        elsewhere = np.flatnonzero(is_elsewhere)
        for index, own in arrays.groups(categories[elsewhere]):
            excluded = np.unique(ranks[elsewhere[own]])
            yield beam.pvalue.TaggedOutput("excluded", (names[index], excluded.tobytes()))
        lost = np.flatnonzero(categories != categories[keeper])
        for index, own in arrays.groups(categories[lost]):
            dropped["kept_elsewhere", names[index]] = len(np.unique(identities[lost[own]]))
        yield from _category_ranks(names, categories[is_kept], ranks[is_kept], self._bounded)
        yield beam.pvalue.TaggedOutput("counts", dropped)


def _category_ranks(
    names: Sequence[str], categories: np.ndarray, ranks: np.ndarray, bounded: int | None
) -> Iterator[tuple[str, CategoryRanks]]:
    """[N] indices into `names` and int64 ranks → every name's ranks, also where it has none."""
    ranks = ranks[np.lexsort((ranks, categories))]
    numbers = np.bincount(categories, minlength=len(names))
    starts = np.cumsum(numbers) - numbers
    for name, number, start in zip(names, numbers.tolist(), starts.tolist(), strict=True):
        lowest = ranks[start : start + number][:bounded]
        yield name, CategoryRanks(number, lowest.tobytes())


def _shared_keys(keys: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """[N] int64 each → the keys, ascending, that drawings of different strokes have."""
    order = np.lexsort((strokes, keys))
    keys, strokes = keys[order], strokes[order]
    follows_other = (np.diff(keys) == 0) & (np.diff(strokes) != 0)
    return np.unique(keys[1:][follows_other])


class LowestRanks(beam.CombineFn):
    """Merges what the buckets say about a category, keeping the lowest `bounded` ranks."""

    def __init__(self, bounded: int | None) -> None:
        self._bounded = bounded

    def create_accumulator(self) -> CategoryRanks:
        return CategoryRanks(0, b"")

    def add_input(self, accumulator: CategoryRanks, element: CategoryRanks) -> CategoryRanks:
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[CategoryRanks]) -> CategoryRanks:
        parts = [part for part in accumulators if part.drawings]
        if len(parts) == 1:  # of its drawings the lowest already
            return parts[0]
        lowest = sampling.lowest(
            (np.frombuffer(part.lowest, np.int64) for part in parts), self._bounded
        )
        return CategoryRanks(sum(part.drawings for part in parts), lowest.tobytes())

    def extract_output(self, accumulator: CategoryRanks) -> CategoryRanks:
        return accumulator


def fix_splits(
    category_ranks: tuple[str, CategoryRanks], method: str, quotas: Quotas
) -> tuple[str, CategorySplits]:
    """Of a category's ranks only where its splits end goes on: see sampling.fix_splits."""
    category, found = category_ranks
    ranks = np.frombuffer(found.lowest, np.int64)
    return category, sampling.fix_splits(method, quotas, found.drawings, ranks)


def make_selection(
    _: None,
    method: str,
    labels: Sequence[str] | None,
    splits: Sequence[tuple[str, CategorySplits]],
    excluded: Sequence[tuple[str, bytes]],
    shared: Sequence[bytes],
) -> Selection:
    """What the buckets found, as the Selection; see sampling.select."""
    excluded_ranks: defaultdict[str, list[bytes]] = defaultdict(list)
    for category, ranks in excluded:
        excluded_ranks[category].append(ranks)
    return sampling.select(
        method,
        labels,
        dict(splits),
        {c: np.frombuffer(b"".join(r), np.int64) for c, r in excluded_ranks.items()},
        np.frombuffer(b"".join(shared), np.int64),
    )
