"""Paths as flags and arguments, in every command: empty ones, `~`, and names that are not UTF-8."""

import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest
from absl import flags

from pipeline.cli import command, paths
from pipeline.cli.errors import UserError
from pipeline.dataset.manifests import Manifest, read_manifest
from tests.support.analysis_data import write_dataset, write_evaluation, write_run
from tests.support.commands import MODULES, flags_of
from tests.support.ndjson import ROOT, line
from tests.support.warm_process import run_module
from trainer.runs import run_directory
from trainer.runs.run_directory import read_config

KINDS = {"DIR", "FILE", "PATH", "GLOB"}  # in --help
# Texts and lists of texts that are no paths.
NO_PATHS = {
    "augment",
    "base_url",
    "categories",
    "checkpoint_every",
    "clients",
    "drawings",
    "experiment",
    "experiments",
    "formats",
    "host",
    "keep_checkpoints",
    "keep_fields",
    "key_id",
    "memory_drawings",
    "npm_registry",
    "parts",
    "recipes",
    "split",
    "train_per_category",
    "trials",
}


@pytest.fixture(params=MODULES)
def own_flags(request: pytest.FixtureRequest) -> Iterator[list[flags.Flag]]:
    """Flags of one command."""
    with flags_of(request.param) as defined:
        yield defined


def is_list(flag: flags.Flag) -> bool:
    return flag.flag_type().endswith(",…")


def path_flags(own_flags: list[flags.Flag]) -> list[flags.Flag]:
    return [flag for flag in own_flags if flag.flag_type().removesuffix(",…") in KINDS]


