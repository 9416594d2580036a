"""MQTT 3.1, which has no numbered statements: where it differs from 3.1.1, and that the rest is the same."""

import pytest

from ...engine import access_plugins
from ...engine.brokers import ANONYMOUS, Clients, serving
from ...engine.conditions import until
from ...engine.wire import (
    CONNACK,
    CONNECT,
    PINGRESP,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    UNSUBACK,
    Client,
    Will,
    acknowledge,
    connect,
    packet,
    publish,
    string,
    subscribe,
    unsubscribe,
)

OLD = {"name": "MQIsdp", "level": 3}


async def _gone(clients: Clients, client_id: str) -> None:
    def gone() -> bool:
        session = clients.broker.registry.get(client_id)
        return session is None or not session.connected

    await until(gone)


async def _connected(clients: Clients, client_id: str, **fields: object) -> Client:
    client = await clients.open()
    client.send(connect(client_id, **OLD, **fields))  # type: ignore[arg-type]
    got = await client.read()
    assert (got.kind, got.flags, got.body) == (CONNACK, 0, b"\x00\x00")
    return client


async def test_connack_has_no_session_present(clients: Clients) -> None:
    """That byte is reserved in 3.1, also where a session is resumed; the session is resumed all the same."""
    client = await _connected(clients, "c1", clean=False)
    await client.subscribe(("t", 1))
    await client.disconnect()
    await _gone(clients, "c1")
    await (await clients.connected("publisher")).publish("t", b"missed", 1)
    client = await _connected(clients, "c1", clean=False)
    got = await client.message()
    assert (got.payload, got.qos, got.dup) == (b"missed", 1, False)


@pytest.mark.parametrize("clean", [True, False])
async def test_an_empty_client_id_is_answered_2(clients: Clients, clean: bool) -> None:
    """3.1 knows no client ids that the server makes up: 1 character is the least."""
    assert await (await clients.open()).refused(connect("", clean=clean, **OLD)) == 2
    assert len(clients.broker.registry) == 0


async def test_client_ids_of_more_than_23_characters_are_taken(clients: Clients) -> None:
    """3.1 would have them refused; devices in the field send them, and other brokers take them."""
    await (await _connected(clients, "x" * 23)).ping()
    await (await _connected(clients, "x" * 24)).ping()


@pytest.mark.parametrize(
    ("name", "level"), [("MQIsdp", 4), ("MQIsdp", 5), ("MQIsdp", 2), ("MQTT", 3), ("MQIsdp", 0x83)]
)
async def test_name_and_level_belong_together(clients: Clients, name: str, level: int) -> None:
    """Any other pair is answered 1: the version is not spoken."""
    assert await (await clients.open()).refused(connect("c1", name=name, level=level)) == 1


async def test_wrong_credentials_are_answered_4() -> None:
    """The return codes are those of 3.1.1."""
    async with serving({f"{access_plugins.__name__}.FastPasswords": {}}) as clients:
        wrong = connect("c1", username="alice", password=b"wrong", **OLD)
        assert await (await clients.open()).refused(wrong) == 4
        client = await _connected(clients, "c1", username="alice", password=b"secret")
        await client.ping()


MISSING = {
    "user name": (0x82, b"", None),
    "user name and password": (0xC2, b"", None),
    "password": (0xC2, string("alice"), "alice"),
}


@pytest.mark.parametrize(("flags", "fields", "username"), MISSING.values(), ids=MISSING.keys())
async def test_announced_credentials_may_be_missing(
    clients: Clients, flags: int, fields: bytes, username: str | None
) -> None:
    """3.1, section CONNECT: the remaining length goes before the flags, for the sake of clients of MQTT 3."""
    client = await clients.open()
    client.send(packet(CONNECT, string("MQIsdp") + bytes((3, flags)) + b"\x00\x00" + string("c1") + fields))
    assert (await client.read()).body == b"\x00\x00"
    session = clients.broker.registry.get("c1")
    assert session is not None and session.username == username


@pytest.mark.parametrize("plugin", ["FastRules", "SlowRules"])
async def test_a_denied_subscription_is_acknowledged_as_if_granted(plugin: str) -> None:
    """3.1 has no return code for it and asks for a positive SUBACK; nothing is subscribed, live or retained."""
    async with serving({**ANONYMOUS, f"{access_plugins.__name__}.{plugin}": {"subscribe": ["no"]}}) as clients:
        publisher = await clients.connected("publisher")
        await publisher.publish("no", b"retained", 1, retain=True)
        client = await _connected(clients, "c1")
        assert await client.subscribe(("a", 1), ("no", 2), ("b", 0), ("no", 0)) == [1, 2, 0, 0]
        await publisher.publish("no", b"live", 1)
        await client.nothing_came()
        assert clients.broker.router.subscription_count == 2


