"""The benchmark of the trainer: its parts by name."""

import pytest
from absl import flags

from benchmarks import trainer
from pipeline.cli import UserError
from tests.support.commands import flags_of


def test_a_part_that_is_unknown_is_refused_before_the_drawings_are_read() -> None:
    with flags_of("benchmarks.trainer"):
        flags.FLAGS(["trainer", "--input=none.ndjson", "--parts=input,speed"])
        with pytest.raises(UserError, match="--parts: no speed; there are input, training, "):
            trainer.main([])
