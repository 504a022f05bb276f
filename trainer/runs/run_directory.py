"""Run directory: its file names and its JSON files. No TensorFlow here.

`checkpoints/state.json` alone decides how far a run is: it is replaced atomically after the
checkpoint that it names is complete, and history.json and evaluation.json are written from it. A
run killed anywhere resumes from it. While the shards are still being compared with the manifest,
`checkpoints/unverified.json` takes its place: the run resumes from there, but no other command
reads it.

config.json is written once. Only its list of sessions grows: a session is one start of the trainer.
"""

import contextlib
import dataclasses
import fcntl
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from pipeline.cli import RunError, UserError, is_remote
from trainer.config import FORMAT, IDENTITY
from trainer.runs.state import State

CONFIG = "config.json"
HISTORY = "history.json"
METRICS = "metrics.jsonl"
EVALUATION = "evaluation.json"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
STATE = os.path.join(CHECKPOINTS, "state.json")
UNVERIFIED = os.path.join(CHECKPOINTS, "unverified.json")
SEEN = "verified_shards.json"  # see trainer.data.verified_data

# Besides trainer.config.IDENTITY, what a run cannot change on resume, by its name in errors.
_NAMES = {
    "architecture": "the experiment's architecture",
    "dataset_fingerprint": "the content of --dataset",
}
_OWN_FILE = re.compile(
    r"(step-\d+)(\.index|\.data-\d+-of-\d+|\.predictions\.npz|_temp|\.tempstate\w+)"
)


class Difference(NamedTuple):
    """A setting that differs between two runs."""

    name: str
    there: Any
    here: Any

    def __str__(self) -> str:
        if self.name in _NAMES:  # long values
            return _NAMES[self.name]
        return f"--{self.name} ({_shown(self.there)} there, {_shown(self.here)} here)"

    @property
    def flag(self) -> str:
        """Return the flag of the run in the directory; empty if there is none."""
        if self.name in _NAMES or self.there is None:
            return ""
        value = ",".join(self.there) if isinstance(self.there, list) else _shown(self.there)
        return f"--{self.name}={value}"


class Unverified(NamedTuple):
    """A state that was saved before all shards were compared with the manifest."""

    state: State
    times: dict[str, list[int]]  # of the shards' files then: see trainer.data.verified_data


