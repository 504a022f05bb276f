"""The first step of the job: a work item → its drawings in batches, marks, counts and rejects."""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import google_crc32c
import numpy as np
from apache_beam.metrics import Metrics

from pipeline import arrays, sampling
from pipeline.drawing import Drawing, Reject
from pipeline.parcels import Packer
from pipeline.settings import PrepareSettings
from pipeline.shards import Entries, pack_entry
from pipeline.sources import WorkItem, category_of, read_drawings

# A batch is handed on when it is so large. On real drawings both are 32 MB, a work item of 110 MB.
# Every batch sends something to every shard, so that smaller ones would be more, smaller elements.
BATCH_DRAWINGS = 262_144
BATCH_BYTES = 32 << 20  # of entries
# A batch hands on this many more of a category's lowest ranks than the quotas ask for, to make up
# for drawings that turn out to be kept elsewhere.
_SPARE_RANKS = 1_000
_LISTED_REJECTS = 10_000  # of a file, spread over its work items by their length
_REJECT_HEAD_BYTES = 200  # how much of a rejected line is kept to recognise it by


class Batch(NamedTuple):
    """Drawings of one work item, one category after the other."""

    categories: tuple[str, ...]  # [C]
    counts: bytes  # [C] uint32: drawings of each
    identities: bytes  # [N] int64
    ranks: bytes  # [N] int64, empty where the identity is the rank
    entries: Entries  # [N]


class Marks(NamedTuple):
    """What tells drawings apart, without their strokes, one category after the other."""

    categories: tuple[str, ...]  # [C]
    counts: bytes  # [C] uint32: drawings of each
    identities: bytes  # [N] int64
    ranks: bytes  # [N] int64, empty where the identity is the rank
    checksums: bytes  # [N] uint32, of the strokes


class Rejected(NamedTuple):
    """What held no usable drawing."""

    byte_offset: int
    reason: str
    head: bytes  # the first bytes of the line or record


class Rejects(NamedTuple):
    """What one work item held of that."""

    path: str
    listed: list[Rejected]  # the first ones
    not_listed: int  # how many more


class Drawings:
    """Drawings of one category that wait to be handed on, without an object for each."""

    def __init__(self) -> None:
        self.identities = array("q")
        self.ranks = array("q")  # empty where the identity is the rank
        self.checksums = array("I")
        self.sizes = array("I")
        self.entries = bytearray()


class Waiting:
    """All drawings that wait to be handed on."""

    def __init__(self) -> None:
        self.by_category: defaultdict[str, Drawings] = defaultdict(Drawings)
        self._number = 0
        self._bytes = 0

    def add(self, category: str, identity: int, rank: int | None, drawing: Drawing) -> None:
        drawings = self.by_category[category]
        drawings.identities.append(identity)
        if rank is not None:
            drawings.ranks.append(rank)
        drawings.checksums.append(google_crc32c.value(drawing.strokes))
        entry = pack_entry(drawing)
        drawings.sizes.append(len(entry))
        drawings.entries += entry
        self._number += 1
        self._bytes += len(entry)

    def are_enough(self) -> bool:
        return self._number >= BATCH_DRAWINGS or self._bytes >= BATCH_BYTES


