"""Chapters 3.1 and 3.2: CONNECT and CONNACK."""

import asyncio
import string as alphabets

import pytest
from wardenmq.broker.settings import MqttSettings

from ...engine import access_plugins
from ...engine.brokers import Clients, serving
from ...engine.conditions import until
from ...engine.wire import (
    CONNACK,
    CONNECT,
    PINGRESP,
    PUBACK,
    PUBLISH,
    SUBACK,
    Client,
    Will,
    connect,
    packet,
    publish,
    string,
    subscribe,
)

PASSWORDS = {f"{access_plugins.__name__}.FastPasswords": {}}


async def _ended(clients: Clients, client_id: str) -> None:
    """Wait until the broker knows that this client is not connected."""

    def gone() -> bool:
        session = clients.broker.registry.get(client_id)
        return session is None or not session.connected

    await until(gone)


async def _watching(clients: Clients, *filters: tuple[str, int]) -> Client:
    watcher = await clients.connected("watcher")
    await watcher.subscribe(*(filters or (("#", 2),)))
    return watcher


# 3.1.0


async def test_a_second_connect_ends_the_connection(clients: Clients) -> None:
    """[MQTT-3.1.0-2] [MQTT-3.1.2-8]: whoever it claims to be; that other session is not touched, the will is sent."""
    watcher = await _watching(clients)
    other = await clients.connected("other")
    client = await clients.connected("c1", will=Will("will"))
    client.send(connect("other"), publish("t", b"behind"))
    await client.hung_up()
    assert (await watcher.message()).topic == "will"
    await watcher.nothing_came()
    await other.ping()


async def test_nothing_before_the_connect_is_processed(clients: Clients) -> None:
    """[MQTT-3.1.0-1]: a CONNECT behind it does not help."""
    watcher = await _watching(clients)
    for data in (publish("t", b"x"), publish("t", b"x", 1, 1), b"\xc0\x00", b"\xe0\x00"):
        client = await clients.open()
        client.send(data, connect("c1"))
        await client.hung_up()
    await watcher.nothing_came()
    assert clients.broker.registry.get("c1") is None


# 3.1.2: session and will


async def test_an_absent_session_is_kept_with_all_that_belongs_to_it(clients: Clients) -> None:
    """[MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-4.1.0-1]: subscriptions, what they match, what is not acknowledged yet."""
    publisher = await clients.connected("publisher")
    client = await clients.connected("c1", clean=False)
    await client.subscribe(("one", 1), ("two", 2), ("left", 1))
    await client.unsubscribe("left")
    await publisher.publish("one", b"unacknowledged", 1)
    await client.expect(PUBLISH)
    client.abort()
    await _ended(clients, "c1")
    for topic, qos in (("one", 2), ("two", 2), ("left", 1), ("other", 2)):
        await publisher.publish(topic, b"missed", qos)
    client = await clients.open()
    assert await client.connect("c1", clean=False) is True
    got = [await client.message() for _ in range(3)]
    assert [(p.topic, p.payload, p.qos, p.dup) for p in got] == [
        ("one", b"unacknowledged", 1, True),
        ("one", b"missed", 1, False),
        ("two", b"missed", 2, False),
    ]
    await publisher.publish("two", b"live", 2)
    assert (await client.message()).payload == b"live"
    await client.nothing_came()


async def test_no_clean_session_and_no_stored_one_begins_one(clients: Clients) -> None:
    """[MQTT-3.1.2-4] [MQTT-3.2.2-3]."""
    client = await clients.open()
    assert await client.connect("new", clean=False) is False
    session = clients.broker.registry.get("new")
    assert session is not None
    client.abort()
    await _ended(clients, "new")
    assert clients.broker.registry.get("new") is session


async def test_clean_session_throws_away_what_was_there(clients: Clients) -> None:
    """[MQTT-3.1.2-6] [MQTT-3.1.4-3]: of a live connection too, and what it leaves is not used later."""
    publisher = await clients.connected("publisher")
    old = await clients.connected("c1", clean=False)
    await old.subscribe(("t", 1))
    await publisher.publish("t", b"unacknowledged", 1)
    await old.expect(PUBLISH)
    new = await clients.open()
    assert await new.connect("c1", clean=True) is False
    await old.hung_up()
    await publisher.publish("t", b"nobody", 1)
    await new.nothing_came()
    await new.subscribe(("t", 1))
    await new.disconnect()
    await _ended(clients, "c1")
    await publisher.publish("t", b"nobody", 1)
    again = await clients.open()
    assert await again.connect("c1", clean=False) is False
    await again.nothing_came()
    assert clients.broker.router.subscription_count == 0


