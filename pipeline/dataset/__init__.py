"""Data set directory: manifest, records, and the files that other libraries need."""

__all__ = ["manifests", "records", "tfds_metadata"]
