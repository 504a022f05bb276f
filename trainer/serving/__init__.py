"""The server: a page to draw on, and answers to drawings as JSON."""

__all__ = ["application", "guard", "server"]
