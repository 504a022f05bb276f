"""Shards → batches of packed bitmaps; augmentation; checks of the data set."""

__all__ = [
    "augmentation",
    "input_pipeline",
    "verified_data",
]
