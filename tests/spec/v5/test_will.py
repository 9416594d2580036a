"""The will: when it is published, with what, and when it is not (MQTT 5.0, sections 3.1.2.5 and 3.1.3.2)."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from ...clocks import WallClock
from ...engine import access_plugins
from ...engine.brokers import ANONYMOUS
from ...engine.packets5 import P, Property
from ...engine.wire import Will
from ...engine.wire5 import Client5, Will5, connect, disconnect, options, publish, users
from .serving import KEPT, Clients5, serving5

AS_PUBLISHED = options(2, retain_as_published=True)


@pytest.fixture
async def watcher(clients: Clients5) -> AsyncIterator[Client5]:
    """Give a client that sees all wills, with their RETAIN flag."""
    yield await clients.subscribed5("watcher", ("w/#", AS_PUBLISHED))


def _delay(seconds: int) -> list[Property]:
    return [(P.WILL_DELAY, seconds)]


# When.


async def test_a_broken_connection(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-10]: published once, at once where there is no delay."""
    client = await clients.connected5("c1", will=Will5("w/1", b"gone"), properties=KEPT)
    client.abort()
    got = await watcher.message()
    assert (got.topic, got.payload, got.qos, got.retain, got.properties) == ("w/1", b"gone", 0, False, ())
    client = await clients.back("c1")
    client.abort()
    await clients.gone("c1")
    await watcher.nothing_came()  # the second connection had none


@pytest.mark.parametrize("reason", [0x04, 0x80, 0x82, 0x98])
async def test_a_goodbye_that_asks_for_it(clients: Clients5, watcher: Client5, reason: int) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.14.4-3]: DISCONNECT with any reason but 0."""
    client = await clients.connected5("c1", will=Will5("w/1"))
    client.send(disconnect(reason))
    await client.hung_up()
    assert (await watcher.message()).topic == "w/1"


@pytest.mark.parametrize("goodbye", [disconnect(), disconnect(0), disconnect(0, [(P.REASON_STRING, "bye")])])
@pytest.mark.parametrize("delay", [0, 1])
async def test_an_ordinary_goodbye(clients: Clients5, watcher: Client5, goodbye: bytes, delay: int) -> None:
    """[MQTT-3.14.4-3] [MQTT-3.1.2-10]: the will is discarded, for good."""
    client = await clients.connected5("c1", will=Will5("w/1", properties=_delay(delay)), properties=KEPT)
    client.send(goodbye)
    await client.hung_up()
    await clients.gone("c1")
    assert clients.session("c1").will is None
    client = await clients.connected5("c1")
    client.abort()
    await clients.gone("c1")
    await watcher.nothing_came()


async def test_a_protocol_error(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-8]: of the client, whatever the server answers."""
    client = await clients.connected5("c1", will=Will5("w/1"))
    client.send(b"\x00\x00")
    await client.disconnected(0x81, 0x82)
    assert (await watcher.message()).topic == "w/1"


async def test_a_keep_alive_that_ran_out(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.2-22]: as if the network had failed."""
    client = await clients.connected5("c1", will=Will5("w/1"), keep_alive=1)
    await client.disconnected(0x8D)
    assert (await watcher.message()).topic == "w/1"


async def test_an_administrator(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-8]: the server closes the connection and ends the session: the delay does not count."""
    client = await clients.connected5("c1", will=Will5("w/1", properties=_delay(600)), properties=KEPT)
    await clients.broker.kick("c1")
    await client.disconnected(0x98)
    assert (await watcher.message()).topic == "w/1"


@pytest.mark.parametrize("clean", [True, False])
async def test_a_take_over(clients: Clients5, watcher: Client5, clean: bool) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.4-3]: the will without a delay is published, once."""
    first = await clients.connected5("c1", will=Will5("w/1"), properties=KEPT)
    await clients.connected5("c1", clean=clean, properties=KEPT)
    await first.disconnected(0x8E)
    assert (await watcher.message()).topic == "w/1"
    await watcher.nothing_came()


async def test_no_will_flag(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-11]: a later CONNECT without a will has none, whatever an earlier one had."""
    first = await clients.connected5("c1", will=Will5("w/1", properties=_delay(600)), properties=KEPT)
    second = await clients.back("c1")
    await first.disconnected(0x8E)
    second.abort()
    await clients.gone("c1")
    await watcher.nothing_came()
    assert clients.session("c1").will is None


# The delay.


