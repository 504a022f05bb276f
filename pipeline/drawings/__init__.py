"""A line or a record → `Drawing`; raw → simplified; strokes as bytes. No Beam here."""

__all__ = [
    "drawing",
    "label_rule",
    "strokes",
]
