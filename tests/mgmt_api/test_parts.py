"""The parts that need no server: pages, encoding, ids, times, sizes."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.delayed_message import DelayedMessage
from wardenmq.broker.message import Message
from wardenmq.mgmt_api.encoding import SLICE, encode_answer
from wardenmq.mgmt_api.host import format_size
from wardenmq.mgmt_api.message_ids import id_of, id_while_delayed, number_of
from wardenmq.mgmt_api.paging import PageQuery, paginate
from wardenmq.mgmt_api.timestamps import format_time, parse_milliseconds, to_milliseconds


async def decoded(answer: object) -> Any:
    return json.loads(b"".join(await encode_answer(answer)))


@given(total=st.integers(0, 30), page=st.integers(1, 12), limit=st.integers(1, 12), step=st.integers(1, 3))
async def test_a_page_is_a_slice_of_what_is_kept(total: int, page: int, limit: int, step: int) -> None:
    kept = [number for number in range(total) if number % step == 0]
    for counted in (True, False):
        result = await paginate(
            range(total),
            PageQuery(page=page, limit=limit),
            lambda number: {"number": number},
            keep=lambda number: number % step == 0,
            counted=counted,
        )
        assert [row["number"] for row in (await decoded(result))["data"]] == kept[(page - 1) * limit : page * limit]
        assert result.meta["hasnext"] is (len(kept) > page * limit)
        assert result.meta.get("count") == (len(kept) if counted else None)


async def test_a_long_list_lets_others_run() -> None:
    looks: list[int] = []
    seen = 0

    def count(number: int) -> bool:
        nonlocal seen
        seen = number
        return True

    async def look() -> None:
        while True:
            looks.append(seen)
            await asyncio.sleep(0)

    task = asyncio.create_task(look())
    await paginate(range(10 * SLICE), PageQuery(limit=10_000), lambda number: {"number": number}, keep=count)
    task.cancel()
    assert max(later - earlier for earlier, later in pairwise((*looks, seen))) <= SLICE


@pytest.mark.parametrize("count", [0, 1, SLICE, SLICE + 1, 2 * SLICE, 2 * SLICE + 7])
async def test_slices_make_the_same_json(count: int) -> None:
    rows: list[dict[str, Any]] = [{"clientid": f"{number}é"} for number in range(count)]
    assert await decoded(rows) == rows
    page = await paginate(rows, PageQuery(limit=1_000), lambda row: row)
    assert await decoded(page) == {"data": rows, "meta": page.meta}


def test_the_id_of_a_message_is_its_own() -> None:
    def message(topic: str = "t", payload: bytes = b"x", sender: str = "one", moment: float = 2.0) -> Message:
        return Message(topic, payload, sender=sender, published_at=moment)

    others = [message("u"), message(payload=b"y"), message(sender="two"), message(moment=2.5), message("on", b"e")]
    ids = [id_of(each) for each in (message(), *others)]
    assert len(set(ids)) == len(ids)
    assert all(len(text) == 32 and text == text.upper() for text in ids)
    assert [int(text, 16) >> 64 for text in ids] == [2_000_000] * 4 + [2_500_000, 2_000_000]
    assert id_of(message()) == ids[0]


def test_the_id_of_a_message_that_waits_holds_its_number() -> None:
    message = Message("t", b"x", published_at=2.0)
    ids = [id_while_delayed(DelayedMessage(number, 9.0, 7.0, message)) for number in (1, 2)]
    assert [number_of(text) for text in ids] == [1, 2]
    assert [int(text, 16) >> 64 for text in ids] == [2_000_000] * 2


@given(st.floats(0, 4e9))
def test_a_time_that_was_shown_is_understood(seconds: float) -> None:
    shown = format_time(seconds)
    assert parse_milliseconds(shown) == to_milliseconds(seconds)
    assert parse_milliseconds(str(to_milliseconds(seconds))) == to_milliseconds(seconds)
    assert shown.endswith("+00:00")


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T02:00:00.5+02:00", 500),
        ("1969-12-31T23:59:59Z", -1_000),
    ],
)
def test_times_that_are_understood(text: str, milliseconds: int) -> None:
    assert parse_milliseconds(text) == milliseconds


@pytest.mark.parametrize("text", ["", "yesterday", "1970-01-01T00:00:00", "1e3", "-1", "٣", "9" * 16])
def test_times_that_are_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|is) "):
        parse_milliseconds(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.00"), (1_023, "1023.00"), (1_024, "1.00K"), (16_664_472_944, "15.52G"), (1 << 60, "1048576.00T")],
)
def test_sizes(count: int, text: str) -> None:
    assert format_size(count) == text
