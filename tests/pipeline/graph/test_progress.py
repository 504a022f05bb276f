"""Progress never fails a run."""

import os
import pathlib

import pytest

from pipeline.graph.progress import Progress, ProgressLines


def test_reports_of_work_items_are_added_up(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "progress")
    for _ in range(2):
        Progress(path).add(bytes_read=25_000_000, drawings_read=1_500)
    assert "read  50% of 100 MB, 3,000 drawings" in ProgressLines(path, 100_000_000).line()


@pytest.mark.parametrize("place", ["gone/progress", "file/progress", "directory", "/dev/full"])
def test_a_report_that_cannot_be_written_is_left_out(place: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    path = os.path.join(tmp_path, place)
    Progress(path).add(drawings_read=7)


@pytest.mark.parametrize("place", ["gone/progress", "file/progress", "directory"])
def test_reports_that_cannot_be_read_are_no_progress(place: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    assert ", 0 drawings" in ProgressLines(str(tmp_path / place), 1).line()


def test_reports_broken_off_by_a_full_disk_are_left_out(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "progress"
    Progress(str(path)).add(drawings_read=7)
    with path.open("ab") as file:
        file.write(b'{"drawings_re')
    line = ProgressLines(str(path), 1).line()
    assert ", 7 drawings" in line
    Progress(str(path)).add(drawings_read=100)  # glued to what was broken off
    Progress(str(path)).add(drawings_read=1)
    assert ", 8 drawings" in ProgressLines(str(path), 1).line()
