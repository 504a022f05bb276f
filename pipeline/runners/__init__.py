"""Runners of a job: this machine, an engine, Dataflow."""

__all__ = ["dataflow", "local_runner", "remote_runner"]
