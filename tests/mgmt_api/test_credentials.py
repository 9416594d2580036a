import asyncio
import logging
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from wardenmq.mgmt_api.emqx.dashboard.dashboard_settings import DASHBOARD, Dashboard

from .callers import V5, Api, basic

PROTECTED = f"{V5}/nodes"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic " + b64encode(b"no colon").decode(),
        "Basic " + b64encode(b"\xff\xfe:x").decode(),
        "Basic \xff",
        "Basic a2V5OnNlY3JldA\xe9==",
        "Bearer",
        "Bearer ",
        "Digest username=x",
    ],
)
async def test_headers_that_are_no_key_and_secret(api: Api, header: str) -> None:
    reply = await api.call("GET", PROTECTED, headers={"Authorization": header}, role=None)
    assert (reply.status, reply.code) == (401, "AUTHORIZATION_HEADER_ERROR")
    assert reply.headers["WWW-Authenticate"] == 'Basic Realm="emqx-dashboard"'


async def test_keys_that_are_not_in_force(api: Api) -> None:
    key, secret = await api.directory.create_api_key("right")
    await api.directory.create_api_key("off", api_key="off", secret=secret)
    await api.directory.update_api_key("off", enabled=False)
    await api.directory.create_api_key("old", api_key="old", secret=secret)
    await api.directory.update_api_key("old", expires_at=datetime(2020, 1, 1, tzinfo=UTC).timestamp())
    assert (await api.call("GET", PROTECTED, headers=basic(key.api_key, secret), role=None)).status == 200
    for wrong in (
        basic(key.api_key, secret + "x"),
        basic(key.api_key, ""),
        basic("unknown", secret),
        basic("", ""),
        basic("off", secret),
        basic("old", secret),
    ):
        reply = await api.call("GET", PROTECTED, headers=wrong, role=None)
        assert (reply.status, reply.code) == (401, "BAD_API_KEY_OR_SECRET")
        assert reply.json["message"] == "Check api_key/api_secret"
        assert reply.headers["WWW-Authenticate"] == 'Basic Realm="emqx-dashboard"'


async def test_a_deleted_key_is_refused_at_once(api: Api) -> None:
    assert (await api.call("GET", PROTECTED, role="viewer")).status == 200
    await api.directory.delete_api_key("viewer")
    assert (await api.call("GET", PROTECTED, role="viewer")).status == 401


async def test_the_name_of_the_scheme_may_be_written_in_any_case(api: Api) -> None:
    header = api.keys["viewer"]["Authorization"].replace("Basic", "bAsIc")
    assert (await api.call("GET", PROTECTED, headers={"Authorization": header}, role=None)).status == 200


async def test_a_secret_may_hold_colons(api: Api) -> None:
    await api.directory.create_api_key("colons", api_key="colons", secret="a:b:c-and-some-more")
    headers = basic("colons", "a:b:c-and-some-more")
    assert (await api.call("GET", PROTECTED, headers=headers, role=None)).status == 200


async def test_no_credential_gets_into_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    header = basic("some-key", "some-secret")
    await api.call("GET", PROTECTED, headers=header, role=None)
    await api.call("GET", PROTECTED)
    for secret in ("some-secret", header["Authorization"][6:], api.keys["administrator"]["Authorization"][6:]):
        assert secret not in caplog.text


@pytest.mark.parametrize("form", ["Authorization : {}", "Authorization {}", "Authorization: {}\0"])
async def test_nor_does_one_in_a_header_that_is_written_wrongly(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture, form: str
) -> None:
    caplog.set_level(logging.DEBUG)
    header = basic("some-key", "some-secret")["Authorization"]
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {PROTECTED} HTTP/1.1\r\nHost: x\r\n{form.format(header)}\r\n\r\n".encode())
    async with asyncio.timeout(30):
        assert b" 400 " in (await reader.read()).partition(b"\r\n")[0]
    writer.close()
    assert "malformed HTTP request refused" in caplog.text
    assert header[6:] not in caplog.text
    assert "Traceback" not in caplog.text


# -- what a browser sends for somebody else's page, with a key that it remembers

SENT = {"topic": "t", "payload": "x"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://HERE.example", "Host": "here.example"}, 202),
        ({"Origin": "http://here.example:1", "Host": "here.example:2"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://outside.example"}, 202),
        ({"Sec-Fetch-Site": "none"}, 202),
    ],
)
async def test_pages_of_other_sites(api: Api, headers: dict[str, str], status: int) -> None:
    reply = await api.call("POST", f"{V5}/publish", SENT, headers=headers)
    assert reply.status == status
    if status == 403:
        assert reply.code == "UNAUTHORIZED_ROLE"
    assert (await api.call("GET", PROTECTED, headers=headers)).status == 200


async def test_pages_of_other_sites_that_are_let_in_or_have_a_token(api: Api) -> None:
    evil = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    # no browser sends a token by itself
    reply = await api.call("POST", f"{V5}/publish", SENT, headers={**evil, **await api.bearer()}, role=None)
    assert reply.status == 202
    await api.state.configuration.put(DASHBOARD, Dashboard(cors=True))
    assert (await api.call("POST", f"{V5}/publish", SENT, headers=evil)).status == 202
