"""The document and the page that shows it: all from here, and gone where the operator does not want it."""

import gzip
import re
from pathlib import Path

import pytest
from wardenmq.mgmt_api.emqx.dashboard.dashboard_settings import DASHBOARD, Dashboard
from wardenmq.mgmt_api.emqx.dashboard.swagger_ui import FOLDER, read_swagger_ui

from .callers import Api, Reply

PAGES = ("/api-docs", "/api-docs/index.html")


async def fetch(api: Api, path: str, **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.call("GET", path, headers={"Accept-Encoding": "identity"} | sent, role=None)


@pytest.mark.parametrize("path", PAGES)
async def test_the_page_loads_nothing_from_elsewhere(api: Api, path: str) -> None:
    page = await fetch(api, path)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    text = page.body.decode()
    assert not re.search(r"<script(?! src=)|<style|\son\w+=|https?://", text)
    linked = re.findall(r'(?:href|src)="([^"]+)"', text)
    assert len(linked) == 5
    for link in linked:
        file = await fetch(api, link)
        assert (file.status, file.body) == (200, (FOLDER / Path(link).name).read_bytes())
        assert file.headers["Content-Type"] in ("text/css", "text/javascript", "image/png")
        assert file.headers["X-Content-Type-Options"] == "nosniff"
    assert b"/api-docs/swagger.json" in (await fetch(api, "/api-docs/page.js")).body


async def test_files_are_kept_by_browsers_and_sent_packed(api: Api) -> None:
    path = "/api-docs/swagger-ui-bundle.js"
    plain = await fetch(api, path)
    packed = await fetch(api, path, Accept_Encoding="gzip, br")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < len(plain.body) / 3
    assert packed.body == plain.body  # the client has unpacked it
    tags = {plain.headers["ETag"], packed.headers["ETag"]}
    assert len(tags) == 2
    same = await fetch(api, path, If_None_Match=plain.headers["ETag"])
    assert (same.status, same.body) == (304, b"")
    assert same.headers["ETag"] == plain.headers["ETag"]
    other = await fetch(api, path, If_None_Match='"another"')
    assert other.status == 200


@pytest.mark.parametrize("name", ["VERSION", "LICENSE", "..%2F..%2Fstate.py", "nothing.js", "%2Fetc%2Fpasswd", "."])
async def test_other_files_are_not_given(api: Api, name: str) -> None:
    reply = await fetch(api, f"/api-docs/{name}", Accept="application/json")
    assert (reply.status, reply.code) == (404, "NOT_FOUND")


async def test_all_of_it_can_be_switched_off(api: Api) -> None:
    paths = (*PAGES, "/api-docs/swagger.json", "/api-docs/page.js")
    configuration = api.state.configuration
    await configuration.put(DASHBOARD, Dashboard(swagger_support=False))
    for path in paths:
        reply = await fetch(api, path, Accept="application/json")
        assert (reply.status, reply.json) == (404, {"code": "NOT_FOUND", "message": "Request Path Not Found"})
    await configuration.put(DASHBOARD, Dashboard())
    for path in paths:
        assert (await fetch(api, path)).status == 200


async def test_the_document_is_json_and_made_once(api: Api) -> None:
    first, second = await fetch(api, "/api-docs/swagger.json"), await fetch(api, "/api-docs/swagger.json")
    assert first.headers["Content-Type"] == "application/json"
    assert first.body == second.body
    document = api.state.document
    assert document is not None
    assert await document.get() is await document.get()


def test_what_others_wrote_is_named_with_its_licence() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert {"LICENSE", "NOTICE", "VERSION"} <= files
    assert "Apache License" in (FOLDER / "LICENSE").read_text()
    assert re.search(r"swagger-ui-dist \d+\.\d+\.\d+", (FOLDER / "VERSION").read_text())
    ours = read_swagger_ui()
    assert files - set(ours) == {"LICENSE", "NOTICE", "VERSION", "swagger-ui-bundle.js.LICENSE.txt"}
    for asset in ours.values():
        assert asset.packed is None or gzip.decompress(asset.packed) == asset.data
