"""Files of the page: `shared` by both kinds, and those of the kind whose model is on a `server`."""

import importlib.resources
import pathlib
from typing import NamedTuple

# By the end of a file's name.
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
# Paths of the two pages; the others have the names of their files.
_PATHS = {"page.html": "/", "api.html": "/api"}


class PageFile(NamedTuple):
    """A file of the page, as a server sends it."""

    path: str  # of its URL
    content: bytes
    media_type: str


def served_files() -> list[PageFile]:
    """Read the files of the page that asks the server."""
    return [
        PageFile(_PATHS.get(name, f"/{name}"), content, _MEDIA_TYPES[pathlib.PurePath(name).suffix])
        for name, content in sorted(_read("shared", "server").items())
    ]


def _read(*folders: str) -> dict[str, bytes]:
    """Return the contents of all files in some folders beside this module, by name."""
    room = importlib.resources.files("trainer.page")
    files = [file for folder in folders for file in (room / folder).iterdir()]
    return {file.name: file.read_bytes() for file in files}
