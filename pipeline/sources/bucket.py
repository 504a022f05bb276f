"""Public bucket of Quick, Draw!: its categories, and parts of its files by HTTP range."""

import base64
import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

import requests

from pipeline.cli import RunError, UserError

BUCKET = "https://storage.googleapis.com/quickdraw_dataset"
NAMES = "https://github.com/googlecreativelab/quickdraw-dataset/blob/master/categories.txt"
SUFFIXES = {"simplified": ".ndjson", "raw": ".ndjson", "binary": ".bin"}  # by format

TIMEOUT_SECONDS = (10, 30)  # to connect; without a byte of the answer
PIECE_BYTES = 1 << 14  # of an answer's body at a time; what a broken connection can lose


class AnswerError(Exception):
    """A missing or unusable answer; a retry may succeed."""


@dataclass(frozen=True)
class Source:
    """Bucket, or a copy of it with the same paths, and one of the data set's formats."""

    base_url: str = BUCKET
    format: str = "simplified"  # a key of SUFFIXES

    def file_name(self, category: str) -> str:
        """Return the name of the category's file."""
        return category + SUFFIXES[self.format]

    def url(self, category: str) -> str:
        """Return the URL of the category's file."""
        return f"{self.base_url}/full/{self.format}/{quote(self.file_name(category))}"

    def categories(self) -> list[str]:
        """Return the categories that the bucket lists, sorted; raises RunError if it does not."""
        prefix, suffix = f"full/{self.format}/", SUFFIXES[self.format]
        try:
            with _failures_as_answer_errors():
                answer = requests.get(self.base_url, {"prefix": prefix}, timeout=TIMEOUT_SECONDS)
                answer.raise_for_status()
            listed = ElementTree.fromstring(answer.content).iterfind(".//{*}Key")
        except (AnswerError, ElementTree.ParseError) as error:
            raise RunError(f"cannot list {self.base_url}: {error}") from error
        names = [(key.text or "").removeprefix(prefix) for key in listed]
        if not any(name.endswith(suffix) for name in names):  # a page of a proxy, for example
            raise RunError(f"cannot list {self.base_url}: no {prefix}*{suffix} in the answer")
        return sorted(name.removesuffix(suffix) for name in names if name.endswith(suffix))


class Answer(NamedTuple):
    """Headers of an answer: its body and the whole file."""

    start: int  # offset of the body in the file
    total_bytes: int | None  # of the whole file; None: it ends with the body
    version: str  # another one for another content; letters and digits
    crc32c: int | None  # of the whole file, where the server tells


@contextlib.contextmanager
def get(
    session: requests.Session, url: str, start: int, end: int | None
) -> Iterator[tuple[Answer, Iterator[bytes]]]:
    """Asks for the bytes from `start` to before `end`, None for all: (answer, pieces of the body).

    The server may send less or more of the file, from any offset up to `start` on.

    Raises:
      AnswerError: no such answer, or it breaks off while it is read.
      UserError: there is no such file.
      RunError: an answer that will not change.
    """
    headers = {
        "Range": f"bytes={start}-{'' if end is None else end - 1}",
        "Accept-Encoding": "identity",  # offsets are of the file as it is
    }
    with (
        _failures_as_answer_errors(),
        session.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response,
    ):
        status = response.status_code
        text = f"the server answers {status} {response.reason}"
        if status == 404:
            raise UserError(f"no such category in the data set: {url} is not there; see {NAMES}")
        if status == 416 and start > 0:  # it has become shorter: from its start
            with get(session, url, 0, end) as answer_and_pieces:
                yield answer_and_pieces
            return
        if status in (408, 429) or status >= 500:
            raise AnswerError(text)
        if status not in (200, 206):
            raise RunError(f"cannot download {url}: {text}")
        if "html" in response.headers.get("Content-Type", ""):
            raise AnswerError("a web page came instead of the file")  # often of a proxy's login
        yield _read_headers(response, start), response.iter_content(PIECE_BYTES)


def _read_headers(response: requests.Response, asked_start: int) -> Answer:
    headers = response.headers
    length = headers.get("Content-Length", "")
    encoding = headers.get("Content-Encoding", "identity")
    is_as_asked = encoding == "identity"  # else the length is of what is decompressed here
    start, total = 0, int(length) if length.isdecimal() and is_as_asked else None
    if response.status_code == 206 and not is_as_asked:
        raise AnswerError(f"a part of the file came compressed ({encoding}), perhaps by a proxy")
    if response.status_code == 206:
        sent = headers.get("Content-Range", "no range")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", sent)
        if not match or int(match[1]) > asked_start:
            raise AnswerError(f"asked for bytes {asked_start} and on, the server sends {sent}")
        start, total = int(match[1]), int(match[2])
    content = headers.get("ETag") or headers.get("Last-Modified") or str(total)
    version = hashlib.sha256(content.encode()).hexdigest()[:16]
    match = re.search(r"crc32c=([\w+/]{6}==)", headers.get("x-goog-hash", ""))
    crc32c = int.from_bytes(base64.b64decode(match[1]), "big") if match else None
    return Answer(start, total, version, crc32c)


@contextlib.contextmanager
def _failures_as_answer_errors() -> Iterator[None]:
    """Says the first cause in the operating system's words: libraries wrap it several times."""
    try:
        yield
    except requests.exceptions.ChunkedEncodingError:
        raise AnswerError("the connection broke off") from None
    except requests.RequestException as error:
        cause: BaseException = error
        while deeper := cause.__cause__ or cause.__context__:
            cause = deeper
        raise AnswerError(getattr(cause, "strerror", None) or str(cause)) from error
