"""Sweeps: what is trained, skipped, refused and stopped, and the table at the end."""

import csv
import io
import json
import os
import signal

import pytest
from absl import flags as absl_flags

from analysis.reading import runs as analysis_runs
from pipeline.cli import EXIT_STOPPED, Stopped, UserError, define_path
from tests.support.commands import flags_of
from tests.support.trainer_data import write_dataset
from tests.support.warm_process import WarmProcess, run_module
from trainer import sweep
from trainer.config import TrainConfig, describe_run
from trainer.models import experiments
from trainer.runs import run_directory
from trainer.runs.run_directory import read_config
from trainer.runs.state import State
from trainer.sweep import PlannedRun, choose, heading, plan, train_all
from trainer.sweeps import sweep_table
from trainer.sweeps.sweep_axes import (
    AxisParser,
    Setting,
    check_axes,
    combinations,
    flags_set,
    run_name,
)
from trainer.sweeps.sweep_table import Result, to_csv

STUDY_20 = 20  # experiments
STUDY = "--recipe=study"
FLAGS = ("--batch_size=8", "--epochs=1", "--precision=float32")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    return directory, write_dataset(directory, train=24, validation=8)


def run(*arguments):
    return run_module("trainer.sweep", arguments)


def rows_of(run_dir):
    return list(csv.DictReader(io.StringIO((run_dir / "sweep.csv").read_text())))


# ---- As a user runs it ----


def test_a_failed_run_is_named_and_the_same_command_trains_the_rest_once(data, tmp_path):
    directory, manifest = data
    runs = tmp_path / "runs"
    flags = (
        f"--dataset={directory}",
        f"--run_dir={runs}",
        "--experiments=medium,small",
        *FLAGS,
        STUDY,
    )

    # A run of this very configuration whose state cannot be read.
    config = TrainConfig(
        str(directory), str(runs / "medium"), experiments.find("medium"), epochs=1, batch_size=8
    )
    with run_directory.locked(config.run_dir):
        run_directory.open_run(config.run_dir, describe_run(config, manifest))
    (runs / "medium" / "checkpoints" / "state.json").write_text("{")
    result = run(*flags)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-2:]
    assert "state.json: damaged" in lines[-2]
    assert lines[-1] == "error: 1 of 2 runs failed: medium"
    assert [(row["experiment"], row["status"], row["epochs"]) for row in rows_of(runs)] == [
        ("medium", "failed", "0"),
        ("small", "finished", "1"),
    ]

    # What a user does about it.
    (runs / "medium" / "checkpoints" / "state.json").unlink()
    trained = (runs / "small" / "metrics.jsonl").read_bytes()
    result = run(*flags)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"1/2  medium  {runs}/medium" in result.stdout
    assert "epoch 1/1  step 3/3" in result.stdout  # of the run's own output
    assert "2/2  small  finished before" in result.stdout
    assert (runs / "small" / "metrics.jsonl").read_bytes() == trained
    history = json.loads((runs / "medium" / "history.json").read_text())
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
    assert f"{runs}/medium: belongs to another run, which differs in --learning_rate" in line
    assert other.stdout == ""


def test_sigterm_reaches_the_run_which_saves_and_the_sweep_ends_with_its_status(data, tmp_path):
    directory, _ = data
    flags = (f"--dataset={directory}", f"--run_dir={tmp_path}", "--experiments=small,E3_8")
    process = WarmProcess("trainer.sweep", [*flags, *FLAGS, "--epochs=10000"])
    process.wait_for_line("epoch 2/10000")
    process.send_signal(signal.SIGTERM)
    done = process.finish()
    assert done.returncode == EXIT_STOPPED
    saved, last = done.stderr.splitlines()
    assert saved.startswith("stopped by SIGTERM after step ")
    assert last == "sweep stopped in small; rerun the command to resume it"
    assert "2/2" not in done.stdout
    state = run_directory.read_state(os.path.join(tmp_path, "small"))
    assert state.epoch >= 1
    assert f"after step {state.newest_step:,}, " in saved
    with run_directory.locked(os.path.join(tmp_path, "small")):
        pass  # no process is left in it


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give either --group or --experiments"),
        (("--group=depth53", "--experiments=E1"), "give either --group or --experiments"),
        (
            ("--group=depth",),
            "--group=depth: value should be one of <width20|width53|depth53|mod53",
        ),
        (("--experiments=E1,E38",), "no experiment 'E38'; did you mean E3_8?"),
        (("--group=depth53", "--batch_sise=8"), "'batch_sise'. Did you mean: batch_size"),
        (("--group=depth53", "--epochs=0"), "--epochs=0"),
        (("--group=depth53", "--experiment=E1"), "'experiment'. Did you mean: experiments"),
        (("--group=depth53", "--run_dir=gs://b/c"), "--run_dir=gs://b/c: it has to be a directory"),
        (("--group=depth53", "--architecture=a.json"), "give --architecture, or --group or --exp"),
        (("--group=depth53", "--seeds=0"), "--seeds=0: 0 is not an integer in the range [1, 100]"),
        (("--group=depth53", "--vary", "learning_rate=1e-3,nan"), "--learning_rate=nan: nan is no"),
        (("--group=depth53", "--vary=augment=mirror,flip"), "--augment=flip: no flip; there are"),
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
    assert "flags of trainer.main" in " ".join(text.split())


