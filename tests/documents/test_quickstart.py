"""The notebook runs from top to bottom, on made-up drawings from a server on the loopback."""

import os
import pathlib

import nbclient
import nbformat
import pytest

from pipeline import synthetic
from tests.support.download_server import serving
from tests.support.ndjson import ROOT
from tests.support.warm_process import warm_python

CATEGORIES = [
    "cat",
    "owl",
    "fish",
    "apple",
    "banana",
    "tree",
    "flower",
    "house",
    "bicycle",
    "airplane",
]
# What makes the notebook small, and keeps it on this machine. Each old text has to be in it.
CHANGES = {
    "%pip install": "# %pip install",
    "quickdraw download": "quickdraw download --base_url=$BUCKET",
    "--drawings_per_category=2500": "--drawings_per_category=30",
    "--train_per_category=2000": "--train_per_category=20",
    "--validation_per_category=250": "--validation_per_category=5",
    "--test_per_category=250": "--test_per_category=5",
    "--experiment=small": "--experiment=small --epochs=1",
}


def output_of(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def test_the_notebook_runs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(ROOT / "docs/quickstart.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    for old, new in CHANGES.items():
        assert old in text, f"{old} is not in the notebook"
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)
    script = tmp_path / "bin" / "quickdraw"  # as installing the package makes it, but forked
    script.parent.mkdir()
    program = "from pipeline.cli.scripts import main; main()"
    script.write_text(f"#!/bin/sh\nexec {warm_python()} -c '{program}' \"$@\"\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with serving() as bucket:
        for index, label in enumerate(CATEGORIES):
            made_up = list(synthetic.CATEGORIES)[index]
            lines = [synthetic.drawing_line(made_up, n, seed=index) for n in range(40)]
            content = b"".join(lines).replace(made_up.encode(), label.encode())
            bucket.files[f"full/simplified/{label}.ndjson"] = content
        monkeypatch.setenv("BUCKET", bucket.url)
        client = nbclient.NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
        )
        client.execute()
    printed = "".join(output_of(cell) for cell in notebook.cells if "outputs" in cell)
    assert "Traceback" not in printed
    assert printed.count('"predictions"') == 3
    assert "top-1" in printed
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "drawings.png").is_file()
