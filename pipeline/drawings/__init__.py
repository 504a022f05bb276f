"""A line, a row or a record → `Drawing`; raw → simplified; strokes as bytes. No Beam here."""

__all__ = ["binary_record", "drawing", "frame", "label_rule", "reject", "shapes", "strokes"]
