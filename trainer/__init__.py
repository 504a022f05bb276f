"""Trains and serves classifiers of bitmaps."""

import pipeline  # noqa: F401 - Ctrl-C while a command is importing
