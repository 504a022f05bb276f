"""Measures how the cost grows with the number of drawings: make bench-growth DATA=DIR

Repeats the drawings of DIR, with new keys, to each of the numbers asked for, prepares a data set of
all of them with one worker and with two, and prints what that took, what was shuffled and written,
and how it grew from number to number. From these figures and the pipeline's own choices (work
items, buckets, shards) follows the plan on paper for 50 million and 5 billion drawings.
"""

import glob
import json
import os
import sys
import tempfile

from absl import flags
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from benchmarks import growth_tables
from benchmarks.growth_plan import QUOTAS, Amount, Measured, plan_for
from benchmarks.growth_tables import Run
from benchmarks.pipeline import measure, parse_numbers, repeat_drawings
from pipeline import cli
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.transforms import prepare
from pipeline.output import publish, staging
from pipeline.output.commit import commit
from pipeline.runners.local_runner import run_locally
from pipeline.sources import input_files
from pipeline.sources.input_files import match_files

_PLANS = (50_000_000, 5_000_000_000)
_SMALL_RANGE_BYTES = 20_000  # about 50 drawings: many elements, to measure what one costs


def prepare_counted(patterns: list[str], output: str, workers: int) -> dict[str, Amount]:
    """Prepares a data set of all drawings, on this machine.

    Returns:
      What Beam's distributions say of each kind of element ("batches", "marks", "placed",
      "rejects"), and of each "shard". A shard's bytes are those of its file.
    """
    files = match_files(patterns)
    job = staging.begin(output, {})
    categories = tuple(input_files.file_categories([file.path for file in files]))
    with tempfile.TemporaryDirectory(dir=job.directory) as directory:
        settings = PrepareSettings(
            tuple(files), job.directory, categories, quotas=QUOTAS, spill_directory=directory
        )
        options = PipelineOptions([f"--direct_num_workers={workers}"])
        result = run_locally(lambda pipeline: prepare(pipeline, settings), options)
    summary = publish.read_summary(job.directory)
    manifest = publish.make_manifest(summary, files, {}, settings.image_encoding)
    shard_paths = publish.shard_paths(summary, manifest, job.directory)
    commit(job, manifest, shard_paths, summary.reject_files)
    return _amounts(result)


def _amounts(result: PipelineResult) -> dict[str, Amount]:
    found = {}
    for metric in result.metrics().query()["distributions"]:
        name = metric.key.metric.name.removesuffix("_bytes")
        found[name] = Amount(metric.committed.count, metric.committed.sum, metric.committed.max)
    return found


def run_in_child(
    patterns: list[str], output: str, workers: int, range_bytes: int, amounts_path: str
) -> None:
    """What the measured process does."""
    input_files.RANGE_BYTES = range_bytes  # this process sets it for all
    with open(amounts_path, "w", encoding="utf-8") as file:
        json.dump(prepare_counted(patterns, output, workers), file)


def measure_run(
    patterns: list[str], drawings: int, workers: int, range_bytes: int = input_files.RANGE_BYTES
) -> Run:
    """Repeats the drawings to so many and prepares them in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        inputs = os.path.join(directory, "drawings")
        amounts_path = os.path.join(directory, "amounts.json")
        os.mkdir(inputs)
        repeat_drawings(patterns, inputs, drawings)
        repeated = [f"{glob.escape(inputs)}/*.ndjson"]
        files = match_files(repeated)
        output = os.path.join(directory, "data")
        arguments = (repeated, output, workers, range_bytes, amounts_path)
        code = f"from benchmarks.growth import run_in_child; run_in_child(*{arguments!r})"
        measured = measure(["-c", code])
        with open(amounts_path, encoding="utf-8") as file:
            amounts = {kind: Amount(*amount) for kind, amount in json.load(file).items()}
    input_bytes = sum(file.bytes for file in files)
    done = f"{drawings:,} drawings with {workers} in {measured.seconds:.1f} s"
    print(done, file=sys.stderr, flush=True)  # the tables come at the end
    return Run(drawings, workers, len(files), input_bytes, *measured, amounts)


def element_seconds(few: Run, many: Run) -> float:
    """What an element takes beyond its drawings, from two runs over as many drawings."""
    more = many.elements - few.elements  # none where the files are smaller than the ranges
    return max(0.0, (many.seconds - few.seconds) / more) if more else 0.0


def define_flags() -> None:
    cli.define_paths("input", None, "Globs of simplified ndjson files.", kind="GLOB", required=True)
    flags.DEFINE_list(
        "drawings", "10000,100000,1000000", "Numbers of drawings to measure, at least one a file."
    )


def main(argv: list[str]) -> None:
    patterns = flags.FLAGS.input
    files = len(match_files(patterns))
    numbers = parse_numbers("drawings", flags.FLAGS.drawings, files)
    runs, start_seconds = [], {}
    for workers in (1, 2):
        start_seconds[workers] = measure_run(patterns, files, workers).seconds
        runs += [measure_run(patterns, number, workers) for number in numbers]
    middle, largest = runs[len(numbers) // 2], runs[len(numbers) - 1]  # with one worker
    in_pieces = measure_run(patterns, middle.drawings, 1, _SMALL_RANGE_BYTES)
    print(growth_tables.runs(runs, start_seconds), end="\n\n")
    print(growth_tables.growth(runs, start_seconds), end="\n\n")
    measured = Measured(
        largest.drawings,
        largest.files,
        largest.input_bytes,
        largest.amounts,
        largest.seconds - start_seconds[1],
        element_seconds(middle, in_pieces),
    )
    plans = [plan_for(number, measured) for number in (numbers[-1], *_PLANS)]
    print(growth_tables.plans(measured, plans))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
