"""Throughput over a run: every interval where it belongs, any number of runs."""

import pytest

from analysis.reading.runs import read_run
from analysis.style import figures
from analysis.throughput import plot_throughput
from pipeline.cli import UserError
from tests.support.analysis_data import (
    NO_HISTORY,
    check_texts,
    run_command,
    write_metrics,
    write_run,
)

SPEEDS = [100.0, 200.0, 150.0, 150.0]  # of four steps, three of them an epoch


def make_run(directory, speeds=SPEEDS, **config):
    run_dir = write_run(directory, NO_HISTORY, **config)
    write_metrics(run_dir, speeds)
    return read_run(run_dir)


def stairs(axes):
    """(values, edges) of what is drawn: single intervals, then epochs."""
    return [
        tuple(part.tolist() for part in patch.get_data()[:2])
        for patch in axes.patches
    ]  # fmt: skip


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_intervals_and_epochs_stand_at_their_place_in_the_run(tmp_path):
    speed, wait, rate = plot_throughput([make_run(tmp_path)]).axes
    (values, edges), (means, epoch_edges) = stairs(speed)
    assert values == SPEEDS
    assert edges == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3])
    assert means == pytest.approx([3 / (1 / 100 + 1 / 200 + 1 / 150)])
    assert epoch_edges == [0, 1]
    assert stairs(wait)[0][0] == pytest.approx([0.01, 0.02, 0.03, 0.04])
    (line,) = rate.lines
    assert line.get_ydata().tolist() == [1e-3, 1e-3, 1e-3, 1e-3, 5e-4]
    labels = [axes.get_ylabel() for axes in (speed, wait, rate)]
    assert labels == ["images/s", "input wait\n(% of time)", "learning rate"]
    assert rate.get_xlabel() == "epoch"
    assert texts(speed) == ["E3_8", "mean 138 images/s"]


def test_a_run_in_its_first_epoch_shows_its_intervals(tmp_path):
    speed, *_ = plot_throughput([make_run(tmp_path, SPEEDS[:2])]).axes
    assert [values for values, _ in stairs(speed)] == [SPEEDS[:2]]
    assert texts(speed) == ["E3_8", "mean 150 images/s"]


def test_a_run_that_was_taken_up_later_begins_where_its_metrics_do(tmp_path):
    run = make_run(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[4:]))
    speed, *_ = plot_throughput([run]).axes
    assert stairs(speed) == [([150.0], [1, pytest.approx(4 / 3)])]


def test_runs_may_differ_in_length_and_one_without_metrics_is_left_out(tmp_path):
    waiting = read_run(write_run(tmp_path / "waiting", experiment="E1"))
    runs = [
        make_run(tmp_path / "long", SPEEDS * 3, experiment="E4"),
        waiting,
        make_run(tmp_path / "short", experiment="E7"),
    ]
    speed, _, rate = plot_throughput(runs).axes
    assert rate.get_xlim() == (0, 4)
    assert set(texts(speed)) == {"E4", "E7", "mean 141 images/s", "mean 138 images/s"}
    with pytest.raises(UserError, match=r"waiting: no step of training in metrics\.jsonl yet"):
        plot_throughput([waiting])


def test_very_different_speeds_get_a_logarithmic_axis(tmp_path):
    slow = make_run(tmp_path / "slow")
    fast = make_run(tmp_path / "fast", [100 * speed for speed in SPEEDS])
    assert plot_throughput([slow]).axes[0].get_yscale() == "linear"
    assert plot_throughput([slow]).axes[0].get_ylim()[0] == 0
    assert plot_throughput([slow, fast]).axes[0].get_yscale() == "log"


@pytest.mark.parametrize("count", [1, 7, 8, 20])
@pytest.mark.parametrize("spread", [1.0, 1.3])
def test_no_text_lies_on_another(tmp_path, count, spread):
    runs = [
        make_run(
            tmp_path / f"a directory with a long name, number {i}",
            [speed * spread**i for speed in SPEEDS],
        )
        for i in range(count)
    ]
    check_texts(plot_throughput(runs))


def test_a_learning_rate_that_never_changes_has_no_panel(tmp_path):
    constant = make_run(tmp_path / "constant", SPEEDS[:3])  # one epoch
    speed, wait = plot_throughput([constant]).axes
    assert (speed.get_xlabel(), wait.get_xlabel()) == ("", "epoch")
    check_texts(plot_throughput([constant]))
    other = make_run(tmp_path / "other")
    assert len(plot_throughput([constant, other]).axes) == 3


def test_the_same_metrics_give_the_same_bytes(tmp_path):
    run = make_run(tmp_path)
    assert len({figures.render(plot_throughput([run]), "svg") for _ in range(2)}) == 1


def test_the_command_takes_a_directory_of_runs(tmp_path):
    for name in ("E3", "E4"):
        make_run(tmp_path / "sweep" / name, experiment=name)
    output = tmp_path / "throughput.png"
    result = run_command("analysis.throughput", f"--run_dir={tmp_path}/sweep", f"--output={output}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"wrote {output}\n"
    assert output.stat().st_size > 5_000


def test_damaged_metrics_are_one_line_and_status_2(tmp_path):
    write_run(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"kind": "step"}\n')
    result = run_command("analysis.throughput", f"--run_dir={tmp_path}", "--output=x.png")
    path = tmp_path / "metrics.jsonl"
    assert result.returncode == 2
    assert result.stderr == f"error: {path}: damaged: 'epoch' is missing\n"