class Parse(beam.DoFn):
    """WorkItem → Batch; marks: (bucket, Marks); counts: Counter; rejects: (file index, Rejects).

    Batches, Marks and Rejects are parcels. The counts are keyed (kind, category), or ("rejected",
    reason); the kinds are "read", "not_recognized", "other_category" and, without a category,
    "not_listed", of rejects.
    """

    def __init__(self, settings: PrepareSettings, num_buckets: int) -> None:
        self._labels = None if settings.labels is None else frozenset(settings.labels)
        self._recognized_only = settings.recognized_only
        self._by_place = settings.sampling == "first"
        # How many of the lowest ranks of a batch can be chosen.
        self._limit = settings.quotas.bounded + _SPARE_RANKS
        self._wanted = settings.quotas.bounded
        self._is_limited = settings.quotas.train is not None
        self._num_buckets = num_buckets
        self._batches = Packer("batches", settings.spill_directory)
        self._marks = Packer("marks", settings.spill_directory)
        self._rejects = Packer("rejects", settings.spill_directory)
        self._progress = settings.progress

    def process(self, item: WorkItem) -> Iterator[Any]:
        counts: Counter[tuple[str, str]] = Counter()
        waiting = Waiting()
        file_category = category_of(item.file.path)
        first_rank = sampling.rank_by_place(item.file_index, 0)
        seen: set[int] = set()  # of the file's own category
        rejects: list[Rejected] = []
        max_rejects = math.ceil(_LISTED_REJECTS * item.bytes / max(item.file.bytes, 1))
        for byte_offset, drawing, head in read_drawings(item):
            if isinstance(drawing, Reject):
                counts["rejected", str(drawing)] += 1
                if len(rejects) < max_rejects:
                    rejects.append(Rejected(byte_offset, str(drawing), head[:_REJECT_HEAD_BYTES]))
                else:
                    counts["not_listed", ""] += 1
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
            rank = first_rank + byte_offset if self._by_place else None
            waiting.add(category, identity, rank, drawing)
            if self._by_place and category == file_category:
                seen.add(identity)
                if len(seen) == self._wanted:
                    break  # the rest of the file is not needed
            if waiting.are_enough():
                yield from self._hand_on(waiting.by_category)
                waiting = Waiting()
        if waiting.by_category:
            yield from self._hand_on(waiting.by_category)
        if rejects:
            listed = Rejects(item.file.path, rejects, not_listed=counts["not_listed", ""])
            parcel = self._rejects.pack(listed)
            yield beam.pvalue.TaggedOutput("rejects", (item.file_index, parcel))
        yield beam.pvalue.TaggedOutput("counts", counts)
        self._count(counts, item)

    def _hand_on(self, waiting: Mapping[str, Drawings]) -> Iterator[Any]:
        names = sorted(waiting)
        drawings = [waiting[name] for name in names]
        categories = np.repeat(np.arange(len(names)), [len(each.identities) for each in drawings])
        identities = np.concatenate([np.array(each.identities) for each in drawings])
        ranks = np.concatenate([np.array(each.ranks) for each in drawings])
        checksums = np.concatenate([np.array(each.checksums) for each in drawings])
        for bucket, chosen in arrays.groups(identities % self._num_buckets):
            present, counts = arrays.runs(categories[chosen])
            marks = Marks(
                tuple(names[index] for index in present.tolist()),
                counts.tobytes(),
                identities[chosen].tobytes(),
                ranks[chosen].tobytes() if len(ranks) else b"",
                checksums[chosen].tobytes(),
            )
            yield beam.pvalue.TaggedOutput("marks", (bucket, self._marks.pack(marks)))

        sizes = np.concatenate([np.array(each.sizes) for each in drawings])
        entries = Entries(sizes.tobytes(), b"".join(each.entries for each in drawings))
        by = ranks if len(ranks) else identities
        kept = np.concatenate(
            [own[self._may_be_chosen(by[own])] for _, own in arrays.groups(categories)]
        )
        if len(kept) < len(identities):
            entries = entries.take(kept)
            identities, ranks = identities[kept], ranks[kept] if len(ranks) else ranks
        _, counts = arrays.runs(categories[kept])
        yield self._batches.pack(
            Batch(tuple(names), counts.tobytes(), identities.tobytes(), ranks.tobytes(), entries)
        )

    def _may_be_chosen(self, ranks: np.ndarray) -> np.ndarray:
        """Which of a category's drawings may be among the lowest; the others go no further."""
        if self._is_limited and len(ranks) > self._limit:
            distinct = np.unique(ranks)
            if len(distinct) > self._limit:
                return ranks < distinct[self._limit]
        return np.ones(len(ranks), bool)

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
