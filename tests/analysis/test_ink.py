"""Ink and strokes: the right numbers of the right drawings, in a chart that is legible."""

import json

import numpy as np
import pytest

from analysis import ink
from analysis.reading.drawings import read_drawings
from pipeline.cli import UserError
from pipeline.dataset import manifests, records
from pipeline.rasterize import rasterize
from tests.support.analysis_data import run_command, write_dataset
from tests.support.figure_texts import LABELS, assert_texts_are_apart, text_boxes
from tests.support.ndjson import line

COUNTS = {"cat": 9, "The Great Wall of China": 7, "car": 2}


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def marks(axes):
    """For each row from the top: (5%, 25%, 50%, 75%, 95%), as they are drawn."""
    outer, median = (
        [segment[:, 0].tolist() for segment in lines.get_segments()] for lines in axes.collections
    )
    boxes = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    return [
        (low, left, middle, right, high)
        for (low, high), (left, right), (middle, _) in zip(outer, boxes, median, strict=True)
    ]


def test_the_marks_are_percentiles_of_the_bitmaps_ink(tmp_path):
    manifest = write_dataset(tmp_path, COUNTS)
    shares = {label: [] for label in COUNTS}
    for example in manifests.DataSet(str(tmp_path), manifest).examples("train"):
        bitmap = records.unpack_bitmap(example.image)
        shares[manifest.labels[example.label]].append(100 * bitmap.mean())
    (axes,) = ink.plot_ink(str(tmp_path), "train").axes
    assert sorted(names(axes)) == sorted(COUNTS)
    for label, shown in zip(names(axes), marks(axes), strict=True):
        expected = np.percentile(shares[label], (5, 25, 50, 75, 95))
        np.testing.assert_allclose(shown, expected, rtol=1e-5)
        assert 25 < shown[2] < 35  # of these bitmaps three pixels in ten are ink
    medians = [shown[2] for shown in marks(axes)]
    assert medians == sorted(medians, reverse=True)


def test_strokes_and_points_are_those_of_the_files(write_lines):
    strokes = [[[0, 9, 9], [0, 5, 255]], [[3, 4], [7, 7]], [[255], [1]]]
    lines = [line("cat", 5), line("cat", 6, drawing=strokes), line("ant", 7)]
    path = write_lines("mixed.ndjson", lines)
    statistics = ink.read_statistics(read_drawings([path], warn=pytest.fail))
    drawings = {"cat": [json.loads(text)["drawing"] for text in lines[:2]]}
    drawings["ant"] = [json.loads(lines[2])["drawing"]]
    for label, each in drawings.items():
        inks = [100 * rasterize(drawing).mean() for drawing in each]
        np.testing.assert_allclose(statistics[ink.INK][label], inks, rtol=1e-5)
        assert statistics[ink.STROKES][label].tolist() == [len(drawing) for drawing in each]
        points = [sum(len(x) for x, _ in drawing) for drawing in each]
        assert statistics[ink.POINTS][label].tolist() == points
    assert statistics[ink.POINTS]["cat"].tolist()[1] == 6


def test_more_drawings_than_are_rasterized_at_once_are_all_counted(write_lines, monkeypatch):
    monkeypatch.setattr(ink, "BATCH", 3)
    path = write_lines("cat.ndjson", [line("cat", i) for i in range(8)])
    statistics = ink.read_statistics(read_drawings([path], warn=pytest.fail))
    assert [len(values["cat"]) for values in statistics.values()] == [8, 8, 8]


def test_all_statistics_of_a_drawing_stand_in_its_category_s_row(write_lines):
    path = write_lines("mixed.ndjson", [line("cat", 5), line("ant", 6, drawing=[[[0], [0]]])])
    statistics = ink.read_statistics(read_drawings([path], warn=pytest.fail))
    figure = ink.draw_statistics(statistics, "drawings")
    panels = figure.axes
    assert [axes.get_xlabel() for axes in panels] == [ink.INK, ink.STROKES, ink.POINTS]
    assert names(panels[0]) == ["cat", "ant"]
    assert [marks(axes)[1][2] for axes in panels[1:]] == [1, 1]
    assert [marks(axes)[0][2] for axes in panels[1:]] == [3, 9]
    assert all(axes.get_xlim()[0] == 0 for axes in panels)


@pytest.mark.parametrize("count", [1, 61, 345])
def test_texts_are_apart(count):
    rng = np.random.default_rng(count)
    statistics = {
        label: {name: rng.integers(0, end, 50) for name in LABELS[:count]}
        for label, end in ((ink.INK, 100), (ink.STROKES, 3), (ink.POINTS, 30_000))
    }
    assert_texts_are_apart(ink.draw_statistics(statistics, "drawings"))


def test_n_and_the_order_are_told(tmp_path):
    write_dataset(tmp_path, COUNTS)

    def title(**options):
        return text_boxes(ink.plot_ink(str(tmp_path), "train", **options))[0][0]

    assert title() == "2 to 9 training drawings of each of 3 categories, by median ink"
    assert title(categories=["cat"]) == "9 training drawings of one category, by median ink"
    assert title(per_category=2).startswith("2 training drawings of each of 3 categories")


def test_a_damaged_shard_is_named(tmp_path):
    manifest = write_dataset(tmp_path, COUNTS)
    path = tmp_path / manifest.splits["train"].shards[0].file
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"00000-of-00002: truncated at byte \d+"):
        ink.plot_ink(str(tmp_path), "train")


def test_the_command_tells_what_it_left_out(write_lines, tmp_path):
    path = write_lines("cat.ndjson", [line("cat", 1), "{"])
    output = tmp_path / "ink.svg"
    result = run_command("analysis.ink", f"--input={path}", f"--output={output}")
    assert (result.returncode, result.stdout) == (0, f"wrote {output}\n")
    assert result.stderr.startswith(f"warning: {path}: skipped invalid drawings: 1, the first at")
    assert len(result.stderr.splitlines()) == 1
    assert output.read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "either one data set directory or --input is needed"),
        (("--dataset=a", "--input=b"), "either one data set directory or --input is needed"),
        (("--dataset=nowhere",), "nowhere: no such directory"),
        (
            ("--input=a", "--split=test"),
            "--split and --categories are of a data set, not of --input",
        ),
        (("--input=nowhere.ndjson",), "--input: no file matches nowhere.ndjson"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(flags, message):
    result = run_command("analysis.ink", "--output=x.png", *flags)
    assert (result.returncode, result.stderr) == (2, f"error: {message}\n")


def test_real_drawings_have_the_ink_that_they_look_like(sample):
    files = [f"{sample}/categories345/{label}.ndjson" for label in ("blackberry", "cat", "line")]
    statistics = ink.read_statistics(read_drawings(files, 100, pytest.fail))
    medians = {label: np.median(values) for label, values in statistics[ink.INK].items()}
    assert medians["line"] < 5 < medians["cat"] < 15 < medians["blackberry"] < 40
    assert np.median(statistics[ink.STROKES]["line"]) == 1
