"""Sums over training steps, and what a run says of those that float16 skipped."""

import json

import pytest
import tensorflow as tf

from pipeline.cli import RunError
from tests.support.stopped_training import make_config
from tests.support.trainer_data import write_dataset
from trainer.runs.state import State, Totals, Unfinished
from trainer.training.log import Log, Meter
from trainer.training.optimizer import MAX_SKIPPED_IN_A_ROW
from trainer.training.steps import StepResult


def result(skipped_in_a_row: int = 0, learning_rate: float = 0.5) -> StepResult:
    return StepResult(
        tf.constant(1.0),
        tf.constant(2),
        tf.constant(4),
        tf.constant(learning_rate),
        tf.constant(skipped_in_a_row),
    )


def meter_of(*skipped: int) -> Meter:
    meter = Meter(0, Totals())
    for in_a_row in skipped:
        meter.add(result(in_a_row), 0.0)
    return meter


def test_skipped_steps_are_counted_for_the_interval_and_the_epoch():
    meter = meter_of(0, 1, 2, 0)
    assert meter.end_interval().skipped_steps == 2
    meter.add(result(1), 0.0)
    assert meter.end_interval().skipped_steps == 1
    assert meter.epoch.skipped_steps == 3


def test_a_run_in_which_every_step_is_skipped_ends_in_one_line():
    meter_of(*range(1, MAX_SKIPPED_IN_A_ROW + 1)).collect()
    with pytest.raises(
        RunError, match=r"^step 41: .*--precision=mixed_float16.* 41 steps in a row"
    ):
        meter_of(*range(1, MAX_SKIPPED_IN_A_ROW + 2)).collect()


def test_the_learning_rate_is_that_of_the_last_step_in_as_few_digits_as_it_takes():
    meter = Meter(0, Totals())
    meter.add(result(learning_rate=1.0), 0.0)
    meter.add(result(learning_rate=1e-3), 0.0)
    meter.collect()
    assert meter.learning_rate == 1e-3


@pytest.mark.parametrize("skipped", [0, 3])
def test_the_log_says_how_many_steps_were_skipped_if_any_were(tmp_path, capsys, skipped):
    manifest = write_dataset(tmp_path / "data")
    config = make_config(tmp_path / "data", tmp_path)
    totals = Totals(8.0, 4, 8, seconds=1.0, skipped_steps=skipped)
    Log(config, manifest).interval(1, 2, totals, 0.25)
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["learning_rate"] == 0.25
    assert line.get("skipped_steps") == (skipped or None)
    assert ("3 steps skipped" in capsys.readouterr().out) == bool(skipped)


def test_totals_of_a_run_that_did_not_count_skipped_steps_are_read():
    totals = {"loss_sum": 1.0, "correct": 1, "examples": 2, "seconds": 1.0}
    fields = {"unfinished": {"name": "step-1", "step": 1, "totals": totals}}
    state = State.from_json({"last": None, "best": None, **fields})
    assert state.unfinished == Unfinished("step-1", 1, Totals(1.0, 1, 2, 1.0))