async def test_too_many_levels_are_acknowledged_as_if_granted(clients: Clients) -> None:
    """The same where the server refuses a filter for a reason of its own."""
    client = await _connected(clients, "c1")
    levels = "/".join("x" * (clients.broker.settings.max_topic_levels + 1))
    assert await client.subscribe((levels, 1), ("a", 1)) == [1, 1]
    assert clients.broker.router.subscription_count == 1


async def test_dup_on_other_packets_than_publish(clients: Clients) -> None:
    """3.1 sets it on a SUBSCRIBE, UNSUBSCRIBE or PUBREL that is sent again; in 3.1.1 that bit is reserved."""
    client = await _connected(clients, "c1")
    for flags in (2, 10):
        client.send(subscribe(1, ("t", 1), flags=flags))
        got = await client.read()
        assert (got.kind, got.body) == (SUBACK, b"\x00\x01\x01")
    client.send(publish("u", b"x", 2, 2))
    assert (await client.read()).kind == PUBREC
    for flags in (2, 10):
        client.send(packet(PUBREL, b"\x00\x02", flags))
        got = await client.read()
        assert (got.kind, got.body) == (PUBCOMP, b"\x00\x02")
    for flags in (2, 10):
        client.send(unsubscribe(3, "t", flags=flags))
        got = await client.read()
        assert (got.kind, got.body) == (UNSUBACK, b"\x00\x03")


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_pass_between_the_versions(clients: Clients, qos: int) -> None:
    """At every QoS, either way, retained and live, with the handshakes of 3.1.1."""
    old, new = await _connected(clients, "old"), await clients.connected("new")
    for client in (old, new):
        assert await client.subscribe(("t/#", qos)) == [qos]
    for client in (old, new):
        await client.publish("t/x", b"live", qos)
        for receiver in (old, new):
            got = await receiver.message()
            assert (got.topic, got.payload, got.qos, got.retain) == ("t/x", b"live", qos, False)
    await old.publish("t/kept", b"kept", qos, retain=True)
    late = await _connected(clients, "late")
    await late.subscribe(("t/#", 2))
    got = await late.message()
    assert (got.topic, got.payload, got.qos, got.retain) == ("t/kept", b"kept", qos, True)


async def test_what_is_open_is_sent_again(clients: Clients) -> None:
    """With DUP and its identifier, as in 3.1.1; a PUBREL without DUP, which both versions allow."""
    client = await _connected(clients, "c1", clean=False)
    await client.subscribe(("t", 2))
    publisher = await clients.connected("publisher")
    await publisher.publish_all("t", [b"a", b"b"], 2)
    first = [await client.expect(PUBLISH) for _ in range(2)]
    client.send(acknowledge(PUBREC, first[0].packet_id))
    await client.expect(PUBREL)
    client.abort()
    await _gone(clients, "c1")
    client = await _connected(clients, "c1", clean=False)
    again = [await client.read() for _ in range(2)]
    assert sorted((p.kind, p.flags, p.packet_id) for p in again) == [
        (PUBLISH, 12, first[1].packet_id),
        (PUBREL, 2, first[0].packet_id),
    ]


async def test_wills_and_keep_alive(clients: Clients) -> None:
    """Silence past one and a half keep-alives publishes the will, DISCONNECT discards it."""
    watcher = await _connected(clients, "watcher")
    await watcher.subscribe(("will", 1))
    leaving = await _connected(clients, "leaving", will=Will("will", b"leaving"))
    await leaving.disconnect()
    silent = await _connected(clients, "silent", keep_alive=1, will=Will("will", b"silent", 1))
    assert (await watcher.message()).payload == b"silent"
    await silent.hung_up()
    await watcher.nothing_came()


async def test_a_version_may_change_from_connection_to_connection(clients: Clients) -> None:
    """The session belongs to the client id."""
    old = await _connected(clients, "c1", clean=False)
    await old.subscribe(("t", 1))
    new = await clients.open()
    assert await new.connect("c1", clean=False) is True
    await old.hung_up()
    await (await clients.connected("publisher")).publish("t", b"x", 1)
    await new.expect(PUBLISH)
    again = await _connected(clients, "c1", clean=False)
    await new.hung_up()
    assert (await again.message()).payload == b"x"
    again.send(b"\xc0\x00")
    assert (await again.read()).kind == PINGRESP
