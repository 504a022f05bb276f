"""What trainer.evaluate found, shown by the commands of analysis: the right split and labels."""

import json
import os
import pathlib
import re
import shutil
from typing import Any

import numpy as np
import pytest
from absl import flags

from analysis import calibration, class_scores, confused_pairs, confusion, mistakes, report, summary
from analysis.reading.evaluations import read_saved, validation_of
from analysis.reading.runs import read_run
from analysis.style import figures
from pipeline.cli import UserError
from pipeline.dataset import manifests, records
from tests.support.analysis_data import check_texts, image_bitmaps, run_command
from tests.support.stopped_training import make_config
from tests.support.trainer_data import write_dataset
from trainer import train
from trainer.runs import evaluation_files
from trainer.training.evaluation import evaluate_run

SOME = ("car", "cat")  # of the labels, in another order
COMMANDS = (confusion, class_scores, calibration, mistakes, confused_pairs)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory with a data set, a run on it that is often wrong, and evaluations of its test
    split: of all labels, and of SOME with mirror images."""
    root = tmp_path_factory.mktemp("made")
    write_dataset(root / "data", train=50, validation=23, test=31)
    config = make_config(root / "data", root / "run", epochs=1, learning_rate=1e-3)
    train.train(config)
    for name, settings in (("test", {}), ("some", {"labels": SOME, "mirror": True})):
        found = evaluate_run(config.run_dir, config.dataset, "test", "best", 8, **settings)
        evaluation_files.write(str(root / f"{name}.json"), *found)
    return root


@pytest.fixture
def copied(made, tmp_path):
    """A copy of both evaluations, whose data set and run stay where they are."""
    for path in (*made.glob("*.json"), *made.glob("*.npz")):
        shutil.copy(path, tmp_path)
    return tmp_path


def run_main(module: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """Runs a command's `main` with flags; the figure that it would have written, if any."""
    written = []
    monkeypatch.setattr(figures, "write", lambda figure, paths: written.append(figure))
    before = set(flags.FLAGS)
    command = getattr(module, "COMMAND", module)
    command.define_flags()
    try:
        command.main(flags.FLAGS(["command", *arguments]))
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
    return written[0] if written else None


def show(module, monkeypatch, *arguments):
    figure = run_main(module, monkeypatch, *arguments, "--output=x.png")
    check_texts(figure)
    return figure


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    return " | ".join(found + [text.get_text() for axes in figure.axes for text in axes.texts])


def drawings(figure):
    return image_bitmaps(figure.axes[0].images)


def read_split(directory, split):
    """(label, bitmap) of every drawing of a split."""
    manifest = manifests.read_manifest(str(directory))
    return [
        (manifest.labels[example.label], records.unpack_bitmap(example.image))
        for example in manifests.DataSet(str(directory), manifest).examples(split)
    ]


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__)
def test_every_picture_says_which_split_it_shows(made, monkeypatch, module):
    saved = show(module, monkeypatch, f"--evaluation={made}/test.json")
    own = show(module, monkeypatch, f"--run_dir={made}/run")
    assert "31 test drawings of 3 categories" in texts(saved)
    assert "validation" not in texts(saved)
    assert "23 validation drawings of 3 categories" in texts(own)
    some = show(module, monkeypatch, f"--evaluation={made}/some.json")
    assert "21 test drawings (mean with mirror images) of 2 categories" in texts(some)


@pytest.mark.parametrize("name", ["test", "some"])
def test_the_matrix_and_the_scores_are_those_of_the_file(made, monkeypatch, name):
    path = f"--evaluation={made}/{name}.json"
    found = evaluation_files.read(f"{made}/{name}.json")
    axes = show(confusion, monkeypatch, path, "--order=label").axes[0]
    counts = np.array(found["confusion"])
    np.testing.assert_allclose(axes.images[0].get_array(), counts / counts.sum(axis=1)[:, None])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == found["labels"]
    figure = show(calibration, monkeypatch, path)
    assert f"accuracy {found['top1']:.3f}, mean confidence" in texts(figure)
    figure = show(class_scores, monkeypatch, path)
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    keys = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert f"accuracy of all, {found['top1']:.3f}" in keys


