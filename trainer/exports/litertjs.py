"""LiteRT.js, which runs TensorFlow Lite models in a browser: from npm's registry, or a directory.

It is two packages, @litertjs/core and @litertjs/wasm-utils, at the version that the page to draw on
was tested with. Their archives come with a SHA-512 that is compared before anything is unpacked.
"""

import base64
import hashlib
import io
import json
import os
import tarfile
from typing import NamedTuple

import requests

from pipeline.cli import RunError, UserError

VERSION = "2.5.3"
REGISTRY = "https://registry.npmjs.org"
# What the page imports by a name → where that lies in the page.
MODULES = {
    "@litertjs/core": "litertjs/core/dist/index.js",
    "@litertjs/wasm-utils": "litertjs/wasm-utils/dist/index.js",
}
_TIMEOUT_SECONDS = (10, 60)  # to connect; without a byte of the answer
_MAX_BYTES = 100 << 20  # of an archive; the larger one has 12 MB
_PIECE_BYTES = 1 << 16
_LOCAL = "--litertjs=DIR takes it from this machine"


class _Package(NamedTuple):
    """A package of npm, and what the page takes from it."""

    name: str  # after @litertjs/
    integrity: str  # of its archive: SHA-512 in base64, as npm has it
    files: tuple[str, ...]


_PACKAGES = (
    _Package(
        "core",
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        (
            "package.json",  # names version, licence and source
            "dist/index.js",
            # The second is for browsers without relaxed SIMD.
            *(
                f"wasm/litert_wasm_{kind}internal.{end}"
                for kind in ("", "compat_")
                for end in ("js", "wasm")
            ),
        ),
    ),
    _Package(
        "wasm-utils",
        "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        ("package.json", "dist/index.js"),
    ),
)


def download(registry: str = REGISTRY) -> dict[str, bytes]:
    """Download the packages.

    Args:
      registry: URL of npm's registry, or of a mirror.

    Returns:
      The content of each file, by its path in the page.

    Raises:
      RunError: the registry does not answer, or sends another archive than npm has.
    """
    files = {}
    for package in _PACKAGES:
        url = f"{registry}/@litertjs/{package.name}/-/{package.name}-{VERSION}.tgz"
        archive = _get(url)
        digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
        if digest != package.integrity:
            raise RunError(
                f"{url}: its SHA-512 is not the one of LiteRT.js {VERSION}; nothing of it is used"
            )
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            for name in package.files:
                member = members.extractfile(f"package/{name}")
                assert member, name  # the archive is the known one
                files[f"litertjs/{package.name}/{name}"] = member.read()
    return files


def _get(url: str) -> bytes:
    content = bytearray()
    try:
        with requests.get(url, stream=True, timeout=_TIMEOUT_SECONDS) as response:
            if response.status_code != 200:
                answer = f"the server answers {response.status_code} {response.reason}"
                raise RunError(f"cannot download {url}: {answer}; {_LOCAL}")
            for piece in response.iter_content(_PIECE_BYTES):
                content += piece
                if len(content) > _MAX_BYTES:
                    raise RunError(f"{url}: longer than {_MAX_BYTES >> 20} MiB; {_LOCAL}")
    except requests.RequestException as error:
        raise RunError(f"cannot download {url}: {_first_cause(error)}; {_LOCAL}") from None
    return bytes(content)


def _first_cause(error: BaseException) -> str:
    """Return a failure in the operating system's words: libraries wrap it several times."""
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return str(getattr(error, "strerror", None) or error)


def read(directory: str) -> dict[str, bytes]:
    """Read the packages from a directory `@litertjs`, as `npm install` makes it in node_modules.

    Returns:
      As `download`.

    Raises:
      UserError: a file is missing, or it is another version.
    """
    files = {}
    for package in _PACKAGES:
        for name in package.files:
            path = os.path.join(directory, package.name, *name.split("/"))
            try:
                with open(path, "rb") as file:
                    files[f"litertjs/{package.name}/{name}"] = file.read()
            except OSError as error:
                raise UserError(
                    f"--litertjs: {path}: {error.strerror}; `npm install @litertjs/core@{VERSION}` "
                    "makes node_modules/@litertjs"
                ) from None
        _check_version(files[f"litertjs/{package.name}/package.json"], directory, package.name)
    return files


def _check_version(description: bytes, directory: str, name: str) -> None:
    try:
        version = json.loads(description)["version"]
    except (ValueError, LookupError, TypeError):
        version = None
    if version != VERSION:
        raise UserError(
            f"--litertjs: {directory}/{name} is version {version}, the page needs {VERSION}"
        )
