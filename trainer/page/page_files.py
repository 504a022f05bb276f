"""Files of the page: `shared` by both kinds, and of the kind that asks a server or the browser."""

import base64
import hashlib
import importlib.resources
import json
import pathlib
from collections.abc import Mapping
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


def static_files(modules: Mapping[str, str]) -> dict[str, bytes]:
    """Read the files of the page that any static host serves, by their names.

    Its start, `index.html`, says itself what it may load, as no server does: files beside it alone.

    Args:
      modules: paths in the page of the modules that its own import by a name.
    """
    files = _read("shared", "browser")
    imports = json.dumps({"imports": {name: f"./{path}" for name, path in modules.items()}})
    digest = base64.b64encode(hashlib.sha256(imports.encode()).digest()).decode()
    # The import map has to stand in the page, and WebAssembly may be compiled; no other code that
    # stands in the page, or in texts, runs.
    policy = (
        f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}'; "
        "style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    before, mark, after = files.pop("page.html").decode().partition('<meta charset="utf-8">\n')
    head = (
        f'    <meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '    <meta name="referrer" content="no-referrer">\n'
        f'    <script type="importmap">{imports}</script>\n'
    )
    return files | {"index.html": f"{before}{mark}{head}{after}".encode()}


def _read(*folders: str) -> dict[str, bytes]:
    """Return the contents of all files in some folders beside this module, by name."""
    room = importlib.resources.files("trainer.page")
    files = [file for folder in folders for file in (room / folder).iterdir()]
    return {file.name: file.read_bytes() for file in files}