@pytest.mark.parametrize("name", ["test", "some"])
def test_the_drawings_are_those_of_the_split_and_its_labels(made, monkeypatch, name):
    evaluation = read_saved(f"{made}/{name}.json")
    predictions = evaluation.read_predictions()
    split = [each for each in read_split(made / "data", "test") if each[0] in evaluation.labels]
    assert [evaluation.labels[i] for i in predictions.arrays.labels] == [each[0] for each in split]
    lines = [*mistakes.worst_mistakes(predictions, 5), *mistakes.least_certain(predictions, 5)]
    figure = show(mistakes, monkeypatch, f"--evaluation={made}/{name}.json", "--count=5")
    for line, shown in zip(lines, drawings(figure), strict=True):
        np.testing.assert_array_equal(shown, split[line][1])
    of_split = {bitmap.tobytes() for _, bitmap in split}
    pairs = drawings(show(confused_pairs, monkeypatch, f"--evaluation={made}/{name}.json"))
    assert pairs
    assert {bitmap.tobytes() for bitmap in pairs} <= of_split
    own = drawings(show(mistakes, monkeypatch, f"--run_dir={made}/run", "--count=5"))
    assert not {bitmap.tobytes() for bitmap in own} & of_split


def test_the_summary_shows_the_evaluation(made, monkeypatch, capsys):
    directories = (f"--dataset={made}/data", f"--run_dir={made}/run")
    run_main(summary, monkeypatch, *directories, f"--evaluation={made}/some.json")
    text = capsys.readouterr().out
    found = evaluation_files.read(f"{made}/some.json")
    assert "test, 21 drawings of 2 categories, mean with mirror images   top-1" in text
    assert re.search(rf"best checkpoint, epoch 1 +{found['top1']:.3f} +{found['top3']:.3f}", text)
    assert re.search(r"chance +0\.500 +1\.000 +0\.750", text)
    assert "categories by top-1 of the test drawings" in text
    assert "last epoch" not in text


@pytest.mark.parametrize("name", ["test", "some"])
def test_the_report_shows_the_evaluation(made, monkeypatch, tmp_path, capsys, name):
    path, page = f"{made}/{name}.json", tmp_path / "report.html"
    run_dir = f"--run_dir={made}/run"
    run_main(report, monkeypatch, run_dir, f"--evaluation={path}", f"--output={page}")
    assert "missing" not in capsys.readouterr().out
    found = evaluation_files.read(path)
    html = page.read_text(encoding="utf-8")
    assert f"{found['examples']} test drawings" in html
    assert "Top-1, test" in html
    assert f">{found['top1']:.3f}<" in html
    assert "mistakes on test drawings" in html
    assert "share of test drawings" in html
    assert (">chance, 2 categories<" in html) == (name == "some")
    assert f"Confusion matrix of {len(found['labels'])} categories" in html
    run_main(report, monkeypatch, run_dir, f"--output={page}")
    own = page.read_text(encoding="utf-8")
    assert "mistakes on validation drawings" in own
    assert "test drawings" not in own


def test_a_data_set_that_was_moved_is_found_and_another_one_refused(made, copied, monkeypatch):
    evaluation = f"--evaluation={copied}/test.json"
    first = drawings(show(mistakes, monkeypatch, evaluation))
    shutil.copytree(made / "data", copied / "moved")
    write_dataset(copied / "other", train=50, validation=23, test=31, seed=1)
    change(copied / "test.json", dataset="nowhere")
    moved = drawings(show(mistakes, monkeypatch, evaluation, f"--dataset={copied}/moved"))
    for before, after in zip(first, moved, strict=True):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(UserError, match=r"test\.json: of a different data set than .*/other$"):
        show(mistakes, monkeypatch, evaluation, f"--dataset={copied}/other")


