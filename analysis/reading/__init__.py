"""Data of pictures: runs, scores, predictions, bitmaps, drawings."""

__all__ = ["bitmaps", "drawings", "evaluations", "predictions", "runs", "scores"]