async def test_the_will_is_delayed(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.3-9]: by its interval, while the session is kept."""
    client = await clients.connected5("c1", will=Will5("w/1", properties=_delay(1)), properties=KEPT)
    begin = time.monotonic()
    client.abort()
    assert (await watcher.message()).topic == "w/1"
    assert time.monotonic() - begin >= 0.9
    await clients.back("c1")  # the session is there still


async def test_a_reconnect_keeps_the_will_from_being_sent(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.3-9] [MQTT-3.1.2-10]: within the delay; the new connection's will is another."""
    client = await clients.connected5("c1", will=Will5("w/old", qos=1, properties=_delay(1)), properties=KEPT)
    client.abort()
    await clients.gone("c1")
    client = await clients.back("c1")
    await asyncio.sleep(1.5)  # past the delay: nothing may come of it
    await watcher.nothing_came()
    client.abort()
    await clients.gone("c1")
    await watcher.nothing_came()


async def test_a_take_over_keeps_a_delayed_will_from_being_sent(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.3-9] [MQTT-3.1.4-3]: the session goes on."""
    first = await clients.connected5("c1", will=Will5("w/1", properties=_delay(600)), properties=KEPT)
    await clients.back("c1")
    await first.disconnected(0x8E)
    await watcher.nothing_came()


async def test_a_clean_start_ends_the_delay(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.2-4]: the session ends, and its will is sent then; on a take-over and after it left."""
    first = await clients.connected5("c1", will=Will5("w/1", properties=_delay(600)), properties=KEPT)
    second = await clients.connected5("c1", will=Will5("w/2", properties=_delay(600)), properties=KEPT)
    await first.disconnected(0x8E)
    assert (await watcher.message()).topic == "w/1"
    second.abort()
    await clients.gone("c1")
    await watcher.nothing_came()
    await clients.connected5("c1", clean=True)
    assert (await watcher.message()).topic == "w/2"


async def test_the_session_ends_before_the_delay(clients: Clients5, watcher: Client5, clock: WallClock) -> None:
    """[MQTT-3.1.2-8]: whichever is first; an interval of 0 is at once, another when it is over."""
    client = await clients.connected5("c1", will=Will5("w/1", properties=_delay(600)))
    client.abort()
    assert (await watcher.message()).topic == "w/1"
    client = await clients.connected5(
        "c2", will=Will5("w/2", properties=_delay(600)), properties=[(P.SESSION_EXPIRY, 100)]
    )
    client.abort()
    await clients.gone("c2")
    await watcher.nothing_came()
    clock.advance(101)
    assert (await watcher.message()).topic == "w/2"


async def test_a_session_ended_by_a_goodbye_with_will(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.14.4-3]: DISCONNECT 0x04 with Session Expiry Interval 0 leaves no time for a delay."""
    client = await clients.connected5("c1", will=Will5("w/1", properties=_delay(600)), properties=KEPT)
    client.send(disconnect(0x04, [(P.SESSION_EXPIRY, 0)]))
    await client.hung_up()
    assert (await watcher.message()).topic == "w/1"


async def test_an_administrator_ends_the_delay(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-8]: the session of a client that is away ends, and its will is sent then."""
    client = await clients.connected5("c1", will=Will5("w/1", properties=_delay(600)), properties=KEPT)
    client.abort()
    await clients.gone("c1")
    await watcher.nothing_came()
    await clients.broker.kick("c1")
    assert (await watcher.message()).topic == "w/1"


# What.

PROPERTIES: list[Property] = [
    (P.USER, ("z", "1")),
    (P.CORRELATION_DATA, b"\0\xff"),
    (P.USER, ("a", "2")),
    (P.PAYLOAD_FORMAT, 1),
    (P.RESPONSE_TOPIC, "answers"),
    (P.CONTENT_TYPE, "text/plain"),
    (P.USER, ("z", "1")),
]


@pytest.mark.parametrize("delay", [None, 0, 1])
async def test_its_properties_are_published(clients: Clients5, watcher: Client5, delay: int | None) -> None:
    """[MQTT-3.1.3-10] [MQTT-3.3.2-18] [MQTT-3.1.2-9]: unchanged and in order, without the delay."""
    properties = PROPERTIES if delay is None else [PROPERTIES[0], (P.WILL_DELAY, delay), *PROPERTIES[1:]]
    client = await clients.connected5("c1", will=Will5("w/1", properties=properties), properties=KEPT)
    client.abort()
    assert list((await watcher.message()).properties) == PROPERTIES


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
async def test_its_qos_and_retain(clients: Clients5, watcher: Client5, qos: int, retain: bool) -> None:
    """[MQTT-3.1.2-14] [MQTT-3.1.2-15] [MQTT-3.1.2-12]: as the CONNECT had them; retained or not."""
    client = await clients.connected5("c1", will=Will5("w/1", b"gone", qos, retain))
    client.abort()
    got = await watcher.message()
    assert (got.qos, got.retain) == (qos, retain)
    late = await clients.subscribed5("late", ("w/1", 2))
    if retain:
        assert (await late.message()).payload == b"gone"
    await late.nothing_came()