def test_seeds_and_settings_have_runs_of_their_own_and_more_seeds_keep_them(data, tmp_path):
    directory, _ = data
    runs = tmp_path / "runs"
    flags = (f"--dataset={directory}", f"--run_dir={runs}", "--experiments=small", *FLAGS)
    assert run(*flags).returncode == 0  # runs/small, of seed 0

    # It keeps its directory among several seeds, and is not trained again.
    done = run(*flags, "--seeds=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1/2  small  finished before" in done.stdout
    assert f"2/2  small-seed=1  {runs}/small-seed=1" in done.stdout
    assert "mean ± the standard deviation (n - 1) of 2 seeds, 0 to 1" in done.stdout
    for row, name in zip(rows_of(runs), ("small", "small-seed=1"), strict=True):
        history = json.loads((runs / name / "history.json").read_text())
        assert row["seed"] == str(read_config(runs / name)["seed"])
        assert float(row["final_val_accuracy"]) == pytest.approx(history["val_accuracy"][-1])

    done = run(*flags, "--vary", "batch_norm=false")
    assert (done.returncode, done.stderr) == (0, "")
    assert not read_config(runs / "small-batch_norm=false")["architecture"]["batch_norm"]
    assert [(row["batch_norm"], row["seed"]) for row in rows_of(runs)] == [("false", "0")]

    # For an analysis of the directory each has a name that says in what it differs.
    names = analysis_runs.run_names(analysis_runs.read_runs([str(runs)], pytest.fail))
    assert names == ["small", "small-batch_norm=false", "small-seed=1"]


def test_a_sweep_of_which_no_run_began_says_so(data, tmp_path):
    directory, _ = data
    source, runs = tmp_path / "source", tmp_path / "runs"
    flags = (f"--dataset={directory}", *FLAGS)
    command = (*flags, f"--run_dir={source}", "--experiment=small")
    assert run_module("trainer.main", command).returncode == 0
    for path in (source / "checkpoints").glob("*.data-*"):
        path.write_bytes(path.read_bytes()[:1000])
    done = run(*flags, f"--run_dir={runs}", f"--init_from={source}", "--experiments=small,medium")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: 2 of 2 runs failed: small, medium"
    assert [row["status"] for row in rows_of(runs)] == ["failed"] * 2


# ---- What is trained ----


def test_a_group_is_trained_in_the_order_of_the_study_and_all_once():
    assert choose("depth53", []) == ["E3_8", "E3_7", "E2_7", "E3_9"]
    everything = choose("all", [])
    assert everything[:5] == choose("width20", [])
    assert len(everything) == len(set(everything)) == STUDY_20
    assert "small" not in everything
    assert choose(None, ["small", "E1", "small"]) == ["small", "E1"]


def runs_of(*names):
    return [
        PlannedRun(TrainConfig("data", f"runs/{name}", experiments.find(name)), (), ())
        for name in names
    ]


def test_models_that_are_the_same_on_one_data_set_are_pointed_out(data):
    text = heading(runs_of("E7", "E2_7", "E3_8"), data[1])
    assert "E7 and E2_7 are the same model" in text
    assert "E3_8 " not in text


@pytest.fixture
def parse():
    """Parses flags of a sweep, which are there during the test."""
    with flags_of("trainer.sweep"):
        yield lambda *arguments: absl_flags.FLAGS(["sweep", *arguments]) and absl_flags.FLAGS


def test_axes_are_combined_and_runs_named_for_what_varies(parse):
    args = parse(
        *("--dataset=d", "--run_dir=r", "--vary=learning_rate=1e-3,3e-4,0.001", "--xla=off"),
        *("--vary", "augment=shift+mirror,", "--vary=batch_norm=true", "--seed=7"),
    )
    axes = args.vary
    assert axes == [
        [
            Setting("learning_rate", "0.001", "0.001"),
            Setting("learning_rate", "0.0003", "0.0003"),
        ],
        [Setting("augment", "shift,mirror", "shift+mirror"), Setting("augment", "", "none")],
        [Setting("batch_norm", "true", "true")],
    ]
    runs = plan(["E3_8", "small"], axes, 2)
    assert len(runs) == 2 * len(combinations(axes)) * 2 == 16
    names = [run.name for run in runs]
    assert names[:2] == [
        "E3_8-learning_rate=0.001-augment=shift+mirror-batch_norm=true-seed=7",
        "E3_8-learning_rate=0.001-augment=none-batch_norm=true-seed=7",
    ]
    assert [run.config.seed for run in runs] == [7] * 8 + [8] * 8
    assert len(set(names)) == 16
    run = runs[-4]
    assert run.name == "small-learning_rate=0.001-augment=shift+mirror-batch_norm=true-seed=8"
    assert (run.config.learning_rate, run.config.augment) == (0.001, ("mirror", "shift"))
    assert run.config.experiment.architecture.batch_norm
    assert {
        "--experiment=small", f"--run_dir=r/{run.name}", "--seed=8", "--learning_rate=0.001",
        "--augment=shift,mirror", "--batch_norm", "--xla=off", "--dataset=d",
    } == set(run.flags)  # fmt: skip
    # Outside the flags are as they were given.
    assert (args.seed, args.learning_rate, args.augment) == (7, 0.001, [])
    assert not args["learning_rate"].present


def test_where_nothing_varies_a_run_is_called_as_its_experiment(parse):
    parse("--dataset=d", "--run_dir=r", "--epochs=3")
    (run,) = plan(["E3_8"], [], 1)
    assert run.config.run_dir == "r/E3_8"
    assert set(run.flags) == {"--dataset=d", "--run_dir=r/E3_8", "--experiment=E3_8", "--epochs=3"}


def test_any_flag_of_the_trainer_may_vary_files_too(parse):
    """Whatever flags trainer.main gets; --model and --kinds stand for them."""
    values = absl_flags.FLAGS
    define_path("model", None, "A file.", kind="FILE", module_name="Model")
    absl_flags.DEFINE_enum("kind", "a", ["a", "b"], "One of two.", module_name="Model")
    try:
        parser = AxisParser(["model", "kind"])
        models = parser.parse("model=nets/wide.json,/home/me/dr,~/x y.json")
        assert [model.label for model in models] == ["wide.json", "dr", "x_y.json"]
        assert [model.value for model in models] == [
            *("nets/wide.json", "/home/me/dr", os.path.expanduser("~/x y.json")),
        ]
        models = parser.parse("model=a/net.json,b/net.json/")
        assert [model.label for model in models] == ["a_net.json", "b_net.json"]
        with flags_set({"model": "a/net.json"}):
            assert values["model"].serialize() == "--model=a/net.json"
        assert values.model is None
        assert [kind.value for kind in parser.parse("kind=b,a,b")] == ["b", "a"]
        with pytest.raises(ValueError, match="two values would have the same name"):
            parser.parse("model=a/n t,a/n_t")
    finally:
        del values.model, values.kind


def test_architectures_of_files_vary_in_the_place_of_experiments(parse, tmp_path):
    for name in ("small", "wide"):
        architecture = experiments.find("small").architecture.describe()
        (tmp_path / f"{name}.json").write_text(json.dumps(architecture))
    files = f"--vary=architecture={tmp_path}/small.json,{tmp_path}/wide.json"
    args = parse("--dataset=d", "--run_dir=r", files)
    runs = plan([None], args.vary, 1)
    assert [run.name for run in runs] == [
        "small-architecture=small.json", "wide-architecture=wide.json",
    ]  # fmt: skip
    assert f"--architecture={tmp_path}/small.json" in runs[0].flags
    assert not [flag for flag in runs[0].flags if flag.startswith("--experiment=")]


def test_names_of_runs_are_one_path_each(parse):
    (precision,) = AxisParser(["precision"]).parse("precision=float32")
    settings = (precision, Setting("x", "a/b,c", "b+c"))
    assert run_name("E1", settings, 3) == "E1-precision=float32-x=b+c-seed=3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate", "write NAME=V1,V2, such as learning_rate=1e-3,3e-4"),
        ("learning_rat=1", "flags that can vary: .*batch_norm, .*epochs, batch_size, "),
        ("seed=1,2", "--seeds=N trains several; flags that can vary: "),
        ("dataset=a,b", "flags that can vary: "),
        ("verbosity=1", "flags that can vary: "),
        ("experiments=E1", "flags that can vary: "),
        ("learning_rate=1e-3,", "--learning_rate=: could not convert"),
        ("learning_rate=1e-3,inf", "--learning_rate=inf: inf is not a number in the range"),
        ("batch_size=8,0", "--batch_size=0: 0 is not an integer in the range"),
        ("batch_norm=yes", "--batch_norm=yes: .*Non-boolean"),
        ("xla=maybe", "--xla=maybe: value should be one of <auto|on|off>"),
    ],
)
def test_what_cannot_vary_is_one_line(text, message, parse):
    with pytest.raises(absl_flags.Error, match=rf"^flag --vary={text}: .*{message}"):
        parse(f"--vary={text}")


