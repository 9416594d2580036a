"""`max_message_rate` and `max_byte_rate`: a client that sends more waits or is closed, and nobody else notices."""

import pytest
from wardenmq.broker.access import Accept
from wardenmq.broker.settings import MqttSettings

from .brokers import serving
from .conditions import until
from .wire import PING, Client, connect, publish
from .wire5 import Client5
from .wire5 import publish as publish5


async def _sends(client: Client, count: int, size: int = 100) -> None:
    client.send(*(publish("t", b"x" * size) for _ in range(count)))
    await client.drain()


@pytest.mark.parametrize("bound", [{"max_message_rate": 50.0}, {"max_byte_rate": 5_000.0}])
async def test_a_fast_client_waits_and_loses_nothing(bound: dict[str, float]) -> None:
    async with serving(settings=MqttSettings(**bound)) as clients:  # type: ignore[arg-type]
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe(("t", 0))
        fast = await clients.connected("fast", keep_alive=1)
        await _sends(fast, 100)
        await until(lambda: clients.broker.limits()["clients_paused_for_rate"] == 1)
        other = await clients.connected("other")
        await other.publish("t", b"other")  # at once, though the fast one is not read
        assert len(await subscriber.messages(101)) == 101
        await fast.ping()  # answered once it is read again; its keep-alive has not ended it meanwhile


async def test_a_pause_that_begins_with_the_connect_ends_too() -> None:
    """The CONNECT and what follows come in one piece, and its answer has to wait for a plugin."""
    async with serving(settings=MqttSettings(max_byte_rate=2_000.0)) as clients:
        fast = await clients.open()
        fast.send(connect("fast", keep_alive=1), *(publish("t", b"x" * 100) for _ in range(25)), PING)
        await fast.expect(2)
        await fast.ping()


async def test_a_fast_client_is_closed_where_the_settings_say_so() -> None:
    settings = MqttSettings(max_message_rate=50.0, rate_exceeded="disconnect")
    async with serving(settings=settings) as clients:
        fast = await Client5.open(clients.broker.addresses["default"])
        await fast.connect("fast")
        fast.send(*(publish5("t", b"x") for _ in range(200)))
        await fast.disconnected(0x96)
        await until(lambda: clients.broker.limits()["clients_disconnected_for_rate"] == 1)
        assert clients.broker.limits()["closed.message_rate_too_high"] == 1
        fast.abort()


def test_accept_has_no_secret_in_its_representation() -> None:
    assert "secret" not in repr(Accept(auth_data=b"secret"))
