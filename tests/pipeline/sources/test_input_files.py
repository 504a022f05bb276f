import io
import os
import pathlib
from typing import Any

import pytest
from absl import flags

from pipeline.cli import RunError, UserError
from pipeline.drawings.drawing import MAX_LINE_BYTES, parse_drawing
from pipeline.drawings.reject import Reject
from pipeline.forms import lines as lines_of_files
from pipeline.forms import texts
from pipeline.sources import input_files
from pipeline.sources.input_files import InputFile, WorkItem
from tests.support.commands import flags_of
from tests.support.ndjson import line

LINES = [b"first", b"", b"the second", b"3", b"   ", b"x" * 40, b"last"]


def read(path: pathlib.Path, range_bytes: int) -> list[tuple[int, bytes]]:
    found = []
    with path.open("rb") as file:
        for item in input_files.work_items(
            [InputFile(str(path), path.stat().st_size)], range_bytes
        ):
            found += lines_of_files.read_lines(file, item.start, item.end)
    return found


@pytest.mark.parametrize("newline", [b"\n", b""])
def test_every_line_is_read_once_however_the_file_is_cut(
    tmp_path: pathlib.Path, newline: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\n".join(LINES) + newline)
    expected = [line for line in LINES if line.strip()]
    for range_bytes in range(1, path.stat().st_size + 2):
        found = read(path, range_bytes)
        assert [line for _, line in found] == expected
        assert all(path.read_bytes()[at:].startswith(line) for at, line in found)


def test_ranges_of_a_large_input_grow_instead_of_becoming_more() -> None:
    small = [InputFile("a.ndjson", 100_000_000), InputFile("b.ndjson", 1)]
    assert input_files.range_bytes_for(small) == input_files.RANGE_BYTES
    assert [item.bytes for item in input_files.work_items(small)] == [8 << 20] * 11 + [7_725_312, 1]
    large = [InputFile(f"{n}.ndjson", 10**10) for n in range(300)]
    items = input_files.work_items(large, input_files.range_bytes_for(large))
    assert input_files.MAX_RANGES <= len(items) <= input_files.MAX_RANGES + len(large)
    assert sum(item.bytes for item in items) == 3 * 10**12


def test_a_compressed_or_binary_file_is_one_work_item_with_its_place_in_the_input() -> None:
    files = [
        InputFile("a.ndjson.gz", 1 << 30, is_compressed=True),
        InputFile("b.bin", 1 << 30, form="binary"),
        InputFile("c.ndjson", 1 << 30),
    ]
    items = input_files.work_items(files, 1 << 29)
    assert [(item.file_index, item.start, item.end) for item in items] == [
        (0, 0, None),
        (1, 0, None),
        (2, 0, 1 << 29),
        (2, 1 << 29, 1 << 30),
    ]


def test_a_line_longer_than_a_chunk_is_read_whole_and_those_after_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "CHUNK_BYTES", 7)
    test_every_line_is_read_once_however_the_file_is_cut(tmp_path, b"\n")


def test_a_very_long_line_is_read_in_bounded_memory_and_costs_only_itself() -> None:
    file = io.BytesIO(b"first\n" + b"x" * (5 * MAX_LINE_BYTES) + b"\nnext\n")
    first, (position, line), last = lines_of_files.read_lines(file)
    assert first == (0, b"first")
    assert position == 6
    assert MAX_LINE_BYTES < len(line) < MAX_LINE_BYTES + (2 << 20)
    assert last == (5 * MAX_LINE_BYTES + 7, b"next")
    assert list(lines_of_files.read_lines(file, 100, 2 * MAX_LINE_BYTES)) == []
    assert list(lines_of_files.read_lines(file, 100, 6 * MAX_LINE_BYTES)) == [last]


