"""`pipeline.download` against a bucket on the loopback that fails in every way it can."""

import os
import pathlib
import re
import struct
from collections.abc import Iterator

import orjson
import pytest

from pipeline import download, synthetic
from pipeline.cli import RunError, UserError
from pipeline.sources import bucket as bucket_module
from pipeline.sources import partial_file
from pipeline.sources.bucket import Source
from tests.support.download_server import Bucket, Fault, serving

LINES = [synthetic.drawing_line("sun", index, seed=0) for index in range(1200)]
SUN = b"".join(LINES)  # 540 kB
OTHER = b"".join(reversed(LINES[1:]))
WHOLE_OR_HEAD = pytest.mark.parametrize("count", [None, 1000])
WITH_AND_WITHOUT_RANGES = pytest.mark.parametrize("ranges", [True, False], ids=["ranges", ""])


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and no proxy that the environment may name."""
    monkeypatch.setattr(download, "FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with serving() as server:
        server.files["full/simplified/sun.ndjson"] = SUN
        yield server


def fetch(
    bucket: Bucket,
    output: pathlib.Path,
    count: int | None = None,
    categories: tuple[str, ...] = ("sun",),
    format: str = "simplified",
) -> int:
    return download.download(Source(bucket.url, format), categories, output, count)


def identity(path: pathlib.Path) -> tuple[int, int]:
    """Return what changes when a file is written anew (reading it changes its access time)."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def contents(directory: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def head(count: int | None) -> dict[str, bytes]:
    """Return what a directory should hold after the download of so many drawings."""
    return {"sun.ndjson": b"".join(LINES[:count])}


def binary_record(line: bytes) -> bytes:
    """A drawing in upstream's binary format."""
    drawing = orjson.loads(line)
    strokes = b"".join(
        struct.pack(f"<H{len(x)}B{len(y)}B", len(x), *x, *y) for x, y in drawing["drawing"]
    )
    country = drawing["countrycode"].encode()
    key, count = int(drawing["key_id"]), len(drawing["drawing"])
    return struct.pack("<Q2sbIH", key, country, drawing["recognized"], 1488000000, count) + strokes


def raw_line(line: bytes) -> bytes:
    """A longer line, as raw drawings are: with times."""
    drawing = orjson.loads(line)
    drawing["drawing"] = [[x, y, [9.5] * 20 * len(x)] for x, y in drawing["drawing"]]
    return orjson.dumps(drawing, option=orjson.OPT_APPEND_NEWLINE)


FORMATS = {
    "simplified": ("full/simplified/sun.ndjson", LINES),
    "raw": ("full/raw/sun.ndjson", [raw_line(line) for line in LINES[:300]]),
    "binary": ("full/binary/sun.bin", [binary_record(line) for line in LINES]),
}
EVERY_FORMAT = pytest.mark.parametrize("format", FORMATS)

# ── What comes ──


@EVERY_FORMAT
def test_whole_files_of_every_format(bucket: Bucket, tmp_path: pathlib.Path, format: str) -> None:
    name, drawings = FORMATS[format]
    bucket.files[name] = b"".join(drawings)
    assert fetch(bucket, tmp_path / "new" / "dir", format=format) == 1
    assert contents(tmp_path / "new" / "dir") == {name.split("/")[-1]: b"".join(drawings)}
    assert bucket.asked == ["bytes=0-"]


@EVERY_FORMAT
@pytest.mark.parametrize("count", [1, 299])
def test_heads_end_after_the_last_drawing_asked_for_and_little_more_is_sent(
    bucket: Bucket, tmp_path: pathlib.Path, format: str, count: int
) -> None:
    name, drawings = FORMATS[format]
    bucket.files[name] = b"".join(drawings) + b"0" * 5_000_000
    fetch(bucket, tmp_path, count, format=format)
    expected = b"".join(drawings[:count])
    assert contents(tmp_path) == {name.split("/")[-1]: expected}
    assert bucket.sent_bytes <= 1.1 * len(expected) + partial_file.FIRST_BYTES
    assert len(bucket.asked) <= 8


