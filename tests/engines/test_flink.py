"""The real command on a Flink cluster: the same data set, also when a task manager is killed."""

import pathlib
from collections.abc import Iterator

import pytest

from tests.engines.clean_worker import clean_python
from tests.engines.flink import FlinkCluster, flink_cluster, flink_jar
from tests.engines.prepare import files_of, prepare, running_pipeline
from tests.engines.worker import worker_flags
from tests.support.worker_pool import running_worker_pool

pytestmark = pytest.mark.engines

_RESTARTS = {
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": 10,  # some meet the one that is not yet missed
    "restart-strategy.fixed-delay.delay": "2 s",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """Two task managers; what fails is not tried again, which is what Flink does unless told."""
    with flink_cluster(tmp_path_factory.mktemp("flink"), task_managers=2) as running:
        yield running


def flink_flags(cluster: FlinkCluster) -> list[str]:
    return [
        "--runner=FlinkRunner",
        f"--flink_master={cluster.address}",
        f"--flink_job_server_jar={flink_jar()}",
        "--parallelism=2",
        "--environment_cache_millis=60000",
    ]


def test_two_task_managers_write_the_data_set_of_a_local_run(
    cluster: FlinkCluster, drawings: pathlib.Path, local: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    prepare(
        drawings, tmp_path / "data", *flink_flags(cluster), *worker_flags(tmp_path, clean_python())
    )
    assert files_of(tmp_path / "data") == files_of(local)
    hosts = {task["taskmanager-id"] for task in cluster.subtasks_of(cluster.last_job())}
    assert len(hosts) == 2


def test_a_killed_task_manager_fails_the_run_in_one_line_and_the_next_run_is_as_if_nothing_was(
    cluster: FlinkCluster, drawings: pathlib.Path, local: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "data"
    flags = flink_flags(cluster)
    with running_pipeline(drawings, output, *flags, *worker_flags(tmp_path, clean_python())) as run:
        run.wait_for_shards()
        cluster.task_managers[0].kill()
        assert run.wait() == 1
    lines = run.stderr()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert not any(line.startswith("Traceback") for line in lines)
    assert files_of(output) == {}
    # One task manager is left: its workers may come from a worker pool.
    with running_worker_pool(tmp_path, clean_python()) as pool:
        external = ("--environment_type=EXTERNAL", f"--environment_config={pool}")
        prepare(drawings, output, *flags, *external)
    assert files_of(output) == files_of(local)


def test_where_flink_tries_again_a_killed_task_manager_leaves_no_trace_in_the_data_set(
    drawings: pathlib.Path, local: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "data"
    directory = tmp_path / "flink"
    directory.mkdir()
    with (
        flink_cluster(directory, task_managers=2, configuration=_RESTARTS) as cluster,
        running_pipeline(
            drawings, output, *flink_flags(cluster), *worker_flags(tmp_path, clean_python())
        ) as run,
    ):
        run.wait_for_shards()
        cluster.task_managers[0].kill()
        assert run.wait() == 0, "\n".join(run.stderr())
        assert max(task["attempt"] for task in cluster.subtasks_of(cluster.last_job())) > 0
    assert files_of(output) == files_of(local)
