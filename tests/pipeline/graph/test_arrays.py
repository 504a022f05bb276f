import numpy as np

from pipeline.graph import arrays


def test_groups_have_every_index_once_in_ascending_order() -> None:
    keys = np.array([5, 2, 5, 9, 2, 5])
    assert [(key, members.tolist()) for key, members in arrays.groups(keys)] == [
        (2, [1, 4]),
        (5, [0, 2, 5]),
        (9, [3]),
    ]
    assert list(arrays.groups(np.array([], np.int64))) == []


def test_runs_are_of_neighbours_only() -> None:
    values, counts = arrays.runs(np.array([0, 0, 3, 0, 7, 7, 7], np.int32))
    assert values.tolist() == [0, 3, 0, 7]
    assert counts.tolist() == [2, 1, 1, 3]
    assert counts.dtype == np.uint32
    assert [part.tolist() for part in arrays.runs(np.array([], np.int32))] == [[], []]
