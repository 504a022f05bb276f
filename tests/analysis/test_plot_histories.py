"""Plot of histories: the right numbers, all told, nothing on top of anything else."""

import dataclasses

import numpy as np
import pytest

from analysis.plot_histories import plot_histories
from analysis.reading.runs import Details, Run, best_epoch, read_details, read_run
from analysis.style import figures
from analysis.style.labels import line_styles, spread
from pipeline.cli import UserError
from tests.support.analysis_data import (
    HISTORY,
    NO_HISTORY,
    check_texts,
    run_command,
    text_boxes,
    write_evaluation,
    write_metrics,
    write_run,
)

DRAWINGS = {"train": 18_000, "validation": 4_800}


def make_runs(count, epochs=12, name="E{}"):
    """Runs like real ones: all curves end close together."""
    rng = np.random.default_rng(0)
    runs = []
    for i in range(count):
        decay = np.exp(-np.arange(epochs) / 2)
        history = {
            "accuracy": (0.92 - (0.6 + 0.1 * rng.random()) * decay).tolist(),
            "val_accuracy": (0.9 + 0.01 * rng.random() - 0.4 * decay).tolist(),
            "loss": (0.3 + (2 + rng.random()) * decay).tolist(),
            "val_loss": (0.4 + 0.02 * rng.random() + 1.5 * decay).tolist(),
        }
        config = {"experiment": name.format(i), "labels": ["a", "b"], "drawings": DRAWINGS}
        runs.append(Run(f"runs/{i}", config, history))
    return runs


def one_run(history=HISTORY, labels=12):
    config = {"experiment": "E3_8", "labels": ["a"] * labels, "drawings": DRAWINGS}
    return Run("r", config, history)


def lines(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_one_run_shows_training_and_validation_of_accuracy_and_loss():
    figure = plot_histories([one_run()])
    accuracy, loss = figure.axes
    label = "accuracy (log scale of 1 − accuracy)"
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epoch", label)
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss (cross-entropy, nats)")
    for axes, keys in ((accuracy, ("accuracy", "val_accuracy")), (loss, ("loss", "val_loss"))):
        for key in keys:
            line = lines(axes)[f"E3_8 {key}"]
            assert line.get_xdata().tolist() == [1, 2, 3, 4]
            assert line.get_ydata().tolist() == HISTORY[key]
            assert (line.get_linestyle() == "-") == key.startswith("val_")
    title = "E3_8 on 12 categories, 18,000 training and 4,800 validation drawings"
    assert title in [text.get_text() for text in figure.texts]


def test_top3_and_the_loss_within_epochs_are_drawn_where_they_are_known(tmp_path):
    run_dir = write_run(tmp_path, labels=["cat", "cake"])
    write_evaluation(run_dir, {"cat": 8, "cake": 4}, examples=10)  # epochs 3 and 4, top-3 0.9
    write_metrics(run_dir, [100.0] * 12)
    run = read_run(run_dir)
    accuracy, loss = plot_histories([run], read_details(run)).axes
    top3 = lines(accuracy)["E3_8 top-3"]
    np.testing.assert_array_equal(top3.get_ydata(), [np.nan, np.nan, 0.9, 0.9])
    (within,) = [line for line in loss.lines if line.get_label() == "_within epochs"]
    assert within.get_xdata().tolist() == pytest.approx([step / 3 for step in range(1, 13)])
    assert within.get_ydata().tolist() == pytest.approx([2 / step for step in range(1, 13)])
    assert loss.get_xlim() == (0, 4)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "epoch", "step": 3, "epoch": 1, "val_top3": 0.8}\n')
    top3 = lines(plot_histories([run], read_details(run)).axes[0])["E3_8 top-3"]
    np.testing.assert_array_equal(top3.get_ydata(), [0.8, np.nan, 0.9, 0.9])
    check_texts(plot_histories([run], read_details(run)))


def test_what_a_run_does_not_hold_is_not_drawn(tmp_path):
    run = read_run(write_run(tmp_path))
    details = read_details(run)
    assert details == Details({}, [])
    assert texts(plot_histories([run], details).axes[1])
    plain = plot_histories([run])
    key = [text.get_text() for text in plot_histories([run], details).legends[0].get_texts()]
    assert key == [text.get_text() for text in plain.legends[0].get_texts()]


