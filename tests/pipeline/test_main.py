"""`python -m pipeline.main` as its user sees it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import pytest

from tests.support.ndjson import line
from tests.support.warm_process import run_module

Writer = Callable[[str, Sequence[str]], str]


def command(*flags: str, limit_bytes: int = -1) -> subprocess.CompletedProcess[str]:
    """Runs it; no file that it writes may become larger than `limit_bytes`."""
    return run_module("pipeline.main", flags, limit_bytes=limit_bytes)


def test_prints_a_table_warnings_and_nothing_else(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    lines = [line("ice cream", n) for n in range(30)] + [line("cat", n) for n in range(50, 90)]
    path = write_lines("all.ndjson", [*lines, lines[0], "bad"])
    done = command(
        f"--input={path}",
        f"--output={tmp_path}/data",
        "--train_per_category=25",
        "--validation_per_category=10",
        "--max_reject_fraction=0.1",
    )
    assert done.returncode == 0
    table, _, rest = done.stdout.partition("\n\n")
    assert [row.split() for row in table.splitlines()] == [
        ["category", "read", "kept", "train", "validation", "test"],
        ["cat", "40", "40", "25", "10", "0"],
        ["ice", "cream", "31", "30", "20", "10", "0"],
        ["total", "71", "70", "45", "20", "0"],
    ]
    assert "1 duplicate drawing dropped" in rest
    assert "1 line rejected: not JSON." in rest
    assert [text for text in done.stderr.splitlines() if " s  read " not in text] == [
        "warning: ice cream: only 30 drawings; train has 20 of 25",
        f"warning: 1 line rejected (1.39%), see {tmp_path}/data/rejects",
    ]


def test_a_few_drawings_of_one_s_own_are_split_by_shares(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(40)])
    flags = [f"--input={path}", f"--output={tmp_path}/data"]
    done = command(*flags)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: no train drawings: ")
    assert "give --validation_share=0.2 instead" in done.stderr
    done = command(*flags, "--validation_share=0.2", "--test_share=0.1")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split() == ["cat", "40", "40", "28", "8", "4"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--input is needed"),
        (["--validation_share=0.2", "--validation_per_category=9"], "say the same; give one"),
        (["--validation_share=0.5", "--test_share=0.5"], "leave nothing to train on"),
        (["--validation_share=1.5"], "--validation_share"),
        (["--input=none-*.ndjson"], "no file matches none-*.ndjson"),
        (["--train_per_categry=7"], "did you mean --train_per_category?"),
        ([f"--train_per_category={10**10}"], "or 'all', not '10000000000'; at most 1,000,000,000"),
        ([f"--train_per_category={'1' * 5000}"], "--train_per_category: a whole number or 'all'"),
        (["--train_per_category=some"], "--train_per_category: a whole number or 'all'"),
        (["--validation_per_category=-1"], "--validation_per_category"),
        (["--labels=/none"], "/none: No such file"),
        (["--direct_num_workers=many"], "--direct_num_workers"),
        (["extra"], "unknown flag or argument extra"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    flags: list[str], message: str, write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line()])
    given = [f"--input={path}", f"--output={tmp_path}/data", *flags] if flags else []
    done = command(*given)
    assert done.returncode == 2
    assert done.stdout == ""
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "data").exists()


def test_an_output_that_cannot_be_written_is_one_line(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line()])
    done = command(f"--input={path}", f"--output={path}/data")
    assert done.returncode == 2
    (error,) = done.stderr.splitlines()
    assert error.startswith(f"error: cannot write to {path}/data: ")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_s_failure_is_one_line_and_status_1(
    workers: int, write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(50)])
    done = command(
        f"--input={path}",
        f"--output={tmp_path}/data",
        f"--direct_num_workers={workers}",
        limit_bytes=4000,  # a shard is larger; stands for a full disk
    )
    assert done.returncode == 1
    *progress, error = done.stderr.splitlines()
    assert all(" s  read " in text for text in progress)  # on a slow machine
    assert error.startswith(f"error: cannot write {tmp_path}/data/_incomplete")
    assert error.endswith(": File too large")
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_ctrl_c_ends_all_processes_without_a_traceback(
    write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(5_000)] * 40)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline.main", "--direct_num_workers=2"),
            *(f"--input={path}", f"--output={tmp_path}/data"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    staging = tmp_path / "data" / "_incomplete"
    while not staging.exists():  # the job starts right after
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1.5)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):  # no process of the group is left
        os.killpg(process.pid, 0)
    assert not (tmp_path / "data" / "manifest.json").exists()


@pytest.mark.parametrize("closed", [[1], [2], [0, 1, 2]])
def test_closed_standard_files_change_nothing(
    closed: list[int], write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    path = write_lines("cat.ndjson", [line("cat", n) for n in range(50)])
    command_line = [sys.executable, "-m", "pipeline.main", f"--input={path}"]
    done = subprocess.run(
        [
            *(*command_line, f"--output={tmp_path}/data", "--direct_num_workers=1"),
            "--validation_share=0.2",
        ],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: [os.close(number) for number in closed],
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert (tmp_path / "data" / "manifest.json").exists()


def test_help_shows_the_flags_by_group_with_choices_and_defaults() -> None:
    done = command("--help")
    assert done.returncode == 0
    head, _, rest = done.stdout.partition("Input and output:\n")
    assert head.startswith("Prepares a data set")
    first, _, second = rest.partition("Which drawings:\n")
    assert "  --image_encoding=packed|png\n      packed: 904 bytes" in first
    assert "Default: 0.01." in first
    assert "--validation_per_category=N\n" in second
    assert "Default: 1000." in second


def test_help_names_every_flag_of_the_design() -> None:
    done = command("--help")
    for flag in [
        "input",
        "output",
        "labels",
        "train_per_category",
        "validation_per_category",
        "test_per_category",
        "recognized_only",
        "max_reject_fraction",
        "overwrite",
    ]:
        assert flag in done.stdout


def test_pipeline_never_imports_tensorflow() -> None:
    code = "import pipeline.main, pipeline.synthetic, sys, json; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)
    assert "apache_beam" in modules
    assert "tensorflow" not in modules


@pytest.mark.parametrize("is_last", [True, False])
def test_a_glob_that_a_shell_has_expanded_is_all_of_its_files(
    is_last: bool, write_lines: Writer, tmp_path: pathlib.Path
) -> None:
    paths = [
        write_lines(f"{word}.ndjson", [line(word, 100 * n + k) for k in range(40)])
        for n, word in enumerate(["cat", "dog", "emu"])
    ]
    others = [f"--output={tmp_path}/data", "--direct_num_workers", "1", "--validation_share=0.2"]
    given = ["--input", *paths]
    done = command(*others, *given) if is_last else command(*given, *others)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert [entry["file"] for entry in manifest["inputs"]] == paths
    done = command(*given, *others, "nowhere.ndjson")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown flag or argument nowhere.ndjson")
