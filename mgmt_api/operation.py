"""What happens to a request, in order: query, body, handler, answer. Plain data in and out, no socket anywhere.

The HTTP server calls it with what came over the wire, the command line with what it would have sent.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..store.background_work import collection_paused
from ..store.writer import Origin
from .decoding import check_type, read_body, read_query, read_text
from .encoding import encode, encode_answer
from .errors import ApiError
from .multipart import MEDIA_TYPE as MULTIPART
from .multipart import read_file
from .routes import Answer, Call, Caller, Facade, OpenFile, Route
from .state import ApiState

EMPTY = frozenset({204, 304})
"""Statuses of answers without a body."""
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
    """The header as it came, parameters included."""
    data: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    peer_host: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold an answer, encoded; the parts add up to its body."""

    status: int
    parts: list[bytes] = field(repr=False)
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    file: OpenFile | None = None
    """What is sent in place of parts; whoever sends it closes it."""

    @property
    def size(self) -> int:
        """The body's length in bytes."""
        return sum(map(len, self.parts)) if self.file is None else self.file.size


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
        if route.body is None or len(request.data) <= _LARGE:
            return await self._handle(state, request, self._read(request), origin, caller)
        # What a large body becomes is kept, and to look for garbage in it would hold up the loop.
        with collection_paused():
            body = await asyncio.to_thread(self._read, request)
            return await self._handle(state, request, body, origin, caller)

    def _read(self, request: Request) -> object:
        """Make of the body's bytes what the handler takes. Raises `ApiError` 400, 415."""
        route = self.route
        media_type = request.content_type.partition(";")[0].strip().lower()
        if self._body is not None:
            return read_body(request.data, media_type, self._body)
        if route.body is None:
            return None
        if route.body is bytes:
            return request.data
        if route.body is str:
            return read_text(request.data, media_type)
        check_type(request.data, media_type, MULTIPART)
        return read_file(request.data, request.content_type, route.file_field)

    async def _handle(
        self, state: ApiState, request: Request, body: object, origin: Origin, caller: Caller | None
    ) -> Reply:
        route = self.route
        model = route.query_model
        query = None if model is None else read_query(request.query_string, model)
        call: Call[Any, Any] = Call(
            state, request.path, query, body, origin, caller, request.headers, request.peer_host
        )
        return await _reply(await route.handler(call), route.status)

    def refuse(self, error: ApiError) -> Reply:
        """Tell an error in the facade's shape."""
        return Reply(error.status, [encode(self.facade.error_body(error))], headers=error.headers)


async def _reply(result: object, status: int) -> Reply:
    answer = result if isinstance(result, Answer) else Answer(result, status)
    body = answer.body
    if answer.status in EMPTY:
        return Reply(answer.status, [], headers=answer.headers)
    if isinstance(body, OpenFile):
        return Reply(answer.status, [], answer.content_type, answer.headers, body)
    if isinstance(body, str):
        parts = [body.encode()]
    elif isinstance(body, bytes):
        parts = [body]
    else:
        parts = await encode_answer(body)
    return Reply(answer.status, parts, answer.content_type, answer.headers)