def run(
    module: str, *arguments: object, cwd: pathlib.Path = ROOT, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Runs a command with some environment variables."""
    own = {"PYTHONPATH": str(ROOT), **variables}
    return run_module(module, arguments, directory=cwd, variables=os.environ | own)


def error_of(done: "subprocess.CompletedProcess[str]", status: int = 2) -> str:
    """One line of standard error."""
    assert done.returncode == status, done.stderr
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: ")
    return error


def test_every_command_is_looked_at() -> None:
    assert {"pipeline.main", "trainer.main", "trainer.predict", "analysis.report"} <= set(MODULES)
    assert len(MODULES) >= 27


def test_a_flag_that_is_a_text_is_a_path_or_known_to_be_none(own_flags: list[flags.Flag]) -> None:
    texts = {"string", "comma separated list of strings"}
    assert {flag.name for flag in own_flags if flag.flag_type() in texts} <= NO_PATHS
    assert path_flags(own_flags)  # every command has one


def test_every_path_flag_refuses_an_empty_path(own_flags: list[flags.Flag]) -> None:
    for flag in path_flags(own_flags):
        for text in ("", " ", "a,", "a,,b") if is_list(flag) else ("", " "):
            with pytest.raises(ValueError, match="an empty path; is a shell variable unset"):
                flag.parser.parse(text)


def test_every_path_flag_expands_home_directories(
    own_flags: list[flags.Flag], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    root = os.path.expanduser("~root")
    cases = {"~/x": "/home/me/x", "~root/x": f"{root}/x", "gs://b/~": "gs://b/~", "a~": "a~"}
    for flag in path_flags(own_flags):
        for text, path in cases.items():
            assert flag.parser.parse(text) == ([path] if is_list(flag) else path)
            if is_list(flag):
                assert flag.parser.parse(f"a, {text}") == ["a", path]


def test_every_path_flag_refuses_nul_and_unknown_users(own_flags: list[flags.Flag]) -> None:
    for flag in path_flags(own_flags):
        with pytest.raises(ValueError, match="NUL"):
            flag.parser.parse("a\0b")
        with pytest.raises(ValueError, match=r"for a file, write ./~no_such_user/x"):
            flag.parser.parse("~no_such_user/x")


def test_a_path_with_commas_that_exists_is_one_path(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cats, dogs.ndjson").touch()
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "DEFINE", _define_in(values))
    command.define_paths("input", None, "Globs.", kind="GLOB")
    values(["", "--input=~/cats, dogs.ndjson"])
    assert values.input == [f"{tmp_path}/cats, dogs.ndjson"]
    values(["", "--input=~/cats, birds.ndjson"])
    assert values.input == [f"{tmp_path}/cats", "birds.ndjson"]


def _define_in(values: flags.FlagValues) -> object:
    define = flags.DEFINE
    return lambda *args, **options: define(*args, flag_values=values, **options)


def test_arguments_that_are_paths_are_read_like_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert command.expand_arguments(["-", "~/cat.ndjson"]) == ["-", "/home/me/cat.ndjson"]
    with pytest.raises(UserError, match="an empty path"):
        command.expand_arguments(["cat.ndjson", ""])


def test_an_output_that_is_empty_leaves_the_working_directory_as_it_was(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "cat.ndjson").write_text(f"{line()}\n")
    (tmp_path / "labels.txt").write_text("mine\n")
    done = run("pipeline.main", "--input=cat.ndjson", "--output=", cwd=tmp_path)
    assert error_of(done).startswith("error: --output: an empty path; is a shell variable unset?")
    done = run("pipeline.synthetic", "--output=", "--drawings_per_category=1", cwd=tmp_path)
    assert error_of(done).startswith("error: --output: an empty path; is a shell variable unset?")
    assert {path.name for path in tmp_path.iterdir()} == {"cat.ndjson", "labels.txt"}
    assert (tmp_path / "labels.txt").read_text() == "mine\n"


def test_an_output_in_the_home_directory_goes_there(tmp_path: pathlib.Path) -> None:
    home, working_directory = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    working_directory.mkdir()
    drawings = [line(number=number) for number in range(5)]
    (home / "cat.ndjson").write_text("".join(f"{each}\n" for each in drawings))
    done = run(
        "pipeline.main",
        *("--input=~/*.ndjson", "--output=~/data", "--validation_per_category=1"),
        "--direct_num_workers=1",
        cwd=working_directory,
        HOME=str(home),
    )
    assert done.returncode == 0, done.stderr
    assert (home / "data" / "manifest.json").exists()
    assert not list(working_directory.iterdir())


def test_printable_text_is_utf_8_whatever_a_file_is_called() -> None:
    assert paths.printable(os.fsdecode("naïve".encode())) == "naïve"
    assert paths.printable(os.fsdecode(b"a\xff")) == r"a\udcff"


OTHER_BYTES = os.fsdecode(b"\xff")  # in names of files that are not UTF-8


@pytest.fixture
def run_dir(tmp_path: pathlib.Path) -> str:
    """A run, in a directory whose name is not UTF-8, that learned from a data set beside it."""
    data = tmp_path / f"data{OTHER_BYTES}"
    manifest = write_dataset(data, {"cat": 3, "cake": 3, "car": 3})
    path = write_run(
        tmp_path / f"run{OTHER_BYTES}",
        dataset=str(data),
        dataset_fingerprint=manifest.fingerprint,
        drawings={"train": 9, "validation": 3},
    )
    write_evaluation(path, {"cat": 1, "cake": 1, "car": 0}, 1)
    return path


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("folder.png", "a directory; name a file in it"),
        ("new/", "a directory; name a file in it"),
        ("file/a/b.png", "file is not a directory"),
        ("gs://bucket/a.png", "it has to be a file on this machine"),
    ],
)
def test_an_output_that_can_be_no_file_is_refused_before_the_work(
    output: str, reason: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"^--output={output}: .*{reason}$"):
        paths.check_output_file("output", output)
    paths.check_output_file("output", "new/folder/a[1]*?.png")  # which is made when it is written


@pytest.mark.parametrize(
    ("module", "flag"),
    [
        ("analysis.counts", "--dataset=none --output=folder.png"),
        ("analysis.compare", "--run_dir=none --table=folder.md"),
        ("trainer.evaluate", "--run_dir=none --output=folder.json"),
    ],
)
def test_commands_look_at_their_output_first(
    module: str, flag: str, tmp_path: pathlib.Path
) -> None:
    for name in ("folder.png", "folder.md", "folder.json"):
        (tmp_path / name).mkdir()
    assert "a directory; name a file in it" in error_of(run(module, *flag.split(), cwd=tmp_path))


def test_names_that_are_not_utf_8_are_escaped_on_the_screen(tmp_path: pathlib.Path) -> None:
    output = tmp_path / f"drawings{OTHER_BYTES}"
    done = run("pipeline.synthetic", f"--output={output}", "--drawings_per_category=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("drawings\\udcff\n")
    assert len(list(output.iterdir())) == 12


@pytest.mark.parametrize(
    ("module", "flag"),
    [
        ("trainer.main", "run_dir"),
        ("trainer.main", "dataset"),
        ("trainer.main", "init_from"),
        ("trainer.main", "architecture"),
        ("trainer.sweep", "run_dir"),
        ("trainer.evaluate", "dataset"),
        ("trainer.export", "run_dir"),
        ("trainer.predict", "model"),
    ],
)
def test_the_trainer_refuses_names_that_tensorflow_cannot_open(
    module: str, flag: str, tmp_path: pathlib.Path
) -> None:
    error = error_of(run(module, f"--{flag}=x{OTHER_BYTES}", cwd=tmp_path))
    assert f"--{flag}=x\\udcff: not UTF-8; TensorFlow cannot open such names" in error


def test_a_run_in_a_directory_whose_name_is_not_utf_8_is_analysed(
    run_dir: str, tmp_path: pathlib.Path
) -> None:
    other = write_run(tmp_path / "other")
    write_evaluation(other, {"cat": 1, "cake": 1, "car": 0}, 1)
    both = f"--run_dir={run_dir},{other}"
    output = tmp_path / f"out{OTHER_BYTES}"
    for module, *arguments in (
        ("analysis.report", f"--run_dir={run_dir}"),
        ("analysis.plot_histories", both, f"--output={output}/histories{OTHER_BYTES}.png"),
        ("analysis.compare", both, f"--table={output}/runs.md,{output}/runs.csv"),
    ):
        done = run(module, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), module
    assert "run\\udcff" in pathlib.Path(run_dir, "report.html").read_text(encoding="utf-8")
    assert "run\\udcff" in (output / "runs.md").read_text(encoding="utf-8")
    assert (output / f"histories{OTHER_BYTES}.png").exists()


def test_json_gives_back_names_that_are_not_utf_8(run_dir: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.json"
    run_directory.write_json(str(path), {"dataset": run_dir})
    assert json.loads(path.read_text(encoding="utf-8")) == {"dataset": run_dir}

    manifest = read_manifest(read_config(run_dir)["dataset"])
    manifest.inputs.append({"file": run_dir, "bytes": 1})
    text = manifest.to_json()
    assert Manifest.from_json(text.encode().decode()).inputs == manifest.inputs


def test_inputs_whose_folder_is_not_utf_8_are_prepared_with_their_rejects(
    tmp_path: pathlib.Path,
) -> None:
    folder, output = tmp_path / f"in{OTHER_BYTES}", tmp_path / f"out{OTHER_BYTES}"
    folder.mkdir()
    lines = [*(line(number=number) for number in range(20)), "bad"]
    (folder / "cat.ndjson").write_text("".join(f"{each}\n" for each in lines))
    done = run(
        "pipeline.main",
        *(f"--input={folder}/*.ndjson", f"--output={output}", "--max_reject_fraction=0.5"),
        *("--validation_per_category=5", "--train_per_category=5", "--direct_num_workers=1"),
    )
    assert done.returncode == 0, done.stderr
    (file,) = [each["file"] for each in read_manifest(str(output)).inputs]
    assert file == f"{folder}/cat.ndjson"
    (reject,) = (output / "rejects").iterdir()
    assert json.loads(reject.read_text(encoding="utf-8"))["file"] == file


def test_a_worker_that_fails_with_such_a_name_ends_the_run(tmp_path: pathlib.Path) -> None:
    path = tmp_path / f"cat{OTHER_BYTES}.ndjson.gz"
    path.write_bytes(b"\x1f\x8b\x08 cut off")
    done = run(
        "pipeline.main",
        *(f"--input={path}", f"--output={tmp_path}/data", "--direct_num_workers=2"),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"cannot read {tmp_path}/cat\\udcff.ndjson.gz: " in done.stderr.splitlines()[-1]
