"""LiteRT.js for tests: the real one, and made-up packages with its names and version."""

import functools
import io
import json
import pathlib
import tarfile

import pytest

from pipeline.cli import RunError
from trainer.exports import litertjs

# By package and name in it, what trainer.exports.litertjs takes, and one file that it leaves.
MADE_UP = {
    "core": {
        "package.json": json.dumps({"name": "@litertjs/core", "version": litertjs.VERSION}),
        "dist/index.js": "export const core = 1;",
        "wasm/litert_wasm_internal.js": "first",
        "wasm/litert_wasm_internal.wasm": "second",
        "wasm/litert_wasm_compat_internal.js": "third",
        "wasm/litert_wasm_compat_internal.wasm": "fourth",
        "wasm/litert_wasm_threaded_internal.wasm": "not needed",
    },
    "wasm-utils": {
        "package.json": json.dumps({"name": "@litertjs/wasm-utils", "version": litertjs.VERSION}),
        "dist/index.js": "export const utils = 1;",
    },
}


@functools.cache
def _download() -> "dict[str, bytes] | RunError":
    try:
        return litertjs.download()
    except RunError as error:
        return error


def downloaded() -> dict[str, bytes]:
    """Return LiteRT.js as trainer.export gets it from npm; skip the test where npm is not there."""
    found = _download()
    if isinstance(found, RunError):
        if not str(found).startswith("cannot download"):  # such as another archive
            raise found
        pytest.skip(f"LiteRT.js: {found}")
    return found


def write_made_up(directory: pathlib.Path) -> None:
    """Write the made-up packages as `npm install` does, `directory` being `@litertjs`."""
    for package, files in MADE_UP.items():
        for name, content in files.items():
            path = directory / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")


def made_up_archives() -> dict[str, bytes]:
    """Return the archives of the made-up packages, by their paths in npm's registry."""
    archives = {}
    for package, files in MADE_UP.items():
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"package/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content.encode()))
        archives[f"@litertjs/{package}/-/{package}-{litertjs.VERSION}.tgz"] = target.getvalue()
    return archives
