"""Google Cloud Storage on the loopback: PyPI's emulator, and a way to it for TensorFlow.

Added here is what the emulator leaves out: preconditions (ifGenerationMatch), and failures.

Beam's and Google's clients ask whom STORAGE_EMULATOR_HOST names. TensorFlow's gs:// asks
googleapis.com over HTTPS and nobody else, but through a proxy if there is one: so here is one that
answers for googleapis.com with a certificate of its own, and hands every request to the emulator.
"""

import datetime
import functools
import http.client
import logging
import os
import pathlib
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from apache_beam.io.gcp import gcsio
from apache_beam.io.gcp.gcsio_retry import DEFAULT_RETRY_WITH_THROTTLING_COUNTER
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gcp_storage_emulator import server as emulator_server
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import Request, Response, create_server
from gcp_storage_emulator.storage import Storage
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

HOST = "127.0.0.1"
CHECKS_GENERATIONS = True  # False: as the emulator is without us
HOSTS_OF_TENSORFLOW = ("www.googleapis.com", "storage.googleapis.com")

logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)


class Bucket:
    """A bucket of the emulator, made when this is, under a name of its own if none is given."""

    def __init__(self, name: str | None = None) -> None:
        self._client = storage.Client(project="test")
        self.name = name or uuid.uuid4().hex
        self.url = f"gs://{self.name}"
        self._bucket = self._client.create_bucket(self.name)

    def write(self, name: str, data: bytes) -> None:
        self._bucket.blob(name).upload_from_string(data)

    def delete(self, name: str) -> None:
        self._bucket.blob(name).delete()

    def contents(self, prefix: str) -> dict[str, bytes]:
        blobs = self._client.list_blobs(self.name, prefix=f"{prefix}/")
        return {blob.name.removeprefix(f"{prefix}/"): blob.download_as_bytes() for blob in blobs}


@contextmanager
def running_emulator(directory: pathlib.Path) -> Iterator[int]:
    """An empty storage for as long as the context lasts; yields its port.

    It is gs:// for this process and those that it starts, and nobody has credentials: `directory`,
    an empty one, is where Google's clients look for them.
    """
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch, create_server(HOST, port, in_memory=True):
        _wrap_handlers(patch, _check_generation)
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://{HOST}:{port}")
        patch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        patch.setenv("CLOUDSDK_CONFIG", str(directory))
        patch.setenv("NO_GCE_CHECK", "true")  # else Google's client asks for a metadata server
        yield port


def wipe() -> None:
    """Forget all buckets: with each file that it has ever held the emulator gets slower."""
    address = urlsplit(os.environ["STORAGE_EMULATOR_HOST"]).netloc
    connection = http.client.HTTPConnection(address)
    connection.request("GET", "/wipe")
    connection.getresponse().read()
    connection.close()


Handler = Callable[..., None]  # of the emulator: (request, response, storage)


def _wrap_handlers(
    patch: pytest.MonkeyPatch, wrap: Callable[[Handler], Handler], excepted: str = ""
) -> None:
    """Wrap whatever the emulator calls to answer a request, `excepted` those of one method."""
    handlers = tuple(
        (path, {verb: of[verb] if verb == excepted else wrap(of[verb]) for verb in of})
        for path, of in emulator_server.HANDLERS
    )
    patch.setattr(emulator_server, "HANDLERS", handlers)


def _check_generation(handler: Handler) -> Handler:
    """Refuse a request for a generation that is not the object's, which is 0 if there is none.

    The emulator answers one request after the other, so that nothing comes in between.
    """

    @functools.wraps(handler)
    def handle(request: Request, response: Response, store: Storage) -> None:
        asked = {"generation": HTTPStatus.NOT_FOUND}
        asked["ifGenerationMatch"] = HTTPStatus.PRECONDITION_FAILED
        for parameter in asked.keys() & request.query.keys() if CHECKS_GENERATIONS else ():
            name = request.params.get("object_id") or request.query.get("name", [None])[0]
            name = name or request.data["meta"]["name"]
            found = store.objects.get(request.params["bucket_name"], {}).get(name)
            if request.query[parameter] != [found["generation"] if found else "0"]:
                response.status = asked[parameter]
                return
        handler(request, response, store)

    return handle


