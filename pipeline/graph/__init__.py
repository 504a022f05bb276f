"""Beam graph: read drawings, select them, write shards."""

__all__ = [
    "progress",
    "sampling",
    "settings",
    "summary",
    "transforms",
]
