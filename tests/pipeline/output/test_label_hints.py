"""A label of --labels that the input does not have comes with what may be wrong with it."""

import pathlib
from collections.abc import Callable, Sequence

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import job
from pipeline.cli import UserError
from pipeline.dataset.manifests import read_labels
from pipeline.graph.sampling import Quotas
from pipeline.output.label_hints import hint
from tests.support.ndjson import line

SEEN = ["alarm clock", "house", "sun"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["House"], "; it is spelled 'house' there"),
        (["HOUSE", "Sun", "alarm_clock"], "; it is spelled 'house' there, and 2 more labels alike"),
        (["alarm_clock", "house"], "; it is spelled 'alarm clock' there"),
        (["\u00a0house"], "; it is spelled 'house' there"),
        (["huose", "sun"], "; did you mean 'house'?"),
        (["house, sun"], "; write one label a line"),
        (["# my classes", "house"], "; every line is a label: remove comments"),
        (["tv"], "; its categories are alarm clock, house, sun"),
        (["roller_coaster"], "; its categories (no underscores) are alarm clock, house, sun"),
    ],
)
def test_what_may_be_wrong_with_a_label(labels: list[str], expected: str) -> None:
    assert hint(labels[0], labels, SEEN) == expected


def test_of_many_categories_some_are_named() -> None:
    seen = [f"category {n}" for n in range(8)]
    assert hint("tv", ["tv"], seen) == (
        "; its categories are category 0, category 1, category 2, category 3, category 4 and 3 more"
    )


def test_labels_that_are_all_wrong_are_an_error_with_a_hint(
    write_lines: Callable[[str, Sequence[str]], str], tmp_path: pathlib.Path
) -> None:
    path = write_lines("all.ndjson", [line("alarm clock", n) for n in range(40)])
    with pytest.raises(UserError, match=r"of category 'Alarm_Clock' in the input; it is spelled"):
        job.run(
            patterns=[path],
            output=str(tmp_path / "data"),
            quotas=Quotas(20, 10),
            labels=("Alarm_Clock",),
            options=PipelineOptions(["--direct_num_workers=1"]),
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'["house", "sun"]', "it is JSON; write one label a line"),
        (b'[\n "house",\n "sun"\n]', "it is JSON; write one label a line"),
        ("house\nsun".encode("utf-16"), "not UTF-8 text; save it as UTF-8, a label a line"),
    ],
)
def test_a_file_that_is_no_list_of_lines_is_named(
    content: bytes, message: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"labels.txt: {message}$"):
        read_labels(str(path))
    path.write_bytes(b"\xef\xbb\xbfhouse\r\nsun\r\n")
    assert read_labels(str(path)) == ("house", "sun")
