"""Numbers computed from scores: uncertainty, similarity of categories."""

__all__ = ["similar_order", "uncertainty"]
