"""Machines: devices, replicas, hosts, signals, and files where TensorFlow can read."""

__all__ = [
    "cluster",
    "devices",
    "hosts",
    "quiet_tensorflow",
    "replicas",
    "signals",
    "storage",
]
