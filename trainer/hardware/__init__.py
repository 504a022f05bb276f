"""Devices, replicas, hosts, signals."""

__all__ = [
    "cluster",
    "devices",
    "hosts",
    "quiet_tensorflow",
    "replicas",
    "signals",
]