def test_a_byte_order_mark_crlf_blank_lines_and_a_missing_newline_are_no_faults(
    tmp_path: pathlib.Path,
) -> None:
    first, second = line("cat", 1).encode(), line("cat", 2).encode()
    path = tmp_path / "cat.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + first + b"\r\n\r\n \n" + second)
    found = list(input_files.read_drawings(WorkItem(InputFile(str(path), path.stat().st_size))))
    assert [drawing.drawing for drawing in found] == [parse_drawing(first), parse_drawing(second)]
    assert found[1].byte_offset == path.stat().st_size - len(second)


@pytest.mark.parametrize("count", range(55, 62))
@pytest.mark.parametrize("raw_bytes", [1 << 20, 300])
def test_raw_and_other_lines_come_in_the_order_of_the_file_each_as_by_itself(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, raw_bytes: int, count: int
) -> None:
    monkeypatch.setattr(texts, "_RAW_TEXTS", 5)
    monkeypatch.setattr(texts, "_RAW_BYTES", raw_bytes)
    raw = [[[0, 9, 300], [0, 1, 90], [0, 1, 2]]]
    too_long = [[[0, 1] * 900, [0, 1] * 900, [0] * 1800]]
    kinds: list[dict[str, Any]]
    kinds = [{}, {"drawing": raw}, {"drawing": 7}, {"drawing": raw}, {"drawing": too_long}, {}, {}]
    lines = [line("cat", n, **kinds[n * n % 7]).encode() for n in range(count)]
    path = tmp_path / "cat.ndjson"
    path.write_bytes(b"\n".join(lines))
    found = list(input_files.read_drawings(WorkItem(InputFile(str(path), path.stat().st_size))))
    assert [one.head for one in found] == lines
    offsets = [sum(map(len, lines[:n])) + n for n in range(count)]
    assert [one.byte_offset for one in found] == offsets
    for one in found:
        if isinstance(one.drawing, Reject):
            with pytest.raises(Reject, match=str(one.drawing)):
                parse_drawing(one.head)
        else:
            assert one.drawing == parse_drawing(one.head)
    assert {type(one.drawing).__name__ for one in found} == {"Drawing", "Reject"}


def test_globs_are_sorted_and_each_file_is_taken_once(tmp_path: pathlib.Path) -> None:
    for name in ("b.ndjson", "a.ndjson", "c.txt"):
        (tmp_path / name).write_text(name)
    files = input_files.match_files([f"{tmp_path}/b*", f"{tmp_path}/*.ndjson"])
    assert [file[:2] for file in files] == [
        (f"{tmp_path}/a.ndjson", 8),
        (f"{tmp_path}/b.ndjson", 8),
    ]


def test_what_matches_nothing_or_is_a_directory_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match=r"no file matches .*/\*\.ndjson"):
        input_files.match_files([f"{tmp_path}/*.ndjson"])
    with pytest.raises(UserError, match="is a directory"):
        input_files.match_files([str(tmp_path)])


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.ndjson", "a"),
        ("./*.ndjson", "./a"),
        ("re*/*.ndjson", "real/b"),
        ("real/*/*.ndjson", "real/deep/c real/deep/d\\e"),
        ("r?al/d*p/c.nd*", "real/deep/c"),
        ("**.ndjson", "a linked/c linked/d\\e linked/up/b real/b real/deep/c real/deep/d\\e"),
        ("linked/*.ndjson", "linked/c linked/d\\e"),
        ("l*/*.ndjson", "linked/c linked/d\\e"),
        ("real/**/*.ndjson", "real/deep/c real/deep/d\\e"),
        ("[l-m]inked/[!d]*.ndjson", "linked/c"),
    ],
)
def test_globs_find_what_a_shell_finds(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, pattern: str, found: str
) -> None:
    for name in ("a", "real/b", "real/deep/c", "real/deep/d\\e"):
        path = tmp_path / f"{name}.ndjson"
        path.parent.mkdir(exist_ok=True)
        path.write_text(line("cat", 1))
    (tmp_path / "linked").symlink_to("real/deep")
    (tmp_path / "real" / "deep" / "up").symlink_to("..")  # a link back up ends
    monkeypatch.chdir(tmp_path)
    names = [f"{name}.ndjson" for name in found.split()]
    assert [file.path for file in input_files.match_files([pattern])] == names
    assert sorted(input_files.input_versions([pattern])) == names


