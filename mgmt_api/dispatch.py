"""What happens to a request, in order: path, method, caller, role, body, schema, handler; and how failures are told."""

import asyncio
from collections.abc import Awaitable, Callable
from logging import getLogger
from typing import Any

from aiohttp import web

from ..store.directory import Origin
from ..store.errors import StoreError
from .decoding import read_body, read_query
from .encoding import encode, encode_answer
from .errors import ApiError, from_store
from .paths import SegmentResource
from .routes import Answer, Call, Caller, Facade, Route
from .state import STATE, ApiState

_logger = getLogger(__name__)
_FACADE = web.RequestKey("wardenmq.facade", Facade)
_STREAMED = 262_144
"""Bytes above which an answer is sent in parts."""
_NOT_FOUND_PAGE = (
    "<!DOCTYPE html><html><head><title>404 - NOT FOUND</title></head><body><h1>404 - NOT FOUND</h1></body></html>"
)


def mount(application: web.Application, facade: Facade) -> None:
    """Register every route of a facade."""
    resources: dict[str, SegmentResource] = {}
    for route in facade.routes:
        path = facade.prefix + route.path
        resource = resources.get(path)
        if resource is None:
            resource = resources[path] = SegmentResource(path)
            application.router.register_resource(resource)
        resource.add_route(route.method, Endpoint(facade, route).handle)


class Endpoint:
    """Carry one route: check the request, call the handler, encode its answer."""

    def __init__(self, facade: Facade, route: Route[Any, Any]) -> None:
        self.facade = facade
        self.route = route
        self._body = route.body_adapter

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request whose path and method are this route's."""
        request[_FACADE] = self.facade
        route = self.route
        state = request.app[STATE]
        origin: Origin = {"facade": self.facade.name}
        if not route.public:
            origin["actor"] = self._admit(request, state).name
        body: object = None
        if self._body is not None:
            body = read_body(await request.read(), request.content_type, self._body)
        model = route.query_model
        query = None if model is None else read_query(request.rel_url.raw_query_string, model)
        call: Call[Any, Any] = Call(state, dict(request.match_info), query, body, origin)
        return await self._respond(request, await route.handler(call))

    def _admit(self, request: web.Request, state: ApiState) -> Caller:
        """Name a caller who may call this operation; whoever may not is taken note of. Raises `ApiError` 401, 403."""
        try:
            caller = self.facade.authenticate(request, state)
            if not self.route.admits(caller.role):
                raise self.facade.forbidden
        except ApiError as error:
            now = asyncio.get_running_loop().time()
            state.refusals.note(now, request.remote, request.rel_url.raw_path, error.code)
            raise
        return caller

    async def _respond(self, request: web.Request, result: object) -> web.StreamResponse:
        if not isinstance(result, Answer):
            result = Answer(result, self.route.status)
        if result.status == 204:
            return web.Response(status=204, headers=result.headers)
        body = result.body
        if isinstance(body, str):
            parts = [body.encode()]
        elif isinstance(body, bytes):
            parts = [body]
        else:
            parts = await encode_answer(body)
        if sum(map(len, parts)) > _STREAMED:
            return await _stream(request, result, parts)
        return web.Response(
            status=result.status, body=b"".join(parts), content_type=result.content_type, headers=result.headers
        )


async def _stream(request: web.Request, answer: Answer, parts: list[bytes]) -> web.StreamResponse:
    """Send a large answer as fast as the peer takes it, part by part."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = sum(map(len, parts))
    try:
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        await response.write_eof()
    except ConnectionError:
        _logger.debug("the peer left before its answer was sent")
    return response


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into the answer that clients know; what nobody expected is logged and counted."""
    try:
        return await handler(request)
    except ApiError as error:
        return _error(request, error)
    except web.HTTPNotFound:
        return _not_found(request.headers.get("Accept", ""))
    except web.HTTPMethodNotAllowed as error:
        return web.Response(status=405, headers={"Allow": ", ".join(sorted(error.allowed_methods))})
    except web.HTTPRequestEntityTooLarge:
        limit = request.app[STATE].settings.max_body_size
        return _error(request, ApiError(413, "BAD_REQUEST", f"the body is larger than {limit} bytes"))
    except StoreError as error:
        known = from_store(error)
        return _error(request, known) if known is not None else _unexpected(request)
    except Exception:
        return _unexpected(request)


def _unexpected(request: web.Request) -> web.Response:
    """Answer for the exception that is being handled; its text stays in the log, where the operator can read it."""
    request.app[STATE].unhandled_errors += 1
    resource = request.match_info.route.resource
    _logger.exception("%s %s failed", request.method, "" if resource is None else resource.canonical)
    return _error(request, ApiError(500, "INTERNAL_ERROR", "an unexpected error occurred; the server's log has it"))


def _error(request: web.Request, error: ApiError) -> web.Response:
    facade = request[_FACADE]
    return web.Response(
        status=error.status,
        body=encode(facade.error_body(error)),
        content_type="application/json",
        headers=error.headers,
    )


def _not_found(accept: str) -> web.Response:
    """Say that there is no such path, in the form that the caller takes."""
    if "application/json" in accept:
        body = encode({"code": "NOT_FOUND", "message": "Request Path Not Found"})
        return web.Response(status=404, body=body, content_type="application/json")
    if "text/plain" in accept:
        return web.Response(status=404, text="404 - NOT FOUND")
    return web.Response(status=404, text=_NOT_FOUND_PAGE, content_type="text/html")
