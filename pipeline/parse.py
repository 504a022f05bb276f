"""The first step of the job: a work item → its drawings in batches, marks, counts and rejects."""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from pipeline import arrays, sampling
from pipeline.drawing import Drawing, Reject
from pipeline.parcels import Packer
from pipeline.settings import PrepareSettings
from pipeline.shards import Entries, pack_entry
from pipeline.sources import WorkItem, is_binary, read_drawings

# A batch is handed on when it is so large. On real drawings both are 32 MB, a work item of 110 MB.
# Every batch sends something to every shard, so that smaller ones would be more, smaller elements.
BATCH_DRAWINGS = 262_144
BATCH_BYTES = 32 << 20  # of entries
_LISTED_REJECTS = 10_000  # of a file, spread over its work items by their length
_NO_CATEGORY = Reject("no word, and the name of the file does not tell the category")
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
    strokes: bytes  # [N] int64: sampling.strokes_hash


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
        self.strokes = array("q")
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
        drawings.strokes.append(sampling.strokes_hash(drawing.strokes))
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
    reason); the kinds are "read", "not_recognized", "other_category", without a category
    "not_listed", of rejects; and for an input file by its index, "file_read", "file_other_word",
    of drawings whose word is not the file's category, and "file_rejected"; "rejected_records" are
    those of binary files.
    """

    def __init__(self, settings: PrepareSettings, num_buckets: int) -> None:
        self._labels = None if settings.labels is None else frozenset(settings.labels)
        self._recognized_only = settings.recognized_only
        self._by_place = settings.sampling == "first"
        self._file_categories = settings.file_categories
        self._num_buckets = num_buckets
        self._batches = Packer("batches", settings.spill_directory)
        self._marks = Packer("marks", settings.spill_directory)
        self._rejects = Packer("rejects", settings.spill_directory)
        self._progress = settings.progress

    def process(self, item: WorkItem) -> Iterator[Any]:
        counts: Counter[tuple[str, str]] = Counter()
        waiting = Waiting()
        file_category = self._file_categories[item.file_index]
        first_rank = sampling.rank_by_place(item.file_index, 0)
        rejects: list[Rejected] = []
        max_rejects = math.ceil(_LISTED_REJECTS * item.bytes / max(item.file.bytes, 1))
        number_read = number_of_other_word = number_rejected = 0
        for byte_offset, drawing, head in read_drawings(item):
            if not (isinstance(drawing, Reject) or drawing.word or file_category):
                drawing = _NO_CATEGORY
            if isinstance(drawing, Reject):
                number_rejected += 1
                counts["rejected", str(drawing)] += 1
                if len(rejects) < max_rejects:
                    rejects.append(Rejected(byte_offset, str(drawing), head[:_REJECT_HEAD_BYTES]))
                else:
                    counts["not_listed", ""] += 1
                continue
            category = drawing.word or file_category
            number_read += 1
            number_of_other_word += category != file_category
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
            if waiting.are_enough():
                yield from self._hand_on(waiting.by_category)
                waiting = Waiting()
        if waiting.by_category:
            yield from self._hand_on(waiting.by_category)
        if rejects:
            listed = Rejects(item.file.path, rejects, not_listed=counts["not_listed", ""])
            parcel = self._rejects.pack(listed)
            yield beam.pvalue.TaggedOutput("rejects", (item.file_index, parcel))
        file_index = str(item.file_index)
        counts["file_read", file_index] = number_read
        counts["file_other_word", file_index] = number_of_other_word
        counts["file_rejected", file_index] = number_rejected
        if is_binary(item.file.path):
            counts["rejected_records", ""] = number_rejected
        yield beam.pvalue.TaggedOutput("counts", counts)
        self._count(counts, item)

    def _hand_on(self, waiting: Mapping[str, Drawings]) -> Iterator[Any]:
        names = sorted(waiting)
        drawings = [waiting[name] for name in names]
        categories = np.repeat(np.arange(len(names)), [len(each.identities) for each in drawings])
        identities = np.concatenate([np.array(each.identities) for each in drawings])
        ranks = np.concatenate([np.array(each.ranks) for each in drawings])
        strokes = np.concatenate([np.array(each.strokes) for each in drawings])
        for bucket, chosen in arrays.groups(identities % self._num_buckets):
            present, counts = arrays.runs(categories[chosen])
            marks = Marks(
                tuple(names[index] for index in present.tolist()),
                counts.tobytes(),
                identities[chosen].tobytes(),
                ranks[chosen].tobytes() if len(ranks) else b"",
                strokes[chosen].tobytes(),
            )
            yield beam.pvalue.TaggedOutput("marks", (bucket, self._marks.pack(marks)))

        sizes = np.concatenate([np.array(each.sizes) for each in drawings])
        entries = Entries(sizes.tobytes(), b"".join(each.entries for each in drawings))
        _, counts = arrays.runs(categories)
        yield self._batches.pack(
            Batch(tuple(names), counts.tobytes(), identities.tobytes(), ranks.tobytes(), entries)
        )

    def _count(self, counts: Counter[tuple[str, str]], item: WorkItem) -> None:
        totals: Counter[str] = Counter()
        for (kind, _), number in counts.items():
            if kind in ("read", "other_category", "rejected", "not_recognized"):
                totals[kind] += number
        for kind, number in totals.items():
            Metrics.counter("pipeline", kind).inc(number)
        self._progress.add(
            bytes_read=item.bytes,
            drawings_read=totals["read"] + totals["other_category"],
            rejected=totals["rejected"],
        )