def test_what_a_glob_cannot_see_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.ndjson").write_text(line("cat", 1))
    (tmp_path / "sun.ndjson").symlink_to("gone")
    with pytest.raises(UserError, match=r"^--input: .*/sun\.ndjson leads to no file$"):
        input_files.match_files([f"{tmp_path}/*.ndjson"])
    (tmp_path / "sun.ndjson").unlink()
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:  # root may list everything
        if path.rstrip("/").endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert len(input_files.match_files([f"{tmp_path}/*.ndjson"])) == 1  # not asked for
    for pattern in ("*/*.ndjson", "**.ndjson"):
        with pytest.raises(UserError, match="Permission denied"):
            input_files.match_files([f"{tmp_path}/{pattern}"])


@pytest.mark.parametrize("folder", ["a,b", "in [1]", "in [a-z] (x)", "a[", "a]b"])
@pytest.mark.parametrize("pattern", ["*.ndjson", "cat.ndjson", "c?t.nd*"])
def test_a_comma_or_brackets_in_a_path_are_no_hindrance(
    tmp_path: pathlib.Path, folder: str, pattern: str
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "cat.ndjson").write_text(line("cat", 1))
    text = f"{tmp_path}/{folder}/{pattern}"
    with flags_of("pipeline.main"):
        flags.FLAGS(["", f"--input={text}"])
        patterns = flags.FLAGS.input
        (file,) = input_files.match_files(patterns)
        assert input_files.input_versions(patterns).keys() == {file.path}
    assert file.path == f"{tmp_path}/{folder}/cat.ndjson"


def test_how_to_write_a_comma_or_a_bracket_is_said(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match=r"matches .*/a; a comma separates globs: write \? for one"):
        input_files.match_files([f"{tmp_path}/a", "b/*.ndjson"])
    with pytest.raises(UserError, match=r"\[ begins a set of characters: write \[\[\] for one in"):
        input_files.match_files([f"{tmp_path}/a[1/*.ndjson"])


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.ndjson").write_text("x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(UserError, match=r"no permission to read .*/secret\.ndjson"):
        input_files.match_files([f"{tmp_path}/*.ndjson"])


def test_a_file_that_vanished_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunError, match=r"cannot read .*gone\.ndjson: No such file"):
        list(input_files.read_drawings(WorkItem(InputFile(f"{tmp_path}/gone.ndjson", 10))))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("size", [512, 4096, MAX_LINE_BYTES + 1, input_files.RANGE_BYTES + 1])
@pytest.mark.parametrize("at", [0, 5, 1000, -1])
def test_a_hole_of_zeros_is_damage_and_no_rejected_line(
    tmp_path: pathlib.Path, at: int, size: int, raw: bool
) -> None:
    fields = {"drawing": [[[0, 9, 300], [0, 1, 90], [0, 1, 2]]]} if raw else {}
    content = b"\xef\xbb\xbf" + b"".join(
        line("cat", n, **fields).encode() + b"\n" for n in range(40)
    )
    at %= len(content) + 1
    path = tmp_path / "cat.ndjson"
    path.write_bytes(content[:at] + bytes(size) + content[at + 4096 :])
    items = input_files.work_items([InputFile(str(path), path.stat().st_size)])
    message = f"cat.ndjson: zeros at byte {at:,}: the file is damaged; fetch it again$"
    with pytest.raises(RunError, match=message):
        [found for item in items for found in input_files.read_drawings(item)]


def test_a_few_zeros_are_a_rejected_line(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cat.ndjson"
    path.write_bytes(line("cat", 1).encode() + b"\n" + bytes(511) + b"\n" + line("cat", 2).encode())
    found = list(input_files.read_drawings(WorkItem(InputFile(str(path), path.stat().st_size))))
    assert [str(one.drawing) for one in found if isinstance(one.drawing, Reject)] == ["not JSON"]
    assert len(found) == 3
