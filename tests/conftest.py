"""Shared fixtures: the sample of real drawings, and small files of drawings."""

import os
import pathlib
import signal
from collections.abc import Callable, Sequence

import pytest

from tests.support.ndjson import ROOT

# A shell starts what runs in its background with Ctrl-C ignored, and what the tests start inherits
# that: they send it Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def sample() -> pathlib.Path:
    """Folder of real Quick, Draw! drawings; skips the test where there is none."""
    directory = pathlib.Path(
        os.environ.get("QUICKDRAW_SAMPLE_DIR", ROOT.parent / "shared" / "quickdraw")
    )
    if not directory.is_dir():
        pytest.skip("real drawings: QUICKDRAW_SAMPLE_DIR is not set to their folder")
    return directory


@pytest.fixture
def write_lines(tmp_path: pathlib.Path) -> Callable[[str, Sequence[str]], str]:
    """Writes lines to a file in the test's directory and returns its path."""

    def write(name: str, lines: Sequence[str]) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")
        return str(path)

    return write
