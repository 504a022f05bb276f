"""What a job of any size comes to, by arithmetic from a measured run.

Work items, buckets and shards are chosen by the pipeline's own functions, and its graph is built,
for input files that are not there. What a drawing and what an element cost is measured.
"""

import math
import pickle
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.drawings.strokes import MAX_POINTS, MAX_STROKES
from pipeline.graph import sampling
from pipeline.graph.deduplicate import num_buckets_for
from pipeline.graph.parse import BATCH_BYTES, BATCH_DRAWINGS, Batch, Marks
from pipeline.graph.sampling import Quotas
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.shards import Entries, Placed
from pipeline.graph.transforms import prepare
from pipeline.sources.input_files import InputFile, file_categories, range_bytes_for, work_items

# Every drawing is kept, which is the most that can be shuffled and written.
QUOTAS = Quotas(train=None, validation=100)

_NUMBER = np.zeros(1, np.uint32).tobytes()
_NO_ENTRIES = Entries(b"", b"")
# What is shuffled, by kind, without drawings: what every element takes beside them.
_EMPTY = {
    "batches": Batch(("category",), _NUMBER, b"", b"", _NO_ENTRIES),
    "marks": Marks(("category",), _NUMBER, b"", b"", b""),
    "placed": Placed(_NUMBER, _NUMBER, b"", _NO_ENTRIES),
}
KINDS = tuple(_EMPTY)
_NOT_ENTRY_BYTES = 12  # of a drawing in a batch: its identity, and the size of its entry
# No element is larger, whatever the input, but for the names of its categories: a batch may go
# beyond its limits by a drawing, and a drawing has at most 20 bytes beside its entry.
_LARGEST_BATCH_BYTES = BATCH_BYTES + 20 * BATCH_DRAWINGS + 2 * MAX_POINTS + 2 * MAX_STROKES + 1_000
LARGEST_BYTES = {
    "batches": _LARGEST_BATCH_BYTES,
    "marks": 24 * BATCH_DRAWINGS,
    "placed": _LARGEST_BATCH_BYTES,
}


class Amount(NamedTuple):
    """What Beam's distributions say of one kind of element."""

    elements: int
    bytes: int
    largest: int  # bytes


class Measured(NamedTuple):
    """A run over files of one category each, with one worker."""

    drawings: int
    files: int
    input_bytes: int
    amounts: dict[str, Amount]  # by kind, and of "shard"
    seconds: float  # beyond the start
    element_seconds: float  # what an element takes beyond its drawings


class Plan(NamedTuple):
    drawings: int
    input_bytes: int
    graph_bytes: int
    work_items: int
    buckets: int
    bucket_drawings: int
    shards: int
    shard_drawings: int
    amounts: dict[str, Amount]  # by kind
    output_bytes: int
    vcpu_hours: float


def plan_for(drawings: int, measured: Measured) -> Plan:
    """The plan for so many drawings, in as many files as were measured, all alike."""
    input_bytes = round(measured.input_bytes / measured.drawings * drawings)
    names = (f"gs://bucket/drawings/{index}.ndjson" for index in range(measured.files))
    files = [InputFile(name, input_bytes // measured.files) for name in names]
    items = len(work_items(files, range_bytes_for(files)))
    buckets = num_buckets_for(files)
    validation = min(QUOTAS.validation * measured.files, drawings)
    counts = (validation, drawings - validation)
    shards = [sampling.num_shards_for(count) for count in counts]

    payloads = {kind: _payload_bytes(kind, measured) for kind in KINDS}
    entry_bytes = payloads["batches"] - _NOT_ENTRY_BYTES
    in_item = drawings / items
    batches = items * math.ceil(max(in_item / BATCH_DRAWINGS, in_item * entry_bytes / BATCH_BYTES))
    in_batch = drawings / batches
    to_shards = [
        _occupied(number, in_batch * count / drawings)
        for number, count in zip(shards, counts, strict=True)
    ]
    elements = {
        "batches": batches,
        "marks": round(batches * _occupied(buckets, in_batch)),
        "placed": round(batches * sum(to_shards)),
    }
    amounts = {
        kind: _amount(drawings, number, payloads[kind], _envelope_bytes(kind))
        for kind, number in elements.items()
    }
    # What the measured run spent on its own elements is in the time of its drawings.
    own_elements = sum(measured.amounts[kind].elements for kind in KINDS)
    more_elements = sum(elements.values()) - own_elements / measured.drawings * drawings
    seconds = measured.seconds / measured.drawings * drawings
    seconds += max(0, more_elements) * measured.element_seconds
    output_bytes = measured.amounts["shard"].bytes / measured.drawings * drawings
    return Plan(
        drawings,
        input_bytes,
        graph_bytes(files),
        items,
        buckets,
        round(drawings / buckets),
        sum(shards),
        max(round(count / max(1, n)) for n, count in zip(shards, counts, strict=True)),
        amounts,
        round(output_bytes),
        seconds / 3600,
    )


def graph_bytes(files: list[InputFile]) -> int:
    """The size of the job's graph, as a runner gets it."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    categories = tuple(file_categories([file.path for file in files]))
    prepare(pipeline, PrepareSettings(tuple(files), "gs://bucket/data", categories, quotas=QUOTAS))
    return int(pipeline.to_runner_api().ByteSize())


def _envelope_bytes(kind: str) -> int:
    return len(pickle.dumps(_EMPTY[kind], pickle.HIGHEST_PROTOCOL))


def _payload_bytes(kind: str, measured: Measured) -> float:
    """What a drawing takes in elements of a kind, without what every element takes."""
    amount = measured.amounts[kind]
    return (amount.bytes - amount.elements * _envelope_bytes(kind)) / measured.drawings


def _occupied(boxes: int, drawings: float) -> float:
    """How many of so many boxes get one or more of drawings that are dealt to them at random."""
    return boxes * -math.expm1(drawings * math.log1p(-1 / boxes)) if boxes > 1 else min(1, drawings)


def _amount(drawings: int, elements: int, payload_bytes: float, envelope_bytes: int) -> Amount:
    """`largest` is one that has five standard deviations more drawings than the average."""
    average = drawings / elements
    largest = (average + 5 * math.sqrt(average)) * payload_bytes + envelope_bytes
    total = drawings * payload_bytes + elements * envelope_bytes
    return Amount(elements, round(total), round(largest))
