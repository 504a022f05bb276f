"""Sweeps: what is trained, skipped, refused and stopped, and the table at the end."""

import csv
import io
import json
import os
import signal
import subprocess
import sys

import pytest

from pipeline.command import EXIT_STOPPED
from pipeline.errors import Stopped
from tests.trainer_data import write_dataset
from trainer import experiments, run_directory, sweep, sweep_table
from trainer.config import TrainConfig, describe_run
from trainer.state import State
from trainer.sweep import choose, heading, train_all
from trainer.sweep_table import Result, to_csv

STUDY_20 = 20  # experiments
FLAGS = ("--batch_size=8", "--epochs=1", "--precision=float32")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    return directory, write_dataset(directory, train=24, validation=8)


def command(*arguments):
    return [sys.executable, "-m", "trainer.sweep", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def rows_of(run_dir):
    return list(csv.DictReader(io.StringIO((run_dir / "sweep.csv").read_text())))


# ---- As a user runs it ----


def test_a_failed_run_is_named_and_the_same_command_trains_the_rest_once(data, tmp_path):
    directory, manifest = data
    runs = tmp_path / "runs"
    flags = (f"--dataset={directory}", f"--run_dir={runs}", "--experiments=E3_8,demo", *FLAGS)

    # A run of this very configuration whose state cannot be read.
    config = TrainConfig(
        str(directory), str(runs / "E3_8"), experiments.find("E3_8"), epochs=1, batch_size=8
    )
    with run_directory.locked(config.run_dir):
        run_directory.open_run(config.run_dir, describe_run(config, manifest))
    (runs / "E3_8" / "checkpoints" / "state.json").write_text("{")
    result = run(*flags)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-2:]
    assert "state.json: damaged" in lines[-2]
    assert lines[-1] == "error: 1 of 2 runs failed: E3_8"
    assert [(row["experiment"], row["status"], row["epochs"]) for row in rows_of(runs)] == [
        ("E3_8", "failed", "0"),
        ("demo", "finished", "1"),
    ]

    # What a user does about it.
    (runs / "E3_8" / "checkpoints" / "state.json").unlink()
    trained = (runs / "demo" / "metrics.jsonl").read_bytes()
    result = run(*flags)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"1/2  E3_8  {runs}/E3_8" in result.stdout
    assert "epoch 1/1  step 3/3" in result.stdout  # of the run's own output
    assert "2/2  demo  finished before" in result.stdout
    assert (runs / "demo" / "metrics.jsonl").read_bytes() == trained
    history = json.loads((runs / "E3_8" / "history.json").read_text())
    (row, _) = rows_of(runs)
    assert (row["status"], row["epochs"]) == ("finished", "1")
    assert float(row["final_val_accuracy"]) == pytest.approx(history["val_accuracy"][-1], abs=1e-6)
    assert float(row["images_per_second"]) > 0

    # Nothing is left: no run starts, and the table comes again.
    again = run(*flags)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.count("finished before") == 2
    assert "step" not in again.stdout.partition("name ")[0]
    assert again.stdout.partition("name ")[2] == result.stdout.partition("name ")[2]

    # The finished runs are another recipe's: refused before anything runs.
    other = run(*flags, "--learning_rate=0.01")
    assert other.returncode == 2
    (line,) = other.stderr.splitlines()
    assert f"{runs}/E3_8: belongs to another run, which differs in --learning_rate" in line
    assert other.stdout == ""


