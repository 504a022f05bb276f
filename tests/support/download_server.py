"""Public bucket on the loopback, for tests: ranges, checksums, a listing, faults on demand."""

import base64
import gzip
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import google_crc32c


@dataclass
class Fault:
    """Fault of one answer."""

    status: int = 0
    length_error: int = 0  # added to Content-Length; the body stays as it is
    drop_after: int | None = None  # bytes of the body
    stall_after: int | None = None  # bytes of the body; the connection stays open
    damage: bool = False  # a byte in the middle of the body is another one
    range_limit: int = 1 << 30  # bytes sent of a range, whatever was asked for
    new_content: bytes | None = None  # the file changes before this answer
    page: bytes | None = None  # sent instead of any file, with status 200
    page_type: str = "text/html; charset=utf-8"
    compress: bool = False  # the body, whatever was asked for


class Bucket(ThreadingHTTPServer):
    """Serves `files`, by path; `faults` go to one request each, in order, then `always`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.always = Fault()
        self.ranges = self.checksums = True
        self.lengths = True  # False: chunked answers
        self.asked: list[str] = []  # the Range header of every request
        self.sent_bytes = 0
        self.at_a_time = self.most_at_a_time = 0
        self.pause_seconds = 0.0
        self.ended = threading.Event()  # ends what stalls
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/bucket"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error here."""


@contextmanager
def serving() -> Iterator[Bucket]:
    with Bucket() as bucket:
        threading.Thread(target=bucket.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield bucket
        finally:
            bucket.ended.set()
            bucket.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer takes 40 ms more
    server: Bucket

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        bucket = self.server
        path, _, query = self.path.partition("?")
        if query:
            return self._list(unquote(query.removeprefix("prefix=")))
        with bucket.lock:
            bucket.asked.append(self.headers.get("Range", ""))
            fault = bucket.faults.pop(0) if bucket.faults else bucket.always
            bucket.at_a_time += 1
            bucket.most_at_a_time = max(bucket.most_at_a_time, bucket.at_a_time)
        try:
            time.sleep(bucket.pause_seconds)
            self._answer(unquote(path).removeprefix("/bucket/"), fault)
        finally:
            with bucket.lock:
                bucket.at_a_time -= 1

    def _list(self, prefix: str) -> None:
        keys = "".join(
            f"<Contents><Key>{name}</Key></Contents>"
            for name in self.server.files
            if name.startswith(prefix)
        )
        body = f"<ListBucketResult xmlns='http://doc.s3.amazonaws.com/'>{keys}</ListBucketResult>"
        self._send(200, {"Content-Length": str(len(body))}, body.encode(), Fault())

    def _answer(self, name: str, fault: Fault) -> None:
        bucket = self.server
        if fault.new_content is not None:
            bucket.files[name] = fault.new_content
        if fault.page is not None:
            headers = {"Content-Type": fault.page_type, "Content-Length": str(len(fault.page))}
            self._send(200, headers, fault.page, fault)
            return
        if fault.status or name not in bucket.files:
            self._send(fault.status or 404, {"Content-Length": "0"}, b"", fault)
            return
        content = bucket.files[name]
        headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}
        status, body = 200, content
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if bucket.ranges and asked:
            start, end = int(asked[1]), min(int(asked[2] or len(content)) + 1, len(content))
            if start >= len(content):
                self._send(416, {"Content-Length": "0"}, b"", fault)
                return
            end = min(end, start + fault.range_limit)
            status, body = 206, content[start:end]
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        if bucket.checksums:
            crc = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
            headers["x-goog-hash"] = f"crc32c={crc}"
        if fault.compress:
            headers["Content-Encoding"], body = "gzip", gzip.compress(body)
        if bucket.lengths:
            headers["Content-Length"] = str(len(body) + fault.length_error)
        else:
            headers["Transfer-Encoding"] = "chunked"
        self._send(status, headers, body, fault)

    def _send(self, status: int, headers: dict[str, str], body: bytes, fault: Fault) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if fault.damage:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        limit = next((n for n in (fault.drop_after, fault.stall_after) if n is not None), None)
        whole, body = body, body[:limit]
        for start in range(0, len(body), 4096):
            piece = body[start : start + 4096]
            chunked = "Transfer-Encoding" in headers
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            self.server.sent_bytes += len(piece)
        if fault.stall_after is not None:
            self.server.ended.wait()
        if "Transfer-Encoding" in headers and len(body) == len(whole):
            self.wfile.write(b"0\r\n\r\n")
        if fault.drop_after is not None or fault.length_error:
            self.close_connection = True