@contextlib.contextmanager
def locked(run_dir: str) -> Iterator[None]:
    """Make the directory, and keep other processes from training in it at the same time.

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


def open_run(run_dir: str, description: dict[str, Any]) -> State:
    """Begin a run in an empty directory, or read the state of the run in it.

    A run without a checkpoint is replaced by another: its first batch did not fit, say.

    Args:
      run_dir: the directory, which is `locked`.
      description: the content of config.json without the sessions.

    Raises:
      UserError: the directory belongs to another configuration or data set, or is no run's.
      RunError: its state is damaged.
    """
    path = os.path.join(run_dir, CONFIG)
    try:
        refusal = ""
        if has_config := os.path.exists(path):
            refusal = _compare(run_dir, description)
            if refusal and (read_state(run_dir).newest or read_unverified(run_dir)):
                raise UserError(refusal)
        elif set(os.listdir(run_dir)) - {os.path.basename(_temporary(path))}:  # a kill leaves that
            raise UserError(f"{run_dir}: not empty and no run directory (no {CONFIG})")
        if refusal or not has_config:
            write_json(path, description | {"sessions": []})
        os.makedirs(os.path.join(run_dir, CHECKPOINTS), exist_ok=True)
        state = read_state(run_dir)
        _publish(run_dir, state)
    except OSError as error:
        raise UserError(f"{error.filename or run_dir}: {error.strerror}") from None
    return state


def read_config(run_dir: str) -> dict[str, Any]:
    """Read config.json.

    Raises:
      UserError: it is missing, or no JSON object.
    """
    path = os.path.join(run_dir, CONFIG)
    if not os.path.lexists(path):
        raise UserError(f"{run_dir}: no run directory (no {CONFIG})")
    return read_json(path)


def check_format(run_dir: str, config: dict[str, Any]) -> None:
    """Raise UserError for a run whose files are not as this version of the trainer keeps them."""
    if config.get("format") != FORMAT:
        raise UserError(
            f"{run_dir}: of another version of the trainer, with incompatible checkpoints and data "
            "order; use it with that version, or train in another --run_dir"
        )


def latest(config: Mapping[str, Any], name: str) -> Any:
    """Return a setting of the last session, or else of the beginning of the run."""
    sessions = config.get("sessions", [])
    return sessions[-1].get(name, config.get(name)) if sessions else config.get(name)


@contextlib.contextmanager
def session(run_dir: str, description: dict[str, Any], state: State) -> Iterator[None]:
    """Record a session in config.json, with the steps that are trained inside.

    Args:
      run_dir: of an `open_run`.
      description: see trainer.training.session.
      state: to resume from. Lines of metrics.jsonl beyond it are dropped: they come again.
    """
    _trim_metrics(run_dir, state)
    _end_session(run_dir, state.newest_step)  # of one that was killed
    config = read_config(run_dir)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    steps = {"from_step": state.newest_step, "to_step": None}
    sessions = [*config.get("sessions", []), {"started": started, **steps, **description}]
    write_json(os.path.join(run_dir, CONFIG), config | {"sessions": sessions})
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # a full disk has been reported, if it was one
            newest = read_unverified(run_dir)
            _end_session(run_dir, (newest.state if newest else read_state(run_dir)).newest_step)


def read_state(run_dir: str) -> State:
    """Read how far the run is; a new one has finished no epoch.

    Raises:
      RunError: the file is damaged.
    """
    path = os.path.join(run_dir, STATE)
    try:
        with open(path, encoding="utf-8") as file:
            return State.from_json(json.load(file))
    except FileNotFoundError:
        return State()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: damaged: {error}") from None


def read_unverified(run_dir: str) -> Unverified | None:
    """Read a state beyond `read_state`, saved while the shards were still being compared.

    None without one. It can be made again from the shards, so a damaged file counts as none.
    """
    try:
        with open(os.path.join(run_dir, UNVERIFIED), encoding="utf-8") as file:
            fields = json.load(file)
        found = Unverified(State.from_json(fields["state"]), fields["times"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    is_newer = found.state.progress > read_state(run_dir).progress
    return found if is_newer else None  # a kill between two writes leaves an older one


def commit(run_dir: str, state: State, times: dict[str, list[int]] | None = None) -> None:
    """Make `state`, whose checkpoints are complete, the run's, and delete other checkpoints.

    Args:
      run_dir: the run directory.
      state: how far it is.
      times: of the shards' files, if these are not all compared with the manifest yet.
    """
    if times is None:
        write_json(os.path.join(run_dir, STATE), dataclasses.asdict(state))
        discard_unverified(run_dir)
        _publish(run_dir, state)
    else:
        unverified = {"state": dataclasses.asdict(state), "times": times}
        write_json(os.path.join(run_dir, UNVERIFIED), unverified)
    _delete_checkpoints(run_dir, state.names() | read_state(run_dir).names())


def discard_unverified(run_dir: str) -> None:
    """Go back to the last state whose shards were all compared with the manifest."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(run_dir, UNVERIFIED))


def read_seen(run_dir: str) -> dict[str, Any]:
    """Read which shards were compared with the manifest: see `trainer.data.verified_data`.

    None of them if the file is missing or damaged: they are compared again then.
    """
    try:
        return read_json(os.path.join(run_dir, SEEN))
    except UserError:
        return {}


def write_seen(run_dir: str, seen: dict[str, Any]) -> None:
    """Write what `read_seen` reads."""
    if seen != read_seen(run_dir):
        write_json(os.path.join(run_dir, SEEN), seen)


def append_metrics(run_dir: str, metrics: dict[str, Any]) -> None:
    """Append a line to metrics.jsonl."""
    with open(os.path.join(run_dir, METRICS), "a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")


