"""Command line of pictures: words and flags, one-line errors, files."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.axes import Axes

from analysis import calibration, class_scores, counts, ink, strokes
from analysis.reading.scores import ClassScore
from tests.support.analysis_data import run_command, write_dataset, write_metrics, write_run
from tests.support.commands import MODULES


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("analysis.")])
def test_a_command_imports_all_that_it_needs_and_prints_nothing_meanwhile(module):
    """In a process that has imported nothing before, which the other tests' have."""
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  --" in done.stdout


def test_words_are_the_same_as_the_flag_and_o_as_output(tmp_path):
    for name in ("E3", "E4"):
        write_metrics(write_run(tmp_path / "runs" / name, experiment=name), [1.0, 2.0, 3.0])
    runs = [str(tmp_path / "runs" / name) for name in ("E3", "E4")]
    pictures = []
    for i, arguments in enumerate((runs, [f"--run_dir={','.join(runs)}"], [tmp_path / "runs"])):
        output = tmp_path / f"{i}.png"
        result = run_command("analysis.throughput", *arguments, "-o", output)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == f"wrote {output}\n"
        pictures.append(output.read_bytes())
    assert pictures[0] == pictures[1] == pictures[2]


def test_a_data_set_is_a_word_too(tmp_path):
    write_dataset(tmp_path / "data", {"cat": 3, "car": 2})
    output = tmp_path / "counts.svg"
    result = run_command("analysis.counts", tmp_path / "data", "-o", output)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"wrote {output}\n", "")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("throughput", ["-o", "x.png"], "a run directory is needed (--help lists the flags)"),
        ("throughput", ["nowhere", "-o", "x.png"], "nowhere: no run directory (no config.json)"),
        ("confusion", ["a", "b", "-o", "x.png"], "one run directory is needed, not 2"),
        ("counts", ["data", "--bogus", "-o", "x.png"], "Unknown command line flag 'bogus' (--help"),
        ("counts", ["data", "-o", "x.gif"], "--output=x.gif: the name must end in .png, .svg, "),
        ("counts", ["data"], "--output is needed (--help lists the flags)"),
        ("strokes", ["-o", "x.png"], "a file of drawings is needed (--help lists the flags)"),
        ("summary", [], "one run directory is needed (--help lists the flags)"),
        ("report", [""], "an argument: an empty path; is a shell variable unset?"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(command, arguments, message):
    result = run_command(f"analysis.{command}", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1


def test_plots_draw_into_given_axes_or_into_new_ones():
    score = ClassScore("cat", 10, 8, 0.7, 0.8, 0.75)
    bins = (calibration.Bin(10, 8, 0.7),)
    plots = {
        calibration.reliability_diagram: (calibration.Calibration(bins, 0.8, 0.7, 0.1),),
        class_scores.accuracy_intervals: ([score], 0.8),
        counts.count_marks: ({"train": {"cat": 3}}, ["cat"]),
        ink.percentile_rows: ([np.arange(9)],),
        strokes.bitmap_image: (np.eye(85, dtype=np.uint8),),
    }
    for plot, arguments in plots.items():
        new = plot(*arguments)
        assert isinstance(new, Axes)
        assert plot(*arguments, ax=new) is new