def test_a_flag_varies_once(parse):
    args = parse("--vary=clip_norm=1", "--vary=clip_norm=2")
    with pytest.raises(UserError, match=r"--vary=clip_norm=…: given twice"):
        check_axes(args.vary)


def test_a_flag_is_given_or_varies(parse):
    args = parse("--vary=epochs=1,2", "--epochs=2")
    with pytest.raises(UserError, match=r"--vary=epochs=…: --epochs is given, too"):
        check_axes(args.vary)


def test_the_last_seed_is_one_that_a_run_takes(parse):
    parse("--dataset=d", "--run_dir=r", f"--seed={2**32 - 2}")
    assert [run.config.seed for run in plan(["small"], [], 2)] == [2**32 - 2, 2**32 - 1]
    with pytest.raises(UserError, match=r"--seed=4294967294: with --seeds=3 the last one is above"):
        plan(["small"], [], 3)


def test_the_heading_says_what_varies(parse, data):
    args = parse("--dataset=d", "--run_dir=r", "--vary=clip_norm=0,1", "--vary=augment=mirror,")
    runs = plan(["E3_8", "E1"], args.vary, 3)
    assert heading(runs, data[1]).splitlines() == [
        "sweep       E3_8, E1",
        "            clip_norm: 0.0, 1.0",
        "            augment: mirror, none",
        "            seeds 0 to 2",
        "            24 runs",
        "data set    d: 3 classes",
    ]


