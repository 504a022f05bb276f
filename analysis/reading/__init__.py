"""What pictures are made of: runs, scores, predictions, bitmaps, drawings."""

__all__ = ["bitmaps", "drawings", "evaluations", "predictions", "runs", "scores"]
