"""Server around the application: its socket, its limits of connections, and how it ends."""

import asyncio
import errno
import os
import socket
from concurrent.futures import Future
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.cli import UserError
from trainer.serving.guard import Guard

MAX_CONNECTIONS = 256
HEAD_SECONDS = 10  # for a request's headers; for the first one from opening the connection
IDLE_SECONDS = 30  # until a connection without requests is closed
LAST_CALL_SECONDS = 1  # from a signal until no more connections are accepted
LAST_REQUEST_SECONDS = 0.2  # from then until connections without a request are closed
ENDING_SECONDS = 35  # for requests in progress; longer than any may take


def listen(host: str, port: int) -> socket.socket:
    """Open the socket that the server listens on.

    Raises:
      UserError: the address is not this machine's, or the port is in use.
    """
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        is_name = isinstance(error, socket.gaierror)  # its numbers are of their own
        reason = error.strerror if is_name else os.strerror(error.errno or 0)
        free = "; --port=0 takes a free one" if error.errno == errno.EADDRINUSE else ""
        raise UserError(f"cannot listen on {host}, port {port}: {reason}{free}") from None
    # Connections inherit it; asyncio sets it only on those of listeners that it opened itself, and
    # without it the second packet of an answer waits 40 ms for the acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url(listener: socket.socket) -> str:
    """Return the address to open in a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class _Protocol(H11Protocol):
    """HTTP on a connection, which is closed if a request does not come, or not to its end.

    There may be only so many connections. Of the two parsers that uvicorn has, this one limits the
    size of headers.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit_head()

    def handle_events(self) -> None:
        super().handle_events()
        is_between = self.cycle is None or self.cycle.response_complete
        if is_between and self.conn.trailing_data[0]:  # a part of the next request's headers
            self._limit_head()

    def _limit_head(self) -> None:
        """Close the connection if no request's headers are complete in time."""
        last = self.cycle

        def close() -> None:
            if self.cycle is last:
                self.transport.close()

        self.loop.call_later(HEAD_SECONDS, close)


class Server(uvicorn.Server):
    """A server that ends without a loss to its clients.

    Uvicorn closes idle connections at once, also those on which a request is on its way. So for
    LAST_CALL_SECONDS each answer tells its client to close the connection; then new connections
    are refused, and those that were accepted have LAST_REQUEST_SECONDS to ask. A second signal
    ends it without that.
    """

    def __init__(self, config: uvicorn.Config, guard: Guard) -> None:
        """Make it; `guard` is the application."""
        super().__init__(config)
        self._guard = guard
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: Future[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to end: the handler of SIGTERM and Ctrl-C."""
        if self._guard.is_ending or self._loop is None:
            super().handle_exit(sig, frame)
            return
        self._guard.is_ending = True
        self._ending = asyncio.run_coroutine_threadsafe(self._end(sig, frame), self._loop)

    async def _end(self, sig: int, frame: FrameType | None) -> None:
        await asyncio.sleep(LAST_CALL_SECONDS)
        for server in self.servers:
            server.close()
        await asyncio.sleep(LAST_REQUEST_SECONDS)
        super().handle_exit(sig, frame)


def make_server(app: Guard) -> Server:
    """Make the server of an application, with its limits of connections and time."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=ENDING_SECONDS,
    )
    return Server(config, app)
