"""Lines of ndjson for tests, and where the project lies."""

import json
import pathlib
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent.parent

# One drawing of two strokes; tests change what matters to them.
SQUARE = [[[0, 255, 255, 0, 0], [0, 0, 255, 255, 0]], [[60, 190], [120, 130]]]


def line(word: str = "cat", number: int = 0, **fields: Any) -> str:
    """One line of simplified ndjson; `number` makes its key and its drawing its own."""
    drawing = [*SQUARE, [[number % 256, number // 256 % 256], [7, number % 251]]]
    return json.dumps({"word": word, "key_id": str(10**15 + number), "drawing": drawing, **fields})
