"""Report pages, and a browser to open them."""

import pytest

from analysis import report
from analysis.report import make_report
from tests.support.analysis_data import NO_HISTORY, write_run
from tests.support.browser import chromium
from tests.support.report_pages import LABELS, write_data, write_whole_run


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Paths of pages by name, as the command writes them."""
    root = tmp_path_factory.mktemp("report")
    write_data(root / "data")
    runs = root / "runs"
    whole = write_whole_run(runs / "E3_8", root / "data")
    write_whole_run(runs / "again", root / "data", epochs=12)
    write_whole_run(runs / "E2_7", root / "data", "E2_7", augment=["mirror"])
    begun = write_run(
        runs / "begun", NO_HISTORY, LABELS,
        dataset=str(root / "data"), drawings={"train": 36, "validation": 24},
    )  # fmt: skip
    made = {}
    for name, run_dir in (("one", whole), ("several", str(runs)), ("begun", begun)):
        page, _ = make_report(report.find_runs([run_dir]))
        made[name] = root / f"{name}.html"
        made[name].write_bytes(page)
    return made


@pytest.fixture(scope="session")
def driver():
    """Headless Chromium; skips the tests where there is none."""
    with chromium() as started:
        yield started


@pytest.fixture
def made(tmp_path):
    """(run directory, data set), both whole."""
    write_data(tmp_path / "data")
    return write_whole_run(tmp_path / "run", tmp_path / "data"), tmp_path / "data"
