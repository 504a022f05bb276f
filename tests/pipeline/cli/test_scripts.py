"""`quickdraw WORD …` is `python -m MODULE …`."""

import importlib.util
import subprocess
import sys

import pytest

from pipeline.cli.scripts import MODULES

CODE = "from pipeline.cli.scripts import main; main()"


def quickdraw(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", CODE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", [name for name in MODULES.values() if "…" not in name])
def test_each_word_names_a_module(module: str) -> None:
    assert importlib.util.find_spec(module)


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (("verify", "--help"), "Checks a data set"),
        (("plot", "confusion", "--help"), "Confusion matrix"),
        ((), "usage: quickdraw COMMAND"),
        (("--help",), "usage: quickdraw COMMAND"),
    ],
)
def test_a_command_gets_its_own_arguments(arguments: tuple[str, ...], start: str) -> None:
    done = quickdraw(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.lstrip().startswith(start)


def test_a_commands_exit_status_is_that_of_the_script(tmp_path) -> None:
    done = quickdraw("verify", f"--dataset={tmp_path}")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", ["trian", "plot", "plot nothing", "plot a.b.c", "plot reading"])
def test_an_unknown_command_is_one_line(words: str) -> None:
    done = quickdraw(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"quickdraw: no command {words!r}: see quickdraw --help\n"
