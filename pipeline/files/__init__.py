"""Files on this machine, on gs:// and in the public bucket: list, read, write, resume."""

__all__ = [
    "bucket",
    "partial_file",
    "storage",
]