def statuses(monkeypatch, **status_of):
    """Lets runs end so without training; returns the list of those that were started."""
    started = []

    def train(run, _):
        started.append(run.name)
        return status_of[run.name]

    monkeypatch.setattr(sweep, "_train", train)
    return started


def test_runs_after_a_failed_or_killed_one_are_trained(monkeypatch, capsys):
    started = statuses(monkeypatch, E1=1, E3=0, E4=-signal.SIGKILL, E5=2)
    failed = train_all(runs_of("E1", "E2", "E3", "E4", "E5"), finished={"E2"})
    assert started == ["E1", "E3", "E4", "E5"]
    assert failed == ["E1", "E4", "E5"]
    output = capsys.readouterr()
    assert "2/5  E2  finished before" in output.out
    assert output.err == "E4: killed by SIGKILL\n"


def test_a_first_run_that_is_refused_ends_the_sweep(monkeypatch):
    started = statuses(monkeypatch, E2=2)
    with pytest.raises(SystemExit) as end:
        train_all(runs_of("E1", "E2", "E3"), finished={"E1"})
    assert end.value.code == 2
    assert started == ["E2"]


def test_a_run_that_was_stopped_by_itself_ends_the_sweep(monkeypatch):
    started = statuses(monkeypatch, E1=0, E2=EXIT_STOPPED)
    with pytest.raises(Stopped, match="in E2; rerun the command"):
        train_all(runs_of("E1", "E2", "E3"), finished=())
    assert started == ["E1", "E2"]


# ---- The table ----


def result(name, accuracies, status="finished", epochs=3, speed=1234.5, settings=(), seed=0):
    history = {key: list(accuracies) for key in ("accuracy", "loss", "val_accuracy", "val_loss")}
    state = State(epoch=len(accuracies), history=history)
    return Result(experiments.find(name), status, epochs, state, speed, settings, seed)


