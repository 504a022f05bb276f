"""Files on this machine and on gs://: list, read, write, rename, delete."""

__all__ = ["storage"]