def test_halving_the_error_is_the_same_distance_everywhere():
    accuracy, loss = plot_histories([one_run()]).axes
    for axes, values in ((accuracy, (0.2, 0.6, 0.8, 0.9)), (loss, (1.6, 0.8, 0.4, 0.2))):
        heights = axes.transData.transform([(1, value) for value in values])[:, 1]
        np.testing.assert_allclose(np.diff(heights), np.diff(heights)[0])


@pytest.mark.parametrize("ends", [(0.0, 0.999), (0.3, 0.9), (0.9, 0.95), (1.0, 1.0)])
def test_an_axis_of_accuracy_holds_all_values(ends):
    history = {**HISTORY, "accuracy": [*ends, *ends], "val_accuracy": [*ends, *ends]}
    axes = plot_histories([one_run(history)]).axes[0]
    assert axes.get_ylim()[0] < ends[0]
    assert axes.get_ylim()[1] > min(ends[1], 0.9998)  # what is nearer to 1 is drawn at 0.9999


def test_an_axis_has_ticks_however_little_the_values_differ():
    for value in [0.0, *(1 - np.geomspace(1, 1e-5, 60))]:
        history = {"accuracy": [value], "val_accuracy": [value], "loss": [5 * (1 - value)]}
        history["val_loss"] = history["loss"]
        for axes in plot_histories([one_run(history)]).axes:
            low, high = axes.get_ylim()
            assert any(low <= tick <= high for tick in axes.get_yticks()), (value, low, high)


def test_the_best_validation_value_and_its_epoch_are_marked_and_told():
    figure = plot_histories([one_run()])
    for axes, (epoch, value) in zip(figure.axes, ((3, 0.66), (3, 0.83)), strict=True):
        assert texts(axes) == ["E3_8", f"{value:.3f} at epoch {epoch}"]
        (dot,) = [line for line in axes.lines if line.get_label() == "_best"]
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (epoch, value)


def test_of_equal_values_the_first_epoch_is_the_best():
    assert best_epoch([0.1, 0.5, 0.5], "accuracy") == (2, 0.5)
    assert best_epoch([0.5, 0.1, 0.1], "loss") == (2, 0.1)


@pytest.mark.parametrize("count", [1, 3, 7, 8, 20])
@pytest.mark.parametrize("name", ["E{}", "a directory with a long name, number {}"])
def test_no_text_lies_on_another_or_on_a_panel_or_outside(count, name):
    figure = plot_histories(make_runs(count, name=name))
    check_texts(figure)
    boxes = text_boxes(figure)
    assert {"epoch", "Loss" if count <= 7 else "Validation loss", "0.6"} <= {
        text for text, _ in boxes
    }
    for text, box in boxes:
        assert not any(box.overlaps(axes.bbox) for axes in figure.axes), text


def test_curves_differ_in_more_than_their_colours():
    assert len({(style.colour, style.marker) for style in line_styles(28)}) == 28
    first, *_, eighth = line_styles(len(figures.COLOURS) + 1)
    assert first.colour == eighth.colour
    assert first.marker != eighth.marker
    assert first.dashes != eighth.dashes
    assert len({style.marker for style in line_styles(7)}) == 7


def test_many_runs_get_panels_for_training_and_for_validation():
    runs = make_runs(20)
    figure = plot_histories(runs)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == [
        "Validation accuracy",
        "Training accuracy",
        "Validation loss",
        "Training loss",
    ]
    for axes, key in zip(
        figure.axes, ("val_accuracy", "accuracy", "val_loss", "loss"), strict=True
    ):
        assert set(lines(axes)) == {f"E{i} {key}" for i in range(20)}
        assert lines(axes)["E7 " + key].get_ydata().tolist() == runs[7].history[key]


def test_labels_stand_in_the_order_in_which_the_curves_end():
    runs = make_runs(20)
    axes = plot_histories(runs).axes[0]
    names = [text for text in axes.texts if text.get_text().startswith("E")]
    by_height = [text.get_text() for text in sorted(names, key=lambda text: text.get_position()[1])]
    ends = {run.experiment: run.history["val_accuracy"][-1] for run in runs}
    assert by_height == sorted(ends, key=ends.__getitem__)


