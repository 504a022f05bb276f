"""Results of the study: its groups of experiments and the histories of its runs.

The study trained each of its experiments once, with no seed, on the first 2,000 drawings of each of
20 or 53 categories and validated on the next 1,000 (`pipeline/labels/`). By the number of drawings
alone the standard error of a validation accuracy is 0.0021 with 20 and 0.0015 with 53 categories;
from one late epoch to the next it moves by 0.0045.
"""

import functools
import importlib.resources
import json

from pipeline.cli import UserError

# The study's four comparisons, in the order of its tables and legends: widths from wide to narrow,
# depths from shallow to deep, modifications after the model that they change. E1, E2 and E2_1 are
# in none of them.
GROUPS: dict[str, tuple[str, ...]] = {
    "width20": ("E4", "E3", "E5", "E6", "E7"),
    "width53": ("E2_4", "E2_5", "E2_6", "E2_7", "E2_8"),
    "depth53": ("E3_8", "E3_7", "E2_7", "E3_9"),
    "mod53": ("E2_7", "E4_7", "E4_8", "E4_9", "E4_10"),
}

# The 256-wide runs of the width groups: a stride of 2 in the stem's fifth convolution makes their
# maps smaller than those of the narrower runs that they are compared with, and their multiply-adds
# 4.4 times fewer than those of the same width without it (E1 and E2_1).
STRIDE_2 = ("E3", "E2_4")
STRIDE_NOTE = (
    "stride 2 in the stem's fifth convolution: maps of 17, 8 and 3 instead of 36, 17 and 8, and "
    "4.4 times fewer multiply-adds"
)


def history(name: str) -> dict[str, list[float]]:
    """Return the history of the study's run: the keys of history.json, each with a value an epoch.

    All have 12 epochs, of which the study took the last one, but for E2_1, which was stopped after
    10 and whose figures are rounded to four digits.

    Raises:
      UserError: the study has no such experiment.
    """
    histories = _histories()
    if name not in histories:
        raise UserError(f"no experiment {name!r} in the study, which has {', '.join(histories)}")
    return {key: list(values) for key, values in histories[name].items()}


@functools.cache
def categories(count: int) -> tuple[str, ...]:
    """Return the study's 20 or 53 categories, in its order."""
    file = importlib.resources.files("pipeline").joinpath(f"labels/study{count}.txt")
    return tuple(file.read_text("utf-8").splitlines())


@functools.cache
def _histories() -> dict[str, dict[str, list[float]]]:
    text = importlib.resources.files(__package__).joinpath("study.json").read_text("utf-8")
    return json.loads(text)
