"""Every malformed and forbidden packet against a running broker: what the peer is told, and that others are served.

MQTT 5 peers are told the reason, in a CONNACK before they are connected and in a DISCONNECT after it; earlier versions
have no words for it and are hung up on [MQTT-4.8.0-1], [MQTT5-4.13.1-1].
"""

import asyncio

import pytest
from wardenmq.broker.protocol.reason_codes import ReasonCode, disconnect_reason

from ..protocol.build import CONNECTS
from ..protocol.packets import FIRST, FIRST5, LATER, LATER3, LATER5
from ..protocol.packets5 import Case
from .brokers import Clients
from .wire import TIME_LIMIT, connect


async def _answer(clients: Clients, *sent: bytes) -> bytes:
    """Send bytes on a connection of their own and give all that comes until the server hangs up."""
    reader, writer = await asyncio.open_connection(*clients.broker.addresses["default"])
    try:
        writer.write(b"".join(sent))
        async with asyncio.timeout(TIME_LIMIT):
            return await reader.read()
    finally:
        writer.transport.abort()


async def _others_are_served(clients: Clients) -> None:
    fresh = await clients.open()
    fresh.send(connect("fresh"))
    assert (await fresh.read()).body == b"\0\0"
    await fresh.ping()
    fresh.abort()


@pytest.mark.parametrize(("version", "table"), [(3, LATER3), (4, LATER)], ids=["3.1", "3.1.1"])
async def test_an_earlier_client_is_hung_up_on(clients: Clients, version: int, table: list[Case]) -> None:
    """[MQTT-4.8.0-1]: without another word after its CONNACK, and nobody else notices."""
    for name, data, _ in table:
        assert await _answer(clients, CONNECTS[version], data) == b"\x20\x02\0\0", name
        await _others_are_served(clients)


async def test_a_client_of_mqtt_5_is_told_the_reason(clients: Clients) -> None:
    """[MQTT5-4.13.1-1]: a DISCONNECT with the reason is the last packet."""
    for name, data, reason in LATER5:
        came = await _answer(clients, CONNECTS[5], data)
        after_connack = came[2 + came[1] :]
        assert after_connack[:1] == b"\xe0", (name, came)
        assert after_connack[1] == len(after_connack) - 2, (name, came)
        assert after_connack[2] == disconnect_reason(reason), (name, came)
        await _others_are_served(clients)


async def test_what_is_no_connect_is_not_answered(clients: Clients) -> None:
    """[MQTT-3.1.0-1] [MQTT-3.1.2-2]: but a version that is not served is named as the reason."""
    for name, data, reason in FIRST:
        expected = b"\x20\x02\0\x01" if reason == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION else b""
        assert await _answer(clients, data) == expected, name
        await _others_are_served(clients)


async def test_a_connect_of_mqtt_5_is_refused_with_the_reason(clients: Clients) -> None:
    """[MQTT5-3.1.4-1]: in a CONNACK, once it can be told which version was meant, and never in a DISCONNECT."""
    for name, data, reason in FIRST5:
        came = await _answer(clients, data)
        if came:
            assert came[0] == 0x20, (name, came)
            assert came[3] == reason, (name, came)
        else:
            assert len(data) < 9 or data[:1] != b"\x10" or data[2:9] != b"\0\4MQTT\5", name
        await _others_are_served(clients)
