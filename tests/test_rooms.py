"""Rooms of the packages: who may import whom, and by which door."""

import ast
import importlib
import pathlib
import re
from collections.abc import Iterator

from tests.support.ndjson import ROOT

PACKAGES = ("pipeline", "trainer", "analysis", "benchmarks")
# What each room may import besides itself. The modules at the top of a package are its commands and
# the few that a reader starts with: they may import everything below them.
MAY_IMPORT = {
    "pipeline.cli": "",
    "pipeline.files": "pipeline.cli",
    "pipeline.drawings": "",
    "pipeline.dataset": "pipeline.cli pipeline.files pipeline.drawings",
    "pipeline.rasterize": "pipeline.dataset pipeline.drawings",
    "pipeline.forms": "pipeline.cli pipeline.drawings",
    "pipeline.sources": "pipeline.cli pipeline.files pipeline.drawings pipeline.forms",
    "pipeline.graph": "pipeline.cli pipeline.files pipeline.drawings pipeline.dataset"
    " pipeline.rasterize pipeline.forms pipeline.sources",
    "pipeline.output": "pipeline.cli pipeline.files pipeline.forms pipeline.dataset"
    " pipeline.rasterize pipeline.sources pipeline.graph",
    "pipeline.runners": "pipeline.cli",
    "trainer.hardware": "pipeline.cli",
    "trainer.models": "pipeline.cli pipeline.dataset",
    "trainer.model": "pipeline.dataset trainer.hardware trainer.models",
    "trainer.config": "pipeline.cli pipeline.dataset trainer.models",
    "trainer.runs": "pipeline.cli trainer.config trainer.hardware trainer.models",
    "trainer.inputs": "pipeline.cli pipeline.drawings pipeline.forms",
    "trainer.data": "pipeline.cli pipeline.dataset trainer.hardware",
    "trainer.training": "pipeline.cli pipeline.dataset trainer.config trainer.data trainer.hardware"
    " trainer.model trainer.models trainer.runs",
    "trainer.exports": "pipeline.cli pipeline.dataset pipeline.drawings pipeline.rasterize"
    " trainer.config trainer.hardware trainer.model trainer.models trainer.page trainer.runs"
    " trainer.training",
    "trainer.page": "",
    "trainer.serving": "pipeline.cli pipeline.dataset pipeline.drawings pipeline.rasterize"
    " trainer.exports trainer.inputs trainer.page trainer.predict trainer.training",
    "trainer.sweeps": "pipeline.cli trainer.models trainer.runs",
    "analysis.reading": "pipeline.cli pipeline.dataset pipeline.drawings pipeline.sources"
    " trainer.config trainer.models trainer.runs",
    "analysis.style": "pipeline.cli",
    "analysis.commands": "pipeline.cli analysis.reading analysis.style",
    "analysis.comparison": "pipeline.cli analysis.reading analysis.style"
    " trainer.config trainer.models trainer.runs",
}


def imports(path: pathlib.Path) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(name: str) -> str:
    return ".".join(name.split(".")[:2])


def project_imports() -> Iterator[tuple[str, str]]:
    """Yield the importing module and the full name of what it imports, of our own packages."""
    for package in PACKAGES:
        for path in sorted(ROOT.glob(f"{package}/**/*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for name in imports(path):
                if name.split(".")[0] in PACKAGES:
                    yield module, name


def test_each_room_imports_only_the_rooms_below_it():
    forbidden = [
        f"{module} imports {name}"
        for module, name in project_imports()
        if (room := room_of(module)) in MAY_IMPORT
        and room_of(name) not in {room, *MAY_IMPORT[room].split()}
    ]
    assert not forbidden, "\n".join(forbidden)


def test_others_use_a_room_by_its_door():
    behind = []
    for module, name in project_imports():
        room = room_of(name)
        if "." in room and room_of(module) != room and (ROOT / room.replace(".", "/")).is_dir():
            offered = importlib.import_module(room).__all__
            if name != room and name.split(".")[2] not in offered:
                behind.append(f"{module} imports {name}, which {room} does not offer")
    assert not behind, "\n".join(behind)


def test_no_folder_holds_more_than_about_a_dozen_files():
    counts = {
        str(folder.relative_to(ROOT)): len(list(folder.glob("*.py")))
        for package in (*PACKAGES, "tests")
        for folder in [ROOT / package, *(ROOT / package).glob("**/")]
    }
    assert not {folder: count for folder, count in counts.items() if count > 16}


def test_the_map_names_every_module():
    text = (ROOT / "WORKSPACE.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", text))
    modules = {path.stem for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py")}
    assert not modules - words - {"__init__"}
