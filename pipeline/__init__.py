"""From ndjson drawings to a data set of bitmaps."""

import logging
import os
import signal
import sys
import warnings

# A command of this project (`python -m …`, `quickdraw …`) that is still importing: until cli.run
# takes over, Ctrl-C ends it without a word, not with a traceback of whatever was imported.
_is_command = sys.argv[0] == "-m" or os.path.basename(sys.argv[0]) == "quickdraw"
if _is_command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Beam warns, at its import and through the root logger, that its BigQuery client is not installed.
logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())
# Google's clients warn, a page at each import, that Python 3.10 gets no new versions of theirs.
warnings.filterwarnings("ignore", "You are using a non-supported Python version", FutureWarning)