async def test_retained_messages_outlive_every_session(clients: Clients) -> None:
    """[MQTT-3.1.2-7]: of a session that ends with its connection, and of one that is thrown away."""
    for topic, clean in (("clean", True), ("kept", False)):
        client = await clients.connected(topic, clean=clean)
        await client.publish(topic, b"x", 1, retain=True)
        await client.disconnect()
        await _ended(clients, topic)
        await (await clients.connected(topic, clean=True)).disconnect()
    watcher = await clients.connected("watcher")
    await watcher.subscribe(("+", 0))
    assert {(await watcher.message()).topic for _ in range(2)} == {"clean", "kept"}


async def test_a_will_is_published_once(clients: Clients) -> None:
    """[MQTT-3.1.2-10]: a later connection of the same session that breaks has none."""
    watcher = await _watching(clients)
    (await clients.connected("c1", clean=False, will=Will("will"))).abort()
    assert (await watcher.message()).topic == "will"
    (await clients.connected("c1", clean=False)).abort()
    await _ended(clients, "c1")
    await watcher.nothing_came()


async def test_without_a_will_nothing_is_published(clients: Clients) -> None:
    """[MQTT-3.1.2-12]: not even what the session's last connection left as its will."""
    watcher = await _watching(clients)
    first = await clients.connected("c1", clean=False, will=Will("will"))
    await first.disconnect()
    await _ended(clients, "c1")
    for clean in (False, True):
        (await clients.connected("c1", clean=clean)).abort()
        await _ended(clients, "c1")
    await watcher.nothing_came()


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_will_has_the_qos_and_the_flag_that_were_asked_for(clients: Clients, qos: int, retain: bool) -> None:
    """[MQTT-3.1.2-9] [MQTT-3.1.2-14] [MQTT-3.1.2-16] [MQTT-3.1.2-17]."""
    watcher = await _watching(clients, ("will", 2))
    (await clients.connected("dying", will=Will("will", b"last words", qos, retain))).abort()
    got = await watcher.message()
    assert (got.topic, got.payload, got.qos, got.retain) == ("will", b"last words", qos, False)
    late = await clients.connected("late")
    await late.subscribe(("will", 2))
    if retain:
        got = await late.message()
        assert (got.payload, got.qos, got.retain) == (b"last words", qos, True)
    await late.nothing_came()


CONTRADICTIONS = {
    "[MQTT-3.1.2-3] reserved flag": connect("c1", flags=0x03),
    "[MQTT-3.1.2-9] will without any will field": connect("c1", flags=0x06),
    "[MQTT-3.1.2-9] will without its message": packet(
        1, string("MQTT") + b"\x04\x06\x00\x00" + string("c1") + string("w")
    ),
    "[MQTT-3.1.2-11] will fields without the flag": connect("c1", will=Will("w"), flags=0x02),
    "[MQTT-3.1.2-11] will fields and its QoS without the flag": connect("c1", will=Will("w"), flags=0x0A),
    "[MQTT-3.1.2-13] will QoS 1 without a will": connect("c1", flags=0x0A),
    "[MQTT-3.1.2-13] will QoS 2 without a will": connect("c1", flags=0x12),
    "[MQTT-3.1.2-13] will QoS 3 without a will": connect("c1", flags=0x1A),
    "[MQTT-3.1.2-14] will QoS 3": connect("c1", will=Will("w"), flags=0x1E),
    "[MQTT-3.1.2-15] will retain without a will": connect("c1", flags=0x22),
    "[MQTT-3.1.2-18] user name without the flag": connect("c1", username="u", flags=0x02),
    "[MQTT-3.1.2-19] flag without the user name": connect("c1", flags=0x82),
    "[MQTT-3.1.2-20] password without the flag": connect("c1", username="u", password=b"p", flags=0x82),
    "[MQTT-3.1.2-21] flag without the password": connect("c1", username="u", flags=0xC2),
    "[MQTT-3.1.2-22] password without a user name": connect("c1", password=b"p"),
    "[MQTT-3.1.3-3] no client id": packet(CONNECT, string("MQTT") + b"\x04\x02\x00\x00"),
}


