"""What a run directory keeps, forgives and refuses."""

import contextlib
import dataclasses
import errno
import json
import os

import pytest

from pipeline.cli import RunError, UserError
from tests.support.trainer_data import tiny_experiment, write_dataset
from trainer.config import TrainConfig, describe_run
from trainer.runs import run_directory
from trainer.runs.state import Kept, State, Totals, Unfinished

TRAINED = Totals(loss_sum=1.0, correct=1, examples=2, seconds=1.0)
SESSION = {"precision": "float32", "epochs": 3}


@pytest.fixture
def description(tmp_path):
    manifest = write_dataset(tmp_path / "data")
    config = TrainConfig(str(tmp_path / "data"), str(tmp_path / "run"), tiny_experiment())
    return describe_run(config, manifest)


@pytest.fixture
def run_dir(tmp_path, description):
    """A run directory that has just begun."""
    os.mkdir(tmp_path / "run")
    run_directory.open_run(str(tmp_path / "run"), description)
    return str(tmp_path / "run")


def path_in(run_dir, *names):
    return os.path.join(run_dir, *names)


def write(path, content=b""):
    with open(path, "wb") as file:
        file.write(content)


def read_json(run_dir, name):
    with open(path_in(run_dir, name), encoding="utf-8") as file:
        return json.load(file)


def checkpoint_files(name):
    return [f"{name}.index", f"{name}.data-00000-of-00001", f"{name}.predictions.npz"]


def advanced(state: State, top1: float, keep: int | None = 1) -> State:
    step = state.step + 7
    evaluation = {"top1": top1, "loss": 1.0}
    return state.advance(f"step-{step:08d}", step, TRAINED, evaluation, keep)


def test_a_kill_in_the_first_write_leaves_a_directory_that_can_be_used(tmp_path, description):
    os.mkdir(tmp_path / "run")
    write(tmp_path / "run" / "config.json.tmp", b'{"exper')
    assert run_directory.open_run(str(tmp_path / "run"), description) == State()
    assert "config.json.tmp" not in os.listdir(tmp_path / "run")


def test_a_full_disk_in_the_first_write_leaves_a_directory_that_can_be_used(
    tmp_path, description, monkeypatch
):
    os.mkdir(tmp_path / "run")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device"):
            run_directory.open_run(str(tmp_path / "run"), description)
    assert os.listdir(tmp_path / "run") == []
    run_directory.open_run(str(tmp_path / "run"), description)


def test_a_directory_with_foreign_files_beside_a_leftover_is_refused(tmp_path, description):
    os.mkdir(tmp_path / "run")
    for name in ("config.json.tmp", "thesis.txt"):
        write(tmp_path / "run" / name)
    with pytest.raises(UserError, match="not empty and no run directory"):
        run_directory.open_run(str(tmp_path / "run"), description)
    assert sorted(os.listdir(tmp_path / "run")) == ["config.json.tmp", "thesis.txt"]


def test_a_commit_deletes_our_own_checkpoints_and_nothing_else(run_dir):
    """The directory is the run's, but what lies in it may be the user's."""
    foreign = [
        "notes.txt",
        "step-by-step.md",
        "step-00000001.txt",
        "best.index",
        "step-1.index.bak",
    ]
    ours = [*checkpoint_files("step-00000003"), *checkpoint_files("step-00000007")]
    for name in [*foreign, *ours]:
        write(path_in(run_dir, "checkpoints", name))
    for name in ("copies", "step-00000005_temp"):  # TensorFlow's is the second
        os.mkdir(path_in(run_dir, "checkpoints", name))
    run_directory.commit(run_dir, advanced(State(), 0.5))
    left = set(os.listdir(path_in(run_dir, "checkpoints")))
    assert left == {*foreign, *checkpoint_files("step-00000007"), "copies", "state.json"}


