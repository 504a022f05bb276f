import pathlib

import numpy as np
import pyarrow as pa
import pytest

from pipeline.cli import RunError
from pipeline.drawings.drawing import Drawing
from pipeline.graph import batches
from pipeline.graph.batches import BatchBuilder, Spill, Spilled


def batch_of(*drawings: tuple[str, int, int | None, str | None, bytes]) -> pa.RecordBatch:
    """A batch of (category, identity, rank, key_id, strokes)."""
    builder = BatchBuilder()
    for category, identity, rank, key_id, strokes in drawings:
        builder.add(category, identity, rank, Drawing(category, key_id, True, strokes))
    return builder.finish()


def test_groups_have_every_drawing_once_in_ascending_order() -> None:
    batch = pa.RecordBatch.from_pydict({"identity": np.arange(7)})
    keys = np.array([5, 2, 5, 9, -1, 2, 5])
    found = [(key, group["identity"].to_pylist()) for key, group in batches.groups(batch, keys)]
    assert found == [(2, [1, 5]), (5, [0, 2, 6]), (9, [3])]
    empty = pa.RecordBatch.from_pydict({"identity": np.array([], np.int64)})
    assert list(batches.groups(empty, np.array([], np.int64))) == []


def test_a_group_names_no_categories_but_its_own() -> None:
    batch = batch_of(("cat", 1, None, "1", b"a"), ("sun", 2, None, "2", b"b"))
    parts = [group for _, group in batches.groups(batch, np.array([0, 1]))]
    assert [part["category"].dictionary.to_pylist() for part in parts] == [["cat"], ["sun"]]


@pytest.mark.parametrize("ranks", [(None, None), (7, 5)])
def test_a_batch_is_read_as_it_was_written_wherever_it_waits(
    ranks: tuple[int | None, int | None], tmp_path: pathlib.Path
) -> None:
    batch = batch_of(("sun", 3, ranks[0], None, b"\0\1"), ("cat", 1 << 61, ranks[1], "9", b""))
    for directory, kind in ((None, bytes), (str(tmp_path), Spilled)):
        spill = Spill("batches", directory)
        elements = [spill.write(batches.to_bytes(part)) for part in (batch, batch.slice(1), batch)]
        assert all(isinstance(element, kind) for element in elements)
        read = [batches.read_batch(element) for element in elements]
        assert read == [batch, batch.slice(1), batch]
    assert batch.to_pylist()[1] == {
        **{"category": "cat", "identity": 1 << 61, "key_id": b"9", "strokes": b""},
        **({} if ranks[1] is None else {"rank": ranks[1]}),
        "strokes_hash": batch["strokes_hash"][1].as_py(),
    }


def test_a_spill_file_that_is_gone_is_one_line(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunError, match=r"^cannot read .*/gone: No such file or directory$"):
        batches.read_element(Spilled(str(tmp_path / "gone"), 0, 1))
