"""The API's document, and Swagger UI to read it with; all of it is 404 where the operator switched it off."""

from aiohttp import web

from ...routes import Answer, Call
from .dashboard_settings import dashboard_of
from .swagger_ui import PAGE, SWAGGER_UI

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}


async def get_document(call: Call[None, None]) -> Answer:
    """Give the OpenAPI document."""
    document = call.state.document
    if document is None:
        raise web.HTTPNotFound
    _check_wanted(call)
    return Answer(await document.get(), 200, headers={"Cache-Control": "no-cache"})


async def get_page(call: Call[None, None]) -> Answer:
    """Give the page that shows the document."""
    return await _asset(call, PAGE)


async def get_asset(call: Call[None, None]) -> Answer:
    """Give a file that the page needs."""
    return await _asset(call, call.path["file"])


async def _asset(call: Call[None, None], name: str) -> Answer:
    _check_wanted(call)
    asset = (await call.state.part(SWAGGER_UI).get()).get(name)
    if asset is None:
        raise web.HTTPNotFound
    packed = asset.packed is not None and "gzip" in call.headers.get("Accept-Encoding", "")
    tag = f'"{asset.tag}{"-gzip" if packed else ""}"'
    headers = {**_HEADERS, "ETag": tag}
    if tag in call.headers.get("If-None-Match", ""):
        return Answer(None, 304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
        return Answer(asset.packed, 200, asset.content_type, headers)
    return Answer(asset.data, 200, asset.content_type, headers)


def _check_wanted(call: Call[None, None]) -> None:
    if not dashboard_of(call.state.configuration).swagger_support:
        raise web.HTTPNotFound
