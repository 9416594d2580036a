"""What happens to a request, in order: query, body, handler, answer. Plain data in and out, no socket anywhere.

The HTTP server calls it with what came over the wire, the command line with what it would have sent.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..store.background_work import collection_paused
from ..store.writer import Origin
from .decoding import read_body, read_query
from .encoding import encode, encode_answer
from .errors import ApiError
from .routes import Answer, Call, Caller, Facade, Route
from .state import ApiState

_LARGE = 65_536
"""Bytes of a body that is checked in a thread: ten thousand rules take some 50 ms."""


@dataclass(frozen=True, slots=True)
class Request:
    """Hold what an operation is asked with, as it came."""

    path: Mapping[str, str]
    """The path's parameters, percent-decoded."""
    query_string: str = ""
    """Still percent-encoded."""
    content_type: str = ""
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold an answer, encoded; the parts add up to its body."""

    status: int
    parts: list[bytes] = field(repr=False)
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def size(self) -> int:
        """The body's length in bytes."""
        return sum(map(len, self.parts))


class Operation:
    """Carry one route of a facade: check a request, call the handler, encode its answer."""

    def __init__(self, facade: Facade, route: Route[Any, Any]) -> None:
        self.facade = facade
        self.route = route
        self._body = route.body_adapter

    async def carry_out(self, state: ApiState, request: Request, caller: Caller | None) -> Reply:
        """Answer a request of somebody who may make it; nobody is named where the route is public.

        Raises `ApiError` for what is wrong with the request, and whatever the handler raises.
        """
        route = self.route
        origin: Origin = {"facade": self.facade.name}
        if caller is not None:
            origin = {"facade": caller.facade or self.facade.name, "actor": caller.name}
        body: object = None
        if self._body is not None:
            if len(request.data) > _LARGE:
                # What a large body becomes is kept, and to look for garbage in it would hold up the loop.
                with collection_paused():
                    body = await asyncio.to_thread(read_body, request.data, request.content_type, self._body)
                    return await self._handle(state, request, body, origin)
            body = read_body(request.data, request.content_type, self._body)
        elif route.takes_file:
            body = request.data
        return await self._handle(state, request, body, origin)

    async def _handle(self, state: ApiState, request: Request, body: object, origin: Origin) -> Reply:
        route = self.route
        model = route.query_model
        query = None if model is None else read_query(request.query_string, model)
        call: Call[Any, Any] = Call(state, request.path, query, body, origin)
        return await _reply(await route.handler(call), route.status)

    def refuse(self, error: ApiError) -> Reply:
        """Tell an error in the facade's shape."""
        return Reply(error.status, [encode(self.facade.error_body(error))], headers=error.headers)


async def _reply(result: object, status: int) -> Reply:
    answer = result if isinstance(result, Answer) else Answer(result, status)
    body = answer.body
    if answer.status == 204:
        return Reply(204, [], headers=answer.headers)
    if isinstance(body, str):
        parts = [body.encode()]
    elif isinstance(body, bytes):
        parts = [body]
    else:
        parts = await encode_answer(body)
    return Reply(answer.status, parts, answer.content_type, answer.headers)
