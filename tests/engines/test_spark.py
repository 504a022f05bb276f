"""The real command on Spark: the data set of a local run."""

import os
import pathlib
import signal

import pytest

from tests.engines.clean_worker import clean_python
from tests.engines.prepare import files_of, prepare, running_pipeline
from tests.engines.spark import spark_cluster, spark_jar
from tests.engines.worker import worker_flags
from tests.support.worker_pool import running_worker_pool

pytestmark = pytest.mark.engines


def spark_flags(master: str) -> list[str]:
    return [
        "--runner=SparkRunner",
        f"--spark_master_url={master}",
        f"--spark_job_server_jar={spark_jar()}",
        "--environment_cache_millis=60000",
    ]


def test_spark_in_the_job_server_writes_the_data_set_of_a_local_run(
    drawings: pathlib.Path, local: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    flags = spark_flags("local[2]")
    with running_worker_pool(tmp_path, clean_python()) as pool:
        external = ("--environment_type=EXTERNAL", f"--environment_config={pool}")
        prepare(drawings, tmp_path / "data", *flags, *external)
    assert files_of(tmp_path / "data") == files_of(local)


def test_two_spark_workers_of_which_one_is_killed_write_the_data_set_of_a_local_run(
    drawings: pathlib.Path, local: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "data"
    with spark_cluster(tmp_path, workers=2) as cluster:
        flags = (
            *spark_flags(cluster.master_url),
            "--job_server_jvm_property=-Dspark.driver.host=127.0.0.1",
            *worker_flags(tmp_path, clean_python()),
        )
        with running_pipeline(drawings, output, *flags) as run:
            run.wait_for_shards()
            assert len(list(tmp_path.glob("worker-*/app-*"))) == 2  # each has begun its part
            os.killpg(cluster.workers[0].pid, signal.SIGKILL)
            assert run.wait() == 0, "\n".join(run.stderr())
    assert files_of(output) == files_of(local)
