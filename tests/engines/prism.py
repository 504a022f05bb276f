"""Prism, Beam's portable runner in Go: what newer Beam starts for a plain `DirectRunner`."""

import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

import apache_beam
import pytest

from tests.engines.java import DOWNLOADS

_MODULE = "github.com/apache/beam/sdks/v2/go/cmd/prism"


@functools.cache
def prism_binary() -> pathlib.Path:
    """Prism of the installed Beam's version, built once; skips the test where it cannot be had."""
    version = f"v{apache_beam.__version__}"
    binary = DOWNLOADS / f"prism-{version}"
    if binary.exists():
        return binary
    if not shutil.which("go"):
        pytest.skip("Prism: needs go to build it")
    DOWNLOADS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DOWNLOADS) as directory:
        done = subprocess.run(
            ["go", "install", f"{_MODULE}@{version}"],
            cwd=directory,
            env={
                **os.environ,
                "GOBIN": directory,
                "GOPATH": f"{directory}/path",  # all sources go with it
                "GOFLAGS": "-modcacherw",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"Prism: {done.stderr.strip().splitlines()[-1]}")
        os.rename(f"{directory}/prism", binary)
    return binary
