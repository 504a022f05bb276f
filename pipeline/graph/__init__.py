"""Beam graph: read drawings, select them, write shards."""

__all__ = ["exclusion", "progress", "sampling", "settings", "summary", "transforms"]
