"""A worker's Python: what the source distribution installs with its base requirements, no more."""

import functools
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

from tests.engines.java import DOWNLOADS
from tests.support.ndjson import ROOT


@functools.cache
def clean_python() -> pathlib.Path:
    """Interpreter of a new environment; skips the test where PyPI does not answer.

    Raises:
      CalledProcessError: the source distribution cannot be built or installed.
    """
    environment = DOWNLOADS / "clean_worker"
    shutil.rmtree(environment, ignore_errors=True)
    _run(sys.executable, "-m", "venv", environment)
    pip = (environment / "bin" / "pip", "--quiet", "--disable-pip-version-check")
    with tempfile.TemporaryDirectory(dir=environment) as directory:
        try:  # something small that the build needs anyhow
            _run(*pip, "download", "--no-deps", f"--dest={directory}", "setuptools")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"a clean worker: PyPI: {error.stderr.strip().splitlines()[-1]}")
        # As Beam makes the package for --setup_file, but nothing is left behind in the checkout.
        sdist = ("egg_info", f"--egg-base={directory}", "sdist", f"--dist-dir={directory}")
        _run(sys.executable, "setup.py", "--quiet", *sdist)
        (package,) = pathlib.Path(directory).glob("inceptionresnet*.tar.gz")
        _run(*pip, "install", "--constraint=constraints.txt", package)
    return environment / "bin" / "python"


def _run(*command: str | pathlib.Path) -> None:
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
