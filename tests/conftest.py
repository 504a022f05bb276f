"""What several test modules need: the sample of real drawings, and small files of drawings."""

import json
import os
import pathlib
import signal
from collections.abc import Callable, Sequence
from typing import Any

import pytest

# A shell starts what runs in its background with Ctrl-C ignored, and what the tests start inherits
# that: they send it Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# One drawing of two strokes; tests change what matters to them.
SQUARE = [[[0, 255, 255, 0, 0], [0, 0, 255, 255, 0]], [[60, 190], [120, 130]]]


@pytest.fixture(scope="session")
def sample() -> pathlib.Path:
    """The folder of real Quick, Draw! drawings; skips the test where there is none."""
    root = pathlib.Path(__file__).parent.parent
    directory = pathlib.Path(
        os.environ.get("QUICKDRAW_SAMPLE_DIR", root.parent / "shared" / "quickdraw")
    )
    if not directory.is_dir():
        pytest.skip("real drawings: QUICKDRAW_SAMPLE_DIR is not set to their folder")
    return directory


def line(word: str = "cat", number: int = 0, **fields: Any) -> str:
    """One line of simplified ndjson; `number` makes its key and its drawing its own."""
    drawing = [*SQUARE, [[number % 256, number // 256 % 256], [7, number % 251]]]
    return json.dumps({"word": word, "key_id": str(10**15 + number), "drawing": drawing, **fields})


@pytest.fixture
def write_lines(tmp_path: pathlib.Path) -> Callable[[str, Sequence[str]], str]:
    """Writes lines to a file in the test's directory and returns its path."""

    def write(name: str, lines: Sequence[str]) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")
        return str(path)

    return write
