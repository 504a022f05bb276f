"""Commands as a user runs them: output, one-line errors, exit status."""

import json
import subprocess
import sys

import pytest

from tests.support.trainer_data import write_dataset
from tests.support.warm_process import run_module


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory, train=40, validation=12)
    return directory


def run(module, *arguments, **settings):
    return run_module(module, arguments, **settings)


def test_training_and_predicting_as_the_readme_says(data, tmp_path):
    run_dir = tmp_path / "run"
    flags = (f"--dataset={data}", f"--run_dir={run_dir}", "--experiment=small", "--batch_size=20")
    result = run("trainer.main", *flags, "--epochs=1")
    assert (result.returncode, result.stderr) == (0, "")
    assert "small (our own: 64, 128, 192 wide, plain residual blocks)" in result.stdout
    assert "3 classes, 40 training and 12 validation drawings" in result.stdout
    assert "epoch 1/1  step 2/2" in result.stdout
    assert "images/s" in result.stdout
    assert "last epoch 1: top-1" in result.stdout
    assert str(run_dir) in result.stdout.splitlines()[-1]

    drawing = json.dumps(
        {"word": "cat", "key_id": "1", "drawing": [[[0, 200, 200, 0], [0, 100, 0, 0]]]}
    )
    result = run(
        "trainer.predict", f"--run_dir={run_dir}", "--top=2", "-", stdin=drawing + "\nbad\n"
    )
    assert result.returncode == 1
    answer, bad = map(json.loads, result.stdout.splitlines())
    assert (answer["key_id"], answer["word"], len(answer["predictions"])) == ("1", "cat", 2)
    assert bad == {"error": "not JSON"}
    assert result.stderr.splitlines() == [
        "stdin:2: not JSON",
        "error: 1 of the lines could not be classified",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--run_dir=r",), "--dataset is needed"),
        (("--dataset=d",), "--run_dir is needed"),
        (("--dataset=d", "--run_dir=r", "--experiment=E2_9"), "no experiment 'E2_9'; did you mean"),
        (("--dataset=d", "--run_dir=r", "--epochs=0"), "--epochs=0"),
        (("--dataset=d", "--run_dir=r", "--precision=int8"), "--precision=int8"),
        (("--dataset=d", "--run_dir=r", "more"), "'more' is not a flag"),
        (("--dataset=d", "--run_dir=r", "--checkpoint_every=soon"), "steps, or minutes as in 10m"),
        (("--dataset=d", "--run_dir=r", "--augment=shift,blur"), "no blur; there are mirror,"),
        (("--dataset=d", "--run_dir=r", "--epochs=2", "--warmup_epochs=3"), "longer than --epochs"),
        (("--dataset=d", "--run_dir=r", "--label_smoothing=2"), "--label_smoothing=2"),
    ],
)
def test_wrong_flags_are_one_line_and_status_2(flags, message):
    result = run("trainer.main", *flags)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_directory_without_a_data_set_is_one_line_and_status_2(tmp_path):
    result = run("trainer.main", f"--dataset={tmp_path}", f"--run_dir={tmp_path / 'run'}")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert f"{tmp_path}: no complete data set" in line
    assert not (tmp_path / "run").exists()


def test_a_full_disk_ends_a_run_in_one_line(data, tmp_path):
    flags = (f"--dataset={data}", f"--run_dir={tmp_path}/run", "--experiment=small")
    result = run("trainer.main", *flags, "--batch_size=20", limit_bytes=100_000)
    assert result.returncode == 1
    (error,) = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
    assert "cannot be written" in error
    assert "Traceback" not in result.stderr


def test_help_is_there_without_waiting_for_tensorflow():
    code = """
import runpy, sys
sys.modules["tensorflow"] = sys.modules["keras"] = None  # importing them is an error
runpy.run_module("trainer.main", run_name="__main__", alter_sys=True)
"""
    command = [sys.executable, "-c", code, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    for flag in ("dataset", "run_dir", "experiment", "epochs", "batch_size", "precision", "seed"):
        assert f"--{flag}=" in result.stdout


def test_a_summary_needs_neither_data_nor_training():
    result = run("trainer.main", "--experiment=E2_7", "--summary")
    assert (result.returncode, result.stderr) == (0, "")
    (total,) = [line for line in result.stdout.splitlines() if line.startswith("total")]
    assert total.split() == ["total", "7,286,965", "1,811,049,856"]


def test_a_summary_counts_the_classes_of_a_data_set(data):
    result = run("trainer.main", "--experiment=small", "--summary", f"--dataset={data}")
    assert "3 classes" in result.stdout
    with_norm = run("trainer.main", "--experiment=small", "--summary", "--batch_norm")
    assert with_norm.stdout != result.stdout


def test_help_lists_the_flags_in_groups():
    text = run("trainer.main", "--help").stdout
    groups = ["Data and run:", "Model:", "Recipe", "Beyond the study", "Speed:"]
    assert [text.index(group) for group in groups] == sorted(text.index(group) for group in groups)
    assert text.index("Beyond the study") < text.index("--ema_decay=X") < text.index("Speed:")
    assert "Default: 10m." in text


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("trained")
    flags = (f"--dataset={data}", f"--run_dir={run_dir}", "--experiment=small", "--batch_size=20")
    assert run("trainer.main", *flags, "--epochs=1", "--batch_norm").returncode == 0
    return run_dir


def test_evaluating_gives_the_figures_of_training(trained, tmp_path):
    output = tmp_path / "figures.json"
    result = run("trainer.evaluate", f"--run_dir={trained}", "--batch_size=5", f"--output={output}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("validation, 12 drawings, best checkpoint, epoch 1\n")
    evaluated = json.loads(output.read_text())
    kept = json.loads((trained / "evaluation.json").read_text())
    assert evaluated["top1"] == kept["top1"]
    assert evaluated["confusion"] == kept["confusion"]
    assert evaluated["loss"] == pytest.approx(kept["loss"], rel=1e-2)  # bfloat16, other batches
    assert f"top-1 {kept['top1']:.4f}" in result.stdout


def test_the_training_split_can_be_evaluated_and_an_empty_one_is_refused(trained):
    result = run("trainer.evaluate", f"--run_dir={trained}", "--split=train")
    assert result.stdout.startswith("train, 40 drawings")
    result = run("trainer.evaluate", f"--run_dir={trained}", "--split=test")
    assert (result.returncode, result.stdout) == (2, "")
    assert "no drawings in its test split" in result.stderr


def test_a_data_set_of_other_labels_is_refused(trained, tmp_path):
    write_dataset(tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"cake"', '"bird"'))
    result = run("trainer.evaluate", f"--run_dir={trained}", f"--dataset={tmp_path}")
    assert result.returncode == 2
    assert "'bird' are not among the labels of" in result.stderr