@pytest.mark.parametrize("request_bytes", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
async def test_a_connect_that_contradicts_itself_gets_no_connack(clients: Clients, request_bytes: bytes) -> None:
    """[MQTT-3.1.4-1] [MQTT-3.2.2-6]: there is no return code for it, so the connection is closed without one."""
    client = await clients.open()
    client.send(request_bytes)
    await client.hung_up()
    assert len(clients.broker.registry) == 0


# 3.1.2: keep-alive


async def test_silence_is_a_failure_of_the_network(clients: Clients) -> None:
    """[MQTT-3.1.2-24]: the connection ends, its will is published, its session is kept; deliveries do not count."""
    watcher = await _watching(clients, ("will", 0))
    loop = asyncio.get_running_loop()
    client = await clients.connected("c1", clean=False, keep_alive=1, will=Will("will"))
    await client.subscribe(("t", 0))
    begin = loop.time()
    while loop.time() - begin < 1.2:
        await watcher.publish("t", b"delivered to the silent one")
        await asyncio.sleep(0.1)  # the interval between two packets, not a wait for a result
    assert (await watcher.message()).topic == "will"
    assert 1.4 <= loop.time() - begin < 3
    assert clients.broker.registry.get("c1") is not None


# 3.1.3


async def test_the_fields_of_the_payload_have_one_order(clients: Clients) -> None:
    """[MQTT-3.1.3-1]: client id, will topic, will message, user name, password, each taken for what it is."""
    async with serving(PASSWORDS) as guarded:
        watcher = await guarded.connected("watcher", username="bob", password=b"hunter2")
        await watcher.subscribe(("will/topic", 0))
        will = Will("will/topic", b"will message")
        client = await guarded.connected("the id", will=will, username="alice", password=b"secret")
        session = guarded.broker.registry.get("the id")
        assert session is not None and session.username == "alice"
        client.abort()
        got = await watcher.message()
        assert (got.topic, got.payload) == ("will/topic", b"will message")
        # Password and user name the other way round are a wrong pair, not a different spelling of the right one.
        swapped = connect("c1", username="secret", password=b"alice")
        assert await (await guarded.open()).refused(swapped) == 4


async def test_a_session_is_found_by_its_client_id(clients: Clients) -> None:
    """[MQTT-3.1.3-2]: by nothing else, and by all of it, upper and lower case told apart."""
    ids = ("device", "Device", "device1", "devic", " device")
    for client_id in ids:
        client = await clients.connected(client_id, clean=False)
        await client.subscribe((f"to/{client_id}", 1))
        await client.disconnect()
        await _ended(clients, client_id)
    publisher = await clients.connected("publisher")
    for client_id in ids:
        await publisher.publish(f"to/{client_id}", client_id.encode(), 1)
    for client_id in reversed(ids):
        client = await clients.open()
        assert await client.connect(client_id, clean=False) is True
        assert (await client.message()).payload == client_id.encode()
        await client.nothing_came()
    client = await clients.open()
    assert await client.connect("DEVICE", clean=False) is False


async def test_client_ids_that_have_to_be_taken(clients: Clients) -> None:
    """[MQTT-3.1.3-5]: each length from 1 to 23, each character of the three ranges."""
    characters = alphabets.digits + alphabets.ascii_letters
    for length in range(1, 24):
        await clients.connected((characters * 2)[length * 3 : length * 4])
    for character in characters:
        await clients.connected(character)


async def test_an_empty_client_id_serves_like_any_other(clients: Clients) -> None:
    """[MQTT-3.1.3-6]: each gets one of its own, and with it what every client gets."""
    both = [await clients.connected("", will=Will("will", b"%d" % n)) for n in range(2)]
    watcher = await _watching(clients, ("will", 0))
    for n, client in enumerate(both):
        await client.subscribe((f"t/{n}", 1))
    for n, client in enumerate(both):
        await watcher.publish(f"t/{n}", b"%d" % n, 1)
        assert (await client.message()).payload == b"%d" % n
    both[0].abort()
    assert (await watcher.message()).payload == b"0"
    await both[1].ping()


async def test_an_empty_client_id_cannot_keep_a_session(clients: Clients) -> None:
    """[MQTT-3.1.3-7] [MQTT-3.1.3-8] [MQTT-3.2.2-4] [MQTT-3.2.2-5]."""
    assert await (await clients.open()).refused(connect("", clean=False)) == 2
    assert len(clients.broker.registry) == 0


async def test_a_client_id_that_is_not_wanted_is_answered_2() -> None:
    """[MQTT-3.1.3-9]."""
    async with serving(settings=MqttSettings(max_clientid_len=23)) as clients:
        assert await (await clients.open()).refused(connect("x" * 24, clean=True)) == 2
        assert await (await clients.open()).refused(connect("x" * 24, clean=False)) == 2
        assert len(clients.broker.registry) == 0


# 3.1.4 and 3.2


async def test_the_older_connection_of_a_client_id_is_closed(clients: Clients) -> None:
    """[MQTT-3.1.4-2]: every time, and none of them is told anything before."""
    connections = [await clients.connected("c1", clean=clean) for clean in (True, False, False, True)]
    for old in connections[:-1]:
        await old.hung_up()
    await connections[-1].ping()
    assert clients.broker.registry.connected_count == 1


async def test_what_follows_a_refused_connect_is_not_processed() -> None:
    """[MQTT-3.1.4-5]: at every QoS, retained or not, whatever the reason of the refusal."""
    async with serving(PASSWORDS, MqttSettings(max_clientid_len=50)) as clients:
        good = {"username": "alice", "password": b"secret"}
        watcher = await clients.connected("watcher", **good)
        await watcher.subscribe(("#", 2))
        refusals = {
            connect("c1", username="alice", password=b"wrong"): 4,
            connect("c1", level=9, username="alice", password=b"secret"): 1,
            connect("x" * 51, username="alice", password=b"secret"): 2,
            connect("", clean=False, username="alice", password=b"secret"): 2,
        }
        behind = (
            publish("t", b"x"),
            publish("t", b"x", 1, 1, retain=True),
            publish("t", b"x", 2, 2),
            subscribe(3, ("t", 0)),
        )
        for request, code in refusals.items():
            assert await (await clients.open()).refused(request + b"".join(behind)) == code
        await watcher.nothing_came()
        assert clients.broker.router.subscription_count == 1
        late = await clients.connected("late", **good)
        await late.subscribe(("t", 0))
        await late.nothing_came()


async def test_connack_comes_before_anything_else(clients: Clients) -> None:
    """[MQTT-3.2.0-1] [MQTT-3.1.4-4]: before what the session has waiting, and before answers to what was sent along."""
    client = await clients.connected("c1", clean=False)
    await client.subscribe(("t", 1))
    await client.disconnect()
    await _ended(clients, "c1")
    publisher = await clients.connected("publisher")
    await publisher.publish_all("t", [b"1", b"2", b"3"], 1)
    client = await clients.open()
    client.send(connect("c1", clean=False), b"\xc0\x00", publish("u", b"x", 1, 9), subscribe(10, ("t", 1)))
    first = await client.read()
    assert (first.kind, first.flags, first.body) == (CONNACK, 0, b"\x01\x00")
    rest = [(await client.read()).kind for _ in range(6)]
    assert sorted(rest) == sorted([PUBLISH, PUBLISH, PUBLISH, PINGRESP, PUBACK, SUBACK])


async def test_session_present_tells_whether_there_was_a_session(clients: Clients) -> None:
    """[MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3]: also right after the connection broke, or in a take-over."""
    steps = [
        (False, False, "abort"),
        (False, True, "abort"),
        (False, True, "stay"),
        (False, True, "stay"),
        (True, False, "stay"),
        (True, False, "disconnect"),
        (False, False, "disconnect"),
        (False, True, "disconnect"),
        (True, False, "disconnect"),
    ]
    for clean, present, end in steps:
        client = await clients.open()
        client.send(connect("c1", clean=clean))
        assert (await client.read()).body == bytes((present, 0)), (clean, present, end)
        if end == "abort":
            client.abort()
            await _ended(clients, "c1")
        elif end == "disconnect":
            await client.disconnect()
            await _ended(clients, "c1")


async def test_a_refusal_does_not_tell_of_a_session() -> None:
    """[MQTT-3.2.2-4] [MQTT-3.2.2-5]: though one is stored under the id, and stays."""
    async with serving(PASSWORDS) as clients:
        good = {"clean": False, "username": "alice", "password": b"secret"}
        device = await clients.connected("device", **good)
        await device.disconnect()
        await _ended(clients, "device")
        refused = await clients.open()
        refused.send(connect("device", clean=False, username="alice", password=b"wrong"))
        assert (await refused.read()).body == b"\x00\x04"
        await refused.hung_up()
        device = await clients.open()
        assert await device.connect("device", **good) is True


@pytest.mark.parametrize("level", [0, 1, 2, 3, 6, 0x84, 255])
async def test_a_level_that_is_not_spoken_is_answered_1(clients: Clients, level: int) -> None:
    """[MQTT-3.1.2-2] [MQTT-3.2.2-5]: in the form of a CONNACK that 3.1 and 3.1.1 share."""
    client = await clients.open()
    client.send(connect("c1", level=level))
    got = await client.read()
    assert (got.kind, got.body) == (CONNACK, b"\x00\x01")
    await client.hung_up()


async def test_another_protocol_is_not_served(clients: Clients) -> None:
    """[MQTT-3.1.2-1]: nothing of it is processed, at whatever level."""
    watcher = await _watching(clients)
    for name in ("mqtt", "MQTX", "", "MQTTT", "MQT", "MQIsdpX", "MQTT ", "HTTP"):
        for level in (3, 4, 5):
            client = await clients.open()
            client.send(connect("c1", name=name, level=level), publish("t", b"x"))
            try:
                got = await client.read()
            except (EOFError, ConnectionError):
                continue
            assert (got.kind, got.body[0]) == (CONNACK, 0) and got.body[1] != 0
            await client.hung_up()
    await watcher.nothing_came()
    assert clients.broker.registry.get("c1") is None
