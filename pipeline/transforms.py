"""The Beam graph: work items in, shards under temporary names and `summary.json` out."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import cv2
import google_crc32c
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsIter, AsList, AsSingleton

from pipeline import sampling, storage
from pipeline.dataset import shard_name
from pipeline.drawing import Drawing, Reject
from pipeline.errors import RunError
from pipeline.progress import Progress
from pipeline.sampling import Quotas, Selection
from pipeline.shards import Entries, Placed, WrittenShard, pack_entry, write_shard
from pipeline.sources import InputFile, WorkItem, category_of, read_drawings, work_items
from pipeline.spill import Spill, Spilled, load

SUMMARY = "summary.json"
_REJECT_HEAD_BYTES = 200  # how much of a rejected line is kept to recognise it by
_BYTES_PER_BUCKET = 256 << 20  # of input: about 600,000 identities, 12 MB, meet in one bucket
_BATCH_DRAWINGS = 20_000  # of one category: about 2 MB of strokes
# A batch hands on this many more of a category's lowest ranks than the quotas ask for, to make up
# for drawings that turn out to be kept elsewhere.
_SPARE_RANKS = 1_000


class PrepareSettings(NamedTuple):
    """What the graph needs to know; everything here is the same on every worker."""

    files: tuple[InputFile, ...]
    staging: str  # directory
    labels: tuple[str, ...] | None = None  # None: the categories of the input, sorted
    quotas: Quotas = Quotas()
    sampling: str = "hash"  # or first
    recognized_only: bool = False
    image_encoding: str = "packed"  # or png
    progress: Progress = Progress(None)
    spill_directory: str | None = None  # for drawings on their way, on a local run


class Batch(NamedTuple):
    """Drawings of one category from one work item."""

    category: str
    identities: bytes  # [N] int64
    ranks: bytes  # [N] int64, empty where the identity is the rank
    entries: Entries  # [N]


class Marks(NamedTuple):
    """What tells the drawings of a batch apart, without their strokes."""

    category: str
    identities: bytes  # [N] int64
    ranks: bytes  # [N] int64, empty where the identity is the rank
    checksums: bytes  # [N] uint32, of the strokes


class Rejected(NamedTuple):
    """What held no usable drawing."""

    path: str
    byte_offset: int
    reason: str
    head: bytes  # the first bytes of the line or record


class CategoryRanks(NamedTuple):
    """What a bucket of identities says about one category."""

    drawings: int  # distinct
    lowest: bytes  # [≤ bounded] int64, ascending


def prepare(pipeline: beam.Pipeline, settings: PrepareSettings) -> None:
    """Adds the whole job to `pipeline`; its result is `<staging>/summary.json`."""
    # The first drawings of a file are found by reading it from its beginning.
    items = work_items(settings.files, whole_files=settings.sampling == "first")
    input_bytes = sum(file.bytes for file in settings.files)
    num_buckets = max(16, input_bytes // _BYTES_PER_BUCKET)
    bounded = settings.quotas.bounded

    parsed = (
        pipeline
        | "Items" >> beam.Create(items, reshuffle=False)
        | "Spread" >> beam.Reshuffle()  # WorkItem
        | "Parse"
        >> beam.ParDo(Parse(settings, num_buckets)).with_outputs(
            "marks", "counts", "rejects", main="batches"
        )
    )
    # First pass, without strokes: which drawings are distinct, and where each split ends.
    distinct = (
        parsed.marks  # (bucket, Marks)
        | "ByIdentity" >> beam.GroupByKey()  # (bucket, [Marks])
        | "Distinct"
        >> beam.ParDo(Distinct(bounded)).with_outputs("excluded", "counts", main="categories")
    )
    lowest_ranks = (
        distinct.categories  # (category, CategoryRanks)
        | "Lowest" >> beam.CombinePerKey(LowestRanks(bounded))
    )
    selection = (
        pipeline
        | "Once" >> beam.Create([None])
        | "Select"
        >> beam.Map(make_selection, settings, AsList(lowest_ranks), AsList(distinct.excluded))
    )  # Selection
    # Second pass: strokes to their shards, and shards to files.
    shards = (
        parsed.batches  # Batch
        | "Place" >> beam.ParDo(Place(settings), AsSingleton(selection))  # ((split, shard), Placed)
        | "ByShard" >> beam.GroupByKey()  # ((split, shard), [Placed])
        | "Write" >> beam.ParDo(WriteShard(settings), AsSingleton(selection))  # WrittenShard
    )
    reject_files = (
        parsed.rejects  # (path, Rejected)
        | "ByFile" >> beam.GroupByKey()  # (path, [Rejected])
        | "WriteRejects" >> beam.Map(write_rejects, settings.staging, settings.files)  # name
    )
    counts = (
        (parsed.counts, distinct.counts)
        | "AllCounts" >> beam.Flatten()  # Counter
        | "Count" >> beam.CombineGlobally(sum_counters)
    )
    _ = (
        pipeline
        | "Last" >> beam.Create([None])
        | "Summarize"
        >> beam.Map(
            write_summary,
            settings.staging,
            AsSingleton(selection),
            AsSingleton(counts),
            AsList(shards),
            AsIter(reject_files),
        )
    )


class Drawings:
    """Drawings of one category, collected for a batch."""

    def __init__(self) -> None:
        self.identities: list[int] = []
        self.ranks: list[int] = []  # empty where the identity is the rank
        self.checksums: list[int] = []
        self.entries: list[bytes] = []

    def add(self, identity: int, rank: int | None, drawing: Drawing) -> None:
        self.identities.append(identity)
        if rank is not None:
            self.ranks.append(rank)
        self.checksums.append(google_crc32c.value(drawing.strokes))
        self.entries.append(pack_entry(drawing))


class Parse(beam.DoFn):
    """WorkItem → Batch; marks: (bucket, Marks); counts: Counter; rejects: (path, Rejected).

    The counts are keyed (kind, category), or ("rejected", reason); the kinds are "read",
    "not_recognized" and "other_category".
    """

    def __init__(self, settings: PrepareSettings, num_buckets: int) -> None:
        self._labels = None if settings.labels is None else frozenset(settings.labels)
        self._recognized_only = settings.recognized_only
        self._by_place = settings.sampling == "first"
        self._file_indices = {file.path: index for index, file in enumerate(settings.files)}
        # How many of the lowest ranks of a batch can be chosen.
        self._limit = settings.quotas.bounded + _SPARE_RANKS
        self._wanted = settings.quotas.bounded
        self._is_limited = settings.quotas.train is not None
        self._num_buckets = num_buckets
        self._spill = Spill(settings.spill_directory)
        self._progress = settings.progress

    def process(self, item: WorkItem) -> Iterator[Any]:
        path = item.file.path
        counts: Counter[tuple[str, str]] = Counter()
        batches: defaultdict[str, Drawings] = defaultdict(Drawings)
        file_category = category_of(path)
        first_rank = sampling.rank_by_place(self._file_indices[path], 0)
        seen: set[int] = set()  # of the file's own category
        for byte_offset, drawing, head in read_drawings(item):
            if isinstance(drawing, Reject):
                counts["rejected", str(drawing)] += 1
                rejected = Rejected(path, byte_offset, str(drawing), head[:_REJECT_HEAD_BYTES])
                yield beam.pvalue.TaggedOutput("rejects", (path, rejected))
                continue
            category = drawing.word or file_category
            if self._labels is not None and category not in self._labels:
                counts["other_category", category] += 1
                continue
            counts["read", category] += 1
            if self._recognized_only and not drawing.recognized:
                counts["not_recognized", category] += 1
                continue
            identity = sampling.identity_of(drawing.key_id, drawing.strokes)
            batch = batches[category]
            batch.add(identity, first_rank + byte_offset if self._by_place else None, drawing)
            if self._by_place and category == file_category:
                seen.add(identity)
                if len(seen) == self._wanted:
                    break  # the rest of the file is not needed
            if len(batch.identities) >= _BATCH_DRAWINGS:
                yield from self._emit(category, batches.pop(category))
        for category, batch in batches.items():
            yield from self._emit(category, batch)
        yield beam.pvalue.TaggedOutput("counts", counts)
        self._count(counts, item)

    def _emit(self, category: str, drawings: Drawings) -> Iterator[Any]:
        identities = np.array(drawings.identities)
        ranks = np.array(drawings.ranks, np.int64)
        checksums = np.array(drawings.checksums, np.uint32)
        buckets = identities % self._num_buckets
        for bucket in np.unique(buckets).tolist():
            chosen = np.flatnonzero(buckets == bucket)
            marks = Marks(
                category,
                identities[chosen].tobytes(),
                ranks[chosen].tobytes() if len(ranks) else b"",
                checksums[chosen].tobytes(),
            )
            yield beam.pvalue.TaggedOutput("marks", (bucket, self._spill.store(marks)))
        entries = drawings.entries
        by = ranks if len(ranks) else identities
        if self._is_limited and len(by) > self._limit:
            # Higher ranks of this batch cannot be chosen: their strokes go no further.
            kept = np.flatnonzero(by <= np.partition(by, self._limit - 1)[self._limit - 1])
            identities, ranks = identities[kept], ranks[kept] if len(ranks) else ranks
            entries = [entries[i] for i in kept.tolist()]
        batch = Batch(category, identities.tobytes(), ranks.tobytes(), Entries.of(entries))
        yield self._spill.store(batch)

    def _count(self, counts: Counter[tuple[str, str]], item: WorkItem) -> None:
        totals: Counter[str] = Counter()
        for (kind, _), number in counts.items():
            totals[kind] += number
        for kind, number in totals.items():
            Metrics.counter("pipeline", kind).inc(number)
        self._progress.add(
            bytes_read=item.bytes,
            drawings_read=totals["read"] + totals["other_category"],
            rejected=totals["rejected"],
        )


class Distinct(beam.DoFn):
    """(bucket, [Marks]) → (category, CategoryRanks); excluded: (category, ranks); counts: Counter.

    Of marks of one identity the one of lowest rank is kept; where the rank is the identity, the
    one whose category comes first in the alphabet. Which of the same category's strokes are kept
    then, if they differ, is for `shards.write_shard` to say. The counts are "repeated", drawings
    that were there before, and "other_strokes", the same key with other strokes.
    """

    def __init__(self, bounded: int) -> None:
        self._bounded = bounded

    def process(self, bucket: tuple[int, Iterable[Marks | Spilled]]) -> Iterator[Any]:
        marks = [load(stored) for stored in bucket[1]]
        names = sorted({mark.category for mark in marks})
        identities = np.concatenate([np.frombuffer(m.identities, np.int64) for m in marks])
        ranks = np.concatenate([np.frombuffer(m.ranks or m.identities, np.int64) for m in marks])
        checksums = np.concatenate([np.frombuffer(m.checksums, np.uint32) for m in marks])
        counts = [len(m.identities) // 8 for m in marks]
        categories = np.repeat([names.index(m.category) for m in marks], counts)
        order = np.lexsort((categories, ranks, identities))
        identities, ranks, categories = identities[order], ranks[order], categories[order]
        is_kept = np.diff(identities, prepend=-1) != 0
        keeper = np.flatnonzero(is_kept)[np.cumsum(is_kept) - 1]  # [N], of each one's identity
        is_elsewhere = (ranks != ranks[keeper]) | (categories != categories[keeper])
        for index, name in enumerate(names):
            is_own = categories == index
            if excluded := np.unique(ranks[is_own & is_elsewhere]).tobytes():
                yield beam.pvalue.TaggedOutput("excluded", (name, excluded))
            own = ranks[is_own & is_kept]
            yield name, CategoryRanks(len(own), sampling.lowest([own], self._bounded).tobytes())
        drawings = np.unique(np.stack((identities, checksums[order])), axis=1)
        other_strokes = drawings.shape[1] - int(is_kept.sum())
        repeated = len(identities) - drawings.shape[1]
        dropped = {("repeated", ""): repeated, ("other_strokes", ""): other_strokes}
        yield beam.pvalue.TaggedOutput("counts", Counter(dropped))


class LowestRanks(beam.CombineFn):
    """Merges what the buckets say about a category, keeping the lowest `bounded` ranks."""

    def __init__(self, bounded: int) -> None:
        self._bounded = bounded

    def create_accumulator(self) -> CategoryRanks:
        return CategoryRanks(0, b"")

    def add_input(self, accumulator: CategoryRanks, element: CategoryRanks) -> CategoryRanks:
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[CategoryRanks]) -> CategoryRanks:
        parts = list(accumulators)
        lowest = sampling.lowest(
            (np.frombuffer(part.lowest, np.int64) for part in parts), self._bounded
        )
        return CategoryRanks(sum(part.drawings for part in parts), lowest.tobytes())

    def extract_output(self, accumulator: CategoryRanks) -> CategoryRanks:
        return accumulator


def make_selection(
    _: None,
    settings: PrepareSettings,
    categories: Sequence[tuple[str, CategoryRanks]],
    excluded: Sequence[tuple[str, bytes]],
) -> Selection:
    """What the buckets found, as the Selection; see sampling.select."""
    excluded_ranks: defaultdict[str, list[bytes]] = defaultdict(list)
    for category, ranks in excluded:
        excluded_ranks[category].append(ranks)
    return sampling.select(
        settings.sampling,
        settings.quotas,
        settings.labels,
        available={category: found.drawings for category, found in categories},
        lowest_ranks={c: np.frombuffer(found.lowest, np.int64) for c, found in categories},
        excluded={c: np.frombuffer(b"".join(r), np.int64) for c, r in excluded_ranks.items()},
    )


class Place(beam.DoFn):
    """Batch → ((split, shard index), Placed) for every shard that gets some of its drawings."""

    def __init__(self, settings: PrepareSettings) -> None:
        self._spill = Spill(settings.spill_directory)

    def process(
        self, stored: Batch | Spilled, selection: Selection
    ) -> Iterator[tuple[tuple[str, int], Placed | Spilled]]:
        batch = load(stored)
        ranks = np.frombuffer(batch.ranks or batch.identities, np.int64)
        splits = selection.splits_of(batch.category, ranks)
        orders = sampling.order_of(np.frombuffer(batch.identities, np.int64))
        entries = batch.entries.as_list()
        label = selection.labels.index(batch.category)
        for index, split in enumerate(selection.splits):
            in_split = np.flatnonzero(splits == index)
            shards = sampling.shard_of(orders[in_split], selection.num_shards[index])
            for shard in np.unique(shards).tolist():
                chosen = in_split[shards == shard]
                placed = Entries.of([entries[i] for i in chosen.tolist()])
                part = Placed(label, orders[chosen].tobytes(), placed)
                yield (split, shard), self._spill.store(part)


class WriteShard(beam.DoFn):
    """((split, shard index), [Placed]) → WrittenShard."""

    def __init__(self, settings: PrepareSettings) -> None:
        self._staging = settings.staging
        self._image_encoding = settings.image_encoding
        self._progress = settings.progress

    def setup(self) -> None:
        cv2.setNumThreads(0)  # OpenCV's threads only get in the way of one process a core

    def process(
        self, element: tuple[tuple[str, int], Iterable[Placed | Spilled]], selection: Selection
    ) -> Iterator[WrittenShard]:
        (split, index), stored = element
        num_shards = selection.num_shards[selection.splits.index(split)]
        name = shard_name(split, index, num_shards)
        written = write_shard(
            self._staging, name, split, index, map(load, stored), self._image_encoding
        )
        Metrics.counter("pipeline", f"written_{split}").inc(written.shard.records)
        self._progress.add(shards_written=1, drawings_written=written.shard.records)
        yield written


def write_rejects(
    rejected: tuple[str, Iterable[Rejected]], staging: str, files: Sequence[InputFile]
) -> str:
    """Writes a file's rejects as JSON lines, by position; returns the name of the file written.

    The name is made of the input's place in the sorted list of inputs, never of its text.
    """
    path, rejects = rejected
    index = [file.path for file in files].index(path)
    name = f"rejects-{index:05d}-of-{len(files):05d}.jsonl"
    lines = [
        json.dumps(
            {
                "file": reject.path,
                "byte_offset": reject.byte_offset,
                "reason": reject.reason,
                "head": reject.head.decode("utf-8", "backslashreplace"),
            },
            ensure_ascii=False,
        )
        for reject in sorted(rejects)
    ]
    _write_text(FileSystems.join(staging, "rejects", name), "\n".join(lines) + "\n")
    return name


def write_summary(
    _: None,
    staging: str,
    selection: Selection,
    counts: Counter[tuple[str, str]],
    shards: Sequence[WrittenShard],
    reject_files: Iterable[str],
) -> None:
    """Writes what the launching process needs to complete the data set: see publish.Summary."""
    by_kind: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (kind, name), number in sorted(counts.items()):
        by_kind[kind][name] = number
    summary = {
        "labels": selection.labels,
        "splits": selection.splits,
        "available": selection.available,
        "counts": selection.counts,
        "drawings": by_kind,
        "shards": [
            {**written._asdict(), "shard": written.shard.__dict__} for written in sorted(shards)
        ],
        "reject_files": sorted(reject_files),
    }
    _write_text(FileSystems.join(staging, SUMMARY), json.dumps(summary))


def sum_counters(counters: Iterable[Counter[Any]]) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _write_text(path: str, text: str) -> None:
    try:
        with storage.create_file(path) as file:
            file.write(text.encode())
    except storage.ERRORS as error:
        raise RunError(f"cannot write {path}: {storage.reason(error)}") from error
