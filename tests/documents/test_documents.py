"""Every command of the documents and the Makefile runs, and prints what the document claims."""

import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from pipeline import synthetic
from pipeline.dataset.manifests import read_labels
from tests.documents.document_commands import COMMANDS, FIRST, Run, RunBy
from tests.documents.documents import (
    ROOT,
    Example,
    difference,
    documents,
    make_targets,
    name_exists,
    read_examples,
    read_names,
)
from tests.support.commands import MODULES, flags_of
from tests.support.download_server import serving
from tests.support.page.litertjs_packages import write_made_up
from tests.support.warm_process import warm_python

CHECKED_OUT = (
    *(
        "analysis",
        "benchmarks",
        "docs",
        "pipeline",
        "tests",
        "trainer",
        "constraints.txt",
        "LICENSE",
    ),
    *("Makefile", "pyproject.toml", "README.md", "setup.py"),
)
FEW = ("circle", "star", "sun")  # the categories in DIR and DRAWINGS
TIMEOUT_SECONDS = 600


def all_examples() -> list[Example]:
    """Each command once, where it comes first; the Makefile's targets at the end."""
    seen: set[str] = set()
    examples = [example for path in documents() for example in read_examples(path)]
    examples += [Example("Makefile", (f"make {target}",)) for target in make_targets()]
    found = []
    for example in examples:
        commands = tuple(command for command in example.commands if command not in seen)
        seen |= set(commands)
        if commands or example.output:
            found.append(example._replace(commands=commands))
    first = [example for name in FIRST for example in found if name in example.commands]
    return [*first, *(example for example in found if example not in first)]


EXAMPLES = all_examples()