@pytest.mark.parametrize("count", [1200, 5000])
def test_as_many_drawings_as_there_are_or_more_is_the_whole_file(
    bucket: Bucket, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    bucket.files["full/simplified/sun.ndjson"] = SUN.rstrip()  # no newline after the last line
    assert fetch(bucket, tmp_path, count) == 1
    assert contents(tmp_path) == {"sun.ndjson": SUN.rstrip()}
    note = "sun.ndjson: the data set has only 1,200 drawings of it\n"
    assert (note in capsys.readouterr().err) == (count == 5000)
    assert fetch(bucket, tmp_path, count) == 0


def test_several_at_a_time_and_names_with_spaces(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    names = ("The Eiffel Tower", "t-shirt", *(f"c{n}" for n in range(8)))
    for name in names:
        bucket.files[f"full/simplified/{name}.ndjson"] = name.encode() + SUN
    bucket.pause_seconds = 0.1
    assert fetch(bucket, tmp_path, categories=(*names, "c0")) == len(names)
    assert contents(tmp_path) == {f"{name}.ndjson": name.encode() + SUN for name in names}
    assert bucket.most_at_a_time == download.PARALLEL


# ── Faults of the network and of the server ──


@WHOLE_OR_HEAD
@WITH_AND_WITHOUT_RANGES
@pytest.mark.parametrize("lengths", [True, False], ids=["lengths", "chunked"])
@pytest.mark.parametrize(
    "faults",
    [
        [Fault(drop_after=n) for n in (0, 30_000, 200_000, 0, 250_000)],
        [Fault(status=503)] * 5,
        [Fault(status=status) for status in (429, 500, 408)],
    ],
    ids=["drops", "503", "others"],
)
def test_failures_are_tried_again(
    bucket: Bucket,
    tmp_path: pathlib.Path,
    count: int | None,
    ranges: bool,
    lengths: bool,
    faults: list[Fault],
) -> None:
    bucket.ranges, bucket.lengths, bucket.faults = ranges, lengths, list(faults)
    fetch(bucket, tmp_path, count)
    assert contents(tmp_path) == head(count)
    assert not bucket.faults


def test_pauses_grow_until_the_download_is_given_up(
    bucket: Bucket,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(download, "FIRST_DELAY_SECONDS", 1.0)
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    bucket.always = Fault(status=503)
    with pytest.raises(RunError, match=r"cannot download .*: the server answers 503 .*6 tries"):
        fetch(bucket, tmp_path)
    pauses = re.findall(r"sun.ndjson: .*; next try in (.*) s\n", capsys.readouterr().err)
    assert all(2**n / 2 <= float(pause) <= 2**n for n, pause in enumerate(pauses))
    assert len(pauses) == 5


def test_a_broken_download_goes_on_where_it_broke_off(
    bucket: Bucket, tmp_path: pathlib.Path
) -> None:
    bucket.faults = [Fault(drop_after=40_000)] * 30  # any number, as long as each brings more
    fetch(bucket, tmp_path)
    assert contents(tmp_path) == head(None)
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in bucket.asked]
    assert starts == sorted(set(starts))
    assert bucket.sent_bytes < len(SUN) + len(starts) * 2 * bucket_module.PIECE_BYTES


@WHOLE_OR_HEAD
def test_a_server_may_send_less_than_it_was_asked_for(
    bucket: Bucket, tmp_path: pathlib.Path, count: int | None
) -> None:
    bucket.always = Fault(range_limit=30_000)
    fetch(bucket, tmp_path, count)
    assert contents(tmp_path) == head(count)
    bucket.always = Fault(range_limit=1)
    with pytest.raises(RunError, match="held nothing new"):
        fetch(bucket, tmp_path / "another", count)


def test_a_server_that_stalls_is_asked_again(
    bucket: Bucket, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "TIMEOUT_SECONDS", (1, 0.1))
    bucket.faults = [Fault(stall_after=0), Fault(stall_after=50_000)]
    fetch(bucket, tmp_path)
    assert contents(tmp_path) == head(None)


def test_a_server_that_ignores_ranges_is_read_no_further_than_needed(
    bucket: Bucket, tmp_path: pathlib.Path
) -> None:
    bucket.ranges = False
    bucket.files["full/simplified/sun.ndjson"] = SUN * 60  # 32 MB; sockets hold some
    fetch(bucket, tmp_path, 1000)
    assert contents(tmp_path) == head(1000)
    assert bucket.sent_bytes < len(SUN) * 30


@WHOLE_OR_HEAD
@WITH_AND_WITHOUT_RANGES
@pytest.mark.parametrize("checksums", [True, False], ids=["checksums", ""])
@pytest.mark.parametrize("error", [-100_100, 100_100])
def test_wrong_lengths_are_found_out(
    bucket: Bucket,
    tmp_path: pathlib.Path,
    count: int | None,
    ranges: bool,
    checksums: bool,
    error: int,
) -> None:
    bucket.ranges, bucket.checksums = ranges, checksums
    bucket.faults = [Fault(length_error=error)] * 2
    fetch(bucket, tmp_path, count)
    assert contents(tmp_path) == head(count)


@WITH_AND_WITHOUT_RANGES
@pytest.mark.parametrize(
    "fault", [Fault(length_error=-100_100), Fault(length_error=100_100), Fault(damage=True)]
)
def test_a_server_that_is_always_wrong_never_makes_a_file(
    bucket: Bucket, tmp_path: pathlib.Path, ranges: bool, fault: Fault
) -> None:
    bucket.ranges, bucket.always = ranges, fault
    with pytest.raises(RunError, match=r"cannot download http.*sun\.ndjson.*6 tries"):
        fetch(bucket, tmp_path)
    assert not list(tmp_path.glob("*.ndjson"))


@EVERY_FORMAT
def test_a_file_cut_short_inside_a_drawing_is_found_out_without_a_checksum(
    bucket: Bucket, tmp_path: pathlib.Path, format: str
) -> None:
    name, drawings = FORMATS[format]
    bucket.files[name] = b"".join(drawings)[:-20]
    bucket.checksums = False
    with pytest.raises(RunError, match="not the whole file"):
        fetch(bucket, tmp_path, format=format)
    assert contents(tmp_path) == {}


def test_another_format_does_not_go_on_where_one_broke_off(
    bucket: Bucket, tmp_path: pathlib.Path
) -> None:
    bucket.files["full/raw/sun.ndjson"] = b"".join(FORMATS["raw"][1]) * 3  # longer than SUN
    bucket.ranges, bucket.always = False, Fault(drop_after=len(SUN) + 100_000)
    with pytest.raises(RunError):
        fetch(bucket, tmp_path, format="raw")
    bucket.ranges, bucket.always = True, Fault()
    fetch(bucket, tmp_path)
    assert contents(tmp_path) == head(None)
    with pytest.raises(UserError, match="is not a copy of"):
        fetch(bucket, tmp_path, format="raw")


@WHOLE_OR_HEAD
@WITH_AND_WITHOUT_RANGES
def test_a_file_that_changes_meanwhile_is_not_glued_together(
    bucket: Bucket, tmp_path: pathlib.Path, count: int | None, ranges: bool
) -> None:
    bucket.ranges, bucket.checksums = ranges, False
    bucket.faults = [Fault(drop_after=60_000), Fault(drop_after=20_000, new_content=OTHER)]
    fetch(bucket, tmp_path, count)
    assert contents(tmp_path) == {
        "sun.ndjson": b"".join(OTHER.splitlines(keepends=True)[:count]),
    }


def test_an_unknown_category_is_an_error_that_names_it(
    bucket: Bucket, tmp_path: pathlib.Path
) -> None:
    message = r"no such category in the data set: http://.*/sunn\.ndjson is not there; see http"
    with pytest.raises(UserError, match=message):
        fetch(bucket, tmp_path, categories=("sun", "sunn"))


@pytest.mark.parametrize("name", ["../../x", "/x", ".x", "a\nb"])
def test_names_lead_nowhere_else(bucket: Bucket, tmp_path: pathlib.Path, name: str) -> None:
    bucket.files[f"full/simplified/{name}.ndjson"] = SUN
    with pytest.raises(UserError, match="no such category in the data set: '"):
        fetch(bucket, tmp_path, categories=(name,))
    assert bucket.asked == []


def test_a_refusal_is_not_tried_again(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    bucket.always = Fault(status=403)
    with pytest.raises(RunError, match=r"sun.ndjson: the server answers 403 Forbidden$"):
        fetch(bucket, tmp_path)
    assert len(bucket.asked) == 1


@WHOLE_OR_HEAD
@WITH_AND_WITHOUT_RANGES
@pytest.mark.parametrize(
    "fault",
    [
        Fault(page=b"<!DOCTYPE html>\n<p>Log in</p>\n" * 9),
        Fault(page=b"<!DOCTYPE html>\n<p>Log in</p>\n" * 999, page_type="text/plain"),
        Fault(page=b'{"error": "too many requests"}\n', page_type="application/json"),
        Fault(page=b"", page_type="text/plain"),
    ],
    ids=["html", "unnamed html", "json", "nothing"],
)
def test_a_page_that_comes_instead_of_a_file_is_not_taken_for_it(
    bucket: Bucket, tmp_path: pathlib.Path, count: int | None, ranges: bool, fault: Fault
) -> None:
    bucket.ranges, bucket.faults = ranges, [fault] * 3
    fetch(bucket, tmp_path, count)
    assert contents(tmp_path) == head(count)
    bucket.always = fault
    with pytest.raises(RunError, match=r"cannot download http.*sun\.ndjson: .*6 tries"):
        fetch(bucket, tmp_path / "new", count)
    assert not list((tmp_path / "new").glob("*.ndjson"))


@WHOLE_OR_HEAD
@pytest.mark.parametrize("checksums", [True, False], ids=["checksums", ""])
def test_a_whole_file_that_a_proxy_compresses_is_read_and_a_part_of_one_is_refused(
    bucket: Bucket, tmp_path: pathlib.Path, count: int | None, checksums: bool
) -> None:
    bucket.always, bucket.checksums, bucket.ranges = Fault(compress=True), checksums, False
    fetch(bucket, tmp_path, count)
    assert contents(tmp_path) == head(count)
    bucket.ranges = True
    with pytest.raises(RunError, match=r"a part of the file came compressed \(gzip\)"):
        fetch(bucket, tmp_path / "new", count)


# ── What is there already ──


def test_heads_that_are_there_are_left_alone_without_asking(
    bucket: Bucket, tmp_path: pathlib.Path
) -> None:
    fetch(bucket, tmp_path, 700)
    before, asked = identity(tmp_path / "sun.ndjson"), len(bucket.asked)
    assert fetch(bucket, tmp_path, 700) == fetch(bucket, tmp_path, 300) == 0
    assert identity(tmp_path / "sun.ndjson") == before
    assert len(bucket.asked) == asked


def test_whole_files_that_are_there_are_left_alone(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    fetch(bucket, tmp_path)
    before, asked = identity(tmp_path / "sun.ndjson"), len(bucket.asked)
    bucket.faults = [Fault(drop_after=10_000), Fault(status=503)]
    assert fetch(bucket, tmp_path) == 0
    assert identity(tmp_path / "sun.ndjson") == before
    assert bucket.asked[asked:] == [f"bytes=0-{bucket_module.PIECE_BYTES - 1}"] * 3


def test_a_head_is_cut_from_what_is_there_of_a_whole_file(
    bucket: Bucket, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_file, "BLOCK_BYTES", 100_000)
    bucket.ranges, bucket.always = False, Fault(drop_after=300_000)
    with pytest.raises(RunError):
        fetch(bucket, tmp_path)
    bucket.ranges, bucket.always = True, Fault()
    sent_before = bucket.sent_bytes
    fetch(bucket, tmp_path, 100)
    assert contents(tmp_path) == head(100)
    assert bucket.sent_bytes - sent_before < 10_000


@WHOLE_OR_HEAD
def test_a_file_with_fewer_drawings_is_replaced_when_the_larger_one_is_complete(
    bucket: Bucket, tmp_path: pathlib.Path, count: int | None
) -> None:
    fetch(bucket, tmp_path, 300)
    bucket.ranges, bucket.always = False, Fault(drop_after=80_000)
    with pytest.raises(RunError):
        fetch(bucket, tmp_path, count)
    assert contents(tmp_path)["sun.ndjson"] == b"".join(LINES[:300])
    bucket.always = Fault()
    assert fetch(bucket, tmp_path, count) == 1
    assert contents(tmp_path) == head(count)


@pytest.mark.parametrize(
    "there", [b"mine", OTHER, SUN + b"mine"], ids=["short", "long", "copy with more"]
)
def test_another_file_of_that_name_is_not_lost(
    bucket: Bucket, tmp_path: pathlib.Path, there: bytes
) -> None:
    (tmp_path / "sun.ndjson").write_bytes(there)
    with pytest.raises(UserError, match="is not a copy of"):
        fetch(bucket, tmp_path)
    assert contents(tmp_path) == {"sun.ndjson": there}


# ── What a disk that lost power, or another program, has done to it ──


def with_zeros(data: bytes, at: int) -> bytes:
    """Data with 4 kB of zeros, as one block of a disk."""
    return data[:at] + bytes(len(data[at : at + 4096])) + data[at + 4096 :]


ZEROS_AT = pytest.mark.parametrize("at", [0, 100_000, -4096], ids=["start", "middle", "end"])


@EVERY_FORMAT
@ZEROS_AT
def test_a_damaged_file_is_named_and_replaced_when_a_whole_one_is_there(
    bucket: Bucket,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    format: str,
    at: int,
) -> None:
    name, drawings = FORMATS[format]
    bucket.files[name] = whole = b"".join(drawings)
    path = tmp_path / name.split("/")[-1]
    path.write_bytes(damaged := with_zeros(whole, at % len(whole)))
    bucket.faults = [Fault()] + [Fault(status=503)] * 6
    with pytest.raises(RunError):
        fetch(bucket, tmp_path, format=format)
    assert contents(tmp_path) == {path.name: damaged}
    assert fetch(bucket, tmp_path, format=format) == 1
    assert contents(tmp_path) == {path.name: whole}
    note = f"{path.name}: its checksum is not the server's; it will be replaced"
    assert capsys.readouterr().err.count(note) == 2  # once a run
    assert fetch(bucket, tmp_path, format=format) == 0


@ZEROS_AT
def test_without_a_checksum_a_damaged_file_of_the_right_length_is_known_by_its_looks(
    bucket: Bucket, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], at: int
) -> None:
    bucket.checksums = False
    (tmp_path / "sun.ndjson").write_bytes(with_zeros(SUN, at % len(SUN)))
    assert fetch(bucket, tmp_path) == 1
    assert contents(tmp_path) == head(None)
    assert "sun.ndjson: damaged, not every line is a drawing; " in capsys.readouterr().err
    assert fetch(bucket, tmp_path) == 0


@EVERY_FORMAT
@ZEROS_AT
def test_a_damaged_head_is_named_and_fetched_again(
    bucket: Bucket,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    format: str,
    at: int,
) -> None:
    name, drawings = FORMATS[format]
    bucket.files[name] = b"".join(drawings)
    fetch(bucket, tmp_path, 290, format=format)
    (path,) = tmp_path.iterdir()
    path.write_bytes(with_zeros(whole := path.read_bytes(), at % len(whole)))
    assert fetch(bucket, tmp_path, 290, format=format) == 1
    assert contents(tmp_path) == {path.name: whole}
    assert f"{path.name}: damaged, not every line is a drawing; " in capsys.readouterr().err
    assert fetch(bucket, tmp_path, 290, format=format) == 0


def test_a_file_of_the_same_length_with_another_checksum_is_replaced(
    bucket: Bucket, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sun.ndjson").write_bytes(b"".join(reversed(LINES)))
    assert fetch(bucket, tmp_path) == 1
    assert contents(tmp_path) == head(None)
    assert "its checksum is not the server's" in capsys.readouterr().err


@WHOLE_OR_HEAD
@pytest.mark.parametrize("checksums", [True, False], ids=["checksums", ""])
def test_a_damaged_part_is_not_continued(
    bucket: Bucket, tmp_path: pathlib.Path, count: int | None, checksums: bool
) -> None:
    bucket.checksums, bucket.ranges, bucket.always = checksums, False, Fault(drop_after=300_000)
    with pytest.raises(RunError):
        fetch(bucket, tmp_path, count)
    (part,) = tmp_path.iterdir()
    part.write_bytes(with_zeros(part.read_bytes(), 100_000))
    bucket.ranges, bucket.always = True, Fault()
    fetch(bucket, tmp_path, count)
    assert contents(tmp_path) == head(count)


@WHOLE_OR_HEAD
def test_a_file_is_on_the_disk_before_it_has_its_name_and_then_its_name_is(
    bucket: Bucket, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, count: int | None
) -> None:
    steps, replace = [], pathlib.Path.replace

    def note_sync(file: int) -> None:
        path = pathlib.Path(f"/proc/self/fd/{file}").resolve()
        steps.append((path, path.stat().st_size if path.is_file() else None))

    def note_replace(path: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        steps.append(("renamed", target))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(pathlib.Path, "replace", note_replace)
    fetch(bucket, tmp_path, count)
    (part, size), *others = steps
    assert (part.parent, part.suffix, size) == (tmp_path, ".part", len(head(count)["sun.ndjson"]))
    assert others == [("renamed", tmp_path / "sun.ndjson"), (tmp_path, None)]