@pytest.mark.parametrize(
    ("keep", "epochs"), [(1, {2, 4}), (2, {2, 3, 4}), (3, {2, 3, 4}), (None, {1, 2, 3, 4})]
)
def test_as_many_checkpoints_stay_as_are_asked_for_and_the_best(run_dir, keep, epochs):
    state = State()
    for top1 in (0.3, 0.9, 0.5, 0.6):
        state = advanced(state, top1, keep)
        for name in checkpoint_files(state.last.name):
            write(path_in(run_dir, "checkpoints", name))
        run_directory.commit(run_dir, state)
    names = {name.partition(".")[0] for name in os.listdir(path_in(run_dir, "checkpoints"))}
    assert names - {"state"} == {f"step-{7 * epoch:08d}" for epoch in epochs}
    state = run_directory.read_state(run_dir)
    for epoch in range(1, 5):
        kept = Kept(f"step-{7 * epoch:08d}", epoch) if epoch in epochs else None
        assert state.find(str(epoch)) == kept
    assert (state.find("best").epoch, state.find("last").epoch) == (2, 4)


def test_damaged_lines_of_metrics_are_dropped_and_said(run_dir, description, capsys):
    """They are derived: a power cut leaves NULs, a program of old a NaN."""
    sound = [{"kind": "step", "step": step, "loss": 0.5} for step in (1, 2, 9)]
    lines = [
        *(json.dumps(line).encode() for line in sound),
        b'{"kind": "step", "step": 2, "loss": nan}',
        b'{"kind": "step", "step": 2, "loss": NaN}',
        b"\0" * 100,
        b"\xff\xfe",
        b"[1]",
        b'{"kind": "step"}',
    ]
    write(path_in(run_dir, "metrics.jsonl"), b"\n".join(lines) + b'\n{"kind": "st')
    state = State(unfinished=Unfinished("step-00000002", 2, TRAINED))
    with run_directory.session(run_dir, SESSION, state):
        pass
    with open(path_in(run_dir, "metrics.jsonl"), encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == sound[:2]
    assert "metrics.jsonl: 6 damaged lines dropped" in capsys.readouterr().out


def test_an_epoch_that_is_validated_again_is_logged_once(run_dir):
    """Its line may have been written, and its state not."""
    lines = [
        {"kind": "epoch", "epoch": 1, "step": 7},
        {"kind": "step", "epoch": 2, "step": 14},
        {"kind": "epoch", "epoch": 2, "step": 14},
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    write(path_in(run_dir, "metrics.jsonl"), text.encode())
    unfinished = Unfinished("step-00000014", 14, TRAINED)
    state = dataclasses.replace(advanced(State(), 0.5), unfinished=unfinished)
    with run_directory.session(run_dir, SESSION, state):
        pass
    with open(path_in(run_dir, "metrics.jsonl"), encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == lines[:2]


def test_damaged_derived_files_are_made_anew(run_dir, description):
    state = advanced(State(), 0.5)
    run_directory.commit(run_dir, state)
    for name in ("history.json", "evaluation.json", "verified_shards.json"):
        write(path_in(run_dir, name), b"\0" * 50)
    run_directory.open_run(run_dir, description)
    assert read_json(run_dir, "history.json") == state.history
    assert read_json(run_dir, "evaluation.json")["top1"] == 0.5
    assert run_directory.read_seen(run_dir) == {}


def test_config_json_is_written_once_and_its_sessions_grow(run_dir, description):
    first = {name: read_json(run_dir, "config.json")[name] for name in description}
    with run_directory.session(run_dir, SESSION, State()):
        run_directory.commit(run_dir, advanced(State(), 0.5))
    again = description | {"epochs": 9}
    state = run_directory.open_run(run_dir, again)
    killed = run_directory.session(run_dir, SESSION | {"precision": "mixed_float16"}, state)
    killed.__enter__()  # it never ends
    run_directory.commit(run_dir, advanced(state, 0.6))
    state = run_directory.open_run(run_dir, again)
    with contextlib.suppress(RunError), run_directory.session(run_dir, SESSION, state):
        raise RunError("a full disk, say")
    config = read_json(run_dir, "config.json")
    assert {name: config[name] for name in description} == first
    steps = [(each["from_step"], each["to_step"]) for each in config["sessions"]]
    assert steps == [(0, 7), (7, 14), (14, 14)]
    assert config["sessions"][1]["precision"] == "mixed_float16"
    assert run_directory.latest(config, "precision") == "float32"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"batch_size": 8, "augment": []},
            "differs in --batch_size (8 there, 100 here), --augment ([] there, ['shift'] here); "
            "pass --batch_size=8 --augment= to resume it, or choose another --run_dir",
        ),
        (
            {"dataset_fingerprint": "0", "seed": 5},
            "differs in --seed (5 there, 0 here), the content of --dataset; choose another",
        ),
    ],
)
def test_another_run_is_refused_with_the_flags_that_resume_it(run_dir, description, changes, text):
    run_directory.commit(run_dir, advanced(State(), 0.5))
    run_directory.write_json(
        path_in(run_dir, "config.json"), read_json(run_dir, "config.json") | changes
    )
    with pytest.raises(UserError) as error:
        run_directory.open_run(
            run_dir, description | {"augment": ["shift"]} if "augment" in changes else description
        )
    assert text in str(error.value)


