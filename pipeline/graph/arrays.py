"""Groups and runs of numpy arrays, in a few operations whatever their number."""

from collections.abc import Iterator

import numpy as np


def groups(keys: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(key, indices of all that have it), both ascending, for [N] integers."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order])) + 1
    for members in np.split(order, starts) if len(keys) else []:
        yield int(keys[members[0]]), members


def runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The value and the length (uint32) of each run of equal neighbours, for [N] integers ≥ 0."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    return values[starts], np.diff(starts, append=len(values)).astype(np.uint32)
