"""Elements grow in number as the drawings do, and in size not beyond what is stated."""

import cProfile
import itertools
import os
import pathlib
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks import growth, pipeline
from benchmarks.growth import KINDS, QUOTAS, Amount, Run, prepare_counted
from pipeline.cli import UserError
from pipeline.dataset.manifests import read_manifest
from pipeline.drawings.label_rule import clean_label
from pipeline.graph import parse, sampling
from pipeline.graph.sampling import CategorySplits
from pipeline.graph.settings import PrepareSettings
from pipeline.graph.shards import AssignShards
from pipeline.graph.transforms import prepare
from pipeline.output import publish, staging
from pipeline.output.commit import commit
from pipeline.runners.local_runner import run_locally
from pipeline.sources import input_files
from pipeline.sources.input_files import InputFile
from pipeline.verify import check_dataset
from tests.support.ndjson import line
from tests.support.warm_process import warm_python

Writer = Callable[[str, Sequence[str]], str]


@pytest.fixture
def small_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work items of about 250 drawings, so that a test's input has many."""
    monkeypatch.setattr(input_files, "RANGE_BYTES", 40_000)


def counted(write_lines: Writer, name: str, lines: Sequence[str]) -> dict[str, Amount]:
    path = write_lines(f"{name}/drawings.ndjson", lines)
    return prepare_counted([path], str(pathlib.Path(path).parent / "data"), workers=1)


