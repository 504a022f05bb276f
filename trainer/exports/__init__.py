"""A writer and a loader for each format of a trained model."""

__all__ = [
    "classifiers",
    "job",
    "litertjs",
    "web_page",
]
