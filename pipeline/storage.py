"""Files wherever Beam can read and write: on this machine, on gs:// with the `gcp` extra, …

Google's client has errors of its own; what is called here, and what is done with the files that it
opens, raises one of ERRORS, and `reason` makes one line of it.
"""

import functools
import io
import logging
from typing import BinaryIO, cast

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.errors import UserError
from pipeline.paths import is_remote

try:
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    ERRORS: tuple[type[Exception], ...] = (
        OSError,  # BeamIOError is one
        GoogleAPIError,
        GoogleAuthError,
        DataCorruption,
        InvalidResponse,
    )
except ImportError:  # no gcp extra
    ERRORS = (OSError,)

FETCH_BYTES = 16 << 20  # of gs:// by one request at most, as Beam does
_PAST_END_BYTES = 64 << 10  # fetched beyond a range at first: the rest of its last line

logging.getLogger("apache_beam.io.gcp").setLevel(logging.WARNING)  # it tells of every listing
logging.getLogger("google.auth").setLevel(logging.ERROR)  # no credentials may be all right


def check_path(path: str) -> None:
    """Raises UserError where nothing that is installed can read and write such a path."""
    try:
        FileSystems.get_filesystem(path)
    except ValueError:
        scheme = FileSystems.get_scheme(path)
        need = "pip install '.[gcp]'" if scheme == "gs" else "a file system that Beam knows"
        raise UserError(f"{path}: {scheme}:// needs {need}") from None
    if path.startswith("gs://"):
        if not path.removeprefix("gs://").strip("/"):
            raise UserError(f"{path}: which bucket? gs://BUCKET/…")
        _find_credentials()


def open_file(path: str) -> BinaryIO:
    """A file to read, as it is: nothing is decompressed."""
    check_path(path)
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def open_range(path: str, end: int) -> BinaryIO:
    """A file to read, as it is, of which little past the offset `end` will be wanted.

    On gs:// a read may bring less than it was asked for, though never nothing before the file ends.
    """
    if not path.startswith("gs://"):
        return open_file(path)
    check_path(path)
    from apache_beam.io.gcp.gcsio import GcsIO

    options = FileSystems._pipeline_options  # as FileSystems.open does
    # Without read-ahead of its own: by default any read fetches 16 MiB, twice a range.
    file = GcsIO(pipeline_options=options).open(path, "rb", read_buffer_size=1)
    return cast(BinaryIO, _RangeReader(file, end))


class _RangeReader(io.RawIOBase):
    """Fetches up to `end` and a little more at once; past that, twice as much each time."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self._file = file
        self._end = end
        self._fetched = io.BytesIO()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._fetched = io.BytesIO()
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if data := self._fetched.read(size):
            return data
        wanted = abs(self._end - self._file.tell()) + _PAST_END_BYTES
        self._fetched = io.BytesIO(self._file.read(min(wanted, FETCH_BYTES)))
        return self._fetched.read(size)

    def close(self) -> None:
        self._file.close()
        super().close()


def create_file(path: str) -> BinaryIO:
    """A file to write. On gs:// it appears, whole, when it is closed."""
    check_path(path)
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def read_file(path: str) -> bytes:
    """The content of a file.

    Raises:
      OSError: it cannot be read; FileNotFoundError if there is none.
      UserError: nothing that is installed can read such a path.
    """
    try:
        with open_file(path) as file:
            return file.read()
    except ERRORS as error:
        kind = FileNotFoundError if _http_status(error) == 404 else OSError
        raise kind(0, reason(error), path) from error


def delete_directory(path: str) -> None:
    """Deletes a directory with all that is in it, if it is there."""
    if FileSystems.exists(path):
        FileSystems.delete([path])
    elif is_remote(path):  # object stores have no directories, only names with slashes
        FileSystems.delete([f"{path}/"])


def reason(error: BaseException | int) -> str:
    """Why a file operation failed, as one line."""
    while isinstance(error, BeamIOError) and error.exception_details:
        error = next(iter(error.exception_details.values()))
    status = _http_status(error)
    if status == 404:
        return "no such bucket or file"
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    if status in (401, 403):
        return f"no permission ({text}); `gcloud auth application-default login` gives credentials"
    return text


def _http_status(error: BaseException | int) -> int | None:
    """Of an error of Google's client, or of what Beam keeps of one; None for all others."""
    if isinstance(error, int):
        return error
    return getattr(error, "code", None) or getattr(
        getattr(error, "response", None), "status_code", None
    )


@functools.cache
def _find_credentials() -> None:
    """Goes on without credentials at once where there are none: public data needs none.

    Beam looks for them five times, with 22 seconds of pauses and a traceback each.
    """
    import google.auth
    from apache_beam.internal.gcp import auth

    if FileSystems._pipeline_options is None:
        FileSystems.set_options(PipelineOptions([]))  # else Beam reads the flags of any command
    try:
        google.auth.default()
    except google.auth.exceptions.DefaultCredentialsError:
        auth._Credentials._credentials_init = True  # as after its own search