class Project(NamedTuple):
    """Project as it is checked out and installed, where nothing was made yet."""

    directory: pathlib.Path
    variables: dict[str, str]

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        with subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.directory,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # what it has started, too
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Links to the project's files, few drawings in DIR and DRAWINGS, and a bucket to download.

    Commands are forked from the warm process; each module's tests run it as it is, too.
    """
    directory = tmp_path_factory.mktemp("documents")
    for name in CHECKED_OUT:
        (directory / name).symlink_to(ROOT / name)
    programs = directory / ".venv" / "bin"
    programs.mkdir(parents=True)
    for path in pathlib.Path(sys.prefix, "bin").iterdir():
        if path.name != "python":
            (programs / path.name).symlink_to(path)
    (programs / "python").symlink_to(warm_python())
    for name in ("installed-demo", "installed"):  # newer than pyproject.toml: make installs nothing
        (programs.parent / name).touch()
    for name in ("DIR", "DRAWINGS"):
        (directory / name).mkdir()
        for category in FEW:
            synthetic.write_category(directory / name, category, 60, seed=1)
    write_made_up(directory / "LITERTJS")
    odd = directory / "some [a] * ?"
    odd.mkdir()
    variables = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ} | {
        "ODD": str(odd),  # a directory whose name looks like a pattern
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",  # as `activate` does
        "PYTHONPATH": str(directory),
        "PYTHON": "false",  # whatever happens, make installs nothing
        "MAKEFLAGS": "s",  # documents do not repeat what make echoes
        "LANG": "C.UTF-8",
        "NO_PROXY": "127.0.0.1",
    }
    with serving() as bucket:
        for index, label in enumerate(read_labels(str(ROOT / "pipeline/labels/study20.txt"))):
            made_up = list(synthetic.CATEGORIES)[index % len(synthetic.CATEGORIES)]
            lines = [synthetic.drawing_line(made_up, n, seed=2 + index) for n in range(40)]
            content = b"".join(lines).replace(made_up.encode(), label.encode())
            bucket.files[f"full/simplified/{label}.ndjson"] = content
        yield Project(directory, variables | {"BUCKET": bucket.url})


def test_every_command_of_the_documents_has_an_entry_and_every_entry_a_command() -> None:
    commands = [command for example in EXAMPLES for command in example.commands]
    assert not [command for command in commands if command not in COMMANDS], (
        "commands of the documents without an entry in COMMANDS of document_commands.py: "
        "add each as it is printed here, with Run() if it can be run as it stands"
    )
    assert not [command for command in COMMANDS if command not in commands], (
        "entries of COMMANDS in document_commands.py that no document shows: remove them"
    )


def test_every_output_in_the_documents_belongs_to_a_command() -> None:
    alone = [example.output[0] for example in EXAMPLES if not example.commands]
    assert not alone, "blocks that follow no command: begin them with ```text, or ```sh"


def test_what_another_test_runs_is_in_its_file() -> None:
    for command, action in COMMANDS.items():
        if isinstance(action, RunBy):
            text = (ROOT / action.file).read_text(encoding="utf-8")
            assert action.marker in text, f"{action.file} does not run {command}"


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_the_modules_and_targets_that_a_document_names_exist(path: pathlib.Path) -> None:
    assert not [name for name in read_names(path) if not name_exists(name)]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_the_paths_that_a_document_names_exist(path: pathlib.Path) -> None:
    folders = "analysis|benchmarks|docs|pipeline|tests|trainer"
    text = path.read_text(encoding="utf-8")
    named = re.findall(rf"(?<![\w/.])(?:{folders})/[\w./-]*", text)
    assert not [name for name in named if not (ROOT / name.rstrip(".")).exists()]


def test_figures_widths_and_repeated_rows_do_not_count_all_else_does() -> None:
    claimed = ["name    MB", "a      1.5", "b      2.5", "", "wrote it in 3 s, 22.6 MB", "…", "end"]
    printed = ["name  MB", "a   12", "b  -1e-5", "wrote it in 1,200 s, 1 kB", "x", "y", "end"]
    assert not difference(claimed, printed, ())
    assert not difference(claimed, [*printed[:4], "end"], ())
    assert not difference(["a 1", "…", "a 9"], ["a 1"], ())
    assert not difference(["of cats 5"], ["of dogs 5", "of dogs 7"], [("cats|dogs", "them")])
    for other in (
        printed[1:],
        [*printed, "more"],
        ["first", *printed],
        [*printed[:2], *printed[3:]],
    ):
        assert difference(claimed, other, ())
    assert "+more" in difference(claimed, [*printed, "more"], ())


def test_commands_and_the_outputs_after_them_are_found(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(
        "`make test`, `make all\nX=1`, `--flag`\n\n```sh\npython -m a \\\n  --b=1  # c\n"
        "ls\n```\n\nprints\n\n```\nout 1\n```\n\n```\nalone\n```\n",
        encoding="utf-8",
    )
    assert read_examples(path) == [
        Example("a.md", ("make all X=1",)),
        Example("a.md", ("python -m a --b=1", "ls"), ("out 1",)),
        Example("a.md", (), ("alone",)),
    ]
    assert read_names(path) == {"make test"}


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_a_commands_docstring_use_flags_that_it_has(module: str) -> None:
    with flags_of(module) as defined:
        names = {flag.name for flag in defined}
    text = (importlib.import_module(module).__doc__ or "").replace("\\\n", " ")
    used = re.findall(r"--(\w+)", " ".join(re.findall(rf"python -m {module}\b(.*)", text)))
    assert set(used) <= names


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(example, id=f"{example.document}: {example.commands[0]}")
        for example in EXAMPLES
        if any(isinstance(COMMANDS.get(command), Run) for command in example.commands)
    ],
)
def test_a_command_runs_and_prints_what_its_document_claims(
    example: Example, project: Project
) -> None:
    """In the order of the documents: later ones work on what earlier ones made."""
    printed: list[str] = []
    replacements: list[tuple[str, str]] = []
    for command in example.commands:
        action = COMMANDS[command]
        if not isinstance(action, Run):
            continue
        shortened = command
        for old, new in action.changes:
            assert old in shortened, f"{old} is not in {command}"
            shortened = shortened.replace(old, new)
        done = project.run(shortened)
        assert done.returncode == action.status, f"{shortened}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        assert not action.status or len(done.stderr.splitlines()) == 1, done.stderr
        # Documents leave out where the project is.
        printed += done.stdout.replace(f"{project.directory}/", "").splitlines()
        replacements += action.replacements
    if example.output:
        assert not (diff := difference(example.output, printed, replacements)), diff
