"""Body of a request → drawings, within the limits of the server."""

import asyncio
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.drawings.drawing import load_line, parse_fields, simplify_drawings
from pipeline.drawings.reject import Ambiguous, Reject
from pipeline.drawings.shapes import LISTS
from trainer.inputs.drawing_files import READING
from trainer.inputs.drawing_lines import Line

MAX_BODY_BYTES = 1 << 20  # a drawing has 1 to 50 kB
MAX_DRAWINGS = 100  # of one request
BODY_SECONDS = 10  # for the whole body to arrive
_SMALL_BODY_BYTES = 30_000  # parsed at once; the worst takes some 20 ms, of 1 MiB ten times that
_MEDIA_TYPE = "application/json"


async def read_lines(request: Request) -> tuple[list[Line], bool]:
    """Read and parse the body of a request; see `read_body` and `parse_body`.

    A large body is parsed in a thread, so that others are answered meanwhile.
    """
    body = await read_body(request)
    if len(body) <= _SMALL_BODY_BYTES:
        return parse_body(body)
    return await run_in_threadpool(parse_body, body)


async def read_body(request: Request) -> bytes:
    """Read the whole body of a request.

    Raises:
      HTTPException: 415 it is not declared as JSON, which also keeps forms of other sites out; 413
        it is longer than MAX_BODY_BYTES; 408 it takes longer than BODY_SECONDS.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != _MEDIA_TYPE:
        raise HTTPException(415, f"the Content-Type must be {_MEDIA_TYPE}")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise _too_long()
    try:
        return await asyncio.wait_for(_receive(request), BODY_SECONDS)
    except asyncio.TimeoutError:
        raise HTTPException(
            408, f"the body did not arrive within {BODY_SECONDS} seconds", {"Connection": "close"}
        ) from None


async def _receive(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_long()
    return bytes(body)


def _too_long() -> HTTPException:
    # The connection stays open: uvicorn discards the rest of the body as it comes. A client whose
    # connection is closed while it sends may not read the answer.
    return HTTPException(413, f"the body is longer than {MAX_BODY_BYTES >> 20} MiB")


def parse_body(body: bytes) -> tuple[list[Line], bool]:
    """Parse one drawing, or many: `{"drawings": [{"drawing": …}, …]}`.

    Returns:
      A line for each drawing, as of a file that trainer.predict reads, or its error; and whether
      the body was of many.

    Raises:
      HTTPException: 400 the body is no JSON object, or `drawings` is no list of drawings; 413 there
        are more than MAX_DRAWINGS.
    """
    try:
        fields = load_line(body)
    except Reject as reject:
        raise HTTPException(400, f"the body is {reject}") from None
    is_many = "drawings" in fields
    drawings = fields["drawings"] if is_many else [fields]
    if type(drawings) is not list or not drawings:
        raise HTTPException(400, "drawings is not a list of one or more drawings")
    if len(drawings) > MAX_DRAWINGS:
        raise HTTPException(413, f"more than {MAX_DRAWINGS} drawings in a request")
    may_hold_booleans = b"true" in body or b"false" in body
    parsed = simplify_drawings([_parse(each, may_hold_booleans) for each in drawings])
    lines = [
        Line("", None, str(each)) if isinstance(each, Reject) else Line("", each) for each in parsed
    ]
    return lines, is_many


def _parse(fields: Any, may_hold_booleans: bool) -> Any:
    """Parse a drawing as trainer.predict does a line of its own: a Drawing, raw, or a Reject."""
    if type(fields) is not dict:
        return Reject("not a JSON object")
    try:
        try:
            return parse_fields(fields, READING, may_hold_booleans)
        except Ambiguous:
            return parse_fields(fields, READING._replace(layout=LISTS), may_hold_booleans)
    except Reject as reject:
        return reject
