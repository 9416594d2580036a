"""Chapters 3.12 to 3.14, 4.8 and 7: PINGREQ, DISCONNECT, errors, and what no conversation depends on."""

import pytest
from wardenmq.broker.router import Router

from ...engine.brokers import Clients
from ...engine.conditions import until
from ...engine.wire import (
    CONNACK,
    GOODBYE,
    PING,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    SUBACK,
    UNSUBACK,
    Client,
    Will,
    publish,
)


async def _watching(clients: Clients, topic_filter: str) -> Client:
    watcher = await clients.connected("watcher")
    await watcher.subscribe((topic_filter, 2))
    return watcher


async def test_every_pingreq_is_answered(clients: Clients) -> None:
    """[MQTT-3.12.4-1]: one PINGRESP for each, empty, in its turn."""
    client = await clients.connected()
    client.send(PING, PING, publish("t", b"x", 1, 1), PING)
    got = [await client.read() for _ in range(4)]
    assert [(p.kind, p.flags, p.body) for p in got if p.kind != PUBACK] == [(PINGRESP, 0, b"")] * 3
    assert [p.kind for p in got] == [PINGRESP, PINGRESP, PUBACK, PINGRESP]


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_disconnect_discards_the_will(clients: Clients, qos: int, clean: bool) -> None:
    """[MQTT-3.14.4-3] [MQTT-3.1.2-8] [MQTT-3.1.2-10]: retained or not, sent with the last words or alone."""
    watcher = await _watching(clients, "#")
    for retain in (False, True):
        leaving = await clients.connected("leaving", clean=clean, will=Will("will", b"gone", qos, retain))
        leaving.send(publish("last/words", b"x"), GOODBYE)
        await leaving.hung_up()
        assert (await watcher.message()).topic == "last/words"
    await watcher.nothing_came()
    late = await clients.connected("late")
    await late.subscribe(("#", 0))
    await late.nothing_came()


async def test_every_other_end_publishes_the_will(clients: Clients) -> None:
    """[MQTT-3.1.2-8]: a socket that is closed or breaks, a protocol error, a take-over, the server's own decision."""
    watcher = await _watching(clients, "will/#")

    async def expect_will_of(name: str, client: Client) -> None:
        got = await watcher.message()
        assert (got.topic, got.payload) == (f"will/{name}", b"gone")
        client.abort()

    dying = {
        name: await clients.connected(name, will=Will(f"will/{name}"))
        for name in ("closes", "breaks", "errs", "displaced", "kicked")
    }
    dying["closes"].close()
    await expect_will_of("closes", dying["closes"])
    dying["breaks"].abort()
    await expect_will_of("breaks", dying["breaks"])
    dying["errs"].send(b"\xf0\x00")
    await expect_will_of("errs", dying["errs"])
    await clients.connected("displaced")
    await expect_will_of("displaced", dying["displaced"])
    assert await clients.broker.kick("kicked")
    await expect_will_of("kicked", dying["kicked"])
    await watcher.nothing_came()


VIOLATIONS = {
    "packet type 0": b"\x00\x00",
    "packet type 15": b"\xf0\x00",
    "CONNACK": b"\x20\x02\x00\x00",
    "SUBACK": b"\x90\x03\x00\x01\x00",
    "UNSUBACK": b"\xb0\x02\x00\x01",
    "PINGRESP": b"\xd0\x00",
    "PINGREQ with a body": b"\xc0\x01\x00",
    "DISCONNECT with a body": b"\xe0\x01\x00",
    "PUBACK of one byte": b"\x40\x01\x00",
    "PUBREL of three bytes": b"\x62\x03\x00\x01\x00",
    "PUBLISH shorter than its topic": b"\x30\x03\x00\x05a",
    "SUBSCRIBE without the QoS": b"\x82\x05\x00\x01\x00\x01a",
    "a remaining length of five bytes": b"\x30\x80\x80\x80\x80\x01",
}


@pytest.mark.parametrize("data", VIOLATIONS.values(), ids=VIOLATIONS.keys())
async def test_a_violation_ends_the_connection_that_it_came_by(clients: Clients, data: bytes) -> None:
    """[MQTT-4.8.0-1]: what came before is done, what comes behind is not, and nobody else is concerned."""
    watcher = await _watching(clients, "#")
    client = await clients.connected("c1")
    client.send(publish("before", b"x"), data, publish("behind", b"x"))
    await client.hung_up()
    assert (await watcher.message()).topic == "before"
    await watcher.nothing_came()
    assert clients.broker.registry.get("c1") is None
    await (await clients.connected("c1")).ping()


async def test_a_fault_in_handling_a_packet_ends_the_connection_that_it_came_by(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[MQTT-4.8.0-2]: without an acknowledgement; the session stays, others are served, and so is the next try."""
    watcher = await _watching(clients, "#")
    client = await clients.connected("c1", clean=False)
    route = Router.route

    def fail(self: Router, topic: str, *arguments: str) -> object:
        if topic == "fault":
            raise OSError("this time only")
        return route(self, topic, *arguments)

    monkeypatch.setattr(Router, "route", fail)
    client.send(publish("fault", b"x", 1, 1), publish("behind", b"x"))
    await client.hung_up()
    monkeypatch.undo()
    await watcher.nothing_came()
    client = await clients.open()
    assert await client.connect("c1", clean=False) is True
    await client.publish("fault", b"again", 1)
    assert (await watcher.message()).payload == b"again"


CONVERSATION = [
    (b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02c1", CONNACK, b"\x00\x00"),
    (b"\x82\x0a\x00\x01\x00\x01a\x01\x00\x01b\x00", SUBACK, b"\x00\x01\x01\x00"),
    (b"\x32\x06\x00\x01z\x00\x02!", PUBACK, b"\x00\x02"),
    (b"\x34\x06\x00\x01z\x00\x03!", PUBREC, b"\x00\x03"),
    (b"\x62\x02\x00\x03", PUBCOMP, b"\x00\x03"),
    (b"\xa2\x05\x00\x04\x00\x01a", UNSUBACK, b"\x00\x04"),
    (b"\xc0\x00", PINGRESP, b""),
]


@pytest.mark.parametrize("cut", [1, 2, 3, 1000])
async def test_nothing_but_the_standard_is_needed(clients: Clients, cut: int) -> None:
    """[MQTT-7.0.0-2] [MQTT-7.1.1-1]: bytes as the standard describes them, over TCP, in pieces of any size."""
    client = await clients.open()
    for data, kind, body in CONVERSATION:
        for start in range(0, len(data), cut):
            client.send(data[start : start + cut])
            await client.drain()
        got = await client.read()
        assert (got.kind, got.flags, got.body) == (kind, 2 if kind == PUBREL else 0, body)
    client.send(GOODBYE)
    await client.hung_up()
    await until(lambda: clients.broker.registry.get("c1") is None)
