"""The Beam graph: input files in, shards under temporary names and `summary.json` out."""

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsList, AsSingleton

from pipeline.graph.assign import Place, WriteShard
from pipeline.graph.deduplicate import (
    Distinct,
    LowestRanks,
    fix_splits,
    make_selection,
    num_buckets_for,
)
from pipeline.graph.parse import Parse
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.summary import sum_counters, write_rejects, write_summary
from pipeline.sources.input_files import cut, range_bytes_for, work_items


def prepare(pipeline: beam.Pipeline, settings: PrepareSettings) -> None:
    """Adds the whole job to `pipeline`; its result is `<staging>/summary.json`."""
    files = settings.files
    bounded = settings.quotas.bounded

    # The graph has a size limit, of 10 MB on Dataflow: it holds whole files, not their ranges.
    parsed = (
        pipeline
        | "Files" >> beam.Create(work_items(files, whole_files=True), reshuffle=False)
        | "Items" >> beam.FlatMap(cut, range_bytes_for(files))
        | "Spread" >> beam.Reshuffle()  # WorkItem
        | "Parse"
        >> beam.ParDo(Parse(settings, num_buckets_for(files))).with_outputs(
            "marks", "counts", "rejects", main="batches"
        )
    )
    # First pass, without strokes: which drawings are distinct, and where each split ends.
    distinct = (
        parsed.marks  # (bucket, Marks)
        | "ByIdentity" >> beam.GroupByKey()  # (bucket, [Marks])
        | "Distinct"
        >> beam.ParDo(Distinct(bounded)).with_outputs(
            "excluded", "shared", "counts", main="categories"
        )
    )
    splits = (
        distinct.categories  # (category, CategoryRanks)
        | "Lowest" >> beam.CombinePerKey(LowestRanks(bounded))
        | "Splits" >> beam.Map(fix_splits, settings.sampling, settings.quotas)
    )  # (category, CategorySplits)
    selection = (
        pipeline
        | "Once" >> beam.Create([None])
        | "Select"
        >> beam.Map(
            make_selection,
            settings.sampling,
            settings.labels,
            AsList(splits),
            AsList(distinct.excluded),
            AsList(distinct.shared),
        )
    )  # Selection
    # Second pass: strokes to their shards, and shards to files.
    shards = (
        parsed.batches  # Batch
        | "Place" >> beam.ParDo(Place(settings), AsSingleton(selection))  # ((split, shard), Placed)
        | "ByShard" >> beam.GroupByKey()  # ((split, shard), [Placed])
        | "Write" >> beam.ParDo(WriteShard(settings), AsSingleton(selection))  # WrittenShard
    )
    reject_files = (
        parsed.rejects  # (file index, Rejects)
        | "ByFile" >> beam.GroupByKey()  # (file index, [Rejects])
        | "WriteRejects" >> beam.Map(write_rejects, settings.staging, len(files))  # name
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
