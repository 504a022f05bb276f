"""Where a job runs: this machine, an engine, Dataflow."""

__all__ = [
    "dataflow",
    "local_runner",
    "progress",
    "remote_runner",
]
