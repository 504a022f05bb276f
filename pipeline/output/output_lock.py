"""Lock of an output directory: one run at a time.

On this machine a lock of the kernel, which ends with the process. On gs:// an object that only one
can make; its holder renews it, so that one whose holder is gone shows: its process on this machine
has ended, or it was not renewed for ten minutes. Other remote storage has no lock.
"""

import contextlib
import datetime
import fcntl
import json
import os
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from pipeline.cli import UserError, is_remote
from pipeline.files import storage
from pipeline.output.staging import LOCK

_RENEW_SECONDS = 60
_LEASE = datetime.timedelta(minutes=10)


def locked(output: str) -> contextlib.AbstractContextManager[None]:
    """Hold the lock of an output directory, which is made if it is not there.

    Raises:
      UserError: another run holds it, or the directory cannot be written.
    """
    if output.startswith("gs://"):
        return _locked_on_gcs(output)
    return contextlib.nullcontext() if is_remote(output) else _locked_here(output)


def _refusal(output: str, holder: str) -> UserError:
    return UserError(f"{output}: another run is writing there ({holder or 'it has just begun'})")


def _holder() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


@contextlib.contextmanager
def _locked_here(output: str) -> Iterator[None]:
    path = os.path.join(output, LOCK)
    try:
        descriptor = _take(path, output)
    except OSError as error:
        raise UserError(f"cannot write to {output}: {error.strerror}") from None
    try:
        yield
    finally:
        # The directory may have traded places with another one, whose lock is not ours.
        if _is_at(descriptor, path):
            os.unlink(path)
            storage.delete_empty_directory(os.path.dirname(path))
        os.close(descriptor)


def _take(path: str, output: str) -> int:
    """Open and lock the file; raises OSError or, where another process has it, UserError."""
    while True:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # another run has just ended and deleted its empty directory
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace")
            os.close(descriptor)
            raise _refusal(output, holder) from None
        except OSError as error:
            text = f"{output} cannot be locked ({error.strerror}); no other run may write there"
            print(f"warning: {text}", file=sys.stderr)
        if _is_at(descriptor, path):  # else its run has ended, and deleted it, in between
            os.ftruncate(descriptor, 0)
            os.write(descriptor, _holder().encode())
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


@contextlib.contextmanager
def _locked_on_gcs(output: str) -> Iterator[None]:
    path = f"{output}/{LOCK}"
    own = {"holder": _holder(), "boot": _boot(), "pid": os.getpid(), "id": uuid.uuid4().hex}
    content = json.dumps(own)
    with storage.errors_as(UserError, f"cannot write to {output}"):
        _take_object(path, content, output)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_RENEW_SECONDS):
            with contextlib.suppress(*storage.ERRORS):  # the next time, then
                blob, text = _find(path)
                if text == content:
                    blob.upload_from_string(content, if_generation_match=blob.generation)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(*storage.ERRORS):
            blob, text = _find(path)
            if text == content:
                blob.delete(if_generation_match=blob.generation)


def _take_object(path: str, content: str, output: str) -> None:
    from google.api_core.exceptions import NotFound, PreconditionFailed

    for _ in range(3):  # once more after another run has ended or been faster in between
        blob, text = _find(path)
        if text == content:  # made by a request whose answer was lost, and which was repeated
            return
        if text:
            if not _is_stale(text, blob.updated):
                raise _refusal(output, _field(text, "holder"))
            with contextlib.suppress(NotFound, PreconditionFailed):
                blob.delete(if_generation_match=blob.generation)
        with contextlib.suppress(PreconditionFailed):
            blob.upload_from_string(content, if_generation_match=0)
            return
    raise _refusal(output, "")


def _find(path: str) -> tuple[Any, str]:
    """Google's client's object for the lock, as it is now, and its content, "" if there is none."""
    from google.api_core.exceptions import NotFound

    blob = storage.gcs_blob(path)
    try:
        blob.reload()
        same = blob.bucket.blob(blob.name, generation=blob.generation)  # a download changes it
        return blob, same.download_as_bytes().decode(errors="replace")
    except NotFound:
        return storage.gcs_blob(path), ""


def _is_stale(text: str, updated: datetime.datetime) -> bool:
    """Tell whether the holder of a lock is gone, by its content and time of renewal."""
    if _field(text, "boot") == _boot():
        pid = _field(text, "pid")
        if not (pid.isdecimal() and os.path.exists(f"/proc/{pid}")):
            return True
    # Another process may have its number by now, and another container its namespace.
    return datetime.datetime.now(datetime.timezone.utc) - updated > _LEASE


def _field(text: str, name: str) -> str:
    try:
        return str(json.loads(text)[name])
    except (ValueError, KeyError, TypeError):
        return ""


def _boot() -> str:
    """Name this machine and container, since its start."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