def test_runs_may_differ_in_length():
    long, short = make_runs(2)
    short = dataclasses.replace(short, history={k: v[:1] for k, v in short.history.items()})
    axes = plot_histories([long, short]).axes[0]
    assert lines(axes)["E0 val_accuracy"].get_xdata().tolist() == list(range(1, 13))
    assert lines(axes)["E1 val_accuracy"].get_xdata().tolist() == [1]
    assert axes.get_xlim() == (1, 12)


def test_a_run_without_an_epoch_is_named_and_the_others_are_drawn():
    begun, waiting = make_runs(2)
    waiting = dataclasses.replace(waiting, history=NO_HISTORY)
    figure = plot_histories([begun, waiting])
    assert set(lines(figure.axes[0])) == {"E0 accuracy", "E0 val_accuracy"}
    assert figure.texts[0].get_text().endswith("; no finished epoch yet: E1")
    with pytest.raises(UserError, match="runs/1: no epoch is finished yet"):
        plot_histories([waiting])


@pytest.mark.parametrize("epochs", [1, 2, 3, 12, 100])
def test_epochs_are_whole_numbers(epochs):
    axes = plot_histories(make_runs(1, epochs)).axes[0]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 1 <= len(ticks) <= 9
    assert all(tick == int(tick) for tick in ticks)


def test_the_title_tells_how_many_drawings_there_were(tmp_path):
    runs = [
        read_run(write_run(tmp_path / str(n), labels=labels, drawings=drawings))
        for n, (labels, drawings) in enumerate(
            [
                (["cat", "car"], {"train": 1500, "validation": 400}),
                (["cat", "car", "sun"], {"train": 2000, "validation": 400}),
            ]
        )
    ]
    assert (
        "2 categories, 1,500 training and 400 validation drawings"
        in plot_histories(runs[:1]).texts[0].get_text()
    )
    assert (
        "2 to 3 categories, 1,500 to 2,000 training and 400 "
        in plot_histories(runs).texts[0].get_text()
    )


def test_spreading_keeps_order_distance_and_bounds_and_moves_nothing_needlessly():
    assert spread([1, 5, 9], 2, 10) == [1, 5, 9]
    assert spread([5, 5, 5], 2, 10) == pytest.approx([3, 5, 7])
    assert spread([0, 0.5, 9], 2, 10) == pytest.approx([0, 2, 9])
    assert spread([10, 10], 2, 10) == pytest.approx([8, 10])
    crowded = spread(sorted(np.random.default_rng(0).random(20) * 10), 0.5, 10)
    assert min(np.diff(crowded)) >= 0.5 - 1e-9
    assert crowded[0] >= 0
    assert crowded[-1] <= 10 + 1e-9


def test_the_command_writes_both_pictures(tmp_path):
    run_dirs = ",".join(write_run(tmp_path / name) for name in ("first", "second"))
    outputs = [tmp_path / "plots" / f"histories.{extension}" for extension in ("png", "svg")]
    result = run_command(
        "analysis.plot_histories", f"--run_dir={run_dirs}", f"--output={outputs[0]},{outputs[1]}"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"wrote {outputs[0]}, {outputs[1]}\n"
    assert all(output.stat().st_size > 10_000 for output in outputs)


def test_a_damaged_run_is_one_line_and_status_2(tmp_path):
    run_dir = write_run(tmp_path / "run")
    (tmp_path / "run" / "history.json").write_text("{}")
    result = run_command("analysis.plot_histories", f"--run_dir={run_dir}", "--output=x.png")
    assert result.returncode == 2
    path = tmp_path / "run" / "history.json"
    assert result.stderr == f"error: {path}: damaged: accuracy is not a list of numbers\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a run directory or --group is needed (--help lists the flags)"),
        (["--reference"], "--reference needs --group"),
        (["--separate"], "--separate needs --group"),
        (["--group=width20"], "--group=width20 needs a run directory or --reference, or both"),
    ],
)
def test_flags_that_give_nothing_to_draw_are_one_line_and_status_2(arguments, message):
    result = run_command("analysis.plot_histories", *arguments, "--output=x.png")
    assert (result.returncode, result.stderr) == (2, f"error: {message}\n")
