"""A Spark cluster on the loopback."""

import contextlib
import json
import pathlib
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam

from tests.engines.java import LOG, fetch_jar, running_java
from tests.support.worker_pool import free_port

_JOB_SERVER = "org.apache.beam.runners.spark.SparkJobServerDriver"
_MASTER = "org.apache.spark.deploy.master.Master"
_WORKER = "org.apache.spark.deploy.worker.Worker"
_START_SECONDS = 60
_HOST = "127.0.0.1"


def spark_jar() -> pathlib.Path:
    """Beam's job server for Spark with all of Spark 3.5; skips the test where it cannot be had.

    Beam's own jar of it where the registry serves that, else one of the parts, of the last release
    whose parts it serves.
    """
    of_beam = f"org.apache.beam:beam-runners-spark-3-job-server:{apache_beam.__version__}"
    parts = "org.apache.beam:beam-runners-spark-3:2.62.0"
    spark = "org.apache.spark:spark-streaming_2.12:3.5.5"
    return fetch_jar(_JOB_SERVER, [[of_beam], [parts, spark, LOG]])


class SparkCluster(NamedTuple):
    """A running cluster."""

    master_url: str  # for --spark_master_url
    workers: list[subprocess.Popen[bytes]]  # each leads a group, with what runs its part of a job


@contextlib.contextmanager
def spark_cluster(directory: pathlib.Path, workers: int) -> Iterator[SparkCluster]:
    """A master and workers of one core each, as processes, while the context lasts.

    Logs and files go into `directory`.

    Raises:
      RuntimeError: it does not start; the logs in `directory` say why.
    """
    jar = spark_jar()
    home = directory / "home"  # where workers look for what their executors run
    (home / "jars").mkdir(parents=True)
    (home / "jars" / jar.name).symlink_to(jar)
    port, status_port = free_port(), free_port()
    master = ("--host", _HOST, "--port", str(port), "--webui-port", str(status_port))
    cluster = SparkCluster(f"spark://{_HOST}:{port}", [])
    installation = {"SPARK_HOME": str(home), "SPARK_SCALA_VERSION": "2.12"}
    with contextlib.ExitStack() as stack:
        log = directory / "master.log"
        stack.enter_context(running_java(jar, _MASTER, *master, log=log))
        for number in range(workers):
            name = f"worker-{number}"
            worker = ("--host", _HOST, "--cores", "1", "--memory", "1g", "--webui-port", "0")
            arguments = (*worker, "--work-dir", str(directory / name), cluster.master_url)
            log = directory / f"{name}.log"
            process = running_java(jar, _WORKER, *arguments, log=log, **installation)
            cluster.workers.append(stack.enter_context(process))
        _wait_for_workers(f"http://{_HOST}:{status_port}/json/", workers)
        yield cluster


def _wait_for_workers(status_url: str, number: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    registered = 0
    while registered < number:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {registered} workers have registered")
        time.sleep(0.1)
        with contextlib.suppress(OSError), urllib.request.urlopen(status_url) as answer:
            registered = json.load(answer)["aliveworkers"]
