"""Lists of categories that the project ships, and label files at large."""

import pathlib

import pytest

import pipeline
from pipeline.cli import UserError
from pipeline.dataset.manifests import read_labels

LABELS = pathlib.Path(pipeline.__file__).parent / "labels"


def test_the_study_s_lists_are_in_its_order() -> None:
    few, many = (read_labels(str(LABELS / f"study{number}.txt")) for number in (20, 53))
    assert (len(few), len(many)) == (20, 53)
    assert many[:20] == few
    assert (few[0], few[5], few[6], few[19]) == ("The Eiffel Tower", "bridge", "banana", "skull")
    assert (many[20], many[52]) == ("submarine", "whale")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no labels in it"),
        (b"cat\nsun\ncat\n", "duplicate label 'cat'"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_label_file_that_cannot_be_used_is_named(
    content: bytes, message: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"labels.txt: .*{message}"):
        read_labels(str(path))