def read_json(path: str) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
      UserError: it is missing or damaged.
    """
    try:
        with open(path, encoding="utf-8") as file:
            fields = json.load(file)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged: not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise UserError(f"{path}: damaged: not a JSON object")
    return fields


def write_json(path: str, value: Any) -> None:
    """Write a JSON file atomically.

    Names of files that are not UTF-8 become escapes, which JSON reads back.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[-+.,eE\d\s]+\]", lambda numbers: " ".join(numbers[0].split()), text)
    try:
        with open(_temporary(path), "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(_temporary(path), path)
    except OSError:
        with contextlib.suppress(OSError):
            os.remove(_temporary(path))
        raise


def identity(description: dict[str, Any]) -> list[str]:
    """List the settings that a run cannot change on resume."""
    names = ["experiment", "architecture", *IDENTITY, "dataset_fingerprint"]
    if description["learning_rate_schedule"] == "cosine":
        names.append("epochs")  # where the schedule ends
    return names


def differences(
    there: dict[str, Any], here: dict[str, Any], names: Iterable[str]
) -> list[Difference]:
    """List which of the settings `names` differ between two contents of config.json."""
    return [
        Difference(name, there.get(name), here[name])
        for name in names
        if there.get(name) != here[name]
    ]


def _shown(value: Any) -> str:
    return value["path"] if isinstance(value, dict) else str(value).replace("None", "none")


def _temporary(path: str) -> str:
    return f"{path}.tmp"


def _compare(run_dir: str, description: dict[str, Any]) -> str:
    """Return why a run cannot resume in a run directory; empty if it can.

    Raises:
      UserError: it is of another version of the trainer.
    """
    there = read_config(run_dir)
    check_format(run_dir, there)
    found = differences(there, description, identity(description))
    if not found:
        return ""
    flags = [each.flag for each in found if each.flag]
    resume = f"pass {' '.join(flags)} to resume it, or " if len(flags) == len(found) else ""
    text = (
        f"{run_dir}: belongs to another run, which differs in {', '.join(map(str, found))}; "
        f"{resume}choose another --run_dir"
    )
    if any(each.name == "epochs" for each in found):  # with a constant rate it would resume
        text += "; its cosine schedule ends with its last epoch: "
        text += f"start from its weights with --init_from={run_dir}"
    return text


def _end_session(run_dir: str, step: int) -> None:
    config = read_config(run_dir)
    if config.get("sessions") and config["sessions"][-1]["to_step"] is None:
        config["sessions"][-1]["to_step"] = step
        write_json(os.path.join(run_dir, CONFIG), config)


def _delete_checkpoints(run_dir: str, kept: set[str]) -> None:
    """Delete the files of our other checkpoints, and leftovers of a kill; nothing else."""
    for entry in list(os.scandir(os.path.join(run_dir, CHECKPOINTS))):
        own = _OWN_FILE.fullmatch(entry.name)
        if own and own[1] not in kept:
            # A directory is TensorFlow's, of a kill in the middle of a checkpoint.
            (shutil.rmtree if entry.is_dir() else os.remove)(entry.path)


def _publish(run_dir: str, state: State) -> None:
    """Write the files that are derived from the state."""
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


def _trim_metrics(run_dir: str, state: State) -> None:
    """Drop lines beyond `state`, which are written again, and damaged or truncated ones."""
    path = os.path.join(run_dir, METRICS)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return
    metrics = [_read_metrics(line) for line in lines]
    kept = [
        line
        for line, each in zip(lines, metrics, strict=True)
        if each and each["step"] <= state.newest_step
        # The last step of an epoch may be saved before the epoch is validated.
        if each["kind"] != "epoch" or each["epoch"] <= state.epoch
    ]
    damaged = sum(each is None for each in metrics[:-1])  # a kill may truncate the last one
    if damaged:
        print(f"{path}: {damaged} damaged lines dropped", flush=True)
    if kept != lines:
        with open(_temporary(path), "w", encoding="utf-8") as file:
            file.writelines(kept)
        os.replace(_temporary(path), path)


def _read_metrics(line: str) -> dict[str, Any] | None:
    """Parse a line of metrics.jsonl; None for a damaged one."""
    try:
        metrics: Any = json.loads(line) if line.endswith("\n") else None
        numbers = [metrics[key] for key in metrics if key != "kind"]
        is_sound = all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
        is_whole = metrics["kind"] != "epoch" or "epoch" in metrics
        return metrics if is_sound and is_whole and metrics["step"] >= 0 else None
    except (ValueError, LookupError, TypeError):
        return None
