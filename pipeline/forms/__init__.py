"""Forms of files: a small reader for each, all with one interface; no Beam here."""

__all__ = ["compression", "readers", "recognition", "texts"]
