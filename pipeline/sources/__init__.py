"""Input files: globs → files → byte ranges → lines or records, each once."""

__all__ = [
    "input_files",
]
