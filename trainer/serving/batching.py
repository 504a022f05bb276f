"""A queue in front of a classifier: drawings that wait together are classified together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from trainer.exports.classifiers import Classifier
from trainer.inputs.drawing_lines import Line
from trainer.predict import predict
from trainer.training.memory import out_of_memory

MAX_BATCH = 64  # drawings at once; the batch in progress delays all that come after it
MAX_WAITING = 512  # drawings in the queue
MAX_SECONDS = 30  # from arrival to answer


class Full(Exception):  # noqa: N818 - a state, not a fault
    """State of a queue that takes no more drawings."""


class Late(Exception):  # noqa: N818 - a state, not a fault
    """State of a request without an answer after MAX_SECONDS."""


class _Request(NamedTuple):
    """Drawings of one request, and where their answers go."""

    lines: list[Line]
    top: int
    answers: "asyncio.Future[list[dict[str, Any]]]"


class Batcher:
    """One thread that classifies what has arrived since its last batch.

    A batch waits for nothing: under light load it is one drawing, under heavy load all that came
    while the batch before it was computed.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.answered = 0  # drawings
        self.waiting = 0  # drawings
        self._classifier = classifier
        self._requests: asyncio.Queue[_Request] = asyncio.Queue()

    async def answer(self, lines: list[Line], top: int) -> list[dict[str, Any]]:
        """Return the answers of `trainer.predict.predict` to some drawings.

        Raises:
          Full: too many drawings wait already.
          Late: the answer takes too long.
          RunError: memory ran out.
        """
        if self.waiting + len(lines) > MAX_WAITING:
            raise Full
        request = _Request(lines, top, asyncio.get_running_loop().create_future())
        self._requests.put_nowait(request)
        self.waiting += len(lines)
        try:
            return await asyncio.wait_for(request.answers, MAX_SECONDS)
        except asyncio.TimeoutError:
            raise Late from None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer requests inside."""
        with ThreadPoolExecutor(1, "classifier") as executor:
            task = asyncio.create_task(self._run(executor))
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _run(self, executor: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            requests = [request for request in await self._take() if not request.answers.done()]
            if not requests:  # all were given up
                continue
            lines = [line for request in requests for line in request.lines]
            top = max(request.top for request in requests)
            try:
                outputs = await loop.run_in_executor(executor, self._predict, lines, top)
            except Exception as error:  # the next batch may go well
                for request in requests:
                    if not request.answers.done():
                        request.answers.set_exception(error)
                continue
            _hand_out(outputs, requests)
            self.answered += len(lines)

    async def _take(self) -> list[_Request]:
        """Take what waits, up to MAX_BATCH drawings; wait for the first."""
        requests = [await self._requests.get()]
        count = len(requests[0].lines)
        while count < MAX_BATCH and not self._requests.empty():
            requests.append(self._requests.get_nowait())
            count += len(requests[-1].lines)
        self.waiting -= count
        return requests

    def _predict(self, lines: list[Line], top: int) -> list[dict[str, Any]]:
        with out_of_memory(len(lines), is_flag=False):
            return predict(lines, self._classifier, top)


def _hand_out(outputs: list[dict[str, Any]], requests: list[_Request]) -> None:
    start = 0
    for request in requests:
        end = start + len(request.lines)
        answers = outputs[start:end]
        start = end
        for answer in answers:
            if "predictions" in answer:  # the batch has as many as its greediest request
                answer["predictions"] = answer["predictions"][: request.top]
        if not request.answers.done():
            request.answers.set_result(answers)
