"""A Flink cluster on the loopback."""

import contextlib
import json
import pathlib
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam

from tests.engines.java import LOG, fetch_jar, running_java
from tests.support.worker_pool import free_port

_JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_START_SECONDS = 60
_HOST = "127.0.0.1"
_CONFIGURATION = {
    "jobmanager.rpc.address": _HOST,
    "jobmanager.bind-host": _HOST,
    "rest.address": _HOST,
    "rest.bind-address": _HOST,
    "taskmanager.host": _HOST,
    "taskmanager.bind-host": _HOST,
    "taskmanager.numberOfTaskSlots": 2,
    "cluster.evenly-spread-out-slots": "true",
    # Beam's classes are the cluster's own: with those of a job's jar, workers end with every step.
    "classloader.resolve-order": "parent-first",
    # What Flink's start scripts would work out from the size of the whole process.
    "taskmanager.cpu.cores": 1,
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.task.heap.size": "256m",
    "taskmanager.memory.task.off-heap.size": "0m",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.network.min": "256m",  # 128 MB a slot: each output of a step takes 16
    "taskmanager.memory.network.max": "256m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
    # A task manager that is gone is missed after seconds, not after a minute.
    "heartbeat.interval": 1_000,  # ms
}


def flink_jar() -> pathlib.Path:
    """Beam's job server for Flink with all of Flink 1.19; skips the test where it cannot be had.

    Beam's own jar of it where the registry serves that, else one of the parts, of the last release
    whose parts it serves.
    """
    of_beam = f"org.apache.beam:beam-runners-flink-1.19-job-server:{apache_beam.__version__}"
    parts = "org.apache.beam:beam-runners-flink-1.19:2.62.0"
    return fetch_jar(_JOB_SERVER, [[of_beam], [parts, LOG]])


class FlinkCluster:
    """Running cluster, as a test uses it."""

    def __init__(self, address: str) -> None:
        self.address = address  # for --flink_master
        self.task_managers: list[subprocess.Popen[bytes]] = []

    def ask(self, path: str) -> Any:
        """Answer of the job manager's REST interface; raises OSError where there is none."""
        with urllib.request.urlopen(f"http://{self.address}{path}") as answer:
            return json.load(answer)

    def last_job(self) -> str:
        """Id of the job that was started last."""
        jobs = self.ask("/jobs/overview")["jobs"]
        return str(max(jobs, key=lambda job: job["start-time"])["jid"])

    def subtasks_of(self, job: str) -> list[dict[str, Any]]:
        """Where each part of each step ran, "taskmanager-id", and its "attempt", from 0."""
        vertices = [vertex["id"] for vertex in self.ask(f"/jobs/{job}")["vertices"]]
        answers = [self.ask(f"/jobs/{job}/vertices/{vertex}") for vertex in vertices]
        return [subtask for answer in answers for subtask in answer["subtasks"]]

    def wait_for_task_managers(self) -> None:
        """Returns when all have registered; raises RuntimeError if they do not."""
        deadline = time.monotonic() + _START_SECONDS
        registered = 0
        while registered < len(self.task_managers):
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {registered} task managers have registered")
            time.sleep(0.1)
            with contextlib.suppress(OSError):  # the job manager is starting
                registered = self.ask("/overview")["taskmanagers"]


@contextlib.contextmanager
def flink_cluster(
    directory: pathlib.Path, task_managers: int, configuration: Mapping[str, object] | None = None
) -> Iterator[FlinkCluster]:
    """A job manager and task managers of two slots each, as processes, while the context lasts.

    `configuration` is added to Flink's own; configuration, logs and files go into `directory`.

    Raises:
      RuntimeError: it does not start; the logs in `directory` say why.
    """
    jar = flink_jar()
    cluster = FlinkCluster(f"{_HOST}:{free_port()}")
    settings = {
        **_CONFIGURATION,
        "jobmanager.rpc.port": free_port(),
        "rest.port": cluster.address.rpartition(":")[2],
        "io.tmp.dirs": directory,
        **(configuration or {}),
    }
    lines = [f"{name}: {value}\n" for name, value in settings.items()]
    (directory / "config.yaml").write_text("".join(lines))
    with contextlib.ExitStack() as stack:

        def start(main_class: str, name: str) -> subprocess.Popen[bytes]:
            flags = ("--configDir", str(directory))
            log = directory / f"{name}.log"
            return stack.enter_context(running_java(jar, main_class, *flags, log=log))

        start(_JOB_MANAGER, "job-manager")
        for number in range(task_managers):
            cluster.task_managers.append(start(_TASK_MANAGER, f"task-manager-{number}"))
        cluster.wait_for_task_managers()
        yield cluster
