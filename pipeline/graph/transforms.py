"""Beam graph: input files in, shards under temporary names and `summary.json` out.

ReadDrawings → SelectDrawings → WriteShards; the comment after a stage says what its elements are.
"""

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsList, AsSingleton, PBegin, PCollection

from pipeline.graph.batches import Element
from pipeline.graph.deduplicate import (
    Deduplicate,
    LowestRanks,
    fix_splits,
    make_selection,
    num_buckets_for,
)
from pipeline.graph.parse import Parse
from pipeline.graph.sampling import Selection
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.shards import AssignShards, WriteShard, WrittenShard
from pipeline.graph.summary import sum_counters, write_rejects, write_summary
from pipeline.sources.input_files import cut, range_bytes_for, work_items


def prepare(pipeline: beam.Pipeline, settings: PrepareSettings) -> None:
    """Add the whole job to `pipeline`; its result is `<staging>/summary.json`."""
    read = pipeline | ReadDrawings(settings)
    selected = read.keys | SelectDrawings(settings)
    shards = (
        pipeline | "NoShards" >> beam.Create([])
        if settings.is_dry_run
        else read.batches | WriteShards(settings, selected["selection"])
    )
    reject_files = (
        read.rejects  # (file index, Rejects)
        | "ByFile" >> beam.GroupByKey()  # (file index, [Rejects])
        | "WriteRejects" >> beam.Map(write_rejects, settings.staging, len(settings.files))
    )  # name
    counts = (
        (read.counts, selected["counts"])
        | "AllCounts" >> beam.Flatten()  # Counter
        | "Count" >> beam.CombineGlobally(sum_counters)  # Counter
    )
    _ = (
        pipeline
        | "Last" >> beam.Create([None])
        | "Summarize"
        >> beam.Map(
            write_summary,
            settings.staging,
            AsSingleton(selected["selection"]),
            AsSingleton(counts),
            AsList(shards),
            AsIter(reject_files),
        )
    )


class ReadDrawings(beam.PTransform):
    """Reads the input files: batches of drawings, their keys, counts and rejects."""

    def __init__(self, settings: PrepareSettings) -> None:
        super().__init__()
        self._settings = settings

    def expand(self, pipeline: PBegin) -> Any:
        files = self._settings.files
        # The graph has a size limit, of 10 MB on Dataflow: it holds whole files, not their ranges.
        return (
            pipeline
            | "Files" >> beam.Create(work_items(files, whole_files=True), reshuffle=False)
            | "Items" >> beam.FlatMap(cut, range_bytes_for(files))  # WorkItem
            | "Spread" >> beam.Reshuffle()  # WorkItem
            | "Parse"
            >> beam.ParDo(Parse(self._settings, num_buckets_for(files))).with_outputs(
                "keys",  # (bucket, keys)
                "counts",  # Counter
                "rejects",  # (file index, Rejects)
                main="batches",  # batch
            )
        )


class SelectDrawings(beam.PTransform):
    """Finds, without strokes, which drawings are distinct and where each split ends."""

    def __init__(self, settings: PrepareSettings) -> None:
        super().__init__()
        self._settings = settings

    def expand(self, keys: PCollection[tuple[int, Element]]) -> Any:
        method, quotas = self._settings.sampling, self._settings.quotas
        distinct = (
            keys  # (bucket, keys)
            | "ByIdentity" >> beam.GroupByKey()  # (bucket, [keys])
            | "Deduplicate"
            >> beam.ParDo(Deduplicate(quotas.ranks_needed)).with_outputs(
                "excluded",  # (category, ranks)
                "shared",  # hashes of keys
                "counts",  # Counter
                main="categories",  # (category, CategoryRanks)
            )
        )
        splits = (
            distinct.categories
            | "Lowest" >> beam.CombinePerKey(LowestRanks(quotas.ranks_needed))
            | "Splits" >> beam.Map(fix_splits, method, quotas)  # (category, CategorySplits)
        )
        selection = (
            keys.pipeline
            | "Once" >> beam.Create([None])
            | "Select"
            >> beam.Map(
                make_selection,
                method,
                self._settings.labels,
                AsList(splits),
                AsList(distinct.excluded),
                AsList(distinct.shared),
            )
        )  # Selection
        return {"selection": selection, "counts": distinct.counts}


class WriteShards(beam.PTransform):
    """Sends the strokes of chosen drawings to their shards, and writes the shards to files."""

    def __init__(self, settings: PrepareSettings, selection: PCollection[Selection]) -> None:
        super().__init__()
        self._settings = settings
        self._selection = selection

    def expand(self, drawings: PCollection[Element]) -> PCollection[WrittenShard]:
        selection = AsSingleton(self._selection)
        return (
            drawings  # batch
            | "Assign" >> beam.ParDo(AssignShards(self._settings), selection)
            | "ByShard" >> beam.GroupByKey()  # ((split, shard index), [slice])
            | "Write" >> beam.ParDo(WriteShard(self._settings), selection)  # WrittenShard
        )
