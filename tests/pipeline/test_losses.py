"""A run that ends with status 0 has lost nothing that it does not name, with numbers."""

import bz2
import gzip
import json
import os
import pathlib
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job
from pipeline.cli import RunError, UserError
from pipeline.dataset.manifests import Manifest, read_labels
from pipeline.graph.sampling import Quotas
from pipeline.output import report
from pipeline.output.publish import Summary
from pipeline.sources import input_files
from pipeline.sources.input_files import WorkItem
from tests.support.ndjson import SQUARE, line

Writer = Callable[[str, Sequence[str]], str]
ONE_WORKER = PipelineOptions(["--direct_num_workers=1"])
SMALL = Quotas(train=20, validation=10, test=5)


def run(patterns: Sequence[str], output: Any, **settings: Any) -> tuple[Summary, Manifest]:
    settings = {"quotas": SMALL, "options": ONE_WORKER, **settings}
    return job.run(patterns=list(patterns), output=str(output), **settings)


def wordless(number: int, **fields: Any) -> str:
    found = json.loads(line("", number, **fields))
    return json.dumps({name: found[name] for name in found if name != "word"})


def record(number: int, strokes: list[list[list[int]]] | None = None) -> bytes:
    strokes = json.loads(line("", number))["drawing"] if strokes is None else strokes
    data = struct.pack("<Q2sbIH", 10**15 + number, b"SE", 1, 1490443018, len(strokes))
    for x, y in strokes:
        data += struct.pack("<H", len(x)) + bytes(x) + bytes(y)
    return data


# Damage.


def lines_of(number: int) -> bytes:
    return "".join(line("cat", n) + "\n" for n in range(number)).encode()


def read(path: pathlib.Path) -> list[input_files.Parsed]:
    (file,) = input_files.match_files([str(path)])
    return list(input_files.read_drawings(WorkItem(file)))


def test_several_streams_of_bz2_in_one_file_are_all_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.ndjson.bz2"
    data = lines_of(3000)
    parts = [data[:100_000], b"", data[100_000:500_000], data[500_000:]]
    path.write_bytes(b"".join(map(bz2.compress, parts)))
    assert [found.head for found in read(path)] == data.splitlines()


@pytest.mark.parametrize("at", [2, 4, 40, -5])
def test_damage_in_a_later_stream_of_bz2_is_an_error(at: int, tmp_path: pathlib.Path) -> None:
    data = lines_of(3000)
    second = bytearray(bz2.compress(data[300_000:]))
    second[at] ^= 0xFF
    path = tmp_path / "cat.ndjson.bz2"
    path.write_bytes(bz2.compress(data[:300_000]) + second)
    with pytest.raises(RunError, match=r"cannot read .*cat\.ndjson\.bz2: Invalid data stream"):
        read(path)


@pytest.mark.parametrize("rest", [b"garbage", bytes(1000)])
def test_what_follows_compressed_data_and_is_none_is_an_error(
    rest: bytes, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "cat.ndjson.bz2"
    path.write_bytes(bz2.compress(lines_of(50)) + rest)
    with pytest.raises(RunError, match="cannot read"):
        read(path)
    path = tmp_path / "cat.ndjson.gz"
    path.write_bytes(gzip.compress(lines_of(50)) + rest.replace(b"\0", b"x"))
    with pytest.raises(RunError, match="cannot read"):
        read(path)


@pytest.mark.parametrize(
    ("strokes", "reason"),
    [
        ([], "no strokes"),
        ([[[1, 2], [3, 4]], [[], []]], "a stroke has no points"),
        ([[[1], [1]]] * 3000, "more than 2000 strokes"),
        ([[[1] * 60_000, [1] * 60_000]], "more than 50000 points"),
    ],
)
def test_a_binary_record_without_a_drawing_costs_only_itself(
    strokes: list[list[list[int]]], reason: str, tmp_path: pathlib.Path
) -> None:
    data = [record(n) for n in range(500)]
    data[1] = record(1, strokes)
    (tmp_path / "cat.bin").write_bytes(b"".join(data))
    summary, manifest = run([f"{tmp_path}/cat.bin"], tmp_path / "data")
    assert manifest.drawings["read"] == 499
    assert manifest.rejects == {reason: 1}
    assert f"1 record rejected: {reason}." in report.table(summary, manifest)
    (reject_file,) = (tmp_path / "data" / "rejects").iterdir()
    assert json.loads(reject_file.read_text())["byte_offset"] == len(data[0])


def test_what_is_no_binary_record_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "cat.bin").write_bytes(b"".join(record(n) for n in range(50)))
    (tmp_path / "dog.bin").write_bytes(bytes(range(100, 228)) * 49 + b"more")
    with pytest.raises(RunError, match=r"/dog\.bin: at byte 0 there is no record"):
        run([f"{tmp_path}/*.bin"], tmp_path / "data")


