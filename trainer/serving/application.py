"""Application: routes of the page and of its JSON interface.

  POST /predict  one drawing or many → the likeliest categories of each
  GET /model     name and categories of the model, limits of requests
  GET /health    whether it answers, and how many drawings wait
  GET /api       a page about these; /openapi.json describes them for programs
  GET /          the page to draw on

Errors are {"error": …} with a status of 4xx or 5xx.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.cli import RunError
from pipeline.dataset import records
from pipeline.rasterize import rasterize_packed
from trainer.exports.classifiers import Classifier
from trainer.inputs.drawing_lines import Line
from trainer.page.page_files import PageFile, served_files
from trainer.serving import batching, bodies
from trainer.serving.batching import Batcher, Full, Late
from trainer.serving.guard import Guard

_DEFAULT_TOP = 3  # as of trainer.predict
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def make_application(classifier: Classifier, name: str, host: str) -> Guard:
    """Make the application around a classifier.

    Args:
      classifier: the model.
      name: of the model, for the page.
      host: the name or address that the server listens on.
    """
    batcher = Batcher(classifier)

    async def health(_: Request) -> Response:
        counts = {"answered": batcher.answered, "waiting": batcher.waiting}
        return _json({"status": "ok", **counts})

    async def model(_: Request) -> Response:
        return _json({"model": name, "labels": classifier.labels, "limits": _limits()})

    async def predict(request: Request) -> Response:
        return await _predict(request, batcher, len(classifier.labels))

    app = Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/model", model),
            Route("/health", health),
            *(Route(file.path, _file_endpoint(file)) for file in served_files()),
        ],
        exception_handlers={
            HTTPException: _refused,
            ClientDisconnect: _client_has_gone,
            Full: _full,
            Late: _late,
            RunError: _failed,
            Exception: _broken,
        },
        lifespan=lambda _: batcher.running(),
    )
    return Guard(app, host)


async def _predict(request: Request, batcher: Batcher, classes: int) -> Response:
    top, with_bitmap = _options(request.query_params, classes)
    lines, is_many = await bodies.read_lines(request)
    answers = await batcher.answer(lines, top)
    if with_bitmap:
        _add_bitmaps(answers, lines)
    status = 422 if any("error" in answer for answer in answers) else 200
    return _json({"answers": answers} if is_many else answers[0], status)


def _options(query: QueryParams, classes: int) -> tuple[int, bool]:
    """Return `top` and `bitmap` of a query.

    Raises:
      HTTPException: 400 one is wrong, given twice, or unknown.
    """
    options = dict(query)
    if unknown := set(options) - {"top", "bitmap"}:
        raise HTTPException(400, f"no parameter {min(unknown)!r}; there are top and bitmap")
    if len(options) < len(query.multi_items()):
        raise HTTPException(400, "a parameter is given twice")
    top = options.get("top", str(_DEFAULT_TOP))
    if not (top.isascii() and top.isdecimal() and len(top) <= 6 and int(top) >= 1):
        raise HTTPException(400, "top is not a whole number of at least 1")
    bitmap = _TRUTH.get(options.get("bitmap", "false"))
    if bitmap is None:
        raise HTTPException(400, "bitmap is neither true nor false")
    return min(int(top), classes), bitmap


def _add_bitmaps(answers: list[dict[str, Any]], lines: list[Line]) -> None:
    """Add to each answer the bitmap that was classified, packed as in records, in base64."""
    for answer, line in zip(answers, lines, strict=True):
        if line.drawing and "predictions" in answer:
            (packed,) = records.ENCODERS["packed"](rasterize_packed([line.drawing.strokes]))
            answer["bitmap"] = base64.b64encode(packed).decode()


def _limits() -> dict[str, int]:
    return {
        "body_bytes": bodies.MAX_BODY_BYTES,
        "drawings_per_request": bodies.MAX_DRAWINGS,
        "drawings_waiting": batching.MAX_WAITING,
        "seconds_per_body": bodies.BODY_SECONDS,
        "seconds_per_answer": batching.MAX_SECONDS,
    }


def _file_endpoint(file: PageFile) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        return Response(file.content, media_type=file.media_type)

    return endpoint


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


# ---- Errors ----


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code, error.headers)


async def _client_has_gone(_: Request, __: Exception) -> Response:
    return _json({"error": "the client closed the connection"}, 400)  # nobody reads it


async def _full(_: Request, __: Exception) -> Response:
    reason = f"{batching.MAX_WAITING} drawings wait already; try again"
    return _json({"error": reason}, 429, {"Retry-After": "1"})


async def _late(_: Request, __: Exception) -> Response:
    reason = f"no answer within {batching.MAX_SECONDS} seconds; try again"
    return _json({"error": reason}, 503, {"Retry-After": "5"})


async def _failed(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 503)


async def _broken(_: Request, __: Exception) -> Response:
    return _json({"error": "internal error; the server's own output has the details"}, 500)
