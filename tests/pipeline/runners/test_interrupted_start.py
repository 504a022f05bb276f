"""Ctrl-C while a command still imports what it needs is no traceback."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

COMMANDS = {
    "pipeline.main": ["--input=none.ndjson", "--output=none"],
    "trainer.main": ["--dataset=none", "--run_dir=none"],
    "analysis.plot_histories": ["--run_dir=none", "--output=none.png"],
}


def interrupt_after_import(module: str, command: str, *program: str) -> tuple[int, str]:
    """Ctrl-C to a command when it has imported `module`; its status and what it printed then.

    `program`: words that start the command in another way than `-m`.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}  # else it shows nothing at its start
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *(program or ("-m", command)), *COMMANDS[command]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("import time:") and line.split("|")[-1].strip() == module:
            break
    else:
        raise AssertionError(f"{command} does not import {module}")
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    own = [line for line in rest.splitlines() if not line.startswith("import time:")]
    return process.returncode, "\n".join(own)


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("pipeline.main", "pipeline"),
        ("pipeline.main", "absl.flags"),
        ("pipeline.main", "google.protobuf.internal"),
        ("pipeline.main", "numpy.exceptions"),
        ("pipeline.main", "grpc._cython.cygrpc"),
        ("pipeline.main", "apache_beam.coders"),
        ("pipeline.main", "apache_beam"),
        ("pipeline.main", "pipeline.drawings.simplify"),
        ("trainer.main", "trainer"),
        ("trainer.main", "absl.flags"),
        ("analysis.plot_histories", "analysis"),
        ("analysis.plot_histories", "numpy.exceptions"),
        ("analysis.plot_histories", "matplotlib"),
        ("analysis.plot_histories", "matplotlib.font_manager"),
    ],
)
def test_ctrl_c_while_importing_ends_a_command_without_a_word(command: str, module: str) -> None:
    assert interrupt_after_import(module, command) == (-signal.SIGINT, "")


@pytest.mark.parametrize("module", ["pipeline", "runpy", "apache_beam"])
def test_ctrl_c_while_importing_ends_the_console_script_too(
    module: str, tmp_path: pathlib.Path
) -> None:
    script = tmp_path / "quickdraw"
    script.write_text("from pipeline.cli.scripts import main\nmain()\n")
    started = (str(script), "prepare")
    assert interrupt_after_import(module, "pipeline.main", *started) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    "module", ["tensorflow.python.util.custom_nest_protocol", "keras.src.backend", "h5py._hl"]
)
def test_ctrl_c_while_the_trainer_imports_tensorflow_is_one_line(module: str) -> None:
    status, errors = interrupt_after_import(module, "trainer.main")
    assert status in (130, -signal.SIGINT)  # the second where code of a string was being run
    assert errors.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in errors
