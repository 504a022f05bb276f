"""Workers that have what setup.py asks for and nothing else, of another environment than ours."""

import os
import pathlib
import subprocess
import time

import psutil
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import ExternalEnvironment

from tests.engines.clean_worker import clean_python
from tests.engines.prepare import files_of, running_pipeline
from tests.support.worker_pool import running_worker_pool, workers_of

pytestmark = pytest.mark.engines

_WHERE = """
import importlib.util
for name in ("pipeline", "tensorflow", "keras", "matplotlib", "hypothesis"):
    spec = importlib.util.find_spec(name)
    print(name, spec and spec.origin)
"""


def test_the_base_requirements_are_all_that_is_there(tmp_path: pathlib.Path) -> None:
    python = clean_python()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", _WHERE], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    package, *others = done.stdout.splitlines()
    assert package.startswith(f"pipeline {python.parent.parent}/lib/")
    assert others == [
        f"{name} None" for name in ("tensorflow", "keras", "matplotlib", "hypothesis")
    ]


class TwoWorkersRunner(FnApiRunner):
    """Beam's runner for one machine, with workers of a pool; its job service only asks for one."""

    def __init__(self) -> None:
        super().__init__(ExternalEnvironment(os.environ["WORKER_POOL"]))


def test_two_clean_workers_write_the_data_set_of_a_local_run(
    drawings: pathlib.Path,
    local: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = f"--runner={__name__}.{TwoWorkersRunner.__name__}"
    seen: set[psutil.Process] = set()
    with running_worker_pool(tmp_path, clean_python()) as pool:
        monkeypatch.setenv("WORKER_POOL", pool)
        with running_pipeline(drawings, tmp_path / "data", runner, "--direct_num_workers=2") as run:
            while not run.is_over:
                seen.update(workers_of(pool))
                time.sleep(0.05)
            assert run.wait() == 0, "\n".join(run.stderr())
    assert len(seen) == 2
    assert files_of(tmp_path / "data") == files_of(local)
