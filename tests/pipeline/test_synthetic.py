"""Made-up drawings: in upstream's format, reproducible, varied; and the command for them."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from pipeline import synthetic
from pipeline.drawings.drawing import parse_drawing
from pipeline.rasterize import rasterize_packed
from tests.support.warm_process import run_module

COUNT = 100  # drawings of a category, enough to hold every kind of mishap
FIELDS = ["word", "countrycode", "timestamp", "recognized", "key_id", "drawing"]


def run_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_module("pipeline.synthetic", arguments)


def assert_refused(result: "subprocess.CompletedProcess[str]", reason: str) -> None:
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert reason in result.stderr


@pytest.fixture(scope="module")
def lines() -> dict[str, list[bytes]]:
    """COUNT lines of every category."""
    return {
        category: [synthetic.drawing_line(category, index, seed=0) for index in range(COUNT)]
        for category in synthetic.CATEGORIES
    }


def every_drawing(lines: dict[str, list[bytes]]) -> Iterator[list[list[list[int]]]]:
    for line in chain.from_iterable(lines.values()):
        yield json.loads(line)["drawing"]


def test_there_are_at_least_ten_categories() -> None:
    assert len(synthetic.CATEGORIES) >= 10
    assert {"circle", "smiley face"} <= set(synthetic.CATEGORIES)


def test_lines_are_upstreams_compact_json_with_its_fields_in_its_order(
    lines: dict[str, list[bytes]],
) -> None:
    for category, of_category in lines.items():
        for line in of_category:
            fields = json.loads(line)
            assert line == json.dumps(fields, separators=(",", ":")).encode() + b"\n"
            assert list(fields) == FIELDS
            assert fields["word"] == category
            assert re.fullmatch("[A-Z]{2}", fields["countrycode"])
            timestamp = r"2017-0[1-4]-\d\d \d\d:\d\d:\d\d\.\d{1,6} UTC"
            assert re.fullmatch(timestamp, fields["timestamp"])
            assert type(fields["recognized"]) is bool


def test_every_line_is_accepted_by_the_pipeline(lines: dict[str, list[bytes]]) -> None:
    for category, of_category in lines.items():
        for line in of_category:
            drawing = parse_drawing(line)
            assert drawing.word == category
            assert rasterize_packed([drawing.strokes]).any()


def test_keys_are_sixteen_digits_and_differ_over_all_files_and_seeds() -> None:
    keys = [
        parse_drawing(synthetic.drawing_line(category, index, seed)).key_id
        for category in synthetic.CATEGORIES
        for index in range(20)
        for seed in (0, 1, 99_999)
    ]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"\d{16}", key or "") for key in keys)


def test_drawings_begin_at_0_and_span_255_on_the_larger_side(
    lines: dict[str, list[bytes]],
) -> None:
    for drawing in every_drawing(lines):
        x = [value for stroke in drawing for value in stroke[0]]
        y = [value for stroke in drawing for value in stroke[1]]
        assert min(x) == min(y) == 0
        assert max(*x, *y) == 255


def test_drawings_have_about_as_many_points_as_upstreams(lines: dict[str, list[bytes]]) -> None:
    points = sorted(sum(len(x) for x, _ in drawing) for drawing in every_drawing(lines))
    assert 15 <= points[len(points) // 2] <= 45
    assert points[-1] < 250


def test_no_two_drawings_of_a_category_are_equal(lines: dict[str, list[bytes]]) -> None:
    for of_category in lines.values():
        bitmaps = {
            rasterize_packed([parse_drawing(line).strokes]).tobytes() for line in of_category
        }
        assert len(bitmaps) == COUNT


def test_some_drawings_but_few_were_not_recognized(lines: dict[str, list[bytes]]) -> None:
    recognized = [json.loads(line)["recognized"] for line in chain.from_iterable(lines.values())]
    assert 0.02 < recognized.count(False) / len(recognized) < 0.2


def test_the_command_writes_a_file_per_category_and_more_drawings_keep_the_first(
    tmp_path: Path,
) -> None:
    for name, count, seed in (("few", 3, 7), ("again", 3, 7), ("many", 5, 7), ("other", 3, 8)):
        arguments = (f"--output={tmp_path / name}", f"--drawings_per_category={count}")
        result = run_command(*arguments, f"--seed={seed}")
        assert result.returncode == 0, result.stderr
        assert str(tmp_path / name) in result.stdout
        files = sorted(file.name for file in (tmp_path / name).iterdir())
        assert files == [f"{category}.ndjson" for category in sorted(synthetic.CATEGORIES)]
    for category in synthetic.CATEGORIES:
        few, again, many, other = (
            (tmp_path / name / f"{category}.ndjson").read_bytes().splitlines(keepends=True)
            for name in ("few", "again", "many", "other")
        )
        assert few == again == many[:3]
        assert (len(few), len(many)) == (3, 5)
        assert not set(few) & set(other)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--drawings_per_category=1"], "--output"),
        (["--output=x"], "--drawings_per_category"),
        (["--output=x", "--drawings_per_category=0"], "drawings_per_category"),
        (["--output=x", "--drawings_per_category=1", "--colour=red"], "colour"),
        (["--output=x", "--drawings_per_category=1", "y"], "'y' is not a flag"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(arguments: list[str], reason: str) -> None:
    assert_refused(run_command(*arguments), reason)


def test_an_unwritable_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "below"
    assert_refused(run_command(f"--output={output}", "--drawings_per_category=1"), str(output))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    result = run_command(f"--output={tmp_path}", "--drawings_per_category=1")
    tmp_path.chmod(0o700)
    assert_refused(result, "Permission denied")
