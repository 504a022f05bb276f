"""Server of a page to draw on, and of answers to drawings as JSON."""

__all__ = ["application", "guard", "server"]
