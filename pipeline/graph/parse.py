"""The first step of the job: a work item → its drawings in batches, marks, counts and rejects."""

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from pipeline.drawings.drawing import Drawing, Reject
from pipeline.graph import arrays, sampling
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.shards import Entries, pack_entry
from pipeline.graph.spill import Packer
from pipeline.sources.input_files import WorkItem, is_binary, read_drawings

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


class Waiting:
    """Drawings that wait to be handed on, without an object for each or for each category."""

    def __init__(self) -> None:
        self.indices: dict[str, int] = {}  # of the categories, in the order in which they came
        self.categories = array("i")
        self.identities = array("q")
        self.ranks = array("q")  # empty where the identity is the rank
        self.strokes = array("q")
        self.sizes = array("I")
        self.entries = bytearray()

    def add(self, category: str, identity: int, rank: int | None, drawing: Drawing) -> None:
        self.categories.append(self.indices.setdefault(category, len(self.indices)))
        self.identities.append(identity)
        if rank is not None:
            self.ranks.append(rank)
        self.strokes.append(sampling.strokes_hash(drawing.strokes))
        entry = pack_entry(drawing)
        self.sizes.append(len(entry))
        self.entries += entry

    def are_enough(self) -> bool:
        return len(self.sizes) >= BATCH_DRAWINGS or len(self.entries) >= BATCH_BYTES


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
                yield from self._hand_on(waiting)
                waiting = Waiting()
        if waiting.sizes:
            yield from self._hand_on(waiting)
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

    def _hand_on(self, waiting: Waiting) -> Iterator[Any]:
        names = sorted(waiting.indices)
        place_of = np.empty(len(names), np.int32)  # of each index, in the alphabet
        place_of[[waiting.indices[name] for name in names]] = np.arange(len(names))
        categories = place_of[np.array(waiting.categories)]
        identities = np.array(waiting.identities)
        ranks = np.array(waiting.ranks)
        strokes = np.array(waiting.strokes)
        entries = Entries(np.array(waiting.sizes).tobytes(), bytes(waiting.entries))
        if len(names) > 1:  # one category after the other
            order = np.argsort(categories, kind="stable")
            categories, identities, strokes = categories[order], identities[order], strokes[order]
            ranks = ranks[order] if len(ranks) else ranks
            entries = entries.take(order, entries.ends())

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
