"""What flags may say."""

import pytest

from pipeline.cli import UserError
from trainer.config import Interval


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("500", Interval(steps=500)),
        ("10m", Interval(seconds=600)),
        ("0.5m", Interval(seconds=30)),
    ],
)
def test_intervals_are_steps_or_minutes(text, interval):
    assert Interval.parse(text) == interval


@pytest.mark.parametrize(
    "text", ["", "0", "0m", "-5", "1.5", "10s", "m", "1e3", "1" * 400, f"{'1' * 400}m", "1" * 5000]
)
def test_other_intervals_are_refused(text):
    with pytest.raises(UserError, match=f"--checkpoint_every={text}: "):
        Interval.parse(text)


def test_an_interval_passes_by_its_own_measure():
    assert Interval(steps=5).has_passed(steps=5, seconds=0)
    assert not Interval(steps=5).has_passed(steps=4, seconds=1e9)
    assert Interval(seconds=60).has_passed(steps=0, seconds=60)
    assert not Interval(seconds=60).has_passed(steps=10**9, seconds=59)