@pytest.mark.parametrize("payload", [b"", b"\0\xff", b"x" * 65_535])
async def test_its_payload(clients: Clients5, watcher: Client5, payload: bytes) -> None:
    """[MQTT-3.1.2-9]: empty, binary and the longest."""
    client = await clients.connected5("c1", will=Will5("w/1", payload))
    client.abort()
    assert (await watcher.message()).payload == payload


async def test_an_empty_retained_will_clears(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.3.1-6] [MQTT-3.1.2-15]: like any empty retained message."""
    await watcher.publish("w/1", b"kept", 1, retain=True)
    await watcher.message()
    client = await clients.connected5("c1", will=Will5("w/1", b"", retain=True))
    client.abort()
    await watcher.message()
    await (await clients.subscribed5("late", ("w/1", 2))).nothing_came()


@pytest.mark.parametrize("topic", ["w/#", "+", ""])
async def test_a_will_topic_that_is_none(clients: Clients5, topic: str) -> None:
    """[MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-3.1.3-11]: the CONNECT is refused."""
    assert await (await clients.open5()).refused(connect("c1", will=Will5(topic))) in (0x81, 0x82, 0x90)


async def test_no_local_counts_for_the_will(clients: Clients5) -> None:
    """[MQTT-3.8.3-3]: it is published for the client id whose it was."""
    client = await clients.connected5("c1", will=Will5("w/1", qos=1), properties=KEPT)
    await client.subscribe(("w/#", options(1, no_local=True)), ("x", 1))
    client.abort()
    await clients.gone("c1")
    await (await clients.back("c1")).nothing_came()


async def test_a_will_reaches_its_own_client(clients: Clients5) -> None:
    """[MQTT-3.1.2-8] [MQTT-4.5.0-1]: a stored session that subscribes to it."""
    client = await clients.connected5("c1", will=Will5("w/1", b"mine", 1), properties=KEPT)
    await client.subscribe(("w/#", 1))
    client.abort()
    await clients.gone("c1")
    assert (await (await clients.back("c1")).message()).payload == b"mine"


async def test_a_will_that_is_not_authorized() -> None:
    """[MQTT-3.1.4-2]: nobody receives what its client may not publish, at the end or after the delay."""
    plugins = {**ANONYMOUS, f"{access_plugins.__name__}.FastRules": {"publish": ["denied"]}}
    async with serving5(plugins=plugins) as guarded:
        watcher = await guarded.subscribed5("watcher", ("#", 0))
        client = await guarded.open5()
        client.send(connect("c1", will=Will5("denied", retain=True)))
        got = await client.read()
        assert got.reason in (0, 0x87)
        client.abort()
        await guarded.gone("c1")
        await watcher.nothing_came()
        await (await guarded.subscribed5("late", ("denied", 0))).nothing_came()


async def test_wills_between_versions(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-8]: of an MQTT 5 client to a 3.1.1 one, and back."""
    old = await clients.connected("old")
    await old.subscribe(("w/#", 1))
    client = await clients.connected5("c1", will=Will5("w/5", b"five", 1, properties=users(("k", "v"))))
    client.abort()
    got = await old.message()
    assert (got.topic, got.payload, got.qos) == ("w/5", b"five", 1)
    assert (await watcher.message()).properties == ((P.USER, ("k", "v")),)
    dying = await clients.connected("c4", will=Will("w/4", b"four", 2))
    dying.abort()
    got5 = await watcher.message()
    assert (got5.topic, got5.payload, got5.qos, got5.properties) == ("w/4", b"four", 2, ())


async def test_an_unfinished_packet_is_no_goodbye(clients: Clients5, watcher: Client5) -> None:
    """[MQTT-3.1.2-8]: a connection that ends in the middle of a packet, or by closing the socket."""
    for client_id, last in (("c1", publish("t", b"x" * 100)[:20]), ("c2", b"\xe0"), ("c3", b"")):
        client = await clients.connected5(client_id, will=Will5(f"w/{client_id}"))
        client.send(last)
        client.close()
        assert (await watcher.message()).topic == f"w/{client_id}"
