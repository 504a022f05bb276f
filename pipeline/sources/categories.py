"""Categories that names of files and folders tell, of drawings without a word."""

import os
import re
import urllib.parse
from collections import defaultdict
from collections.abc import Collection, Sequence

from pipeline.drawings.label_rule import clean_label

# Extensions, and what browsers and wget add to the name of a second copy: (1), .1
_ENDING = re.compile(
    r"( ?\(\d{1,3}\)|\.(gz|bz2|ndjson|jsonl?|csv|tsv|parquet|bin|txt)(\.\d{1,3})?)$",
    re.IGNORECASE,
)
# Of objects in upstream's bucket, whose slashes become other characters.
_UPSTREAM_PREFIX = re.compile(r"^full[_\-/ ](simplified|raw|binary)[_\-/ ]", re.IGNORECASE)
# Folders that say what is in them, but no category.
_NO_CATEGORY = re.compile(
    r"(full[_-])?(simplified|raw|binary)|train(ing)?|val(id(ation)?)?|test(ing)?|data|drawings"
    r"|[0-9 ().,_-]*",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[0-9 ().,_-]*$")
_ID = re.compile(r"(?=.*\d)[0-9a-f]{6,}(-[0-9a-f]{4,})*", re.IGNORECASE)  # a hash, a UUID


def category_of(path: str) -> str:
    """Return the category in a file's name: without upstream's prefix and the extensions.

    Empty where what is left can be no label.
    """
    name = urllib.parse.unquote(os.path.basename(path))
    while ending := _ENDING.search(name):
        name = name[: ending.start()]
    return _label(_UPSTREAM_PREFIX.sub("", name, count=1))


def file_categories(paths: Sequence[str], labels: Collection[str] | None = None) -> list[str]:
    """Find the category of each file's drawings without a word; empty where none is sure.

    It is the name's. But where files in several folders are called alike, numbers aside, as
    cat/000.ndjson and dog/000.ndjson, it is the folder's, unless that is the name of a kind of
    data, as raw/cat.ndjson and simplified/cat.ndjson. --labels decides where one is a label.

    Args:
      paths: of all files of the input.
      labels: those of --labels.
    """
    labels = labels or ()
    names = [category_of(path) for path in paths]
    folders = [os.path.dirname(path) for path in paths]
    places: defaultdict[str, set[str]] = defaultdict(set)  # by stem, the folders it is in
    for name, folder in zip(names, folders, strict=True):
        places[_stem(name)].add(folder)

    def category(name: str, folder: str) -> str:
        of_folder = _label(os.path.basename(folder))
        if not name or name in labels:
            return name
        if of_folder in labels and len(set(folders)) > 1:
            return of_folder
        if len(places[_stem(name)]) == 1:
            return name
        return "" if _NO_CATEGORY.fullmatch(of_folder) else of_folder

    return [category(name, folder) for name, folder in zip(names, folders, strict=True)]


def _stem(name: str) -> str:
    """Return a name without the number at its end; nothing of one that is a number or an id."""
    return "" if _ID.fullmatch(name) else _NUMBER.sub("", name)


def _label(name: str) -> str:
    try:
        return clean_label(" ".join(name.split()))
    except ValueError:
        return ""
