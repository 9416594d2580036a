"""API keys over HTTP: what a key does is seen by using it."""

import logging
import time
from datetime import datetime
from typing import Any

import pytest
from wardenmq.store.api_keys import MAX_API_KEYS

from .callers import V5, Api, Reply, basic


async def call(api: Api, method: str, path: str, body: object = None) -> Reply:
    return await api.call(method, f"{V5}/api_key{path}", body, headers=await api.bearer(), role=None)


async def create(api: Api, **body: object) -> Any:
    reply = await call(api, "POST", "", {"name": "mine"} | body)
    assert reply.status == 200, reply.body
    return reply.json


async def opens(api: Api, key: Any, method: str = "GET", path: str = "/nodes") -> int:
    headers = basic(key["api_key"], key["api_secret"])
    return (await api.call(method, V5 + path, headers=headers, role=None)).status


async def test_a_key_is_created_with_its_secret_shown_once(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    before = int(time.time())
    key = await create(api)
    created = datetime.fromisoformat(key["created_at"]).timestamp()
    assert before - 1 <= created <= time.time() + 1
    assert created == int(created)
    assert {name: value for name, value in key.items() if name not in ("api_key", "api_secret", "created_at")} == {
        "name": "mine",
        "enable": True,
        "expired": False,
        "expired_at": "infinity",
        "desc": "",
        "role": "administrator",
    }
    assert len(key["api_key"]) == 16
    assert await opens(api, key) == 200
    shown = (await call(api, "GET", "/mine")).json
    assert shown == {name: value for name, value in key.items() if name != "api_secret"}
    assert shown in (await call(api, "GET", "")).json
    assert key["api_secret"] not in caplog.text


async def test_halves_that_are_supplied_are_not_taken(api: Api) -> None:
    key = await create(api, api_key="chosen", api_secret="chosen")
    assert (key["api_key"], key["api_secret"]) != ("chosen", "chosen")


@pytest.mark.parametrize(
    ("given", "shown", "over"),
    [
        ("infinity", "infinity", False),
        (1_900_000_000, "2030-03-17T17:46:40+00:00", False),
        ("1900000000", "2030-03-17T17:46:40+00:00", False),
        ("2030-01-01T02:00:00.5+02:00", "2030-01-01T00:00:00+00:00", False),
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00+00:00", True),
        (0, "1970-01-01T00:00:00+00:00", True),
    ],
)
async def test_the_end_of_a_key(api: Api, given: object, shown: str, over: bool) -> None:
    key = await create(api, expired_at=given)
    assert (key["expired_at"], key["expired"]) == (shown, over)
    assert await opens(api, key) == (401 if over else 200)


@pytest.mark.parametrize(
    "end", ["soon", "", -1, 1.5, True, [], "2030-01-01T00:00:00", 10**30, "9" * 30, "1960-01-01T00:00:00Z"]
)
async def test_ends_that_are_none(api: Api, end: object) -> None:
    reply = await call(api, "POST", "", {"name": "mine", "expired_at": end})
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert (await call(api, "GET", "/mine")).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "1st"},
        {"name": "a b"},
        {"name": "é"},
        {"name": "x" * 257},
        {"name": "mine", "role": "root"},
        {"name": "mine", "enable": "perhaps"},
        {"name": "mine", "unknown": 1},
        {"desc": "x"},
    ],
)
async def test_what_is_no_key(api: Api, body: object) -> None:
    reply = await call(api, "POST", "", body)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_names_are_unique_and_keys_counted(api: Api) -> None:
    await create(api)
    assert (await call(api, "POST", "", {"name": "mine"})).code == "BAD_REQUEST"
    for number in range(MAX_API_KEYS - len(api.directory.api_keys())):
        await api.directory.create_api_key(f"key-{number}")
    full = await call(api, "POST", "", {"name": "one-more"})
    assert (full.status, full.code) == (400, "BAD_REQUEST")


async def test_a_change_keeps_text_and_switch_and_resets_end_and_role(api: Api) -> None:
    key = await create(api, desc="text", enable=False, expired_at=4_000_000_000, role="viewer")
    assert await opens(api, key) == 401
    changed = (await call(api, "PUT", "/mine", {})).json
    assert changed == {
        "name": "mine",
        "api_key": key["api_key"],
        "created_at": key["created_at"],
        "desc": "text",
        "enable": False,
        "expired": False,
        "expired_at": "infinity",
        "role": "administrator",
    }
    on = (await call(api, "PUT", "/mine", {"enable": True, "desc": "", "role": "publisher", "expired": True})).json
    assert (on["enable"], on["desc"], on["role"], on["expired"]) == (True, "", "publisher", False)
    assert await opens(api, key) == 403
    assert await opens(api, key, "POST", "/publish") == 400
    await call(api, "PUT", "/mine", {"expired_at": "2020-01-01T00:00:00Z"})
    assert await opens(api, key) == 401


@pytest.mark.parametrize("body", [{"name": "other"}, {"api_secret": "x"}, {"role": "root"}, {"expired_at": "x"}])
async def test_what_cannot_be_changed(api: Api, body: object) -> None:
    key = await create(api)
    assert (await call(api, "PUT", "/mine", body)).code == "BAD_REQUEST"
    assert await opens(api, key) == 200


async def test_a_deleted_key_opens_nothing_any_more(api: Api) -> None:
    key = await create(api)
    assert (await call(api, "DELETE", "/mine")).status == 204
    assert await opens(api, key) == 401
    for method in ("GET", "PUT", "DELETE"):
        reply = await call(api, method, "/mine")
        assert (reply.status, reply.code) == (404, "NOT_FOUND")


async def test_error_codes_are_told_to_everybody(api: Api) -> None:
    codes = (await api.call("GET", f"{V5}/error_codes", role=None)).json
    assert len({row["code"] for row in codes}) == len(codes) >= 31
    one = await api.call("GET", f"{V5}/error_codes/BAD_TOPIC", role=None)
    assert one.json in codes
    unknown = await api.call("GET", f"{V5}/error_codes/BAD", role=None)
    assert (unknown.status, unknown.code) == (404, "NOT_FOUND")
