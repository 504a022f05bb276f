"""Numbers as flags, in every command: what is none, and what is out of range, is one line."""

import math
from collections.abc import Iterator

import pytest
from absl import flags

from pipeline.cli import command
from tests.support.commands import MODULES, flags_of
from trainer import config

FLOAT32_MAX = 3.4028234663852886e38


@pytest.fixture(params=MODULES)
def number_flags(request: pytest.FixtureRequest) -> Iterator[list[flags.Flag]]:
    """Flags of one command that are numbers."""
    with flags_of(request.param) as defined:
        yield [flag for flag in defined if flag.flag_type() in ("float", "int")]


def error_of(argument: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Line with which a command refuses an argument."""
    with pytest.raises(SystemExit) as end:
        command.parse_flags(["command", argument])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def outside(flag: flags.Flag) -> list[str]:
    """Numbers beside the range of a flag, and texts that Python takes for numbers."""
    low, high = flag.parser.lower_bound, flag.parser.upper_bound
    if flag.flag_type() == "int":
        return [str(low - 1), str(high + 1), str(10**30), "1" * 5000, "1.5", "nan", ""]
    below, above = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    return [repr(below), repr(above), "nan", "-nan", "inf", "-inf", "1e999", "1e39", ""]


def test_every_number_has_a_range(number_flags: list[flags.Flag]) -> None:
    for flag in number_flags:
        low, high = flag.parser.lower_bound, flag.parser.upper_bound
        assert low is not None, flag.name
        assert high is not None, flag.name
        assert -FLOAT32_MAX <= low < high <= FLOAT32_MAX


def test_numbers_outside_of_their_range_are_refused_in_one_line_that_names_the_flag(
    number_flags: list[flags.Flag], capsys: pytest.CaptureFixture[str]
) -> None:
    for flag in number_flags:
        for text in outside(flag):
            line = error_of(f"--{flag.name}={text}", capsys)
            assert line.startswith(
                f"error: --{flag.name}={text}: " if text else f"error: --{flag.name}: "
            )


def test_both_ends_of_a_range_are_in_it(number_flags: list[flags.Flag]) -> None:
    for flag in number_flags:
        for bound in (flag.parser.lower_bound, flag.parser.upper_bound):
            flag.parse(str(bound))
            assert flag.value == bound


def test_every_seed_of_the_trainer_is_one_that_keras_takes() -> None:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(config.MAX_SEED)
    with pytest.raises(ValueError, match="Seed must be between 0 and"):
        keras.utils.set_random_seed(config.MAX_SEED + 1)
