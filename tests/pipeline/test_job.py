"""Pipeline end to end, from ndjson files to a data set directory."""

import bz2
import gzip
import hashlib
import json
import pathlib
import random
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job
from pipeline.cli import RunError, UserError
from pipeline.dataset import records
from pipeline.dataset.manifests import SPLITS, DataSet, Manifest, read_manifest
from pipeline.graph import parse
from pipeline.graph.sampling import Quotas
from pipeline.output import report
from pipeline.rasterize import rasterize
from pipeline.sources import input_files
from tests.support.ndjson import SQUARE, line

Writer = Callable[[str, Sequence[str]], str]

ONE_WORKER = PipelineOptions(["--direct_num_workers=1"])
SMALL = Quotas(train=20, validation=10, test=5)


def run(patterns: list[str], output: Any, **settings: Any) -> Manifest:
    settings = {"quotas": SMALL, "options": ONE_WORKER, **settings}
    return job.run(patterns=patterns, output=str(output), **settings)[1]


def contents(directory: pathlib.Path) -> dict[str, str]:
    """Checksum of every file of a data set that does not name its inputs."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if path.is_file() and path.name != "manifest.json"
    }


def keys(directory: Any, manifest: Manifest, split: str) -> list[bytes]:
    return [example.key_id for example in DataSet(str(directory), manifest).examples(split)]


def test_real_drawings_become_the_bitmaps_and_labels_they_should(
    sample: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    manifest = run(
        [f"{sample}/categories12/c*.ndjson"], tmp_path, quotas=Quotas(train=1500, validation=400)
    )
    assert manifest.labels == ("cake", "car", "cat")
    assert (tmp_path / "labels.txt").read_text() == "cake\ncar\ncat\n"
    assert manifest.splits["train"].class_counts == {"cake": 1500, "car": 1500, "cat": 1500}
    assert manifest.splits["validation"].class_counts == {"cake": 400, "car": 400, "cat": 400}
    expected: Counter[tuple[bytes, int]] = Counter()
    for index, label in enumerate(manifest.labels):
        for text in (sample / "categories12" / f"{label}.ndjson").read_text().splitlines():
            bitmap = rasterize(json.loads(text)["drawing"])
            expected[np.packbits(bitmap).tobytes(), index] += 1
    found = Counter(
        (example.image, example.label)
        for split in SPLITS
        for example in DataSet(str(tmp_path), manifest).examples(split)
    )
    assert found == expected  # 1,500 + 400 are all of them


def test_the_same_bytes_for_any_order_cutting_and_number_of_workers(
    write_lines: Writer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line("cat", n) for n in range(60)] + [line("sun", n) for n in range(100, 150)]
    lines += [json.dumps({"word": "sun", "drawing": [[[n, 9], [1, 99]]]}) for n in range(50)]
    whole = write_lines("whole/all.ndjson", lines)
    run([whole], tmp_path / "first")

    random.Random(1).shuffle(lines)
    parts = [write_lines(f"parts/{n}.ndjson", lines[n::3]) for n in (2, 0, 1)]
    # Not forked from one process, as in other tests: each worker hashes texts by its own seed.
    run(parts, tmp_path / "second", options=PipelineOptions(["--direct_num_workers=2"]))

    monkeypatch.setattr(input_files, "RANGE_BYTES", 5_000)
    monkeypatch.setattr(parse, "BATCH_DRAWINGS", 7)
    run(parts, tmp_path / "third")

    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "third")
    first, second = (read_manifest(f"{tmp_path}/{name}") for name in ("first", "second"))
    assert first.splits == second.splits
    assert first.fingerprint == second.fingerprint


def test_every_shard_is_as_its_manifest_says(write_lines: Writer, tmp_path: pathlib.Path) -> None:
    lines = [line("cat", n) for n in range(3000)]
    path = write_lines("cat.ndjson", lines)
    output = tmp_path / "data"
    manifest = run([path], output, quotas=Quotas(2500, 300, 100))
    assert [len(manifest.splits[split].shards) for split in SPLITS] == [3, 1, 1]
    for split in SPLITS:
        for shard in manifest.splits[split].shards:
            data = (output / shard.file).read_bytes()
            assert len(data) == shard.bytes
            assert hashlib.sha256(data).hexdigest() == shard.sha256
            with open(output / shard.file, "rb") as file:
                assert len(list(records.read_records(file, shard.file))) == shard.records
    every_key = [key for split in SPLITS for key in keys(output, manifest, split)]
    assert len(every_key) == len(set(every_key)) == 2900
    assert not (output / "_incomplete").exists()


def test_a_larger_training_quota_leaves_the_other_splits(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(100)])
    small = run([path], tmp_path / "small")
    large = run([path], tmp_path / "all", quotas=Quotas(None, SMALL.validation, SMALL.test))
    assert large.splits["train"].records == 85
    for split in ("validation", "test"):
        assert large.splits[split] == small.splits[split]
    small_keys = keys(tmp_path / "small", small, "train")
    assert set(small_keys) < set(keys(tmp_path / "all", large, "train"))


def test_other_files_change_nothing_in_a_category(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    cats = write_lines("cat.ndjson", [line("cat", n) for n in range(60)])
    write_lines("ant.ndjson", [line("ant", n) for n in range(100, 160)])
    alone = run([cats], tmp_path / "alone")
    together = run([f"{tmp_path}/*.ndjson"], tmp_path / "together")
    for split in SPLITS:
        examples = DataSet(f"{tmp_path}/together", together).examples(split)
        cat_keys = {e.key_id for e in examples if together.labels[e.label] == "cat"}
        assert cat_keys == set(keys(tmp_path / "alone", alone, split))


def test_no_drawing_is_in_two_splits_or_twice_in_one(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    cats = [line("cat", n) for n in range(60)]
    suns = [line("sun", n) for n in range(30, 100)]  # 30 to 59 are drawings of cats, too
    keyless = [json.dumps({"word": "cat", "drawing": [[[n, 9], [1, 99]]]}) for n in range(8)]
    path = write_lines("all.ndjson", cats * 2 + suns + keyless * 2)
    output = tmp_path / "data"
    summary, manifest = job.run(
        patterns=[path], output=str(output), quotas=Quotas(None, 10, 5), options=ONE_WORKER
    )
    every_key = [key for split in SPLITS for key in keys(output, manifest, split)]
    assert len(every_key) == len(set(every_key)) == 60 + 40 + 8
    totals = {
        label: sum(manifest.splits[split].class_counts[label] for split in SPLITS)
        for label in manifest.labels
    }
    assert totals == {"cat": 68, "sun": 40}
    assert manifest.splits["validation"].class_counts == {"cat": 10, "sun": 10}
    assert manifest.drawings["repeated"] == 60 + 8 + 30
    assert "Of these, another category keeps 30 of sun." in report.table(summary, manifest)


@pytest.mark.parametrize("sampling_method", ["hash", "first"])
@pytest.mark.parametrize("key", ["counts in each file", "the same for all"])
def test_drawings_that_share_a_key_are_told_apart_by_their_strokes(
    key: str, sampling_method: str, write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    for index, word in enumerate(["cat", "dog", "emu"]):
        lines = []
        for n in range(50):
            key_id = str(n) if key == "counts in each file" else "7"
            lines += [line(word, 1000 * index + n, key_id=key_id)] * 2
        write_lines(f"{word}.ndjson", lines)
    output = tmp_path / "data"
    summary, manifest = job.run(
        patterns=[f"{tmp_path}/*.ndjson"],
        output=str(output),
        quotas=Quotas(30, 10, 5),
        sampling_method=sampling_method,
        options=ONE_WORKER,
    )
    for split, quota in (("train", 30), ("validation", 10), ("test", 5)):
        assert manifest.splits[split].class_counts == dict.fromkeys(["cat", "dog", "emu"], quota)
    shared = 100 if key == "counts in each file" else 149
    assert manifest.drawings["other_strokes"] == shared
    assert (
        f"{shared} drawings with the key_id of a different drawing: all are kept"
        in report.table(summary, manifest)
    )


def test_quotas_are_exact_where_another_category_keeps_some_drawings(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    suns = [line("sun", n) for n in range(70)]
    cats = [line("cat", n) for n in range(35)]  # the same keys: cats keep them, 35 suns are left
    manifest = run([write_lines("all.ndjson", suns + cats)], tmp_path / "data")
    for split, quota in (("train", 20), ("validation", 10), ("test", 5)):
        assert manifest.splits[split].class_counts == {"cat": quota, "sun": quota}


def test_too_few_drawings_are_warned_of_with_the_numbers(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(20)])
    summary, manifest = job.run(
        patterns=[path], output=str(tmp_path / "data"), quotas=SMALL, options=ONE_WORKER
    )
    assert manifest.splits["validation"].records == 10
    assert manifest.splits["test"].records == 5
    assert manifest.splits["train"].records == 5
    assert list(report.warnings(summary, SMALL, "data")) == [
        "cat: only 20 drawings; train has 5 of 20"
    ]


def test_of_very_many_categories_the_table_shows_the_largest_and_the_smallest(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    words = [f"category {n:04}" for n in range(1_001)]
    drawn = [*words, *["category 0500"] * 3, "category 0900"]
    path = write_lines("all.ndjson", [line(word, n) for n, word in enumerate(drawn)])
    summary, manifest = job.run(
        patterns=[path],
        output=str(tmp_path / "data"),
        quotas=Quotas(train=None, validation=1),
        options=ONE_WORKER,
    )
    table = [text.split() for text in report.table(summary, manifest).splitlines()]
    assert table[1] == ["category", "0500", "4", "4", "3", "1", "0"]
    assert table[2] == ["category", "0900", "2", "2", "1", "1", "0"]
    assert " ".join(table[11]).startswith("… 981 more categories")
    assert [row[1] for row in table[12:22]] == [f"{n:04}" for n in range(991, 1_001)]
    assert table[22] == ["total", "1,005", "1,005", "4", "1,001", "0"]
    warnings = list(report.warnings(summary, Quotas(train=None, validation=1), "data"))
    assert warnings[-1] == (
        "989 more categories have too few drawings, see class_counts in manifest.json"
    )


def test_bad_lines_are_listed_counted_and_passed_over(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [line("cat", n) for n in range(99)]
    lines.insert(50, '{"word": "cat"}')
    lines.insert(7, "no JSON é")
    path = write_lines("cat.ndjson", lines)
    write_lines("dog.ndjson", [line("dog", n) for n in range(1000, 1100)])
    manifest = run([f"{tmp_path}/*.ndjson"], tmp_path / "data", max_reject_fraction=0.02)
    assert manifest.rejects == {"no field drawing": 1, "not JSON": 1}
    assert manifest.drawings["read"] == 199
    (reject_file,) = (tmp_path / "data" / "rejects").iterdir()
    rejects = [json.loads(text) for text in reject_file.read_text().splitlines()]
    assert [(r["file"], r["reason"], r["head"]) for r in rejects] == [
        (path, "not JSON", "no JSON é"),
        (path, "no field drawing", '{"word": "cat"}'),
    ]
    data = pathlib.Path(path).read_bytes()
    for reject in rejects:
        assert data[reject["byte_offset"] :].startswith(reject["head"].encode())


def test_quotas_are_exact_where_every_drawing_stands_there_many_times(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [line("cat", n) for n in range(1500)]
    manifest = run(
        [write_lines("cat.ndjson", lines * 10)], tmp_path / "data", quotas=Quotas(900, 400)
    )
    assert [manifest.splits[split].records for split in SPLITS] == [900, 400, 0]
    assert manifest.drawings["repeated"] == 9 * 1500


def test_too_many_bad_lines_fail_the_run_and_leave_no_data_set(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(50)] + ["bad"] * 2)
    with pytest.raises(RunError, match=r"2 lines rejected, 3.85% of all, .*not JSON \(2\)"):
        run([path], tmp_path / "data")
    with pytest.raises(UserError, match="no complete data set"):
        read_manifest(str(tmp_path / "data"))
    left = [p for p in (tmp_path / "data").rglob("*") if p.is_file()]
    assert not [p for p in left if "tfrecord" in p.name]
    assert [p for p in left if "rejects" in p.name]
    assert run([path], tmp_path / "data", max_reject_fraction=0.04).splits["train"].records == 20


def test_of_a_file_of_bad_lines_the_first_of_every_part_are_listed_and_all_are_counted(
    write_lines: Writer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "_LISTED_REJECTS", 40)
    monkeypatch.setattr(input_files, "RANGE_BYTES", 500)
    bad = write_lines("bad.ndjson", ["bad line"] * 1000)  # 9,000 bytes: 18 work items
    good = write_lines("cat.ndjson", [line("cat", n) for n in range(100)])
    summary, manifest = job.run(
        patterns=[bad, good],
        output=str(tmp_path / "data"),
        quotas=SMALL,
        labels=("cat",),
        options=ONE_WORKER,
        max_reject_fraction=0.95,
    )
    assert manifest.rejects == {"not JSON": 1000}
    (reject_file,) = (tmp_path / "data" / "rejects").iterdir()
    *listed, last = [json.loads(text) for text in reject_file.read_text().splitlines()]
    assert 40 <= len(listed) <= 40 + 18
    assert last == {"file": bad, "not_listed": 1000 - len(listed)}
    offsets = [reject["byte_offset"] for reject in listed]
    assert offsets == sorted(offsets)
    assert {offset // 500 for offset in offsets} == set(range(18))
    (warning,) = report.warnings(summary, SMALL, "data")
    assert warning == (
        "1,000 lines rejected (90.91%), see data/rejects, "
        f"which lists all but {1000 - len(listed)} of them"
    )
    with pytest.raises(
        RunError, match=r"; all but \d+ of them are listed in .*_incomplete/\w+/rejects"
    ):
        run([bad, good], tmp_path / "other")
    with pytest.raises(
        UserError, match=rf"no drawing, .* of {bad} \(1,000 lines rejected\); repair"
    ):
        run([bad, good], tmp_path / "other", max_reject_fraction=0.95)


def test_a_data_set_is_not_overwritten_unless_asked_and_survives_a_failed_run(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    cats = write_lines("cat.ndjson", [line("cat", n) for n in range(2000)])
    suns = write_lines("sun.ndjson", [line("sun", n) for n in range(50)])
    bad = write_lines("bad.ndjson", ["bad"] * 50)
    output = tmp_path / "data"
    run([cats], output, quotas=Quotas(1900, 50))
    before = contents(output)
    with pytest.raises(UserError, match="already holds a data set; --overwrite"):
        run([suns], output)
    with pytest.raises(RunError, match="rejected"):
        run([suns, bad], output, overwrite=True)
    assert contents(output) == before
    assert read_manifest(str(output)).labels == ("cat",)
    manifest = run([suns], output, overwrite=True)
    assert read_manifest(str(output)).labels == ("sun",)
    names = {shard.file for split in SPLITS for shard in manifest.splits[split].shards}
    tfds_files = {"dataset_info.json", "features.json", "label.labels.txt"}
    expected = {"manifest.json", "labels.txt", "croissant.json", *tfds_files, *names}
    assert {path.name for path in output.iterdir()} == expected


def test_labels_choose_the_categories_and_their_indices(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [line(w, 100 * i + n) for i, w in enumerate(["ant", "cat", "sun"]) for n in range(40)]
    path = write_lines("all.ndjson", lines)
    manifest = run([path], tmp_path / "data", labels=("sun", "ant"))
    assert manifest.labels == ("sun", "ant")
    assert manifest.drawings["other_category"] == 40
    for example in DataSet(str(tmp_path / "data"), manifest).examples("train"):
        number = int(example.key_id) - 10**15
        assert example.label == (0 if number >= 200 else 1)
    with pytest.raises(UserError, match=r"no drawing of category 'catt'.*mean 'cat'"):
        run([path], tmp_path / "other", labels=("sun", "catt"))


def test_without_a_word_the_file_name_is_the_category(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [json.dumps({"key_id": str(n), "drawing": SQUARE}) for n in range(40)]
    path = write_lines("full_simplified_sea turtle.ndjson", lines)
    assert run([path], tmp_path / "data").labels == ("sea turtle",)


def test_recognized_only_leaves_the_others_out(write_lines: Writer, tmp_path: pathlib.Path) -> None:
    lines = [line("cat", n, recognized=n % 2 == 0) for n in range(100)]
    lines += [line("cat", n) for n in range(200, 210)]
    path = write_lines("cat.ndjson", lines)
    output = tmp_path / "data"
    manifest = run([path], output, quotas=Quotas(None, 10), recognized_only=True)
    assert sum(manifest.splits[split].records for split in SPLITS) == 50
    assert manifest.drawings["not_recognized"] == 60
    assert all((int(key) - 10**15) % 2 == 0 for key in keys(output, manifest, "train"))


def test_the_first_drawings_of_each_category_in_the_order_of_the_input(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    one = [line("cat", n) for n in (5, 3, 9, 9, 1)]  # one of them twice
    other = [line("cat", n) for n in (7, 2, 8, 4, 6, 10, 11)]
    suns = [line("sun", n) for n in range(200, 190, -1)]
    write_lines("a/cats.ndjson", one)
    write_lines("b/cats.ndjson", other)
    write_lines("c/all.ndjson", suns)
    manifest = run(
        [f"{tmp_path}/*/*.ndjson"],
        tmp_path / "data",
        quotas=Quotas(train=5, validation=2, test=1),
        sampling_method="first",
    )
    numbers = {
        split: {int(key) - 10**15 for key in keys(tmp_path / "data", manifest, split)}
        for split in SPLITS
    }
    assert numbers == {
        "train": {5, 3, 9, 1, 7, 200, 199, 198, 197, 196},
        "validation": {2, 8, 195, 194},
        "test": {4, 193},
    }
    assert manifest.drawings["repeated"] == 1


def test_files_are_read_to_their_end_when_the_first_drawings_are_chosen(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    cats = [line("cat", n) for n in range(100)]
    dogs = [line("dog", 1000 + n) for n in range(40)]
    emus = [line("emu", n) for n in range(60)] + [line("emu", 2000 + n) for n in range(40)]
    write_lines("cat.ndjson", [*cats, *dogs, "the last line is no drawing"])
    write_lines("emu.ndjson", emus)  # begins with drawings of cats
    manifest = run([f"{tmp_path}/*.ndjson"], tmp_path / "data", sampling_method="first")
    for split, quota in (("train", 20), ("validation", 10), ("test", 5)):
        assert manifest.splits[split].class_counts == dict.fromkeys(["cat", "dog", "emu"], quota)
    assert manifest.drawings["read"] == 240
    assert manifest.rejects == {"not JSON": 1}
    with pytest.raises(UserError, match="--sampling=first needs a number"):
        run(
            [f"{tmp_path}/*.ndjson"], tmp_path / "all", sampling_method="first", quotas=Quotas(None)
        )


def test_repeated_drawings_and_keys_are_counted_and_kept_once_in_any_order(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [line("cat", n) for n in range(40)]
    again = [lines[3], lines[3], lines[8]]
    others = [line("cat", n, drawing=[[[n, 200], [7, 7]]]) for n in (8, 20)]
    one = write_lines("one.ndjson", [*lines, *again, *others])
    other = write_lines("other.ndjson", [*others, *reversed(lines), *again])
    manifest = run([one], tmp_path / "one")
    assert manifest.drawings["repeated"] == 3
    assert manifest.drawings["other_strokes"] == 2
    run([other], tmp_path / "other")
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def binary_record(key_id: int, strokes: list[list[list[int]]]) -> bytes:
    data = struct.pack("<Q2sbIH", key_id, b"SE", 1, 1490443018, len(strokes))
    for x, y in strokes:
        data += struct.pack("<H", len(x)) + bytes(x) + bytes(y)
    return data


SUNS = [line("sun", n) for n in range(50)]


@pytest.fixture(scope="module")
def plain_suns(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Contents of the data set of a plain file of SUNS, by sampling method."""
    directory = tmp_path_factory.mktemp("suns")
    path = directory / "sun.ndjson"
    path.write_text("".join(f"{text}\n" for text in SUNS), encoding="utf-8")
    for method in ("hash", "first"):
        run([str(path)], directory / method, sampling_method=method)
    return {method: contents(directory / method) for method in ("hash", "first")}


