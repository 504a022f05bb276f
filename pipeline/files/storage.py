"""Files wherever Beam can read and write: on this machine, on gs:// with the `gcp` extra, …

Google's client has errors of its own; what is called here, and what is done with the files that it
opens, raises one of ERRORS, and `reason` makes one line of it.
"""

import contextlib
import ctypes
import errno
import functools
import http.client
import io
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any, BinaryIO, TypeVar, cast

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.cli import UserError, is_remote

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

_THREADS = 16  # of operations on many files: most of their time is waiting
_BATCH = 50  # files in a request to an object store
_LIBC = ctypes.CDLL(None, use_errno=True)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
FETCH_BYTES = 16 << 20  # of gs:// by one request at most, as Beam does
_PAST_END_BYTES = 64 << 10  # fetched beyond a range at first: the rest of its last line

logging.getLogger("apache_beam.io.gcp").setLevel(logging.WARNING)  # it tells of every listing
logging.getLogger("google.auth").setLevel(logging.ERROR)  # no credentials may be all right


def check_path(path: str) -> None:
    """Check that an installed file system can read such a path; raises UserError otherwise."""
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
    """Open a file to read, as it is: nothing is decompressed."""
    check_path(path)
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def open_range(path: str, end: int) -> BinaryIO:
    """Open a file to read, as it is, of which little past the offset `end` will be wanted.

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


@contextlib.contextmanager
def create_file(path: str) -> Iterator[BinaryIO]:
    """Open a file to write. On gs:// it appears, whole, when the context ends without an error."""
    check_path(path)
    file = FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)
    try:
        with file:
            yield file
    except BaseException:
        # Google's writer, if it could not be closed, tries again when Python collects it.
        if hasattr(file, "terminate") and not file.closed:
            with contextlib.suppress(*ERRORS):
                file.terminate()
        raise


def write_text(path: str, text: str) -> None:
    """Write a file in UTF-8; bytes of names that are not UTF-8 become escapes."""
    with create_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def errors_as(kind: type[Exception], what: str) -> Iterator[None]:
    """Raise any of ERRORS as an error of this kind: `what`, a colon, and the reason."""
    try:
        yield
    except ERRORS as error:
        raise kind(f"{what}: {reason(error)}") from error


def read_file(path: str) -> bytes:
    """Read a file.

    Raises:
      OSError: it cannot be read; FileNotFoundError if there is none.
      UserError: nothing that is installed can read such a path.
    """
    try:
        with open_file(path) as file:
            return file.read()
    except ERRORS as error:
        kind = FileNotFoundError if is_missing(error) else OSError
        raise kind(0, reason(error), path) from error


def is_pattern(path: str) -> bool:
    """Tell whether Beam reads a path as a pattern."""
    return any(character in path for character in "*?[")


def exists(path: str) -> bool:
    """Tell whether there is a file, or on this machine a directory, of exactly this name."""
    return bool(FileSystems.exists(path))


def list_files(directory: str) -> set[str]:
    """List all files below a directory, by their names relative to it.

    Symbolic links on this machine are files here, whatever they point to. A directory that is
    not there has none.
    """
    if is_remote(directory):
        prefix = directory.rstrip("/") + "/"
        try:
            names = {file.path.removeprefix(prefix) for file in _list(prefix)}
        except ERRORS as error:
            if is_missing(error):
                return set()
            raise
        # An object store may keep an empty folder as a name that ends in a slash.
        return {name for name in names if name and name[-1] != "/"}
    found: set[str] = set()
    for parent, directories, files in os.walk(directory, onerror=_raise_unless_missing):
        links = [name for name in directories if os.path.islink(os.path.join(parent, name))]
        paths = (os.path.join(parent, name) for name in (*files, *links))
        found.update(os.path.relpath(path, directory) for path in paths)
    return found


def rename_files(pairs: Iterable[tuple[str, str]]) -> None:
    """Rename files, (source, target), over those that are there, several at a time.

    Repeatable: where the source is gone and the target there, it is done.

    Raises:
      FileNotFoundError: neither is there.
      one of ERRORS: a file cannot be renamed; others may have been.
    """
    todo = list(pairs)
    if todo and is_remote(todo[0][1]):
        in_parallel(_rename_remote, _requests(todo))
    else:
        in_parallel(_rename_local, todo)


def delete_files(paths: Iterable[str]) -> None:
    """Delete files by their names, which are never patterns; those that are gone are no error."""
    todo = list(paths)
    if todo and is_remote(todo[0]):
        in_parallel(_delete_remote, _requests(todo))
    else:
        in_parallel(_unlink, todo)