def test_a_run_without_a_checkpoint_gives_way_to_another(run_dir, description):
    """Its first batch did not fit into memory, say."""
    run_directory.open_run(run_dir, description | {"batch_size": 8})
    assert read_json(run_dir, "config.json")["batch_size"] == 8


def test_a_run_of_another_version_is_refused(run_dir, description):
    config = read_json(run_dir, "config.json")
    del config["format"]
    run_directory.write_json(path_in(run_dir, "config.json"), config)
    with pytest.raises(UserError, match="of another version of the trainer"):
        run_directory.open_run(run_dir, description)


def test_what_was_saved_unverified_counts_only_where_it_is_newer(run_dir):
    first, second = advanced(State(), 0.5), advanced(advanced(State(), 0.5), 0.6)
    times = {"shard": [1, 2]}
    run_directory.commit(run_dir, first)
    run_directory.commit(run_dir, second, times)
    assert run_directory.read_unverified(run_dir) == (second, times)
    assert run_directory.read_state(run_dir) == first
    with open(path_in(run_dir, "checkpoints", "unverified.json"), "rb") as file:
        unverified = file.read()
    run_directory.commit(run_dir, second)
    assert run_directory.read_unverified(run_dir) is None
    write(path_in(run_dir, "checkpoints", "unverified.json"), unverified)  # killed between the two
    assert run_directory.read_unverified(run_dir) is None
    write(path_in(run_dir, "checkpoints", "unverified.json"), b"\0" * 99)
    assert run_directory.read_unverified(run_dir) is None


def test_both_checkpoints_stay_while_one_is_unverified(run_dir):
    first = advanced(State(), 0.5)
    second = dataclasses.replace(first, unfinished=Unfinished("step-00000009", 9, TRAINED))
    third = dataclasses.replace(first, unfinished=Unfinished("step-00000011", 11, TRAINED))
    for state in (first, second, third):
        for name in checkpoint_files(state.newest.name):
            write(path_in(run_dir, "checkpoints", name))
    run_directory.commit(run_dir, first)
    for name in checkpoint_files("step-00000009"):
        write(path_in(run_dir, "checkpoints", name))
    run_directory.commit(run_dir, second, {})
    for name in checkpoint_files("step-00000011"):
        write(path_in(run_dir, "checkpoints", name))
    run_directory.commit(run_dir, third, {})
    names = {name.partition(".")[0] for name in os.listdir(path_in(run_dir, "checkpoints"))}
    assert names == {"step-00000007", "step-00000011", "state", "unverified"}
