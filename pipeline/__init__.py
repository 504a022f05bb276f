"""From ndjson drawings to a data set of bitmaps."""

import logging

# Beam warns, at its import and through the root logger, that its BigQuery client is not installed.
logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())
