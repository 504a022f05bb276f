"""Axes of a sweep besides the experiment: the values of --vary, and the seed.

A value is parsed by its flag, whatever flags trainer.main has. Names of directories contain only
what varies: E3_8-learning_rate=0.001-seed=1.
"""

import contextlib
import itertools
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from absl import flags

from pipeline.cli import UserError


class Setting(NamedTuple):
    """One value of a varied flag."""

    flag: str
    value: str  # as the flag takes it: 0.001, true, mirror,shift, runs/E3_8
    label: str  # in names of files and in the table: 0.001, true, mirror+shift, E3_8


Settings = tuple[Setting, ...]  # of one run, in the order in which --vary names the flags


class AxisParser(flags.ArgumentParser):
    """A value of --vary: `NAME=V1,V2` → a `Setting` for each value, once.

    The values of a flag that is a list itself have + for its commas, as in
    `augment=mirror,mirror+shift,`: the last of these is the empty list.
    """

    def __init__(self, names: Collection[str]) -> None:
        """`names`: of the flags that may vary."""
        super().__init__()
        self._names = names

    def parse(self, argument: str) -> list[Setting]:
        name, equals, values = argument.partition("=")
        if not equals:
            raise ValueError("write NAME=V1,V2, such as learning_rate=1e-3,3e-4")
        if name not in self._names:
            hint = "--seeds=N trains several; " if name == "seed" else ""
            raise ValueError(f"{hint}flags that can vary: {', '.join(self._names)}")
        return _read_axis(flags.FLAGS[name], values.split(","))

    def flag_type(self) -> str:
        return "NAME=V1,V2"


def check_axes(axes: Sequence[Sequence[Setting]]) -> None:
    """Raise UserError for a flag that is varied twice, or given and varied."""
    names = [axis[0].flag for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--vary={name}=…: given twice; one --vary takes all values")
        if flags.FLAGS[name].present:
            raise UserError(f"--vary={name}=…: --{name} is given, too")


def combinations(axes: Sequence[Sequence[Setting]]) -> list[Settings]:
    """Return every combination of a setting of each axis; without axes a single empty one."""
    return list(itertools.product(*axes))


def run_name(experiment: str, settings: Settings, seed: int | None = None) -> str:
    """Return the name of a run's directory; `seed` if seeds vary."""
    varied = [f"{setting.flag}={setting.label}" for setting in settings]
    return "-".join((experiment, *varied, *([] if seed is None else [f"seed={seed}"])))


@contextlib.contextmanager
def flags_set(values: Mapping[str, str]) -> Iterator[None]:
    """Set flags inside as if they had been given."""
    changed = [flags.FLAGS[name] for name in values]
    before = [(flag, flag.value, flag.present) for flag in changed]
    try:
        for flag in changed:
            flag.parse(values[flag.name])
        yield
    finally:
        for flag, value, present in before:
            flag.value, flag.present = value, present


def _read_axis(flag: flags.Flag, texts: Sequence[str]) -> list[Setting]:
    values = list(dict.fromkeys(_read_value(flag, text.strip()) for text in texts))
    labels = [_label(value) for value in values]
    if len(set(labels)) < len(values):  # files of one name in several directories
        labels = [_label(value, is_whole=True) for value in values]
    if len(set(labels)) < len(values):
        raise ValueError(f"two values would have the same name in {', '.join(labels)}")
    return [Setting(flag.name, *each) for each in zip(values, labels, strict=True)]


def _read_value(flag: flags.Flag, text: str) -> str:
    """Return the value as the flag writes it: 1e-3 and 0.001 are the same."""
    is_list = isinstance(flag.parser, flags.ListParser)
    try:
        value = flag.parser.parse(text.replace("+", ",") if is_list else text)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"--{flag.name}={text}: {error}") from None
    if flag.boolean:
        return "true" if value else "false"
    return flag.serializer.serialize(value) if flag.serializer else str(value)


def _label(value: str, is_whole: bool = False) -> str:
    """Return a name for files, without commas, since lists of paths have them between.

    `is_whole`: whether to keep a path as a whole, not its last part only.
    """
    items = [item.rstrip("/") for item in value.split(",") if item]
    names = [item if is_whole else os.path.basename(item) for item in items]
    return re.sub(r"[^\w.+-]", "_", "+".join(names)) or "none"
