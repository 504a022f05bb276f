"""Pictures and tables of data sets and runs."""

import pipeline  # noqa: F401 - Ctrl-C while a command is importing
