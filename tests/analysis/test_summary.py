"""Summary of a data set and a run."""

import itertools
import shutil

import pytest

from analysis.style.texts import duration
from analysis.summary import summarize
from pipeline.cli import UserError
from pipeline.dataset.manifests import read_manifest
from tests.support.analysis_data import (
    HISTORY,
    run_command,
    write_dataset,
    write_evaluation,
    write_metrics,
    write_run,
)
from tests.support.report_pages import write_data, write_test_evaluation, write_whole_run
from trainer.runs.uncertainty import chance

COUNTS = {"cat": 30, "The Great Wall of China": 20, "car": 20, "ant": 20, "sun": 10}
CORRECT = {"cat": 9, "The Great Wall of China": 2, "car": 6, "ant": 10, "sun": 5}


@pytest.fixture
def made(tmp_path):
    """A data set and a run of four epochs on it."""
    manifest = write_dataset(tmp_path / "data", COUNTS)
    run_dir = write_run(
        tmp_path / "run",
        labels=list(COUNTS),
        parameters=1_234_567,
        drawings={"train": 100, "validation": 5},
        dataset_fingerprint=manifest.fingerprint,
    )
    write_evaluation(run_dir, CORRECT, examples=10)
    write_metrics(run_dir, [0.5, 1.0, 1.0, 1.0], steps_per_epoch=1)
    return str(tmp_path / "data"), run_dir


def test_it_tells_what_was_made_how_good_it_is_and_where_it_lies(made):
    data, run_dir = made
    assert summarize(run_dir, data).splitlines() == [
        f"data set  {data}",
        "          5 categories, 100 train, 5 validation drawings",
        "          manifest.json lists its content and settings",
        "",
        f"run       {run_dir}",
        "          E3_8, 1,234,567 parameters, 4 epochs in 8 min 20 s of training (1 images/s)",
        "          history.json     accuracy and loss of every epoch",
        "          evaluation.json  scores, per class too, and the confusion matrix",
        "",
        "validation, 50 drawings   top-1   top-3   MAP@3",
        "last epoch, 4             0.640   0.900   0.800",
        "best epoch, 3             0.662   0.900   0.800",
        "chance                    0.200   0.600   0.367",
        "",
        "categories by top-1 of the last epoch",
        "best      ant 1.000, cat 0.900",
        "worst     The Great Wall of China 0.200, sun 0.500",
    ]


def test_a_run_still_going_on_tells_how_far_it_is(made, tmp_path):
    data, _ = made
    fingerprint = read_manifest(data).fingerprint
    history = {key: values[:3] for key, values in HISTORY.items()}
    run_dir = write_run(
        tmp_path / "half", history, list(COUNTS), epochs=12, dataset_fingerprint=fingerprint
    )
    write_evaluation(run_dir, CORRECT, examples=10)
    assert "          E3_8, 1,000,000 parameters, 3 of 12 epochs\n" in summarize(run_dir, data)


def test_a_run_of_more_epochs_than_it_was_last_asked_for_tells_all(made, tmp_path):
    data, _ = made
    fingerprint = read_manifest(data).fingerprint
    run_dir = write_run(
        tmp_path / "more", labels=list(COUNTS), epochs=1, dataset_fingerprint=fingerprint
    )
    write_evaluation(run_dir, CORRECT, examples=10)
    assert "          E3_8, 1,000,000 parameters, 4 epochs\n" in summarize(run_dir, data)


def test_a_run_on_another_data_set_is_refused(made, tmp_path):
    _, run_dir = made
    write_dataset(tmp_path / "other", {"cat": 3, "car": 3})
    with pytest.raises(UserError, match="trained on a different data set than"):
        summarize(run_dir, str(tmp_path / "other"))


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_chance_is_what_a_random_order_of_the_classes_scores(classes):
    orders = list(itertools.permutations(range(classes)))
    ranks = [order.index(0) + 1 for order in orders]
    top1, top3, map3 = chance(classes)
    assert top1 == pytest.approx(sum(rank == 1 for rank in ranks) / len(orders))
    assert top3 == pytest.approx(sum(rank <= 3 for rank in ranks) / len(orders))
    assert map3 == pytest.approx(sum(1 / rank for rank in ranks if rank <= 3) / len(orders))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (11_530, "3 h 12 min"),
    ],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert duration(seconds) == text


def test_the_command_prints_one_screen(made):
    data, run_dir = made
    result = run_command("analysis.summary", f"--dataset={data}", f"--run_dir={run_dir}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == summarize(run_dir, data) + "\n"


def test_a_run_without_an_evaluation_is_one_line_and_status_2(made, tmp_path):
    data, run_dir = made
    (tmp_path / "run" / "evaluation.json").unlink()
    result = run_command("analysis.summary", f"--dataset={data}", f"--run_dir={run_dir}")
    assert result.returncode == 2
    assert result.stderr == (
        f"error: {run_dir}/evaluation.json: missing; it is written when an epoch is finished\n"
    )


def test_the_configuration_of_a_run_is_enough_for_an_evaluation(tmp_path):
    """As where a run was copied without its files."""
    write_data(tmp_path / "data")
    run_dir = write_whole_run(tmp_path / "run", tmp_path / "data")
    path = write_test_evaluation(run_dir, tmp_path / "data", tmp_path / "test.json")
    copied = tmp_path / "copied"
    copied.mkdir()
    shutil.copy(f"{run_dir}/config.json", copied)
    assert "last epoch" not in summarize(str(copied), evaluation=path)
    assert "train, 36 drawings of 4 categories" in summarize(str(copied), evaluation=path)
