"""Long lists of the operator's API: whole, in order, and with turns for everybody else in between."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from threading import current_thread, main_thread
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import TypeAdapter
from wardenmq.mgmt_api import operation
from wardenmq.mgmt_api.application import create_application
from wardenmq.mgmt_api.encoding import SLICE, converted, encode_answer, listing
from wardenmq.mgmt_api.paging import sort_in_runs
from wardenmq.store.directory import Directory
from wardenmq.store.login_values import NewLogin

from ..engine.brokers import serving
from .operators import Operator

MANY = 2_500


async def most_between_turns(work: Callable[[Callable[[], None]], Awaitable[object]]) -> int:
    """Do work that calls for each item; return for how many items in a row nobody else had a turn."""
    seen, looks = 0, [0]

    async def look() -> None:
        while True:
            looks.append(seen)
            await asyncio.sleep(0)

    def count() -> None:
        nonlocal seen
        seen += 1

    task = asyncio.create_task(look())
    await work(count)
    task.cancel()
    return max(later - earlier for earlier, later in pairwise((*looks, seen)))


@pytest.mark.parametrize("count", [0, 1, SLICE, SLICE + 1, 3 * SLICE + 7])
async def test_a_listing_is_the_object_that_it_stands_for(count: int) -> None:
    rows = [{"number": number, "text": "ü,]"} for number in range(count)]
    parts = await encode_answer(await listing({"a": 1, "b": "ü"}, "rows", rows, lambda row: row))
    assert b"".join(parts) == b"".join(await encode_answer({"a": 1, "b": "ü", "rows": rows}))


async def test_rows_are_rendered_with_pauses() -> None:
    async def render(count: Callable[[], None]) -> None:
        await listing({"a": 1}, "rows", range(10 * SLICE), lambda _: count())

    async def convert(count: Callable[[], None]) -> None:
        await converted(range(10 * SLICE), lambda _: count())

    assert await most_between_turns(render) <= SLICE
    assert await most_between_turns(convert) <= SLICE


async def test_many_are_put_in_order_with_pauses() -> None:
    rows = [(f"{number * 7_919 % 10_007:05}", number) for number in range(10_007)]
    taken: list[tuple[str, int]] = []

    async def sort(count: Callable[[], None]) -> None:
        def counted() -> Iterator[tuple[str, int]]:
            for row in rows:
                count()
                yield row

        taken.extend(await sort_in_runs(counted()))

    assert await most_between_turns(sort) <= 1_001
    assert taken == sorted(rows)
    assert [*await sort_in_runs([])] == []


async def test_long_lists_come_back_as_they_were_sent(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    in_loop: list[bool] = []
    read = operation.read_body

    def watched(data: bytes, content_type: str, adapter: TypeAdapter[Any]) -> object:
        in_loop.append(current_thread() is main_thread())
        return read(data, content_type, adapter)

    monkeypatch.setattr(operation, "read_body", watched)
    async with serving({}, directory=directory) as mqtt:
        application = create_application(broker=mqtt.broker, directory=directory)
        async with TestClient(TestServer(application)) as http:
            operator = Operator(http, mqtt, directory, await directory.create_operator_token())
            rule = {"permission": "allow", "action": "publish", "qos": [1], "retain": True, "condition": None}
            rules = [{"topic": f"t/{number}", **rule} for number in range(MANY)]
            expected = {"subject_type": "username", "subject": "a", "rules": rules}
            assert await operator.done("PUT", "/rules/username/a", {"rules": rules}) == expected
            assert await operator.done("GET", "/rules/username/a") == expected
            answer = await operator.done("POST", "/rules/username/a", {"topic": "new", **rule})
            assert answer["rules"] == [*rules, {"topic": "new", **rule}]
            acl = {"acltype": "publishClientSend", "allow": True, "priority": 0}
            acls = [{"topic": f"t/{number}", **acl} for number in range(MANY)]
            role = await operator.done("POST", "/roles", {"name": "r", "acls": acls})
            assert role["acls"] == acls
            assert await operator.done("GET", "/roles/r") == role
            assert in_loop == [False, True, False]
            assert await operator.refused("PUT", "/rules/all", {"rules": [*rules, {}]}) == (400, "BAD_REQUEST")


async def test_the_members_of_a_big_group_page_by_page(operator: Operator) -> None:
    names = [f"u{number * 7_919 % MANY:05}" for number in range(MANY)]
    await operator.directory.import_logins(NewLogin(login_type="username", login=name) for name in names)
    await operator.directory.groups.create("g", members={name: number for number, name in enumerate(names)})
    found: list[str] = []
    for page in range(1, 4):
        answer = await operator.done("GET", f"/groups/g/members?limit=1000&page={page}")
        assert answer["meta"] == {"page": page, "limit": 1_000, "count": MANY, "hasnext": page < 3}
        assert all(names[row["priority"]] == row["name"] for row in answer["data"])
        found += [row["name"] for row in answer["data"]]
    assert found == sorted(names)
    assert await operator.refused("GET", "/groups/h/members") == (404, "NOT_FOUND")
