"""Labels, wherever they come from: `word`, names of files, files of --labels."""

import functools
import unicodedata

MAX_BYTES = 255  # of UTF-8; longer ones are no names of categories


@functools.lru_cache(maxsize=1 << 16)
def clean_label(text: str) -> str:
    """Bring a label to Unicode's composed form (NFC), so that equal names are equal labels.

    Raises:
      ValueError: it is empty, longer than MAX_BYTES, or not one line of printable text without
        space around it.
    """
    label = unicodedata.normalize("NFC", text)
    if not label or not label.isprintable() or label != label.strip():
        raise ValueError("not one line of plain text")
    if len(label.encode()) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES} bytes")
    return label
