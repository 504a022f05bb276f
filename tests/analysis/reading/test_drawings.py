"""Reading drawings for pictures: what the pipeline reads, and one line for what is left out."""

import gzip

import pytest

from analysis.reading.drawings import read_drawings
from pipeline.cli import UserError
from pipeline.drawings.drawing import parse_drawing
from tests.support.ndjson import line


def read(patterns, **options):
    warnings = []
    found = list(read_drawings(patterns, warn=warnings.append, **options))
    return [(each.label, each.drawing.key_id) for each in found], warnings


def test_drawings_come_file_by_file_with_the_word_or_the_file_s_category(write_lines, tmp_path):
    write_lines("cat.ndjson", [line("cat", 1), line("dog", 2)])
    write_lines("full_simplified_hot tub.ndjson", [line(None, 3)])
    (tmp_path / "sun.ndjson.gz").write_bytes(gzip.compress(line("sun", 4).encode()))
    found, warnings = read([f"{tmp_path}/*.ndjson", f"{tmp_path}/*.gz"])
    assert [label for label, _ in found] == ["cat", "dog", "hot tub", "sun"]
    assert [key[-1] for _, key in found] == ["1", "2", "3", "4"]
    assert warnings == []


def test_only_the_first_of_each_file_if_asked(write_lines, tmp_path):
    for name in ("a", "b"):
        write_lines(f"{name}.ndjson", [line(name, i) for i in range(5)])
    found, _ = read([f"{tmp_path}/*.ndjson"], per_file=2)
    assert [label for label, _ in found] == ["a", "a", "b", "b"]


def test_what_is_no_drawing_is_left_out_and_told_in_a_line(write_lines):
    path = write_lines("cat.ndjson", [line("cat", 1), "{", line("cat", 2), '{"drawing": []}'])
    found, warnings = read([path])
    assert len(found) == 2
    (warning,) = warnings
    offset = len(line("cat", 1)) + 1
    assert warning == (f"{path}: skipped invalid drawings: 2, the first at byte {offset}: not JSON")


def test_raw_drawings_are_simplified(write_lines):
    raw = '{"word": "cat", "drawing": [[[0, 500, 1000], [0, 250, 500], [0, 1, 2]]]}'
    path = write_lines("raw.ndjson", [raw])
    (found,) = read_drawings([path], warn=pytest.fail)
    assert found.drawing == parse_drawing(raw.encode())


@pytest.mark.parametrize(("lines", "message"), [([], "no drawing in "), (["{}"], "no drawing in ")])
def test_files_without_a_drawing_are_named(write_lines, lines, message):
    path = write_lines("cat.ndjson", lines)
    with pytest.raises(UserError, match=f"--input: {message}{path}"):
        list(read_drawings([path], warn=lambda _: None))


def test_a_glob_that_matches_nothing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--input: no file matches .*/\*\.ndjson"):
        list(read_drawings([f"{tmp_path}/*.ndjson"], warn=pytest.fail))
