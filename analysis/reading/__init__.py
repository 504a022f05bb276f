"""What pictures are made of: runs, predictions, bitmaps, drawings."""

__all__ = [
    "bitmaps",
    "drawings",
    "evaluations",
    "predictions",
    "runs",
]
