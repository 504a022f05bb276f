"""Data of pictures: runs, scores, evaluations, bitmaps, drawings."""

__all__ = [
    "bitmaps",
    "drawings",
    "evaluations",
    "label_errors",
    "runs",
    "scores",
    "similar_order",
    "thresholds",
]
