"""Protection of a server on a private address: who may ask, and what a page may load."""

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Guard:
    """ASGI middleware that refuses requests which other sites make a browser send.

    A request has to name this server by an address, as localhost, by the machine's name or by the
    one that it listens on: another site's name that resolves to this machine (DNS rebinding) is
    refused, 421. An Origin has to be this server's own, else 403. Every answer gets the headers
    that keep the page from loading anything from elsewhere.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        """Wrap `app`, which listens on `host`."""
        self.is_ending = False  # whether answers ask clients to open no further request
        self._app = app
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if self.is_ending:
                    headers["Connection"] = "close"
            await send(message)

        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_own(host) or len(headers.getlist("host")) > 1:
            refusal = JSONResponse({"error": "the Host header does not name this server"}, 421)
        elif headers.get("origin", f"http://{host}") not in (f"http://{host}", f"https://{host}"):
            refusal = JSONResponse({"error": "pages of other origins may not ask this server"}, 403)
        else:
            await self._app(scope, receive, send_with_headers)
            return
        await refusal(scope, receive, send_with_headers)

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    """Tell whether a host is an IP address, which no other site's name can stand for."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