def test_sigterm_reaches_the_run_which_saves_and_the_sweep_ends_with_its_status(data, tmp_path):
    directory, _ = data
    flags = (f"--dataset={directory}", f"--run_dir={tmp_path}", "--experiments=demo,E3_8")
    process = subprocess.Popen(
        command(*flags, *FLAGS, "--epochs=10000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("epoch 2/10000"):
            process.send_signal(signal.SIGTERM)
            break
    output, errors = process.communicate(timeout=60)
    assert process.returncode == EXIT_STOPPED
    saved, last = errors.splitlines()
    assert saved.startswith("stopped by SIGTERM after step ")
    assert last == "sweep stopped in demo; the same command goes on with it"
    assert "2/2" not in output
    state = run_directory.read_state(os.path.join(tmp_path, "demo"))
    assert state.epoch >= 1
    assert f"after step {state.newest_step:,}, " in saved
    with run_directory.locked(os.path.join(tmp_path, "demo")):
        pass  # no process is left in it


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--group or --experiments is needed, one of them"),
        (("--group=depth53", "--experiments=E1"), "--group or --experiments is needed, one of"),
        (
            ("--group=depth",),
            "--group=depth: value should be one of <width20|width53|depth53|mod53",
        ),
        (("--experiments=E1,E38",), "no experiment 'E38'; did you mean E3_8?"),
        (("--group=depth53", "--batch_sise=8"), "'batch_sise'. Did you mean: batch_size"),
        (("--group=depth53", "--epochs=0"), "--epochs=0"),
        (("--group=depth53", "--experiment=E1"), "'experiment'. Did you mean: experiments"),
        (("--group=depth53", "--run_dir=gs://b/c"), "--run_dir=gs://b/c: it has to be a directory"),
    ],
)
def test_wrong_flags_are_one_line_and_status_2(flags, message, data, tmp_path):
    result = run(f"--dataset={data[0]}", f"--run_dir={tmp_path / 'runs'}", *flags)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "runs").exists()


def test_help_has_the_flags_of_the_sweep_and_of_its_runs():
    text = run("--help").stdout
    for flag in ("--group=width20|", "--experiments=", "--dataset=", "--epochs=", "--precision="):
        assert f"  {flag}" in text
    assert "--experiment=" not in text
    assert "flags of trainer.main" in text


# ---- What is trained ----


def test_a_group_is_trained_in_the_order_of_the_study_and_all_once():
    assert choose("depth53", []) == ["E3_8", "E3_7", "E2_7", "E3_9"]
    everything = choose("all", [])
    assert everything[:5] == choose("width20", [])
    assert len(everything) == len(set(everything)) == STUDY_20
    assert "demo" not in everything
    assert choose(None, ["demo", "E1", "demo"]) == ["demo", "E1"]


def configs_of(*names):
    return [TrainConfig("data", f"runs/{name}", experiments.find(name)) for name in names]


def test_models_that_are_the_same_on_one_data_set_are_pointed_out(data):
    text = heading(configs_of("E7", "E2_7", "E3_8"), data[1])
    assert "E7 and E2_7 are the same model" in text
    assert "E3_8 " not in text


def statuses(monkeypatch, **status_of):
    """Lets runs end so without training; returns the list of those that were started."""
    started = []

    def train(config, _):
        started.append(config.experiment.name)
        return status_of[config.experiment.name]

    monkeypatch.setattr(sweep, "_train", train)
    return started


def test_runs_after_a_failed_or_killed_one_are_trained(monkeypatch, capsys):
    started = statuses(monkeypatch, E1=1, E3=0, E4=-signal.SIGKILL, E5=2)
    failed = train_all(configs_of("E1", "E2", "E3", "E4", "E5"), finished={"E2"})
    assert started == ["E1", "E3", "E4", "E5"]
    assert failed == ["E1", "E4", "E5"]
    output = capsys.readouterr()
    assert "2/5  E2  finished before" in output.out
    assert output.err == "E4: killed by SIGKILL\n"


def test_a_first_run_that_is_refused_ends_the_sweep(monkeypatch):
    started = statuses(monkeypatch, E2=2)
    with pytest.raises(SystemExit) as end:
        train_all(configs_of("E1", "E2", "E3"), finished={"E1"})
    assert end.value.code == 2
    assert started == ["E2"]


