"""Measures how the cost grows with the number of drawings: make bench-growth DATA=DIR

Repeats the drawings of DIR, with new keys, to each of the numbers asked for, prepares a data set of
all of them with one worker and with two, and prints time, memory, what was shuffled and written,
and the ratio of each figure to that of the run before.
"""

import glob
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

from absl import flags
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from benchmarks.pipeline import measure, parse_numbers, repeat_drawings
from pipeline import cli
from pipeline.graph.sampling import Quotas
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.transforms import prepare
from pipeline.output import publish, staging
from pipeline.output.commit import commit
from pipeline.runners.local_runner import run_locally
from pipeline.sources.categories import file_categories
from pipeline.sources.input_files import match_files

# Every drawing is kept, which is the most that can be shuffled and written.
QUOTAS = Quotas(train=None, validation=100)
KINDS = ("batches", "keys", "slices")  # of shuffled elements, see pipeline.graph.batches.Spill


class Amount(NamedTuple):
    """A Beam distribution over the elements of one kind."""

    elements: int
    bytes: int
    largest: int  # bytes


class Run(NamedTuple):
    """One measured run."""

    drawings: int
    workers: int
    seconds: float
    peak_bytes: int  # resident memory, all processes together
    amounts: dict[str, Amount]  # see prepare_counted


# Figures of a run that the table shows: heading, value, divisor of its unit, decimals.
_FIGURES: tuple[tuple[str, Callable[[Run], float], float, int], ...] = (
    ("seconds", lambda run: run.seconds, 1, 1),
    ("memory MB", lambda run: run.peak_bytes, 1e6, 0),
    ("elements", lambda run: sum(run.amounts[kind].elements for kind in KINDS), 1, 0),
    ("largest kB", lambda run: max(run.amounts[kind].largest for kind in KINDS), 1e3, 0),
    ("shuffled MB", lambda run: sum(run.amounts[kind].bytes for kind in KINDS), 1e6, 1),
    ("output MB", lambda run: run.amounts["shard"].bytes, 1e6, 1),
    ("shards", lambda run: run.amounts["shard"].elements, 1, 0),
)


def prepare_counted(patterns: list[str], output: str, workers: int) -> dict[str, Amount]:
    """Prepare a data set of all drawings on this machine.

    Returns:
      The Beam distributions of each kind of element (KINDS and "rejects"), of each "shard" (bytes
      of its file), and of the number of drawings in it ("shard_records") and in each bucket of
      drawing keys ("bucket_drawings").
    """
    files = match_files(patterns)
    job = staging.begin(output, {})
    categories = tuple(file_categories([file.path for file in files]))
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


def run_in_child(patterns: list[str], output: str, workers: int, amounts_path: str) -> None:
    """Prepare a data set and write what `prepare_counted` returns as JSON."""
    with open(amounts_path, "w", encoding="utf-8") as file:
        json.dump(prepare_counted(patterns, output, workers), file)


def measure_run(patterns: list[str], drawings: int, workers: int) -> Run:
    """Repeat the drawings to the number given and prepare them in a child process."""
    with tempfile.TemporaryDirectory() as directory:
        inputs = os.path.join(directory, "drawings")
        amounts_path = os.path.join(directory, "amounts.json")
        os.mkdir(inputs)
        repeat_drawings(patterns, inputs, drawings)
        output = os.path.join(directory, "data")
        arguments = ([f"{glob.escape(inputs)}/*.ndjson"], output, workers, amounts_path)
        code = f"from benchmarks.growth import run_in_child; run_in_child(*{arguments!r})"
        measured = measure(["-c", code])
        with open(amounts_path, encoding="utf-8") as file:
            amounts = {kind: Amount(*amount) for kind, amount in json.load(file).items()}
    done = f"{drawings:,} drawings with {workers} in {measured.seconds:.1f} s"
    print(done, file=sys.stderr, flush=True)  # the table comes at the end
    return Run(drawings, workers, *measured, amounts)


def table(runs: Sequence[Run]) -> str:
    """Return a row per run, and the ratios of its figures to the run before (same workers)."""
    rows = [("drawings", "workers", *(heading for heading, *_ in _FIGURES))]
    for index, run in enumerate(runs):
        figures = (f"{value(run) / unit:,.{digits}f}" for _, value, unit, digits in _FIGURES)
        rows.append((f"{run.drawings:,}", f"{run.workers}", *figures))
        if index and (before := runs[index - 1]).workers == run.workers:
            ratios = (f"×{value(run) / value(before):.2f}" for _, value, *_ in _FIGURES)
            rows.append((f"×{run.drawings / before.drawings:.2f}", "", *ratios))
    return "\n".join(cli.align(rows, ">" * len(rows[0])))


def define_flags() -> None:
    cli.define_paths("input", None, "Globs of simplified ndjson files.", kind="GLOB", required=True)
    flags.DEFINE_list(
        "drawings", "10000,100000,1000000", "Numbers of drawings to measure, at least one a file."
    )


def main(argv: list[str]) -> None:
    patterns = flags.FLAGS.input
    numbers = parse_numbers("drawings", flags.FLAGS.drawings, len(match_files(patterns)))
    runs = [measure_run(patterns, number, workers) for workers in (1, 2) for number in numbers]
    print(table(runs))


if __name__ == "__main__":
    define_flags()
    cli.run(main)
