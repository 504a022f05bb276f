"""The real command on Prism, in its own process, with workers of ours and with clean ones."""

import pathlib
import signal

import psutil
import pytest

from tests.engines.clean_worker import clean_python
from tests.engines.prepare import files_of, prepare, running_pipeline
from tests.engines.prism import prism_binary
from tests.support.worker_pool import running_worker_pool, workers_of

pytestmark = pytest.mark.engines


def prism_flags(*environment: str) -> list[str]:
    return ["--runner=PrismRunner", f"--prism_location={prism_binary()}", *environment]


def external(pool: str) -> list[str]:
    return prism_flags("--environment_type=EXTERNAL", f"--environment_config={pool}")


def processes_with(argument: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if argument in (p.info["cmdline"] or [])]


def test_workers_in_this_process_write_the_data_set_of_a_local_run(
    drawings: pathlib.Path, local: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    lines = prepare(drawings, tmp_path / "data", *prism_flags("--environment_type=LOOPBACK"))
    assert any("running job-001[job]" in line for line in lines)
    assert files_of(tmp_path / "data") == files_of(local)


def test_a_clean_worker_writes_the_data_set_of_a_local_run(
    drawings: pathlib.Path, local: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with running_worker_pool(tmp_path, clean_python()) as pool:
        prepare(drawings, tmp_path / "data", *external(pool))
    assert files_of(tmp_path / "data") == files_of(local)


def test_a_killed_worker_fails_the_run_in_one_line_and_the_next_run_is_as_if_nothing_was(
    drawings: pathlib.Path, local: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "data"
    with running_worker_pool(tmp_path, clean_python()) as pool:
        with running_pipeline(drawings, output, *external(pool)) as run:
            run.wait_for_shards()
            (worker,) = workers_of(pool)
            worker.kill()
            assert run.wait() == 1
        *log, last = run.stderr()
        assert last.startswith("error: the job on PrismRunner failed: ")
        assert len(last) < 300  # whatever Prism says, "SDK worker disconnected" or how it panicked
        assert not [line for line in log if line.startswith(("error: ", "Traceback"))]
        assert files_of(output) == {}
        prepare(drawings, output, *external(pool))
    assert files_of(output) == files_of(local)


def test_a_worker_pool_that_is_not_there_fails_the_run_in_one_line(
    drawings: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with running_pipeline(drawings, tmp_path / "data", *external("localhost:1")) as run:
        assert run.wait() == 1
    # Prism ends, just before it is asked for the state of the job or a moment later.
    said = ("no answer from the job service of PrismRunner: ", "lost sight of the job on Prism")
    assert run.stderr()[-1].startswith(tuple(f"error: {text}" for text in said))
    assert not [line for line in run.stderr() if line.startswith("Traceback")]
    assert files_of(tmp_path / "data") == {}


def test_ctrl_c_ends_the_job_and_prism(drawings: pathlib.Path, tmp_path: pathlib.Path) -> None:
    output = tmp_path / "data"
    with running_pipeline(drawings, output, *prism_flags("--environment_type=LOOPBACK")) as run:
        run.wait_for_shards()
        assert processes_with(str(prism_binary()))
        (command,) = processes_with(f"--output={output}")
        command.send_signal(signal.SIGINT)
        assert run.wait() == 130
        assert "error: interrupted" in run.stderr()
        assert any(line.endswith("the job was told to stop") for line in run.stderr())
        assert not processes_with(str(prism_binary()))
    assert files_of(output) == {}