def delete_directory(path: str) -> None:
    """Delete a directory with all that is in it, if it is there."""
    if is_remote(path):  # object stores have no directories, only names with slashes
        delete_files([f"{path}/{name}" for name in list_files(path)])
        return
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def delete_empty_directory(path: str) -> None:
    """Delete a directory of this machine if it is there and holds nothing."""
    with contextlib.suppress(OSError):
        os.rmdir(path)


def sync(paths: Iterable[str]) -> None:
    """Wait until the content of files or directories of this machine has reached the disk."""
    in_parallel(_sync, list(paths))


def copy_owner(source: str, target: str) -> None:
    """Give a directory of this machine the permissions of another, and its owner where one may."""
    status = os.stat(source)
    os.chmod(target, status.st_mode & 0o7777)
    with contextlib.suppress(PermissionError):
        os.chown(target, status.st_uid, status.st_gid)


def gcs_blob(path: str) -> Any:
    """Make Google's client's object for a gs:// path, with the credentials that Beam has."""
    check_path(path)
    bucket, _, name = path.removeprefix("gs://").partition("/")
    return _gcs().client.bucket(bucket).blob(name)


def exchange_directories(one: str, other: str) -> None:
    """Give two directories of this machine each other's name, in one step.

    Raises:
      OSError: one is not there, or the system, the file system or a mount does not allow it.
    """
    if not hasattr(_LIBC, "renameat2"):  # glibc before 2.28, musl
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    at_cwd, rename_exchange = -100, 2  # <fcntl.h>, <linux/fs.h>
    if _LIBC.renameat2(
        at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), ctypes.c_uint(rename_exchange)
    ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), other)


def is_missing(error: BaseException) -> bool:
    """Tell whether an operation failed because something is missing."""
    cause = _first_cause(error)
    is_local = isinstance(cause, FileNotFoundError | NotADirectoryError)
    return is_local or _http_status(cause) == 404


def reason(error: BaseException | int) -> str:
    """Return the reason why a file operation failed, as one line."""
    error = _first_cause(error)
    status = _http_status(error)
    if status == 404:
        return "no such bucket or file"
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    if isinstance(error, int):  # all that Beam keeps of an answer
        text = f"{error} {http.client.responses.get(error, '')}".strip()
    if status in (401, 403):
        return f"no permission ({text}); `gcloud auth application-default login` gives credentials"
    return text


def _first_cause(error: BaseException | int) -> BaseException | int:
    """Return the error inside Beam's."""
    while isinstance(error, BeamIOError) and error.exception_details:
        error = next(iter(error.exception_details.values()))
    return error


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


def _gcs() -> Any:
    """Beam's access to gs://, which takes names as they are where its FileSystems read patterns."""
    from apache_beam.io.gcp import gcsio

    return gcsio.GcsIO(pipeline_options=FileSystems._pipeline_options)


def _list(prefix: str) -> Iterable[FileMetadata]:
    """Every file whose name begins with `prefix`, of an object store: no pattern is made of it."""
    return FileSystems.get_filesystem(prefix)._list(prefix)


def _raise_unless_missing(error: OSError) -> None:
    if not is_missing(error):
        raise error


def _requests(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]


def in_parallel(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Return what a function makes of each item; all calls end before an error is raised."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPool(min(_THREADS, len(items))) as pool:
        results = [pool.apply_async(function, (item,)) for item in items]
        pool.close()
        pool.join()
    return [result.get() for result in results]


def _rename_local(pair: tuple[str, str]) -> None:
    source, target = pair
    try:
        os.replace(source, target)
    except FileNotFoundError:
        if os.path.lexists(source) or not os.path.lexists(target):
            raise


def _rename_remote(pairs: Sequence[tuple[str, str]]) -> None:
    failed = []
    with _answered():
        if pairs[0][0].startswith("gs://"):
            statuses = _gcs().copy_batch(list(pairs))
            failed = [(pair, status) for *pair, status in statuses if status]
            copied = {source for source, _ in pairs} - {source for (source, _), _ in failed}
            _delete_remote(sorted(copied))
        else:
            FileSystems.rename([source for source, _ in pairs], [target for _, target in pairs])
    for (_, target), status in failed:
        if status != 404 or not exists(target):  # else an earlier try has renamed it
            raise BeamIOError("Rename operation failed", {target: status})


def _delete_remote(paths: Sequence[str]) -> None:
    if not paths:
        return
    with _answered():
        if not paths[0].startswith("gs://"):
            FileSystems.delete(paths)  # reads patterns, of which remote paths are free
            return
        failed = {path: status for path, status in _gcs().delete_batch(list(paths)) if status}
    if failed:
        raise BeamIOError("Delete operation failed", failed)


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Raise an OSError where Beam stumbles over a batch that Google did not take in two minutes."""
    try:
        yield
    except AttributeError as error:
        raise OSError(0, "the storage does not answer") from error


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