def test_a_data_set_of_labels_in_another_order_is_shown_by_name(made, tmp_path):
    write_dataset(tmp_path / "data", test=31, labels=("car", "cat", "cake"))
    found = evaluate_run(f"{made}/run", f"{tmp_path}/data", "test", "best", 8)
    evaluation_files.write(f"{tmp_path}/test.json", *found)
    evaluation = read_saved(f"{tmp_path}/test.json")
    predictions = evaluation.read_predictions()
    figure = mistakes.plot_mistakes(evaluation, evaluation.dataset, count=5)
    lines = [*mistakes.worst_mistakes(predictions, 5), *mistakes.least_certain(predictions, 5)]
    split = read_split(tmp_path / "data", "test")
    for line, shown in zip(lines, drawings(figure), strict=True):
        np.testing.assert_array_equal(shown, split[line][1])
        assert evaluation.labels[predictions.arrays.labels[line]] == split[line][0]


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_predictions_of_another_evaluation_are_refused(copied):
    os.replace(copied / "some.predictions.npz", copied / "test.predictions.npz")
    with pytest.raises(UserError, match=r"test\.predictions\.npz: damaged, or not of .*test\.json"):
        read_saved(f"{copied}/test.json").read_predictions()


def test_predictions_of_another_checkpoint_are_refused(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run")
    (path,) = (tmp_path / "run" / "checkpoints").glob("*.predictions.npz")
    with np.load(path) as arrays:
        columns = dict(arrays)
    columns["top_labels"] = np.roll(columns["top_labels"], 1, axis=1)
    np.savez(path, **columns)
    with pytest.raises(UserError, match=r"npz: does not fit the scores, which count different"):
        validation_of(read_run(f"{tmp_path}/run")).read_predictions()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "another"}, r"not written by this version's trainer\.evaluate --output"),
        ({"split": "all"}, "damaged: 'all' is not one of train, validation, test"),
        ({"run": []}, "damaged: run is not a dict"),
        ({"run": {}}, "damaged: no experiment in it"),
        ({"labels": ["car", "cat", "cake"]}, "damaged: per_class does not match the labels"),
        ({"examples": 5}, "damaged: the confusion matrix has a different number of examples"),
        ({"mirror": None}, "damaged: mirror is not a bool"),
        ({"loss": None}, "damaged: a score is not a number"),
    ],
)
def test_a_damaged_evaluation_is_named(copied, fields, message):
    change(copied / "test.json", **fields)
    with pytest.raises(UserError, match=f"^{copied}/test.json: {message}"):
        read_saved(f"{copied}/test.json")


def test_an_evaluation_of_another_run_is_refused(made, copied, monkeypatch, tmp_path):
    path = copied / "test.json"
    change(path, run=json.loads(path.read_text())["run"] | {"seed": 6})
    page = f"--output={tmp_path}/page.html"
    for module, other in ((summary, f"--dataset={made}/data"), (report, page)):
        with pytest.raises(
            UserError, match=r"belongs to a different run than .*/run, .* differs in seed$"
        ):
            run_main(module, monkeypatch, f"--run_dir={made}/run", other, f"--evaluation={path}")


BOTH = ("--run_dir={made}/run", "--evaluation={made}/test.json")


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("confusion", (), "either a run directory or --evaluation is needed"),
        ("confusion", BOTH, "either a run directory or --evaluation is needed"),
        ("mistakes", (BOTH[1], "--checkpoint=best"), "--checkpoint cannot be combined with --eval"),
        ("report", (*BOTH, "--checkpoint=last"), "--checkpoint cannot be combined with --eval"),
        ("report", ("--run_dir={made}/runs", BOTH[1]), "needs one run, not 2"),
        (
            "confusion",
            ("--evaluation={made}/run/evaluation.json",),
            "not written by this version's",
        ),
        ("confusion", ("--evaluation={made}/none.json",), "none.json: No such file or directory"),
    ],
)
def test_wrong_flags_are_one_line_and_status_2(made, module, arguments, message):
    for name in ("a", "b"):
        shutil.copytree(made / "run", made / "runs" / name, dirs_exist_ok=True)
    output = f"--output={made}/x.{'html' if module == 'report' else 'png'}"
    given = [argument.format(made=made) for argument in arguments]
    done = run_command(f"analysis.{module}", *given, output)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not pathlib.Path(made, "x.png").exists()