def test_a_run_that_was_stopped_by_itself_ends_the_sweep(monkeypatch):
    started = statuses(monkeypatch, E1=0, E2=EXIT_STOPPED)
    with pytest.raises(Stopped, match="in E2; the same command"):
        train_all(configs_of("E1", "E2", "E3"), finished=())
    assert started == ["E1", "E2"]


# ---- The table ----


def result(name, accuracies, status="finished", epochs=3, speed=1234.5):
    history = {key: list(accuracies) for key in ("accuracy", "loss", "val_accuracy", "val_loss")}
    state = State(epoch=len(accuracies), history=history)
    return Result(experiments.find(name), status, epochs, state, speed)


RESULTS = [
    result("E3", [0.5, 0.8, 0.75]),
    result("E4_9", [0.5], "unfinished"),
    result("E4", [], "failed", speed=None),
    result("demo", [0.1, 0.2, 0.3]),
]


def test_a_table_shows_costs_and_accuracies_beside_the_studys():
    over, header, *rows = sweep_table.table(RESULTS, 20).splitlines()[:6]
    cells = [row.split() for row in rows]
    assert cells[0] == [
        *(
            "E3",
            "256,",
            "896,",
            "1792",
            "5,",
            "10,",
            "5",
            "stride",
            "2*",
            "20,952,372",
            "1.20",
            "G",
        ),
        *("3", "0.8000", "0.7500", "1,234", "0.9071", "0.9055"),
    ]
    assert cells[1][-8:] == ["1.78", "G", "1/3", "0.5000", "0.5000", "1,234", "0.8643", "0.8643"]
    assert "A 1x7, 7x1" in rows[1]
    assert cells[2][-6:] == ["0/3", "-", "-", "-", "0.9055", "0.9055"]
    assert cells[3][-2:] == ["-", "-"]
    # The two pairs of accuracies stand below what they are of.
    assert over.index("val. accuracy") == header.index("  best")
    assert over.index("the study's") == header.rindex("  best")


def test_a_table_of_all_experiments_fits_a_screen():
    results = [result(name, [0.5] * 12, epochs=12, speed=12345.6) for name in choose("all", [])]
    assert max(map(len, sweep_table.table(results, 345).splitlines())) <= 120


def test_a_table_says_what_its_figures_cannot_be_compared_with():
    text = " ".join(sweep_table.table(RESULTS, 12).split())
    assert "on its own drawings of 20 categories (E3, E4) and 53 categories (E4_9)" in text
    assert "this data set has 12 categories" in text
    assert "* stride 2 in the stem's fifth convolution" in text
    assert "stride 2" not in sweep_table.table(RESULTS[1:], 12)
    assert "study's figures" not in sweep_table.table(RESULTS[3:], 12)


def test_a_csv_file_has_the_same_in_full():
    rows = list(csv.DictReader(io.StringIO(to_csv(RESULTS, 20))))
    assert [row["status"] for row in rows] == ["finished", "unfinished", "failed", "finished"]
    assert rows[0]["multiply_adds"] == "1196572192"
    assert (rows[0]["width_a"], rows[0]["depth_b"], rows[0]["classes"]) == ("256", "10", "20")
    assert (rows[0]["best_val_accuracy"], rows[0]["final_val_accuracy"]) == ("0.8", "0.75")
    assert (rows[0]["study_best_val_accuracy"], rows[0]["study_classes"]) == ("0.90705", "20")
    assert (rows[2]["final_val_accuracy"], rows[2]["images_per_second"]) == ("", "")
    assert rows[3]["study_classes"] == ""


def test_the_speed_is_that_of_all_epochs_together(tmp_path):
    lines = [
        {"kind": "step", "images_per_second": 5.0},
        {"kind": "epoch", "images_per_second": 100.0},
        {"kind": "epoch", "images_per_second": 300.0},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert sweep_table.training_speed(str(tmp_path)) == pytest.approx(150)
    assert sweep_table.training_speed(str(tmp_path / "nothing")) is None
