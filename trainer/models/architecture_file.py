"""Architectures from JSON files (--architecture), checked key by key. No TensorFlow here."""

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

from pipeline.cli import UserError, is_remote
from trainer.models import costs, experiments
from trainer.models.experiments import Architecture, Experiment

# Larger numbers than these are typing errors, which must not fill the memory.
MAX_FILTERS = 8192
MAX_SIZE = costs.IMAGE.height  # of kernels and strides
MAX_REPEAT = 100
MAX_SCALE = 10.0
MAX_PARAMETERS = 10**9

Check = Callable[[Any, str], None]  # of a value and its path, such as block_a.filters


class _WrongDescription(Exception):  # noqa: N818 - it becomes a UserError, which names the file
    """A path in a description, and the error there."""


def read_architecture(path: str) -> Experiment:
    """Read the experiment that a file describes.

    Args:
      path: of a JSON file: a config.json of a run, or the value of its key "architecture". The
        experiment's name is that in config.json, or else the file's without its ending.

    Raises:
      UserError: the file cannot be read, or no model can be built from it.
    """
    if is_remote(path):
        raise UserError(f"--architecture={path}: it has to be a file on this machine")
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    name, description = os.path.splitext(os.path.basename(path))[0], content
    if isinstance(content, dict) and "architecture" in content:
        description = content["architecture"]
        if isinstance(content.get("experiment"), str):
            name = content["experiment"]
    experiment = Experiment(name, parse_architecture(description, path), f"described in {path}")
    _check_name(experiment, path)
    return experiment


def parse_architecture(description: Any, source: str) -> Architecture:
    """Parse an architecture as `Architecture.describe` returns it.

    Args:
      description: parsed JSON.
      source: the file that holds it, for errors.

    Raises:
      UserError: a key is missing, unknown or wrong, or no model can be built from it.
    """
    try:
        _check_architecture(description, "")
        architecture = Architecture.from_description(description)
        _check_maps(architecture)
    except _WrongDescription as error:
        raise UserError(f"{source}: {error}") from None
    return architecture


def _check_name(experiment: Experiment, path: str) -> None:
    """Refuse the name of an experiment of the table for another architecture."""
    known = experiments.EXPERIMENTS.get(experiment.name)
    if known is None:
        return
    norm = experiment.architecture.batch_norm
    if dataclasses.replace(known.architecture, batch_norm=norm) != experiment.architecture:
        raise UserError(
            f"{path}: has the name of experiment {experiment.name} but another architecture; give "
            'it a name of its own (its key "experiment", or else the file\'s name)'
        )


def _check_architecture(value: Any, place: str) -> None:
    repeat, filters = _integer(0, MAX_REPEAT), _integer(1, MAX_FILTERS)
    inception = _dict({"branches": _list(_list(_check_kernel)), "filters": filters,
                       "scale": _number(0, MAX_SCALE), "repeat": repeat})  # fmt: skip
    plain = _dict({"repeat": repeat})
    inception_reduction = _list(_list(filters), least=0)
    plain_reduction = _dict({"filters": filters})

    def block(value: Any, place: str) -> None:
        is_plain = isinstance(value, dict) and set(value) == {"repeat"}
        (plain if is_plain else inception)(value, place)

    def reduction(value: Any, place: str) -> None:
        is_plain = isinstance(value, dict)
        (plain_reduction if is_plain else inception_reduction)(value, place)

    _dict(
        {
            "stem": _list(_list(_check_layer)),
            "block_a": block,
            "reduction_a": reduction,
            "block_b": block,
            "reduction_b": reduction,
            "block_c": block,
        },
        optional={"dropout_rate": _check_rate, "batch_norm": _check_boolean},
    )(value, place)


def _check_kernel(value: Any, place: str) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise _wrong(place, "a kernel [height, width]", value)
    for index, size in enumerate(value):
        _integer(1, MAX_SIZE)(size, f"{place}[{index}]")


def _check_layer(value: Any, place: str) -> None:
    if not isinstance(value, list) or len(value) != 4:
        raise _wrong(place, "a layer [kernel, filters, stride, padding]", value)
    kernel, filters, stride, padding = value
    _check_kernel(kernel, f"{place}[0]")
    if filters is not None:  # which is a max-pooling
        _integer(1, MAX_FILTERS)(filters, f"{place}[1]")
    _integer(1, MAX_SIZE)(stride, f"{place}[2]")
    if padding not in ("same", "valid"):
        raise _wrong(f"{place}[3]", '"same" or "valid"', padding)


def _check_rate(value: Any, place: str) -> None:
    _number(0, 1)(value, place)
    if value == 1:
        raise _wrong(place, "less than 1", value)


def _check_boolean(value: Any, place: str) -> None:
    if not isinstance(value, bool):
        raise _wrong(place, "true or false", value)


def _number(least: float, most: float, kind: str = "a number") -> Check:
    types = int if kind == "an integer" else int | float

    def check(value: Any, place: str) -> None:
        is_number = isinstance(value, types) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:  # NaN is not
            raise _wrong(place, f"{kind} from {least:g} to {most:g}", value)

    return check


def _integer(least: int, most: int) -> Check:
    return _number(least, most, "an integer")


def _list(check_item: Check, least: int = 1) -> Check:
    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) < least:
            raise _wrong(place, "a list" + (" that is not empty" if least else ""), value)
        for index, item in enumerate(value):
            check_item(item, f"{place}[{index}]")

    return check


def _dict(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    checks = required | (optional or {})

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(place, "an object", value)
        prefix = f"{place}." if place else ""
        for key in required:
            if key not in value:
                raise _WrongDescription(f"{prefix}{key}: missing")
        for key, item in value.items():
            if key not in checks:
                raise _WrongDescription(
                    f"{prefix}{key}: no such key; there are {', '.join(checks)}"
                )
            checks[key](item, f"{prefix}{key}")

    return check


def _wrong(place: str, expected: str, value: Any) -> _WrongDescription:
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, say
        text = "another"
    text = text if len(text) <= 60 else f"{text[:60]}…"
    return _WrongDescription(f"{place or 'the architecture'}: {text}: it has to be {expected}")


def _check_maps(architecture: Architecture) -> None:
    """Check that the layers fit together, and a model of them into memory."""
    stem = costs.stem_maps(architecture.stem)
    sizes = {(each.height, each.width) for each in stem}
    if len(sizes) > 1 or len({each.channels for each in stem} - {1}) > 1:
        maps = ", ".join(map(str, stem))
        raise _WrongDescription(
            f"stem: its branches have outputs {maps}, which cannot be added: sizes have to match, "
            "and so do channels other than 1"
        )
    stages = costs.stages(architecture, 1)
    for stage in stages:
        if min(stage.map.height, stage.map.width) < 1:
            raise _WrongDescription(f"{stage.name}: nothing is left of the map, it is too small")
    if (parameters := costs.total(stages).parameters) > MAX_PARAMETERS:
        raise _WrongDescription(
            f"{parameters:,} parameters; at most {MAX_PARAMETERS:,} can be trained"
        )
