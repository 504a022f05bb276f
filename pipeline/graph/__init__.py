"""The Beam graph: read drawings, select them, write shards."""

__all__ = [
    "sampling",
    "settings",
    "summary",
    "transforms",
]
