"""The study's figures: its groups, in its order, with its histories and those of runs."""

import pytest

from analysis.comparison.study_histories import PANELS, plot_group
from analysis.reading.runs import Run, read_run
from analysis.style import figures
from pipeline.cli import UserError
from tests.support.analysis_data import HISTORY, NO_HISTORY, check_texts, run_command, write_run
from trainer.models import study

DRAWINGS = {"train": 18_000, "validation": 4_800}


def make_run(name, history=HISTORY):
    config = {"experiment": name, "labels": ["a"] * 12, "drawings": DRAWINGS}
    return Run(f"runs/{name}", config, history)


def curves(axes):
    """By label, without helpers."""
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def key(figure):
    """Texts of the legend."""
    return [text.get_text() for text in figure.texts if ": " in text.get_text()]


@pytest.mark.parametrize("group", study.GROUPS)
@pytest.mark.parametrize("panel", [None, *PANELS])
def test_the_studys_histories_alone_are_its_numbers_in_its_order(group, panel):
    figure = plot_group(group, [], True, panel)
    keys = [panel] if panel else list(PANELS)
    assert [axes.get_title("left") for axes in figure.axes] == [PANELS[each] for each in keys]
    for axes, each in zip(figure.axes, keys, strict=True):
        drawn = curves(axes)
        assert list(drawn) == [f"{name} of the study" for name in study.GROUPS[group]]
        for name in study.GROUPS[group]:
            line = drawn[f"{name} of the study"]
            assert line.get_ydata().tolist() == study.history(name)[each]
            assert line.get_xdata().tolist() == list(range(1, 13))
    named = [text.partition(":")[0] for text in key(figure)][: len(study.GROUPS[group])]
    assert named == list(study.GROUPS[group])
    check_texts(figure)


def test_runs_are_solid_and_the_studys_are_dashed_in_the_same_colours():
    names = study.GROUPS["depth53"]
    figure = plot_group("depth53", [make_run(name) for name in names], True)
    for axes in figure.axes:
        drawn = curves(axes)
        for name in names:
            run, reference = drawn[name], drawn[f"{name} of the study"]
            assert run.get_color() == reference.get_color()
            assert run.get_linestyle() == "-"
            assert reference.get_linestyle() == "--"
        assert len({drawn[name].get_color() for name in names}) == len(names)
        assert len({drawn[name].get_marker() for name in names}) == len(names)
    check_texts(figure)


def test_a_colour_belongs_to_an_experiments_place_whatever_else_is_drawn():
    all_drawn = curves(plot_group("width53", [], True).axes[0])
    one_drawn = curves(plot_group("width53", [make_run("E2_7")], False).axes[0])
    assert list(one_drawn) == ["E2_7"]
    assert one_drawn["E2_7"].get_color() == all_drawn["E2_7 of the study"].get_color()


@pytest.mark.parametrize(("group", "name"), [("width20", "E3"), ("width53", "E2_4")])
def test_the_256_wide_series_is_marked_for_its_stride(group, name):
    figure = plot_group(group, [], True)
    texts = [text.get_text().replace("\n", " ") for text in figure.texts]
    assert f"{name}: 256, 896, 1792*" in texts
    assert "*" in texts
    assert any(text.startswith("stride 2 in the stem's fifth conv") for text in texts)
    markers = {name: line.get_marker() for name, line in curves(figure.axes[0]).items()}
    assert [each for each, marker in markers.items() if marker == "*"] == [f"{name} of the study"]


def test_what_a_legend_says_is_what_the_group_compares():
    assert key(plot_group("depth53", [make_run("E3_9"), make_run("E3_8")], False)) == [
        "E3_8: 1, 2, 1",
        "E3_9: 8, 16, 8",
    ]
    assert "E2_7: unmodified" in key(plot_group("mod53", [], True))


def test_runs_of_other_experiments_and_without_an_epoch_are_left_out():
    waiting = make_run("E3_9", NO_HISTORY)
    figure = plot_group("depth53", [make_run("E1"), waiting, make_run("E3_7")], False)
    assert set(curves(figure.axes[0])) == {"E3_7"}
    with pytest.raises(UserError, match="--group=depth53: no run of the group has"):
        plot_group("depth53", [make_run("E1"), waiting], False)


def test_the_data_of_runs_and_study_are_told():
    figure = plot_group("depth53", [make_run("E3_7")], True)
    texts = [text.get_text() for text in figure.texts]
    assert "runs on 12 categories, 18,000 training and 4,800 validation drawings" in texts
    assert (
        "the study on 53 categories, 106,000 training and 53,000 validation drawings "
        "(standard error of an accuracy: 0.0015)" in texts
    )


@pytest.mark.parametrize("file_format", figures.FORMATS)
def test_the_same_histories_give_the_same_bytes(file_format):
    pictures = {
        figures.render(plot_group("width20", [make_run("E4")], True), file_format) for _ in range(2)
    }
    assert len(pictures) == 1


def test_one_command_writes_the_sixteen_figures(tmp_path):
    result = run_command(
        "analysis.plot_histories",
        "--group=all",
        "--reference",
        "--separate",
        f"--output={tmp_path}/study.pdf",
    )
    assert (result.returncode, result.stderr) == (0, "")
    names = {f"study-{group}-{key}.pdf" for group in study.GROUPS for key in PANELS}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_directory_of_runs_gives_those_of_the_group(tmp_path):
    for name in ("E3_8", "E3_9", "E1"):
        write_run(tmp_path / "sweep" / name, experiment=name)
    write_run(tmp_path / "sweep" / "E2_7", NO_HISTORY, experiment="E2_7")
    assert read_run(str(tmp_path / "sweep" / "E2_7")).epochs == 0
    output = tmp_path / "depth53.svg"
    result = run_command(
        "analysis.plot_histories",
        "--group=depth53",
        f"--run_dir={tmp_path}/sweep",
        f"--output={output}",
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "skipped, not in --group=depth53: E1",
        "skipped, no finished epoch yet: E2_7",
        f"wrote {output}",
    ]