def test_a_wrong_length_in_a_binary_record_that_takes_in_others_is_an_error(
    tmp_path: pathlib.Path,
) -> None:
    for name, at in (("early", 3), ("late", 48)):
        data = [record(n) for n in range(50)]
        start = len(b"".join(data[:at]))
        data[at] = data[at][:17] + struct.pack("<H", 20_000) + data[at][19:]
        path = tmp_path / f"{name}.bin"
        path.write_bytes(b"".join(data))
        with pytest.raises(RunError, match=rf"{name}\.bin: at byte {start:,} there is no record"):
            read(path)


def test_an_input_that_changes_while_it_is_read_fails_the_run(
    write_lines: Writer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pathlib.Path(write_lines("cat.ndjson", [line("cat", n) for n in range(100)]))
    content = path.read_bytes()
    run_locally = job.run_locally

    def change(kind: str) -> None:
        if kind == "truncated":
            os.truncate(path, len(content) // 2)
        elif kind == "grown":
            path.write_bytes(content + content)
        else:  # of the same length
            time.sleep(0.01)
            other = path.with_name("other")
            other.write_bytes(content.replace(b"cat", b"dog"))
            other.replace(path)

    for kind in ("truncated", "grown", "replaced"):
        for moment in ("before", "after"):

            def run_and_change(*arguments: Any, kind: str = kind, moment: str = moment) -> None:
                if moment == "before":
                    change(kind)
                run_locally(*arguments)
                if moment == "after":
                    change(kind)

            path.write_bytes(content)
            monkeypatch.setattr(job, "run_locally", run_and_change)
            with pytest.raises(RunError, match=rf"^the input changed while it was read: {path};"):
                run([str(path)], tmp_path / "data")
            assert not list((tmp_path / "data").rglob("quickdraw-*"))
            assert not (tmp_path / "data" / "manifest.json").exists()


# What is chosen.


def test_first_drawings_are_found_however_files_mix_words_and_repeat(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    cats = [line("cat", n) for n in range(100)]
    dogs = [line("dog", 1000 + n) for n in range(100)]
    emus = [line("emu", 2000 + n) for n in range(100)]
    paths = [
        write_lines("cat.ndjson", [*cats, *dogs]),  # a file of two words
        write_lines("emu.ndjson", [line("emu", n) for n in range(100)] + emus),  # cats at its head
    ]
    _, manifest = run(paths, tmp_path / "data", sampling_method="first")
    for split, quota in (("train", 20), ("validation", 10), ("test", 5)):
        assert manifest.splits[split].class_counts == dict.fromkeys(["cat", "dog", "emu"], quota)


def test_quotas_follow_from_the_data_at_any_overlap(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    quotas = Quotas(train=2_000, validation=1_000)
    doubled = [text for n in range(8_000) for text in [line("cat", n)] * 2]
    path = write_lines("cat.ndjson", doubled)
    _, manifest = run([path], tmp_path / "first", sampling_method="first", quotas=quotas)
    assert manifest.splits["train"].records == 2_000

    cats = [line("cat", n) for n in range(8_000)]
    dogs = [line("dog", 4_000 + n) for n in range(8_000)]  # half of them are cats, too
    path = write_lines("all.ndjson", cats + dogs)
    _, manifest = run([path], tmp_path / "hash", quotas=quotas)
    for split in ("train", "validation"):
        assert manifest.splits[split].class_counts == dict.fromkeys(["cat", "dog"], quotas.train)
        quotas = Quotas(train=quotas.validation)


@pytest.mark.parametrize("content", [b"", b"404 Not Found\n", b"\n\n"])
def test_a_file_without_a_drawing_is_named(
    content: bytes, write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    write_lines("cat.ndjson", [line("cat", n) for n in range(200)])
    write_lines("sun.ndjson", [line("sun", 200 + n) for n in range(200)])
    (tmp_path / "dog.ndjson").write_bytes(content)
    patterns = [f"{tmp_path}/*.ndjson"]
    why = {b"": "0 bytes", b"\n\n": "no lines in it"}.get(content, "1 line rejected")
    with pytest.raises(
        UserError, match=rf"of {tmp_path}/dog\.ndjson \({why}\); repair these files"
    ):
        run(patterns, tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()
    # With --labels it is known which categories are wanted.
    summary, manifest = run(patterns, tmp_path / "data", labels=("cat", "sun"))
    [warning] = report.file_warnings(summary, manifest)
    assert warning == f"1 of 3 input files gave no drawing: {tmp_path}/dog.ndjson ({why})"
    assert [entry["drawings"] for entry in manifest.inputs] == [200, 0, 200]


def test_an_empty_part_of_a_category_is_named_and_no_error(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    write_lines("part-0.ndjson", [line("cat", n) for n in range(50)])
    write_lines("part-1.ndjson", [])
    summary, manifest = run([f"{tmp_path}/*.ndjson"], tmp_path / "data")
    [warning] = report.file_warnings(summary, manifest)
    assert warning.endswith("part-1.ndjson (0 bytes)")


def test_an_empty_split_is_an_error_that_says_what_to_do(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [line(word, 100 * i + n) for i, word in enumerate(["cat", "dog"]) for n in range(40)]
    path = write_lines("all.ndjson", lines)
    with pytest.raises(
        UserError,
        match="no train drawings: categories have at most 40 drawings, and validation takes 1,000 "
        r"of each category first; lower --validation_per_category, or give --validation_share=0\.2",
    ):
        run([path], tmp_path / "data", quotas=Quotas())
    _, manifest = run([path], tmp_path / "data", quotas=Quotas(None, validation_share=0.2))
    assert manifest.splits["validation"].class_counts == {"cat": 8, "dog": 8}
    assert manifest.splits["train"].class_counts == {"cat": 32, "dog": 32}


def test_a_category_of_which_none_is_kept_is_an_error(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [line("cat", n, recognized=True) for n in range(50)]
    lines += [line("dog", 100 + n, recognized=False) for n in range(50)]
    path = write_lines("all.ndjson", lines)
    with pytest.raises(UserError, match="no drawing of category 'dog' is kept: of 50 read 50 were"):
        run([path], tmp_path / "data", recognized_only=True)
    twins = [line("emu", n) for n in range(50)]  # the same drawings as the cats
    path = write_lines("twins.ndjson", lines[:50] + twins)
    with pytest.raises(UserError, match=r"'emu' is kept: of 50 read 50 are also in another categ"):
        run([path], tmp_path / "data")


@pytest.mark.parametrize("method", ["hash", "first"])
def test_shares_take_that_much_of_each_category(
    method: str, write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [line("cat", n) for n in range(37)] + [line("dog", 100 + n) for n in range(200)]
    path = write_lines("all.ndjson", lines)
    quotas = Quotas(1000, validation_share=0.2, test_share=0.1)
    if method == "first":
        with pytest.raises(UserError, match="no validation drawings"):  # training comes first
            run([path], tmp_path / "data", quotas=quotas, sampling_method=method)
        quotas = Quotas(20, validation_share=0.2, test_share=0.1)
    summary, manifest = run([path], tmp_path / "data", quotas=quotas, sampling_method=method)
    assert manifest.splits["validation"].class_counts == {"cat": 7, "dog": 40}
    assert manifest.splits["test"].class_counts == {"cat": 4, "dog": 20}
    assert manifest.sampling["validation_share"] == 0.2
    if method == "hash":
        assert manifest.splits["train"].class_counts == {"cat": 26, "dog": 140}
        (warning, _) = report.warnings(summary, quotas, "data")
        assert warning == "cat: only 37 drawings; train has 26 of 1,000"


# What the category is.


def test_the_folder_is_the_category_where_files_are_only_numbered(
    write_lines: Writer, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, word in enumerate(["cat", "dog"]):
        for part in range(2):
            first = 100 * index + 50 * part
            lines = [wordless(first + n) for n in range(50)]
            write_lines(f"in/{word}/{part:03}.ndjson", lines)
    _, manifest = run([f"{tmp_path}/in/*/*.ndjson"], tmp_path / "data")
    assert manifest.labels == ("cat", "dog")
    assert manifest.splits["train"].class_counts == {"cat": 20, "dog": 20}
    note = "Drawings without a word get their folder's name as category: cat, dog"
    assert note in capsys.readouterr().err


def test_files_of_one_name_in_several_folders_are_not_taken_for_one_category(
    write_lines: Writer, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, word in enumerate(["cat", "dog"]):
        lines = [wordless(100 * index + n) for n in range(50)]
        write_lines(f"in/{word}/drawings.ndjson", lines)
    patterns = [f"{tmp_path}/in/*/*.ndjson"]
    _, manifest = run(patterns, tmp_path / "folders")
    assert manifest.splits["train"].class_counts == {"cat": 20, "dog": 20}
    note = "Drawings without a word get their folder's name as category: cat, dog"
    assert capsys.readouterr().err.count(note) == 1
    _, manifest = run(patterns, tmp_path / "data", labels=("cat", "dog"))
    assert manifest.splits["train"].class_counts == {"cat": 20, "dog": 20}
    _, manifest = run(patterns, tmp_path / "one", labels=("drawings",))
    assert manifest.splits["train"].class_counts == {"drawings": 20}


def test_folders_of_kinds_of_data_are_no_categories(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    for index, kind in enumerate(["raw", "simplified"]):
        lines = [wordless(100 * index + n) for n in range(50)]
        write_lines(f"in/{kind}/cat.ndjson", lines)
    patterns = [f"{tmp_path}/in/*/*.ndjson"]
    with pytest.raises(UserError, match=r"no drawings to use .* does not give the category"):
        run(patterns, tmp_path / "data")
    _, manifest = run(patterns, tmp_path / "data", labels=("cat",))
    assert manifest.splits["train"].class_counts == {"cat": 20}


def test_files_that_are_numbered_in_one_folder_are_their_own_categories(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    for digit in range(3):
        write_lines(f"{digit}.ndjson", [wordless(100 * digit + n) for n in range(50)])
    assert run([f"{tmp_path}/*.ndjson"], tmp_path / "data")[1].labels == ("0", "1", "2")


def test_a_file_whose_name_is_no_label_needs_words(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [wordless(n) for n in range(50)]
    for name in (".ndjson", "\a.ndjson", "\u202ecat.ndjson"):
        path = write_lines(name, lines)
        with pytest.raises(UserError, match="does not give the category"):
            run([path], tmp_path / "data")
    path = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\xff.ndjson"))
    pathlib.Path(path).write_text("".join(text + "\n" for text in lines))
    with pytest.raises(UserError, match="does not give the category"):
        run([path], tmp_path / "data")
    pathlib.Path(path).write_bytes(lines_of(50))
    _, manifest = run([path], tmp_path / "data")
    assert manifest.labels == ("cat",)
    assert (
        json.loads((tmp_path / "data" / "manifest.json").read_text())["inputs"][0]["file"] == path
    )


def test_one_label_in_two_forms_of_unicode_is_one_category(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    composed, decomposed = "éclair", "e\u0301clair"
    labels = tmp_path / "labels.txt"
    labels.write_text(f"\ufeff{decomposed}\n")
    words = write_lines("all.ndjson", [line(composed, n) for n in range(25)])
    more = write_lines("more.ndjson", [line(decomposed, 100 + n) for n in range(25)])
    by_name = write_lines(f"{decomposed}.ndjson", [wordless(200 + n) for n in range(25)])
    _, manifest = run([words, more, by_name], tmp_path / "data", quotas=Quotas(70, 5))
    assert manifest.labels == (composed,)
    assert manifest.splits["train"].records == 70
    assert read_labels(str(labels)) == (composed,)


# What is drawn.


def moved(number: int, by: int) -> str:
    drawing = [[[v // 4 + by for v in x], [v // 4 + by for v in y]] for x, y in SQUARE]
    return line("cat", number, drawing=drawing)


NEAR = [line("cat", n) for n in range(40)]


@pytest.mark.parametrize("frame", ["auto", "keep"])
def test_drawings_near_the_origin_are_as_they_were(
    frame: str, write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    quotas = Quotas(None, 10)
    path = write_lines("near.ndjson", [*NEAR, *(moved(100 + n, 7) for n in range(5))])
    summary, manifest = run([path], tmp_path / "near", quotas=quotas, frame=frame)
    assert list(report.warnings(summary, quotas, "data")) == []
    assert manifest.drawings["normalised"] == 0


@pytest.mark.parametrize("by", [8, 60, 190, 1000, -300])
def test_drawings_outside_of_the_frame_are_moved_into_it_and_counted(
    by: int, write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    quotas = Quotas(None, 10)
    path = write_lines("off.ndjson", [*NEAR, *(moved(100 + n, by) for n in range(5))])
    summary, manifest = run([path], tmp_path / "off", quotas=quotas)
    assert list(report.warnings(summary, quotas, "data")) == []
    assert manifest.drawings["normalised"] == 5
    text = "5 drawings outside of Google's frame (integers from 0 to 255, starting near 0) "
    assert text + "normalised; --frame=keep" in report.table(summary, manifest)


def test_drawings_kept_outside_of_the_frame_are_counted_and_blank_ones_rejected(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    settings: dict[str, Any] = {"quotas": Quotas(None, 10), "frame": "keep"}
    path = write_lines("off.ndjson", [*NEAR, *(moved(100 + n, 60) for n in range(5))])
    summary, off = run([path], tmp_path / "off", **settings)
    (warning,) = report.warnings(summary, Quotas(None, 10), "data")
    assert warning.startswith("5 of 45 drawings do not begin near 0 on both axes, as nearly all")
    assert warning.endswith(": 5 of cat")
    text = "5 drawings not beginning near 0 on both axes: cut off at the border"
    assert text in report.table(summary, off)

    path = write_lines("blank.ndjson", [*NEAR, *(moved(100 + n, 190) for n in range(5))])
    summary, manifest = run([path], tmp_path / "blank", max_reject_fraction=0.5, **settings)
    assert manifest.rejects == {"no ink: with --frame=keep it lies outside of the picture": 5}
    with pytest.raises(RunError, match=r"5 lines rejected, .* most often: no ink"):
        run([path], tmp_path / "refused", **settings)


def test_nearly_all_real_drawings_lie_in_the_frame(
    sample: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    quotas = Quotas(None, 10)
    patterns = [f"{sample}/categories345/[a-d]*.ndjson"]
    summary, _ = run(patterns, tmp_path / "data", quotas=quotas)
    assert 0 < sum(summary.displaced().values()) < 0.002 * summary.written
    assert summary.total("normalised") == 0
    assert list(report.warnings(summary, quotas, "data")) == []
