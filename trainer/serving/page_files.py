"""Files of the page, read once at the start: no request opens a file."""

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
    """A file of the page."""

    path: str  # of its URL
    content: bytes
    media_type: str


def read_page_files() -> list[PageFile]:
    """Read all files in the folder `page`."""
    folder = importlib.resources.files("trainer.serving") / "page"
    return [
        PageFile(
            _PATHS.get(file.name, f"/{file.name}"),
            file.read_bytes(),
            _MEDIA_TYPES[pathlib.PurePath(file.name).suffix],
        )
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
    ]
