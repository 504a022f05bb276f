"""Input: globs → files → work items → drawings; the public bucket and its downloads."""

__all__ = ["bucket", "categories", "input_files", "partial_file"]