@contextmanager
def failing(is_to_fail: Callable[[int], bool]) -> Iterator[list[int]]:
    """Storage that answers 503 to changes whose number, from 1, is to fail; yields these numbers.

    A batch is a change, and so is each that is in it. Google's client does not try again.
    """
    numbers: list[int] = []

    def fails() -> bool:
        numbers.append(len(numbers) + 1)
        return is_to_fail(numbers[-1])

    def wrap(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def handle(request: Request, response: Response, store: Storage) -> None:
            if fails():
                _ = request.data  # read, else the next request in this connection begins with it
                response.status = HTTPStatus.SERVICE_UNAVAILABLE
            else:
                handler(request, response, store)

        return handle

    def wrap_item(handler: Callable[..., bool]) -> Callable[..., bool]:
        @functools.wraps(handler)
        def handle(request: Request, item: object, *arguments: object) -> bool:
            if not fails():
                return handler(request, item, *arguments)
            response = arguments[-1]
            assert isinstance(response, Response)
            response.write("HTTP/1.1 503 Service Unavailable\r\n")
            response.write("Content-Type: application/json; charset=UTF-8\r\n\r\n")
            return True

        return handle

    items = {verb: wrap_item(of) for verb, of in objects._BATCH_METHOD_HANDLERS.items()}
    with pytest.MonkeyPatch.context() as patch:
        for retry in (DEFAULT_RETRY, DEFAULT_RETRY_WITH_THROTTLING_COUNTER):
            patch.setattr(retry, "_timeout", 0)
        _wrap_handlers(patch, wrap, excepted="GET")
        patch.setattr(objects, "_BATCH_METHOD_HANDLERS", items)
        yield numbers


@contextmanager
def one_client() -> Iterator[None]:
    """Give one client to all of Beam's operations: making one takes longer than an operation."""
    with pytest.MonkeyPatch.context() as patch:
        client = gcsio.GcsIO()
        patch.setattr(gcsio, "GcsIO", lambda **_: client)
        yield


@contextmanager
def counting_downloads() -> Iterator[list[int]]:
    """Bytes of every body of a file that the emulator sends meanwhile, by request.

    What it says about files is not counted: less than 1 kB each time that one is opened.
    """
    sizes: list[int] = []
    close = Response.close

    def count_and_close(response: Response) -> None:
        request = urlsplit(response._handler.path)
        if "media" in parse_qs(request.query).get("alt", []):
            sizes.append(len(response._content))
        close(response)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Response, "close", count_and_close)
        yield sizes


@contextmanager
def running_proxy(emulator_port: int, directory: pathlib.Path) -> Iterator[dict[str, str]]:
    """Proxy; yields the environment in which TensorFlow's gs:// goes through it."""
    certificate, key = _write_certificate(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(ProxyHandler):
        tls = context
        target_port = emulator_port

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "https_proxy": f"http://{HOST}:{server.server_port}",
            "no_proxy": f"{HOST},localhost",
            "CURL_CA_BUNDLE": str(certificate),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
        }
        server.shutdown()


class ProxyHandler(BaseHTTPRequestHandler):
    """Proxy of TensorFlow's reads: CONNECT, then GET with or without a byte range."""

    protocol_version = "HTTP/1.1"
    tls: ssl.SSLContext
    target_port: int

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self) -> None:
        ranges = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        connection = http.client.HTTPConnection(HOST, self.target_port)
        connection.request("GET", self.path, headers=ranges)
        response = connection.getresponse()
        body = response.read()
        self.send_response(response.status)
        self.send_header("Content-Type", response.getheader("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    def log_message(self, *_: object) -> None:
        pass


def _write_certificate(directory: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """A certificate for TensorFlow's hosts, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    hosts = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS_OF_TENSORFLOW])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(hosts, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = directory / "certificate.pem", directory / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_path, key_path
