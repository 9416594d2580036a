"""What happens to a request over HTTP: path, method, caller, role, then the operation; and how failures are told."""

import asyncio
from collections.abc import Awaitable, Callable
from logging import getLogger
from typing import Any

from aiohttp import web

from ..store.errors import StoreError
from .encoding import encode
from .errors import ApiError, bad_request, from_store
from .operation import EMPTY, Operation, Reply, Request
from .paths import SegmentResource
from .routes import Caller, Facade, OpenFile, Route
from .state import STATE, ApiState

_logger = getLogger(__name__)
_OPERATION = web.RequestKey("wardenmq.operation", Operation)
_PREFLIGHT_SECONDS = "600"
_BODY_SECONDS = 30.0
_SLOWEST = 100_000
"""Bytes a second; a body has that long for all that it may have, and a little more."""
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
    """Carry one route: say who calls, read the body, send the operation's reply."""

    def __init__(self, facade: Facade, route: Route[Any, Any]) -> None:
        self.operation = Operation(facade, route)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request whose path and method are this route's."""
        request[_OPERATION] = self.operation
        state = request.app[STATE]
        caller = None if self.operation.route.is_public(state) else self._admit(request, state)
        asked = Request(
            dict(request.match_info),
            request.rel_url.raw_query_string,
            request.headers.get("Content-Type", ""),
            await self._read(request, state),
            request.headers,
            request.remote or "",
        )
        state.connections.begin(request.protocol)
        try:
            reply = await self.operation.carry_out(state, asked, caller)
        finally:
            state.connections.finish(request.protocol)
        return await _respond(request, reply)

    def _admit(self, request: web.Request, state: ApiState) -> Caller:
        """Name a caller who may call this operation; whoever may not is taken note of. Raises `ApiError` 401, 403."""
        facade, route = self.operation.facade, self.operation.route
        try:
            if route.bearer_only and facade.bearer_required is not None and _shows_key(request):
                raise facade.bearer_required(route)
            caller = facade.authenticate(request, state)
            if not route.admits(caller.role):
                raise facade.forbidden
        except ApiError as error:
            now = asyncio.get_running_loop().time()
            state.refusals.note(now, request.remote, request.rel_url.raw_path, error.code)
            raise
        return caller

    async def _read(self, request: web.Request, state: ApiState) -> bytes:
        """Read a body that the operation takes. Raises `ApiError` 400, 413, 415."""
        route = self.operation.route
        if route.body is None:
            return b""
        if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
            raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "content-encoding:identity Required")
        most = route.max_body_size or state.settings.max_body_size
        if route.max_body_size is not None:
            request = request.clone(client_max_size=most)
        try:
            if request.content.is_eof():  # all of it is there
                return await request.read()
            async with asyncio.timeout(_BODY_SECONDS + most / _SLOWEST):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise ApiError(413, "BAD_REQUEST", f"the body is larger than {most} bytes") from None
        except (web.RequestPayloadError, ConnectionError):
            raise bad_request("the body did not arrive whole") from None
        except TimeoutError:
            raise bad_request("the body took too long to arrive") from None


def _shows_key(request: web.Request) -> bool:
    return request.headers.get("Authorization", "").partition(" ")[0].lower() == "basic"


async def _respond(request: web.Request, reply: Reply) -> web.StreamResponse:
    if reply.status in EMPTY:
        return web.Response(status=reply.status, headers=reply.headers)
    if reply.file is not None or reply.size > _STREAMED:
        return await _stream(request, reply)
    return web.Response(
        status=reply.status, body=b"".join(reply.parts), content_type=reply.content_type, headers=reply.headers
    )


async def _stream(request: web.Request, reply: Reply) -> web.StreamResponse:
    """Send a large answer as fast as the peer takes it, part by part."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type = reply.content_type
    response.content_length = reply.size
    try:
        await response.prepare(request)
        for part in reply.parts:
            await response.write(part)
        if reply.file is not None:
            await _send_file(response, reply.file)
        await response.write_eof()
    except ConnectionError:
        _logger.debug("the peer left before its answer was sent")
    finally:
        if reply.file is not None:
            reply.file.file.close()
    return response


async def _send_file(response: web.StreamResponse, sent: OpenFile) -> None:
    """Send as much of a file as was promised, even if it grows meanwhile."""
    left = sent.size
    while left:
        piece = await asyncio.to_thread(sent.file.read, min(left, _STREAMED))
        if not piece:
            raise ConnectionError("the file became shorter while it was sent")
        await response.write(piece)
        left -= len(piece)


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
        return _other_method(request, ", ".join(sorted(error.allowed_methods)))
    except StoreError as error:
        known = from_store(error)
        return _error(request, known) if known is not None else _unexpected(request)
    except Exception:
        return _unexpected(request)


async def complete_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Let pages of other origins read the answer, where the operator wants that; tell nobody which releases run."""
    response.headers["Server"] = "wardenmq"
    if "Origin" in request.headers and request.app[STATE].other_origins():
        response.headers["Access-Control-Allow-Origin"] = "*"


def _other_method(request: web.Request, allowed: str) -> web.Response:
    """Refuse a method that a path does not have, or tell a browser that asks for another origin what it may send."""
    asks = "Origin" in request.headers and "Access-Control-Request-Method" in request.headers
    if request.method == "OPTIONS" and asks and request.app[STATE].other_origins():
        granted = {
            "Access-Control-Allow-Methods": allowed,
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
        }
        return web.Response(status=204, headers=granted)
    return web.Response(status=405, headers={"Allow": allowed})


def _unexpected(request: web.Request) -> web.Response:
    """Answer for the exception that is being handled; its text stays in the log, where the operator can read it."""
    request.app[STATE].unhandled_errors += 1
    resource = request.match_info.route.resource
    _logger.exception("%s %s failed", request.method, "" if resource is None else resource.canonical)
    return _error(request, ApiError(500, "INTERNAL_ERROR", "an unexpected error occurred; the server's log has it"))


def _error(request: web.Request, error: ApiError) -> web.Response:
    reply = request[_OPERATION].refuse(error)
    return web.Response(
        status=reply.status, body=b"".join(reply.parts), content_type=reply.content_type, headers=reply.headers
    )


def _not_found(accept: str) -> web.Response:
    """Say that there is no such path, in the form that the caller takes."""
    if "application/json" in accept:
        body = encode({"code": "NOT_FOUND", "message": "Request Path Not Found"})
        return web.Response(status=404, body=body, content_type="application/json")
    if "text/plain" in accept:
        return web.Response(status=404, text="404 - NOT FOUND")
    return web.Response(status=404, text=_NOT_FOUND_PAGE, content_type="text/html")
