"""Page to draw on, of which the model answers on a server or in the browser."""

__all__ = ["page_files"]
