"""The Beam graph: byte ranges in, shards under temporary names and `summary.json` out."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import cv2
import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsIter, AsList, AsSingleton

from pipeline import sampling
from pipeline.dataset import shard_name
from pipeline.drawing import Reject, parse_drawing
from pipeline.errors import RunError
from pipeline.progress import Progress
from pipeline.sampling import PRIORITY, UNUSED, Quotas, Selection
from pipeline.shards import Placed, WrittenShard, pack_entry, write_shard
from pipeline.sources import ByteRange, InputFile, byte_ranges, category_of, read_range

SUMMARY = "summary.json"
_REJECT_HEAD_BYTES = 200  # how much of a rejected line is kept to recognise it by
_BYTES_PER_BUCKET = 256 << 20  # of input: about 600,000 ranks, 5 MB, meet in one bucket
# A range hands on this many more of a category's lowest ranks than the quotas ask for, to make up
# for drawings that another category turns out to keep.
_SPARE_RANKS = 1_000


class PrepareSettings(NamedTuple):
    """What the graph needs to know; everything here is the same on every worker."""

    files: tuple[InputFile, ...]
    staging: str  # directory
    labels: tuple[str, ...] | None  # None: the categories of the input, sorted
    quotas: Quotas
    recognized_only: bool
    progress: Progress = Progress(None)


class Batch(NamedTuple):
    """Drawings of one category from one range."""

    category: str
    ranks: bytes  # [N] int64
    entries: list[bytes]  # [N], see shards.pack_entry


class Rejected(NamedTuple):
    """A line that held no usable drawing."""

    path: str
    byte_offset: int
    reason: str
    head: bytes  # the first bytes of the line


class CategoryRanks(NamedTuple):
    """What a bucket of ranks says about one category."""

    drawings: int  # distinct
    lowest: bytes  # [≤ bounded] int64, ascending


def prepare(pipeline: beam.Pipeline, settings: PrepareSettings) -> None:
    """Adds the whole job to `pipeline`; its result is `<staging>/summary.json`."""
    ranges = byte_ranges(settings.files)
    input_bytes = sum(file.bytes for file in settings.files)
    num_buckets = max(16, input_bytes // _BYTES_PER_BUCKET)

    parsed = (
        pipeline
        | "Ranges" >> beam.Create(ranges, reshuffle=False)
        | "Spread" >> beam.Reshuffle()  # ByteRange
        | "Parse"
        >> beam.ParDo(ParseRange(settings, num_buckets)).with_outputs(
            "ranks", "counts", "rejects", main="batches"
        )
    )
    # First pass, over ranks alone: which drawings are distinct, and where each split ends.
    resolved = (
        parsed.ranks  # (bucket, (category, ranks))
        | "ByRank" >> beam.GroupByKey()  # (bucket, [(category, ranks)])
        | "Distinct"
        >> beam.ParDo(DistinctRanks(settings.quotas.bounded)).with_outputs(
            "excluded", main="categories"
        )
    )
    lowest_ranks = (
        resolved.categories  # (category, CategoryRanks)
        | "Lowest" >> beam.CombinePerKey(LowestRanks(settings.quotas.bounded))
    )
    selection = (
        pipeline
        | "Once" >> beam.Create([None])
        | "Select"
        >> beam.Map(
            make_selection,
            AsList(lowest_ranks),
            AsList(resolved.excluded),
            settings.quotas,
            settings.labels,
        )  # Selection
    )
    # Second pass: strokes to their shards, and shards to files.
    shards = (
        parsed.batches  # Batch
        | "Place" >> beam.FlatMap(place, AsSingleton(selection))  # ((split, shard), Placed)
        | "ByShard" >> beam.GroupByKey()  # ((split, shard), [Placed])
        | "Write" >> beam.ParDo(WriteShard(settings), AsSingleton(selection))  # WrittenShard
    )
    reject_files = (
        parsed.rejects  # (path, Rejected)
        | "ByFile" >> beam.GroupByKey()  # (path, [Rejected])
        | "WriteRejects" >> beam.Map(write_rejects, settings.staging, settings.files)  # name
    )
    counts = parsed.counts | "Count" >> beam.CombineGlobally(sum_counters)  # Counter
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


class ParseRange(beam.DoFn):
    """ByteRange → Batch; ranks: (bucket, (category, ranks)); counts: Counter; rejects: Rejected.

    The counts are keyed (kind, category), or ("rejected", reason); the kinds are "read",
    "not_recognized" and "other_category".
    """

    def __init__(self, settings: PrepareSettings, num_buckets: int) -> None:
        self._labels = None if settings.labels is None else frozenset(settings.labels)
        self._recognized_only = settings.recognized_only
        self._bounded = settings.quotas.train is not None
        self._limit = settings.quotas.bounded + _SPARE_RANKS
        self._num_buckets = num_buckets
        self._progress = settings.progress

    def process(self, byte_range: ByteRange) -> Iterator[Any]:
        counts: Counter[tuple[str, str]] = Counter()
        ranks: defaultdict[str, list[int]] = defaultdict(list)
        entries: defaultdict[str, list[bytes]] = defaultdict(list)
        file_category = category_of(byte_range.path)
        for offset, line in read_range(byte_range):
            try:
                drawing = parse_drawing(line)
            except Reject as reject:
                counts["rejected", str(reject)] += 1
                rejected = Rejected(byte_range.path, offset, str(reject), line[:_REJECT_HEAD_BYTES])
                yield beam.pvalue.TaggedOutput("rejects", (byte_range.path, rejected))
                continue
            category = drawing.word or file_category
            if self._labels is not None and category not in self._labels:
                counts["other_category", category] += 1
                continue
            counts["read", category] += 1
            if self._recognized_only and not drawing.recognized:
                counts["not_recognized", category] += 1
                continue
            ranks[category].append(sampling.rank_of(drawing.key_id, drawing.strokes))
            entries[category].append(pack_entry(drawing))
        for category, category_ranks in ranks.items():
            yield from self._category(category, np.array(category_ranks), entries[category])
        yield beam.pvalue.TaggedOutput("counts", counts)
        self._count(counts, byte_range)

    def _category(self, category: str, ranks: np.ndarray, entries: list[bytes]) -> Iterator[Any]:
        buckets = ranks % self._num_buckets
        for bucket in np.unique(buckets).tolist():
            in_bucket = (category, ranks[buckets == bucket].tobytes())
            yield beam.pvalue.TaggedOutput("ranks", (bucket, in_bucket))
        if self._bounded and len(ranks) > self._limit:
            # Higher ranks of this range cannot be chosen: their strokes go no further.
            highest = np.partition(ranks, self._limit - 1)[self._limit - 1]
            kept = np.flatnonzero(ranks <= highest)
            ranks, entries = ranks[kept], [entries[i] for i in kept.tolist()]
        yield Batch(category, ranks.tobytes(), entries)

    def _count(self, counts: Counter[tuple[str, str]], byte_range: ByteRange) -> None:
        totals: Counter[str] = Counter()
        for (kind, _), number in counts.items():
            totals[kind] += number
        for kind, number in totals.items():
            Metrics.counter("pipeline", kind).inc(number)
        self._progress.add(
            bytes_read=byte_range.end - byte_range.start,
            drawings_read=totals["read"] + totals["other_category"],
            rejected=totals["rejected"],
        )


class DistinctRanks(beam.DoFn):
    """(bucket, [(category, ranks)]) → (category, CategoryRanks); excluded: (category, ranks).

    A drawing that stands in several categories belongs to the first of them in the alphabet.
    """

    def __init__(self, bounded: int) -> None:
        self._bounded = bounded

    def process(self, bucket: tuple[int, Iterable[tuple[str, bytes]]]) -> Iterator[Any]:
        by_category: defaultdict[str, list[bytes]] = defaultdict(list)
        for category, category_ranks in bucket[1]:
            by_category[category].append(category_ranks)
        names = sorted(by_category)
        distinct = [np.unique(np.frombuffer(b"".join(by_category[n]), np.int64)) for n in names]
        ranks = np.concatenate(distinct)
        categories = np.repeat(np.arange(len(names)), [len(r) for r in distinct])
        # np.unique finds the first of equal values, which is the first category's.
        first = np.zeros(len(ranks), bool)
        first[np.unique(ranks, return_index=True)[1]] = True
        for index, name in enumerate(names):
            own = ranks[first & (categories == index)]
            if excluded := ranks[~first & (categories == index)].tobytes():
                yield beam.pvalue.TaggedOutput("excluded", (name, excluded))
            yield name, CategoryRanks(len(own), sampling.lowest([own], self._bounded).tobytes())


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
    categories: Sequence[tuple[str, CategoryRanks]],
    excluded: Sequence[tuple[str, bytes]],
    quotas: Quotas,
    labels: Sequence[str] | None,
) -> Selection:
    """What the buckets found, as the Selection; see sampling.select."""
    excluded_ranks: defaultdict[str, list[bytes]] = defaultdict(list)
    for category, ranks in excluded:
        excluded_ranks[category].append(ranks)
    return sampling.select(
        available={category: found.drawings for category, found in categories},
        lowest_ranks={c: np.frombuffer(found.lowest, np.int64) for c, found in categories},
        excluded={c: np.frombuffer(b"".join(r), np.int64) for c, r in excluded_ranks.items()},
        quotas=quotas,
        labels=labels,
    )


def place(batch: Batch, selection: Selection) -> Iterator[tuple[tuple[str, int], Placed]]:
    """Batch → ((split, shard index), Placed) for every shard that gets some of its drawings."""
    ranks = np.frombuffer(batch.ranks, np.int64)
    splits = selection.splits_of(batch.category, ranks)
    label = selection.labels.index(batch.category)
    orders = sampling.order_of(ranks)
    for split in range(UNUSED):
        in_split = np.flatnonzero(splits == split)
        shards = sampling.shard_of(orders[in_split], selection.num_shards[split])
        for shard in np.unique(shards).tolist():
            chosen = in_split[shards == shard]
            entries = [batch.entries[i] for i in chosen.tolist()]
            yield (PRIORITY[split], shard), Placed(label, orders[chosen].tobytes(), entries)


class WriteShard(beam.DoFn):
    """((split, shard index), [Placed]) → WrittenShard."""

    def __init__(self, settings: PrepareSettings) -> None:
        self._staging = settings.staging
        self._progress = settings.progress

    def setup(self) -> None:
        cv2.setNumThreads(0)  # OpenCV's threads only get in the way of one process a core

    def process(
        self, element: tuple[tuple[str, int], Iterable[Placed]], selection: Selection
    ) -> Iterator[WrittenShard]:
        (split, index), placed = element
        num_shards = selection.num_shards[PRIORITY.index(split)]
        name = shard_name(split, index, num_shards)
        written = write_shard(self._staging, name, split, index, placed)
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
        "available": selection.available,
        "counts": selection.counts,
        "num_shards": selection.num_shards,
        "excluded": sum(map(len, selection.excluded.values())),
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
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(text.encode())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
