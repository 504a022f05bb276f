"""Drawings of the engines' tests, and the data set that they must become."""

import pathlib

import pytest

from benchmarks import pipeline
from pipeline import synthetic
from tests.engines.prepare import prepare

_DRAWINGS = 30_000  # seconds of work for two workers


@pytest.fixture(scope="session")
def drawings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A directory of 30,000 drawings in 12 categories: real ones if there are any, repeated."""
    try:
        source = request.getfixturevalue("sample") / "categories12"
    except pytest.skip.Exception:
        source = tmp_path_factory.mktemp("synthetic")
        synthetic.write_drawings(source, count=250, seed=0)
    directory = tmp_path_factory.mktemp("drawings")
    pipeline.repeat_drawings([f"{source}/*.ndjson"], str(directory), _DRAWINGS)
    return directory


@pytest.fixture(scope="session")
def local(drawings: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Data set of a local run."""
    output = tmp_path_factory.mktemp("local") / "data"
    prepare(drawings, output)
    return output
