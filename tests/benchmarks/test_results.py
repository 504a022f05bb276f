"""The table of results: of the drawings that were asked for."""

import pathlib

import pytest

from benchmarks.results import make_dataset, mean
from pipeline.cli import UserError
from tests.support.ndjson import line


def test_a_data_set_of_other_drawings_is_not_taken_for_theirs(tmp_path: pathlib.Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        lines = "\n".join(line("cat", n) for n in range(6))
        (tmp_path / name / "cat.ndjson").write_text(lines, encoding="utf-8")
    directory = str(tmp_path / "data")
    make_dataset([f"{tmp_path}/one/*.ndjson"], directory, train=4, validation=2)
    make_dataset([f"{tmp_path}/one/*.ndjson"], directory, train=4, validation=2)
    with pytest.raises(UserError, match="data: made of other files; choose another --output"):
        make_dataset([f"{tmp_path}/other/*.ndjson"], directory, train=4, validation=2)


def test_a_mean_of_several_seeds_has_their_standard_deviation() -> None:
    assert mean([0.5]) == "0.5000"
    assert mean([0.4, 0.5, 0.6]) == "0.5000 ± 0.1000"
