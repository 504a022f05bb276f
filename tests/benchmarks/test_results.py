"""The table of results: of the drawings that were asked for."""

import pathlib

import pytest

from benchmarks import results
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


def test_runs_with_other_settings_have_directories_of_their_own(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(results, "run_command", lambda *words: commands.append(words))
    settings = {"epochs": 3, "learning_rate": 2e-3, "init_from": "made/source/"}
    group = results.train("data", str(tmp_path), "small", "best", 2, settings)
    names = [pathlib.Path(run_dir).name for run_dir in group.run_dirs]
    start = "small-best-epochs=3-learning_rate=0.002-init_from=source"
    assert names == [f"{start}-seed={seed}" for seed in (0, 1)]
    assert group.recipe == "best, learning_rate=0.002, from source"
    assert {"--epochs=3", "--learning_rate=0.002", "--init_from=made/source/"} < set(commands[0])
    assert "--seed=0" in commands[0]
    assert "--seed=1" in commands[2]
    group = results.train("data", str(tmp_path), "small", "best", 1, {})
    assert [pathlib.Path(run_dir).name for run_dir in group.run_dirs] == ["small-best-seed=0"]
    assert group.recipe == "best"
