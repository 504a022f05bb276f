"""First stage of the graph: a work item → batches of drawings, their keys, counts and rejects."""

import math
import pickle
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline.drawings.drawing import Drawing, Reading
from pipeline.drawings.frame import lies_in_frame
from pipeline.drawings.reject import Reject
from pipeline.forms.readers import CAN_BE_CUT
from pipeline.graph import batches, sampling
from pipeline.graph.batches import BatchBuilder, Spill
from pipeline.graph.exclusion import is_excluded
from pipeline.graph.settings import PrepareSettings
from pipeline.rasterize import rasterize_packed
from pipeline.sources.input_files import WorkItem, read_drawings

# A batch is flushed when it is so large. On real drawings both are 32 MB, a work item of 110 MB.
# Every batch sends something to every shard, so that smaller ones would be more, smaller elements.
BATCH_DRAWINGS = 262_144
BATCH_BYTES = 32 << 20  # of keys and strokes
_LISTED_REJECTS = 10_000  # of a file, spread over its work items by their length
_NO_CATEGORY = Reject("no word, and the file name does not give the category")
_NO_INK = Reject("no ink: with --frame=keep it lies outside of the picture")
_REJECT_HEAD_BYTES = 200  # how much of a rejected line is kept to recognise it by
_KEY_COLUMNS = ("category", "identity", "rank", "strokes_hash")  # tell drawings apart


class Rejected(NamedTuple):
    """A line or record without a usable drawing."""

    byte_offset: int
    reason: str
    head: bytes  # the first bytes of the line or record


class Rejects(NamedTuple):
    """Rejected lines or records of one work item."""

    path: str
    listed: list[Rejected]  # the first ones
    not_listed: int  # how many more


class Parse(beam.DoFn):
    """WorkItem → batch; keys: (bucket, batch); counts: Counter; rejects: (file index, Rejects).

    Keys are batches without strokes; batches, keys and Rejects go through a Spill. The counts are
    keyed (kind, category), or ("rejected", reason); the kinds are "read", "not_recognized",
    "other_category", "excluded", "normalised", of those that did not lie in the frame, without a
    category "not_listed", of rejects; and for an input file by its index, "file_read",
    "file_other_word", of drawings whose word is not the file's category, and "file_rejected";
    "rejected_records" are those of files without lines.
    """

    def __init__(self, settings: PrepareSettings, num_buckets: int) -> None:
        self._labels = None if settings.labels is None else frozenset(settings.labels)
        self._recognized_only = settings.recognized_only
        self._by_position = settings.sampling == "first"
        self._file_categories = settings.file_categories
        self._keep_fields = settings.keep_fields
        self._reading = Reading(
            settings.frame, settings.labels or (), keeps_origin=bool(settings.keep_fields)
        )
        self._hash_key = sampling.hash_key(settings.seed)
        self._excluded_keys = settings.excluded_keys
        self._is_dry = settings.is_dry_run
        self._num_buckets = num_buckets
        self._batches = Spill("batches", settings.spill_directory)
        self._keys = Spill("keys", settings.spill_directory)
        self._rejects = Spill("rejects", settings.spill_directory)
        self._progress = settings.progress

    def process(self, item: WorkItem) -> Iterator[Any]:
        counts: Counter[tuple[str, str]] = Counter()
        builder = BatchBuilder(self._keep_fields)
        file_category = self._file_categories[item.file_index]
        first_rank = sampling.rank_by_position(item.file_index, 0)
        is_kept = self._reading.frame == "keep"
        excluded, hash_key = self._excluded_keys, self._hash_key
        rejects: list[Rejected] = []
        max_rejects = math.ceil(_LISTED_REJECTS * item.bytes / max(item.file.bytes, 1))
        number_read = number_of_other_word = number_rejected = 0
        for byte_offset, drawing, head in read_drawings(item, self._reading):
            if is_kept and _is_blank(drawing):
                drawing = _NO_INK
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
            if drawing.is_normalised:
                counts["normalised", category] += 1
            if self._recognized_only and not drawing.recognized:
                counts["not_recognized", category] += 1
                continue
            if excluded and is_excluded(excluded, drawing.key_id, drawing.strokes):
                counts["excluded", category] += 1
                continue
            identity = sampling.identity_of(drawing.key_id, drawing.strokes, hash_key)
            rank = first_rank + byte_offset if self._by_position else None
            builder.add(category, identity, rank, drawing)
            if len(builder) >= BATCH_DRAWINGS or builder.bytes >= BATCH_BYTES:
                yield from self._flush(builder)
                builder = BatchBuilder(self._keep_fields)
        if len(builder):
            yield from self._flush(builder)
        if rejects:
            listed = Rejects(item.file.path, rejects, not_listed=counts["not_listed", ""])
            element = self._rejects.write(pickle.dumps(listed))
            yield beam.pvalue.TaggedOutput("rejects", (item.file_index, element))
        file_index = str(item.file_index)
        counts["file_read", file_index] = number_read
        counts["file_other_word", file_index] = number_of_other_word
        counts["file_rejected", file_index] = number_rejected
        if item.file.form not in CAN_BE_CUT:
            counts["rejected_records", ""] = number_rejected
        yield beam.pvalue.TaggedOutput("counts", counts)
        self._count(counts, item)

    def _flush(self, builder: BatchBuilder) -> Iterator[Any]:
        batch = builder.finish()
        columns = [name for name in _KEY_COLUMNS if name in batch.schema.names]
        buckets = batch["identity"].to_numpy() % self._num_buckets
        for bucket, keys in batches.groups(batch.select(columns), buckets):
            element = self._keys.write(batches.to_bytes(keys))
            yield beam.pvalue.TaggedOutput("keys", (bucket, element))
        if not self._is_dry:
            yield self._batches.write(batches.to_bytes(batch.drop_columns(["strokes_hash"])))

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


def _is_blank(drawing: Drawing | Reject) -> bool:
    """Tell whether a drawing has no ink; only one that is kept outside of the frame may."""
    return not (
        isinstance(drawing, Reject)
        or lies_in_frame(drawing.strokes)
        or rasterize_packed([drawing.strokes]).any()
    )