@pytest.mark.parametrize("categories", [1, 345])
def test_ten_times_the_drawings_are_ten_times_the_elements_and_bytes_none_of_them_larger(
    categories: int, write_lines: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a thousand drawings, beside which the 340 to 720 bytes of every element are few.
    monkeypatch.setattr(input_files, "RANGE_BYTES", 160_000)
    lines = [line(f"category {n % categories}", n) for n in range(20_000)]
    few = counted(write_lines, "few", lines[:2_000])
    many = counted(write_lines, "many", lines)
    for kind in KINDS:
        assert 9 < many[kind].bytes / few[kind].bytes < 11
        assert many[kind].largest < 1.3 * few[kind].largest
    assert 9 < many["batches"].elements / few["batches"].elements < 11
    # Whatever the categories, a work item sends one element to each bucket, and to each shard.
    for amounts in (few, many):
        items = amounts["batches"].elements
        assert amounts["keys"].elements <= items * amounts["bucket_drawings"].elements
        assert amounts["slices"].elements <= items * amounts["shard"].elements
    assert many["shard_records"].bytes == 20_000
    assert many["shard_records"].largest < 50_000 / 16


def test_a_batch_takes_as_many_calls_whatever_the_number_of_its_categories(
    write_lines: Writer,
) -> None:
    calls = []
    for categories in (1, 2_000):
        lines = [line(f"category {n % categories}", n) for n in range(2_000)]
        path = write_lines(f"{categories}.ndjson", lines)
        settings = PrepareSettings((), "", ("",), quotas=QUOTAS)
        item = input_files.WorkItem(InputFile(path, os.path.getsize(path)))
        for n in range(categories):
            clean_label(f"category {n}")  # which is kept
        parsed, in_parse = counted_calls(parse.Parse(settings, 16).process, item)
        (batch,) = [output for output in parsed if isinstance(output, bytes)]
        names = {f"category {n}" for n in range(categories)}
        whole = CategorySplits(1, (0, 0, 1 << 62), (0, 0, 2_000 // categories))
        selection = sampling.select("hash", None, dict.fromkeys(names, whole), {})
        slices, in_assign = counted_calls(AssignShards(settings).process, batch, selection)
        calls.append((len(parsed), in_parse, len(slices), in_assign))
    (one_category, each_its_own) = calls
    assert each_its_own[0] == one_category[0]  # elements
    assert each_its_own[2] == one_category[2]
    assert each_its_own[1] < 1.1 * one_category[1]
    assert each_its_own[3] < 1.1 * one_category[3]


def test_twice_the_categories_take_twice_the_calls_of_a_whole_run(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    calls = []
    for number in (10, 500, 1_000, 2_000):  # of the first run there is more
        lines = [line(f"category {n}", n) for n in range(number)]
        path = write_lines(f"{number}.ndjson", lines)
        output = str(tmp_path / str(number))
        _, of_run = counted_calls(prepare_counted, [path], output, 1)
        _, of_check = counted_calls(lambda path: check_dataset(path, read_manifest(path)), output)
        calls.append((of_run, of_check))
    _, few, more, many = np.array(calls)
    assert (many - more < 2.3 * (more - few)).all()


def counted_calls(
    function: Callable[..., Iterable[Any]], *arguments: object
) -> tuple[list[Any], int]:
    """Return the result of a function and the number of function calls it took."""
    profile = cProfile.Profile()
    with profile:
        results = list(function(*arguments))
    return results, sum(entry.callcount for entry in profile.getstats())


def test_drawings_of_very_many_points_make_more_batches_not_larger_ones(
    write_lines: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "BATCH_BYTES", 1 << 20)
    scribble = [[n % 256 for n in range(20_000)], [n * 7 % 256 for n in range(20_000)]]
    lines = [line("cat", n, drawing=[scribble, [[n], [7]]]) for n in range(120)]
    amounts = counted(write_lines, "long", lines)
    drawing_bytes = 40_100
    assert amounts["batches"].elements >= 5  # of at most 27 drawings, 40 kB each
    assert amounts["batches"].largest < (1 << 20) + drawing_bytes
    assert amounts["slices"].largest < (1 << 20) + drawing_bytes
    assert amounts["shard_records"].bytes == 120


def test_a_file_of_only_bad_lines_sends_no_more_than_a_short_one(
    write_lines: Writer, small_items: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "_LISTED_REJECTS", 200)
    drawings = [line("cat", n) for n in range(10)]
    few = counted(write_lines, "few", [*drawings, *["x" * 1_000] * 400])
    many = counted(write_lines, "many", [*drawings, *["x" * 1_000] * 4_000])
    assert many["rejects"].elements > 5 * few["rejects"].elements
    assert many["rejects"].bytes < 2 * few["rejects"].bytes
    assert many["rejects"].largest <= few["rejects"].largest < 200 * 300


def test_what_is_counted_and_written_does_not_depend_on_workers_or_on_spilling(
    write_lines: Writer,
    small_items: None,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", str(warm_python()))  # of the workers
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(2_000)])
    one = prepare_counted([path], f"{tmp_path}/one", workers=1)
    assert prepare_counted([path], f"{tmp_path}/two", workers=2) == one

    # As on a remote runner, which shuffles by itself.
    files = tuple(input_files.match_files([path]))
    began = staging.begin(f"{tmp_path}/bytes", {})
    settings = PrepareSettings(files, began.directory, ("cat",) * len(files), quotas=QUOTAS)
    options = PipelineOptions(["--direct_num_workers=1"])
    result = run_locally(lambda pipeline: prepare(pipeline, settings), options)
    summary = publish.read_summary(began.directory)
    manifest = publish.make_manifest(summary, files, {}, "packed")
    commit(began, manifest, publish.shard_paths(summary, manifest, began.directory), [])
    sizes = {
        metric.key.metric.name: metric.committed.sum
        for metric in result.metrics().query()["distributions"]
    }
    for kind in KINDS:
        assert sizes[f"{kind}_bytes"] == one[kind].bytes
    fingerprints = {
        read_manifest(f"{tmp_path}/{name}").fingerprint for name in ("one", "two", "bytes")
    }
    assert len(fingerprints) == 1


def test_the_table_fits_a_screen_and_says_how_much_each_figure_grew() -> None:
    amounts = {
        "batches": Amount(345, 137_000_000, 400_000),
        "keys": Amount(5_520, 13_000_000, 3_000),
        "slices": Amount(12_000, 138_000_000, 20_000),
        "shard": Amount(36, 990_000_000, 50_000_000),
        "shard_records": Amount(36, 1_000_000, 50_100),
        "bucket_drawings": Amount(16, 1_000_000, 63_000),
    }
    tenth = {
        kind: Amount(few.elements, few.bytes // 10, few.largest // 10)
        for kind, few in amounts.items()
    }
    few = Run(100_000, 1, 4.2, 180_000_000, tenth)
    many = Run(1_000_000, 1, 42.0, 198_000_000, amounts)
    lines = growth.table([few, many, many._replace(workers=2)]).splitlines()
    assert max(map(len, lines)) <= 100
    assert len({len(text) for text in lines}) == 1
    heading, _, run, ratios, other = [text.split() for text in lines]
    assert heading[:3] == ["drawings", "workers", "seconds"]
    figures = ["42.0", "198", "17,865", "400", "288.0", "990.0", "36"]
    assert run == ["1,000,000", "1", *figures]
    assert ratios == ["×10.00", "×10.00", "×1.10", "×1.00", "×10.00", "×10.00", "×10.00", "×1.00"]
    assert other == ["1,000,000", "2", *figures]


def test_the_command_prints_a_run_for_each_number_of_workers(
    write_lines: Writer,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With runs in this process; tests/documents/test_documents.py runs the command as it is."""
    for name in ("cat", "sun"):
        write_lines(f"{name}.ndjson", [line(name, n) for n in range(50)])
    directories = itertools.count()

    def measure_here(patterns: list[str], drawings: int, workers: int) -> Run:
        inputs = tmp_path / f"drawings {next(directories)}"
        inputs.mkdir()
        pipeline.repeat_drawings(patterns, str(inputs), drawings)
        output = str(tmp_path / f"data {next(directories)}")
        amounts = prepare_counted([f"{inputs}/*"], output, workers=1)
        return Run(drawings, workers, 1.5, 10**8, amounts)

    monkeypatch.setattr(growth, "measure_run", measure_here)
    args = types.SimpleNamespace(input=[f"{tmp_path}/*.ndjson"], drawings=["3000"])
    monkeypatch.setattr(growth.flags, "FLAGS", args)
    growth.main([])
    rows = [text.split() for text in capsys.readouterr().out.splitlines()]
    runs = [(row[:2], row[-1]) for row in rows if row[0] == "3,000"]
    assert runs == [(["3,000", "1"], "4"), (["3,000", "2"], "4")]


def test_the_benchmark_measures_drawings_in_a_directory_whose_name_looks_like_a_pattern(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(10)])
    odd = with_odd_temporary_directory(tmp_path)["TMPDIR"]
    pipeline.repeat_drawings([path], odd, 200)
    assert pipeline._ours(odd, workers=1).peak_bytes > 0  # it would end with the status of ours


def with_odd_temporary_directory(parent: pathlib.Path) -> dict[str, str]:
    """Environment, with temporary files in a directory whose name looks like a pattern."""
    directory = parent / "some [a] * ?"
    directory.mkdir()
    return {**os.environ, "TMPDIR": str(directory)}


@pytest.mark.parametrize("texts", [[], ["0"], ["ten"], ["10", "1"], ["-3"], ["1e6"], ["1" * 5000]])
def test_a_number_of_drawings_that_is_none_or_too_small_is_refused(texts: list[str]) -> None:
    error = "^--drawings: whole numbers of at most 10 digits, at least 2, one drawing a file$"
    with pytest.raises(UserError, match=error):
        pipeline.parse_numbers("drawings", texts, 2)
    assert pipeline.parse_numbers("drawings", ["10", "2"], 2) == [2, 10]
