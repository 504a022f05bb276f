"""Input of predictions: files, zip archives, stdin → batches of drawings; no TensorFlow here."""

__all__ = [
    "drawing_files",
    "drawing_lines",
]
