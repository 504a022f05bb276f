"""Data of pictures: runs, scores, evaluations, bitmaps, drawings."""

__all__ = ["bitmaps", "drawings", "evaluations", "runs", "scores", "similar_order"]
