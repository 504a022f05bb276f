"""Which drawings are chosen: other samples by --seed, drawings left out, and only counted."""

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from absl import flags
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job, main
from pipeline.cli import UserError
from pipeline.dataset.manifests import DataSet, Manifest
from pipeline.graph.exclusion import read_keys
from pipeline.graph.sampling import Quotas
from pipeline.output import report
from tests.support.commands import flags_of
from tests.support.ndjson import line

Writer = Callable[[str, Sequence[str]], str]
ONE_WORKER = PipelineOptions(["--direct_num_workers=1"])


def run(path: str, output: pathlib.Path, **settings: Any) -> Manifest:
    settings = {"quotas": Quotas(40, 20), "options": ONE_WORKER, **settings}
    return job.run(patterns=[path], output=str(output), **settings)[1]


def keys(output: pathlib.Path, manifest: Manifest, split: str) -> set[bytes]:
    return {example.key_id for example in DataSet(str(output), manifest).examples(split)}


@pytest.fixture
def cats(write_lines: Writer) -> str:
    return write_lines("cat.ndjson", [line("cat", n) for n in range(200)])


def test_each_seed_draws_another_sample_and_the_same_one_again(
    cats: str, tmp_path: pathlib.Path
) -> None:
    samples = {}
    for name, seed in (("a", 0), ("b", 1), ("c", 2), ("again", 1), ("default", None)):
        settings = {} if seed is None else {"seed": seed}
        manifest = run(cats, tmp_path / name, **settings)
        assert manifest.sampling["seed"] == (seed or 0)
        samples[name] = keys(tmp_path / name, manifest, "validation")
        assert len(samples[name]) == 20
    assert samples["a"] == samples["default"]
    assert samples["b"] == samples["again"]
    for one, other in (("a", "b"), ("b", "c"), ("a", "c")):
        assert len(samples[one] & samples[other]) < 10  # 2 of 20 by chance


def test_a_seed_without_a_sample_to_draw_is_refused(cats: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match="--seed applies to --sampling=hash only"):
        run(cats, tmp_path / "data", seed=1, sampling_method="first")


def test_drawings_of_other_data_sets_are_left_out_by_their_keys(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [line("cat", n) for n in range(50)]
    lines += [json.dumps({**json.loads(line("cat", 50 + n)), "key_id": None}) for n in range(50)]
    path = write_lines("cat.ndjson", lines)
    first = run(path, tmp_path / "first")
    found = sorted(keys(tmp_path / "first", first, "validation"))
    assert {key.startswith(b"strokes:") for key in found} == {True, False}
    text = b"\xef\xbb\xbf" + b"\r\n".join([*found, b"", b"of no drawing"])
    (tmp_path / "keys.txt").write_bytes(text)
    excluded = read_keys(f"{tmp_path}/keys.txt")
    output = tmp_path / "second"
    summary, second = job.run(
        patterns=[path],
        output=str(output),
        quotas=Quotas(None, 20),
        excluded_keys=excluded,
        options=ONE_WORKER,
    )
    kept = keys(output, second, "train") | keys(output, second, "validation")
    assert len(kept) == 80
    assert not kept & set(found)
    assert second.drawings["excluded"] == 20
    assert second.sampling["excluded_keys"] == 21
    assert "20 drawings of --exclude dropped." in report.table(summary, second)


def test_a_category_of_which_all_are_left_out_is_an_error(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("all.ndjson", [line("cat", 1), *(line("dog", 100 + n) for n in range(50))])
    with pytest.raises(UserError, match=r"'cat' is kept: of 1 read 1 are in --exclude"):
        run(path, tmp_path / "data", excluded_keys=[json.loads(line("cat", 1))["key_id"]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no key_ids in it"),
        (b"\xff\xfe1\0", "not UTF-8 text; save it as UTF-8, a key_id a line"),
        (b'["1"]', "it is JSON; write one key_id a line"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_holds_no_keys_is_named(
    content: bytes | None, message: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "keys.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"keys.txt: {message}"):
        read_keys(str(path))


def dry_run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str, str]:
    """Run the command; returns what it printed, its warnings, and its error."""
    error = ""
    with flags_of("pipeline.main"):
        words = ("--dry_run", *words)
        left = flags.FLAGS(["main", *words, "--direct_num_workers=1"], known_only=True)
        try:
            main.main(left)
        except Exception as raised:
            error = str(raised)
    return (*capsys.readouterr(), error)


def test_a_dry_run_counts_as_a_run_does_and_writes_nothing(
    write_lines: Writer, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line("cat", n) for n in range(40)] + [line("dog", 100 + n) for n in range(30)]
    paths = [write_lines("all.ndjson", [*lines, lines[0], "bad"]), write_lines("more.ndjson", [])]
    inputs = f"--input={','.join(paths)}"
    flags_given = [inputs, f"--output={tmp_path}/data", "--validation_share=0.25"]
    before = {found: found.stat().st_mtime_ns for found in tmp_path.rglob("*")}
    printed, warnings, error = dry_run(capsys, *flags_given, "--max_reject_fraction=0.1")
    assert {found: found.stat().st_mtime_ns for found in tmp_path.rglob("*")} == before
    assert error == ""
    summary, manifest = job.run(
        patterns=paths,
        output=str(tmp_path / "data"),
        quotas=Quotas(None, validation_share=0.25),
        max_reject_fraction=0.1,
        options=ONE_WORKER,
    )
    table = report.table(summary, manifest).splitlines()
    assert printed.splitlines() == [*table[:-1], "Nothing was written: this was a dry run."]
    assert table[-1].startswith("2 shards")
    assert "warning: 1 line rejected (1.39%)\n" in warnings
    assert f"warning: 1 of 2 input files gave no drawing: {paths[1]} (0 bytes)\n" in warnings


def test_a_dry_run_ends_as_the_run_would(
    write_lines: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_lines("cat.ndjson", [*(line("cat", n) for n in range(40)), "bad"])
    printed, _, error = dry_run(capsys, f"--input={path}", "--validation_share=0.25")
    assert printed.splitlines()[1].split() == ["cat", "40", "40", "30", "10", "0"]
    assert error == (
        "1 line rejected, 2.44% of all, more than --max_reject_fraction=0.01; most often: not "
        "JSON (1)"
    )


def test_a_dry_run_of_another_runner_is_refused(
    cats: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, error = dry_run(capsys, f"--input={cats}", "--runner=FlinkRunner")
    assert error == "--dry_run counts on this machine; leave --runner out"