@pytest.mark.parametrize("name", ["sun.ndjson.gz", "sun.ndjson.bz2", "sun.bin", "sun.bin.gz"])
@pytest.mark.parametrize("sampling_method", ["hash", "first"])
def test_every_format_gives_the_same_data_set(
    name: str, sampling_method: str, plain_suns: dict[str, dict[str, str]], tmp_path: pathlib.Path
) -> None:
    data = "".join(f"{text}\n" for text in SUNS).encode()
    if ".bin" in name:
        drawings = [json.loads(text) for text in SUNS]
        data = b"".join(binary_record(int(d["key_id"]), d["drawing"]) for d in drawings)
    compress = {".gz": gzip.compress, ".bz2": bz2.compress}.get(pathlib.Path(name).suffix, bytes)
    (tmp_path / name).write_bytes(compress(data))
    run([f"{tmp_path}/{name}"], tmp_path / "other", sampling_method=sampling_method)
    assert contents(tmp_path / "other") == plain_suns[sampling_method]


def test_raw_drawings_become_the_same_data_set_as_their_simplified_ones(
    sample: pathlib.Path, write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    pairs = [json.loads(text) for text in (sample / "raw_simplified_pairs.ndjson").open()][:100]
    for kind in ("raw", "simplified"):
        lines = [json.dumps({"key_id": p["key_id"], "drawing": p[kind]}) for p in pairs]
        path = write_lines(f"{kind}/doodle.ndjson", lines)
        manifest = run([path], tmp_path / f"{kind}-data", quotas=Quotas(None, 10))
        assert manifest.splits["train"].records == 90
    assert contents(tmp_path / "raw-data") == contents(tmp_path / "simplified-data")


@pytest.mark.parametrize("name", ["cat.ndjson.gz", "cat.bin.bz2"])
def test_a_compressed_file_that_ends_early_fails_the_run(name: str, tmp_path: pathlib.Path) -> None:
    data = b"".join(binary_record(n, SQUARE) for n in range(50))
    if name.startswith("cat.nd"):
        data = "\n".join(line("cat", n) for n in range(50)).encode()
    compressed = gzip.compress(data) if name.endswith("gz") else bz2.compress(data)
    (tmp_path / name).write_bytes(compressed[:-20])
    with pytest.raises(RunError, match=f"cannot read .*{name}: Compressed file ended"):
        run([f"{tmp_path}/{name}"], tmp_path / "data")


def test_a_binary_record_that_ends_early_is_a_reject(tmp_path: pathlib.Path) -> None:
    data = b"".join(binary_record(n, SQUARE) for n in range(50))
    (tmp_path / "cat.bin").write_bytes(data[:-3])
    manifest = run([f"{tmp_path}/cat.bin"], tmp_path / "data", max_reject_fraction=0.02)
    assert manifest.rejects == {"the binary record ends early": 1}
    assert manifest.drawings["read"] == 49
    (reject_file,) = (tmp_path / "data" / "rejects").iterdir()
    assert json.loads(reject_file.read_text())["byte_offset"] == len(data) // 50 * 49


def test_png_holds_the_same_bitmaps_in_one_bit_a_pixel(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(40)])
    packed = run([path], tmp_path / "packed")
    png = run([path], tmp_path / "png", image_encoding="png")
    pairs = zip(
        DataSet(f"{tmp_path}/packed", packed).examples("train"),
        DataSet(f"{tmp_path}/png", png).examples("train"),
        strict=True,
    )
    for one, other in pairs:
        assert other.image.startswith(b"\x89PNG")
        assert other.image[24] == 1  # bit depth
        assert (one.label, one.key_id) == (other.label, other.key_id)
        np.testing.assert_array_equal(
            records.unpack_bitmap(one.image), records.decode_png(other.image)
        )


def test_an_input_without_drawings_is_an_error(write_lines: Writer, tmp_path: pathlib.Path) -> None:
    path = write_lines("cat.ndjson", [])
    with pytest.raises(UserError, match="no drawings to use in the 1 input files"):
        run([path], tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_a_category_can_neither_leave_the_directory_nor_break_a_file(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    words = ["../../x", "/etc/passwd", "a\nb"]
    lines = [line(w, 100 * i + n) for i, w in enumerate(words) for n in range(40)]
    output = tmp_path / "a" / "b" / "data"
    path = write_lines("in.ndjson", lines)
    manifest = run([path], output, max_reject_fraction=0.5)
    assert manifest.labels == ("../../x", "/etc/passwd")
    assert manifest.rejects == {"word is not one line of plain text": 40}
    assert (output / "labels.txt").read_text().splitlines() == ["../../x", "/etc/passwd"]
    outside = {p for p in tmp_path.rglob("*") if p.is_file() and output not in p.parents}
    assert outside == {pathlib.Path(path)}