RESULTS = [
    result("E3", [0.5, 0.8, 0.75]),
    result("E4_9", [0.5], "unfinished"),
    result("E4", [], "failed", speed=None),
    result("small", [0.1, 0.2, 0.3]),
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


RATES = [(Setting("learning_rate", value, value),) for value in ("0.001", "0.0003")]
# Of two rates with three seeds each; of the second a seed failed, and one has not begun.
SEEDS = [
    result("E3_8", [0.5, 0.90], epochs=2, settings=RATES[0], seed=0),
    result("E3_8", [0.5, 0.1], "unfinished", epochs=3, settings=RATES[1], seed=0),
    result("E3_8", [0.5, 0.91], epochs=2, settings=RATES[0], seed=1),
    result("E3_8", [0.8, 0.7, 0.6], epochs=3, settings=RATES[1], seed=1, speed=1000.0),
    result("E3_8", [0.5, 0.95], epochs=2, settings=RATES[0], seed=2),
    result("E3_8", [], "failed", epochs=3, settings=RATES[1], seed=2, speed=None),
]


def test_seeds_become_their_mean_and_standard_deviation():
    lines = sweep_table.table(SEEDS, 53).splitlines()
    _, models, model, over, header, first, second, _, *notes = lines
    assert models.split()[:3] == ["name", "widths", "depths"]
    assert model.split()[-3:] == ["1,884,341", "620", "M"]
    assert header.split()[:4] == ["name", "learning_rate", "seeds", "epochs"]
    # 0.90, 0.91 and 0.95: 0.92 and the root of (0.02² + 0.01² + 0.03²) / 2.
    scores = ["0.9200", "±", "0.0265", "0.9200", "±", "0.0265", "1,234", "0.8732", "0.8696"]
    assert first.split() == ["E3_8", "0.001", "3", "2", *scores]
    # One is finished: no deviation, and the other's accuracies do not count.
    scores = ["0.8000", "0.6000", "1,105", "0.8732", "0.8696"]
    assert second.split() == ["E3_8", "0.0003", "1", "of", "3", "3", *scores]
    assert over.split() == ["val.", "accuracy", "the", "study's"]
    assert " ".join(notes[:2]) == (
        "Accuracies are the mean ± the standard deviation (n - 1) of 3 seeds, 0 to 2; only "
        "finished runs count"
    )
    assert notes[2:4] == [
        "failed: E3_8-learning_rate=0.0003-seed=2",
        "unfinished: E3_8-learning_rate=0.0003-seed=0",
    ]


def test_where_no_seed_is_finished_there_is_no_accuracy():
    results = [result("E3_8", [0.5] * n, "unfinished", seed=n) for n in (0, 2)]
    (line,) = [line for line in sweep_table.table(results, 53).splitlines() if " of " in line][:1]
    assert line.split()[1:] == ["0", "of", "2", "0-2/3", "-", "-", "1,234", "0.8732", "0.8696"]


def test_seeds_that_stop_early_say_after_how_many_epochs():
    results = [result("small", [0.5] * n, epochs=9, seed=n) for n in (3, 5)]
    (line,) = [line for line in sweep_table.table(results, 53).splitlines() if "±" in line][:1]
    assert line.split()[:3] == ["small", "2", "3-5"]


def test_tables_of_usual_sweeps_fit_a_screen():
    augment = Setting("augment", "mirror,shift", "mirror+shift")
    for names in (choose("all", []), choose("width20", []), ["E3_8"]):
        results = [
            result(name, [0.5] * 12, epochs=12, speed=12345.6, settings=(*rate, augment), seed=seed)
            for seed in (0, 1)
            for name in names
            for rate in RATES
        ]
        assert max(map(len, sweep_table.table(results, 345).splitlines())) <= 120


def test_a_csv_file_has_a_line_for_each_seed_with_what_varies():
    rows = list(csv.DictReader(io.StringIO(to_csv(SEEDS, 53))))
    assert [(row["learning_rate"], row["seed"]) for row in rows] == [
        ("0.001", "0"), ("0.0003", "0"), ("0.001", "1"),
        ("0.0003", "1"), ("0.001", "2"), ("0.0003", "2"),
    ]  # fmt: skip
    assert [row["final_val_accuracy"] for row in rows] == ["0.9", "0.1", "0.91", "0.6", "0.95", ""]
    # The epochs of a run so far are another thing than --epochs.
    settings = (Setting("epochs", "7", "7"), Setting("augment", "mirror,shift", "mirror+shift"))
    (row,) = csv.DictReader(io.StringIO(to_csv([result("small", [0.5], settings=settings)], 3)))
    assert (row["vary_epochs"], row["epochs"], row["augment"]) == ("7", "1", "mirror,shift")


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
