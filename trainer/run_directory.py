"""The run directory: file names, and what its JSON files hold. No TensorFlow here.

`checkpoints/state.json` is the one truth about how far a run is: it is replaced in one step after
the checkpoint that it names is complete, and history.json and evaluation.json are written from it.
A run killed anywhere is continued from what it says.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

from pipeline.errors import RunError, UserError
from pipeline.paths import is_remote
from trainer.config import IDENTITY
from trainer.state import State

CONFIG = "config.json"
HISTORY = "history.json"
METRICS = "metrics.jsonl"
EVALUATION = "evaluation.json"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
STATE = os.path.join(CHECKPOINTS, "state.json")

# What a run cannot change on its way besides trainer.config.IDENTITY, and how an error calls it.
_IDENTITY = {
    "experiment": "--experiment",
    "architecture": "the experiment's architecture",
    **{name: f"--{name}" for name in IDENTITY},
    "dataset_fingerprint": "the content of --dataset",
}
_LONG_VALUES = {"architecture", "dataset_fingerprint"}  # not shown in an error


@contextlib.contextmanager
def locked(run_dir: str) -> Iterator[None]:
    """Makes the directory, and keeps other processes from training in it at the same time.

    Raises:
      UserError: another process trains in it, or it cannot be made.
    """
    if is_remote(run_dir):
        raise UserError(f"--run_dir={run_dir}: it has to be a directory on this machine")
    try:
        os.makedirs(run_dir, exist_ok=True)
        directory = os.open(run_dir, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{error.filename or run_dir}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{run_dir}: another process is training in it") from None
        yield
    finally:
        os.close(directory)  # which unlocks it


def open_run(run_dir: str, config: dict[str, Any]) -> State:
    """Begins a run in an empty directory, or continues the one that is there.

    Args:
      run_dir: the directory, which is `locked`.
      config: what config.json is to hold.

    Raises:
      UserError: the directory belongs to another configuration or data set, or is no run's.
    """
    try:
        if os.path.exists(os.path.join(run_dir, CONFIG)):
            different = differences(read_config(run_dir), config)
            if different:
                raise UserError(
                    f"{run_dir}: belongs to another run, which differs in {different}; "
                    "choose another --run_dir"
                )
        elif os.listdir(run_dir):
            raise UserError(f"{run_dir}: not empty and no run directory (no {CONFIG})")
        state = read_state(run_dir)
        config = config | {"epochs": max(config["epochs"], state.epoch)}
        write_json(os.path.join(run_dir, CONFIG), config)
        os.makedirs(os.path.join(run_dir, CHECKPOINTS), exist_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename or run_dir}: {error.strerror}") from None
    _publish(run_dir, state)
    _trim_metrics(run_dir, state.newest_step)
    return state


def read_config(run_dir: str) -> dict[str, Any]:
    """The content of config.json.

    Raises:
      UserError: it is not there, or no JSON object.
    """
    path = os.path.join(run_dir, CONFIG)
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{run_dir}: no run directory (no {CONFIG})") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a JSON object")
    return config


def read_state(run_dir: str) -> State:
    """How far the run is; a new one has finished no epoch.

    Raises:
      RunError: the file is damaged.
    """
    path = os.path.join(run_dir, STATE)
    try:
        with open(path, encoding="utf-8") as file:
            return State.from_json(json.load(file))
    except FileNotFoundError:
        return State()
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: damaged: {error}") from None


def commit(run_dir: str, state: State) -> None:
    """Makes `state`, whose checkpoints are complete, the run's, and deletes other checkpoints."""
    write_json(os.path.join(run_dir, STATE), dataclasses.asdict(state))
    _publish(run_dir, state)
    directory = os.path.join(run_dir, CHECKPOINTS)
    kept = {os.path.basename(STATE).partition(".")[0], *state.names()}
    for name in os.listdir(directory):
        if name.partition(".")[0] in kept:
            continue
        path = os.path.join(directory, name)
        if os.path.isdir(path):  # TensorFlow's, where a kill met it in the middle of a checkpoint
            shutil.rmtree(path)
        else:
            os.remove(path)


def append_metrics(run_dir: str, metrics: dict[str, Any]) -> None:
    """Adds a line to metrics.jsonl."""
    with open(os.path.join(run_dir, METRICS), "a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")


def write_json(path: str, value: Any) -> None:
    """Writes a JSON file as a whole: a reader, or a kill, never meets half of it.

    Names of files that are not UTF-8 become escapes, which JSON reads as what they were.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[-+.,eE\d\s]+\]", lambda numbers: " ".join(numbers[0].split()), text)
    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """What makes two contents of config.json those of different runs; empty if nothing does."""
    names = dict(_IDENTITY)
    if here["learning_rate_schedule"] == "cosine":
        names["epochs"] = "--epochs, where the cosine schedule ends:"
    found = []
    for key, name in names.items():
        value = there.get(key)
        if value != here[key]:
            shown = key not in _LONG_VALUES
            found.append(f"{name} ({value} there, {here[key]} here)" if shown else name)
    return ", ".join(found)


def _publish(run_dir: str, state: State) -> None:
    """Writes the files that are derived from the state."""
    write_json(os.path.join(run_dir, HISTORY), state.history)
    if state.last and state.best:
        evaluation = {
            "split": "validation",
            "checkpoint": "last",
            "epoch": state.last.epoch,
            **state.last.evaluation,
            "best": {"epoch": state.best.epoch, **state.best.evaluation},
        }
        write_json(os.path.join(run_dir, EVALUATION), evaluation)


def _trim_metrics(run_dir: str, step: int) -> None:
    """Drops lines beyond `step`, which are written again, and one cut off by a kill."""
    path = os.path.join(run_dir, METRICS)
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if kept != lines:
        temporary = f"{path}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            file.writelines(kept)
        os.replace(temporary, path)
