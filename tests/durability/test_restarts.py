"""What is there after a restart, whether the broker was stopped or died: sessions with all that belongs to them.

Each test runs once with a broker that is stopped, and once with what is on the disk at the very moment at which a
broker would be killed. Where a client's own acknowledgement must be known, that moment comes after the commit that
covers it: the client is owed no answer to it, so nothing else says when that is.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from wardenmq.broker.deliveries import Subscription
from wardenmq.broker.session import Session
from wardenmq.broker.settings import MqttSettings

from ..clocks import WallClock, show_to_the_broker
from ..engine import wire, wire5
from ..engine.conditions import until
from ..engine.packets5 import P, Packet5, Property
from ..engine.wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client
from ..engine.wire5 import Client5, Will5, acknowledge, disconnect, options, publish, users
from ..spec.v5.serving import FOR_EVER, KEPT
from .lives import ENDS, Lives, living


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """Give a clock that the broker sees."""
    return show_to_the_broker(monkeypatch)


@pytest.fixture(params=ENDS)
async def lives(request: pytest.FixtureRequest, tmp_path: Path, clock: WallClock) -> AsyncIterator[Lives]:
    async with living(tmp_path, request.param, clock) as running:
        yield running


PROPERTIES: list[Property] = [
    (P.PAYLOAD_FORMAT, 1),
    (P.CONTENT_TYPE, "text/plain; ü"),
    (P.RESPONSE_TOPIC, "answers/1"),
    (P.CORRELATION_DATA, bytes(range(256))),
    *users(("a", "1"), ("a", "2"), ("", ""), ("b", "\U0001f40d")),
]
"""All that a publisher may say for its subscribers, but for the expiry."""


async def told(client: Client, count: int) -> list[tuple[int, bytes, bool]]:
    """Take PUBLISH packets without acknowledging them: packet identifier, payload and DUP."""
    got = [await client.expect(PUBLISH) for _ in range(count)]
    return [(one.packet_id, one.payload, one.dup) for one in got]


# -- sessions


async def test_what_is_known_of_a_session(lives: Lives) -> None:
    """[MQTT-4.1.0-1]: all that the management shows."""

    def facts(session: Session) -> list[object]:
        return [
            (session.client_id, session.username, session.identity.principal, session.peer_host, session.peer_port),
            (session.protocol_name, session.protocol_version, session.keep_alive, session.clean_start),
            (session.listener, session.claimed, session.expiry_interval, session.created_at, session.connected_at),
            (session.disconnected_at, session.max_inflight, session.will, session.delayed_will),
        ]

    client = await lives.connected5(
        "c5", [(P.SESSION_EXPIRY, 1_000), (P.RECEIVE_MAXIMUM, 7)], keep_alive=60, username="ü", clean=False
    )
    await lives.leave(client, "c5")
    client = await lives.connected("c4", keep_alive=30, name="MQTT")
    await lives.leave(client, "c4")
    await lives.leave(await lives.back("c4"), "c4")
    before = {name: facts(lives.session(name)) for name in ("c4", "c5")}
    await lives.restart()
    for name, known in before.items():
        assert facts(lives.session(name)) == known
        assert not lives.session(name).connected
    await lives.back("c4")
    await lives.back5("c5", [(P.SESSION_EXPIRY, 1_000)], username="ü")


async def test_another_user_does_not_get_the_session(lives: Lives) -> None:
    """Of the same client id: what is there is discarded, and nothing of it is handed over."""
    client = await lives.connected5("c1", username="alice")
    await client.subscribe(("t", 1))
    await lives.leave(client, "c1")
    await lives.publish("t", b"for alice")
    await lives.restart()
    client = await lives.back5("c1", present=False, username="bob")
    await client.nothing_came()
    await lives.restart()
    await lives.back5("c1", present=False, username="alice")


async def test_what_is_known_of_a_session_that_was_connected(lives: Lives) -> None:
    """It is away since the broker was last known to run."""
    await lives.connected5("c1")
    await lives.written()
    before = lives.clock()
    await lives.restart(after=5_000)
    session = lives.session("c1")
    assert not session.connected
    assert session.expiry_interval == float("inf")
    assert session.disconnected_at is not None
    assert abs(session.disconnected_at - before) < 1_000
    await lives.back5("c1")


async def test_sessions_that_end_with_their_connection_are_gone(lives: Lives) -> None:
    """[MQTT-3.1.2-6] [MQTT-4.1.0-2]: whether or not it was there when the broker ended."""
    one, _ = await lives.connected5("c1", ()), await lives.connected("c2", clean=True)
    await one.subscribe(("t", 2))
    await lives.written()
    await lives.restart()
    assert lives.broker.registry.get("c1") is None
    assert lives.broker.registry.get("c2") is None
    await lives.back5("c1", present=False)
    assert not await (await lives.open()).connect("c2", clean=False)


@pytest.mark.parametrize("connected", [True, False])
async def test_a_session_ends_while_nobody_is_there(lives: Lives, connected: bool) -> None:
    """[MQTT-3.1.2-23] [MQTT-4.1.0-2]: the interval runs on while the broker is down."""
    for name, seconds in (("short", 1_000), ("long", 5_000), ("for ever", FOR_EVER)):
        client = await lives.connected5(name, [(P.SESSION_EXPIRY, seconds)])
        await client.subscribe((f"t/{name}", 1))
        if not connected:
            await lives.leave(client, name)
    await lives.publish("t/short", b"x")
    await lives.publish("t/long", b"x")
    await lives.restart(after=2_000)
    await lives.back5("short", present=False)
    assert (await (await lives.back5("long", [(P.SESSION_EXPIRY, 5_000)])).message()).payload == b"x"
    await lives.back5("for ever")
    assert lives.broker.router.subscription_count == 2


async def test_what_is_left_of_an_interval_runs_out(lives: Lives) -> None:
    """It is counted from the end of the connection, not from the start of the broker."""
    await lives.away5("c1", properties=[(P.SESSION_EXPIRY, 2_000)])
    await lives.restart(after=1_500)
    assert lives.session("c1").expires_at is not None
    lives.clock.advance(1_000)
    await until(lambda: lives.broker.registry.get("c1") is None)
    await lives.restart()
    await lives.back5("c1", present=False)


async def test_the_interval_of_3_1_1_is_the_settings(tmp_path: Path, clock: WallClock) -> None:
    for seconds, there in ((10_000.0, True), (1_000.0, False)):
        folder = tmp_path / f"{seconds}"
        folder.mkdir()
        async with living(folder, "crashed", clock, MqttSettings(session_expiry_interval=seconds)) as lives:
            await lives.leave(await lives.connected("c1"), "c1")
            await lives.restart(after=5_000)
            assert await (await lives.open()).connect("c1", clean=False) is there


async def test_an_interval_that_was_changed_on_leaving(lives: Lives) -> None:
    """[MQTT-3.1.2-23]: the DISCONNECT's holds."""
    for name, seconds in (("ends", 0), ("short", 1_000), ("long", 50_000)):
        client = await lives.connected5(name, [(P.SESSION_EXPIRY, 5_000)])
        client.send(disconnect(0, [(P.SESSION_EXPIRY, seconds)]))
        await client.hung_up()
    await lives.written()
    await lives.restart(after=10_000)
    await lives.back5("ends", present=False)
    await lives.back5("short", present=False)
    await lives.back5("long")


async def test_a_session_that_was_discarded_does_not_come_back(lives: Lives) -> None:
    """[MQTT-3.1.2-4] [MQTT-3.1.2-6]: not even where the broker dies as soon as the client was told."""
    await lives.away5("c5", ("t", 1))
    await lives.leave(client := await lives.connected("c4"), "c4")
    client = await lives.back("c4")
    await client.subscribe(("t", 1))
    await lives.publish("t", b"old")
    await lives.connected5("c5")
    assert not await (await lives.open()).connect("c4", clean=True)
    await lives.restart()
    assert not await (await lives.open()).connect("c4", clean=False)
    client5 = await lives.open5()
    await client5.connect("c5", clean=False, properties=KEPT)  # the new one may be there or not
    await lives.publish("t", b"nobody")
    await client5.nothing_came()
    assert lives.broker.router.subscription_count == 0


async def test_a_session_that_was_kicked_does_not_come_back(lives: Lives) -> None:
    await lives.away5("c1", ("t", 1))
    assert await lives.broker.kick("c1")
    await lives.written()
    await lives.restart()
    await lives.back5("c1", present=False)


async def test_a_session_is_taken_over(lives: Lives) -> None:
    """[MQTT-3.1.4-2] [MQTT-3.1.4-3]: by the second connection after the restart, with what is in flight."""
    first = await lives.connected5("c1")
    await first.subscribe(("t", 1))
    await lives.publish("t", b"x")
    await first.expect(PUBLISH)
    await lives.restart()
    second = await lives.back5("c1")
    ((packet_id, payload, dup),) = await told(second, 1)
    third = await lives.back5("c1")
    await second.disconnected(0x8E)
    assert await told(third, 1) == [(packet_id, payload, dup)]
    assert (payload, dup) == (b"x", True)


async def test_another_version_takes_the_session_up(lives: Lives) -> None:
    await lives.away5("c1", ("t", options(2)))
    await lives.publish("t", b"x", 2, properties=PROPERTIES)
    await lives.restart()
    client = await lives.back("c1")
    assert (await client.message()).payload == b"x"
    await lives.leave(client, "c1")
    await lives.restart()
    assert lives.session("c1").protocol_version == 4
    await lives.back5("c1")


async def test_a_session_that_the_server_made(lives: Lives) -> None:
    """As amqtt's contract has it: nobody has taken it up yet."""
    lives.broker.subscribe_for("c1", "t", 1)
    await lives.written()
    await lives.publish("t", b"x")
    await lives.restart()
    assert not lives.session("c1").claimed
    client = await lives.open()
    await client.connect("c1", clean=False)
    assert (await client.message()).payload == b"x"


# -- subscriptions


async def test_subscriptions_with_all_their_options(lives: Lives) -> None:
    """[MQTT-3.8.4-3] [MQTT-3.8.3-3] [MQTT-3.3.1-12] [MQTT-3.3.1-13] [MQTT-3.3.4-3]: as they were granted."""
    client = await lives.connected5("c1")
    made: dict[str, Subscription] = {}
    number = 0
    for qos in range(3):
        for no_local in (False, True):
            for as_published in (False, True):
                for handling in range(3):
                    number += 1
                    identifier = None if number % 3 == 0 else number * 1_000
                    byte = options(qos, no_local=no_local, retain_as_published=as_published, retain_handling=handling)
                    properties = [] if identifier is None else [(P.SUBSCRIPTION_ID, identifier)]
                    name = f"a/+/{number}/#"
                    assert await client.subscribe((name, byte), properties=properties) == [qos]
                    made[name] = Subscription(qos, no_local, as_published, handling, identifier)
    await client.unsubscribe("a/+/1/#")
    del made["a/+/1/#"]
    await client.subscribe(("a/+/2/#", 2))  # another in its place
    made["a/+/2/#"] = Subscription(2)
    await lives.restart()
    assert lives.session("c1").subscriptions == made
    assert lives.broker.router.subscription_count == len(made)


async def test_subscriptions_do_what_they_did(lives: Lives) -> None:
    client = await lives.connected5("c1")
    await client.subscribe(("id/#", 1), properties=[(P.SUBSCRIPTION_ID, 268_435_455)])
    await client.subscribe(("own", options(1, no_local=True)), ("kept", options(1, retain_as_published=True)))
    await lives.restart()
    client = await lives.back5("c1")
    assert await client.publish("own", b"mine", 1) in (0, 0x10)
    await lives.publish("own", b"another's")
    await lives.publish("kept", b"x", retain=True)
    await lives.publish("id/1", b"y", retain=True)
    got = [await client.message() for _ in range(3)]
    assert [(one.payload, one.retain, one.subscription_ids) for one in got] == [
        (b"another's", False, []),
        (b"x", True, []),
        (b"y", False, [268_435_455]),
    ]


async def test_the_filters_are_any_that_may_be(lives: Lives) -> None:
    filters = ["#", "+", "/", "//", "a/+/b", "\U0001f40d/ü", "x" * 65_535, "a b", "'); DROP TABLE sessions; --", "$x/#"]
    client = await lives.connected("c1")
    for name in filters:
        assert await client.subscribe((name, 1)) == [1]
    await lives.restart()
    assert sorted(lives.session("c1").subscriptions) == sorted(filters)


async def test_a_shared_subscription(lives: Lives) -> None:
    """[MQTT-4.8.2-1] [MQTT-4.8.2-2]: the members are what they were, and each message goes to one of them."""
    for name, qos in (("m1", 1), ("m2", 2)):
        await lives.away5(name, ("$share/g/t/#", qos), ("own/#", qos))
    await lives.restart()
    members = [await lives.back5(name) for name in ("m1", "m2")]
    publisher = await lives.publisher()
    for number in range(10):
        await publisher.publish("t/1", b"%d" % number, 2)
    await publisher.publish("own/1", b"end", 1)
    received: list[bytes] = []
    for member in members:
        while (got := await member.message()).payload != b"end":
            received.append(got.payload)
    assert sorted(received) == [b"%d" % number for number in range(10)]


async def test_what_a_shared_subscription_owes(lives: Lives) -> None:
    """[MQTT-4.8.2-6]: to a member that is away; when its session ends, the others are owed it."""
    await lives.away5("m1", ("$share/g/t", 2))
    publisher = await lives.publisher()
    for number in range(6):
        assert await publisher.publish("t", b"%d" % number, 1 + number % 2) == 0
    await lives.away5("m2", ("$share/g/t", 1))
    await lives.restart()
    assert lives.session("m1").queue_length == 6
    await lives.broker.kick("m1")
    await lives.written()
    await lives.restart()
    member = await lives.back5("m2")
    assert await member.messages(6) == [b"%d" % number for number in range(6)]


# -- towards the client


async def test_what_is_queued(lives: Lives) -> None:
    """[MQTT-3.1.2-5] [MQTT-4.6.0-6] [MQTT-3.3.1-2]: in order, as it was published, and never sent before."""
    await lives.away5("c1", ("t/#", 2))
    publisher = await lives.publisher()
    payloads = [b"%d" % number for number in range(20)]
    for number, payload in enumerate(payloads):
        assert await publisher.publish(f"t/{number}", payload, 1 + number % 2, retain=number == 3) == 0
    await publisher.publish("t/0", b"not kept", 0)
    await lives.restart()
    assert lives.session("c1").queue_length == 20
    client = await lives.back5("c1")
    got = [await client.message() for _ in payloads]
    assert [(one.topic, one.payload, one.qos, one.dup, one.retain) for one in got] == [
        (f"t/{number}", payload, 1 + number % 2, False, False) for number, payload in enumerate(payloads)
    ]
    await lives.nothing_more(client, "t/end")


async def test_queued_payloads_of_all_sizes(lives: Lives) -> None:
    await lives.away5("c1", ("#", 1))
    payloads = [b"", b"\0", bytes(range(256)), b"x" * 20_000, b"y" * 1_000_000]
    for payload in payloads:
        await lives.publish("t/\U0001f40d", payload)
    await lives.restart()
    client = await lives.back5("c1")
    assert await client.messages(len(payloads)) == payloads
    await lives.nothing_more(client, "t")


async def test_a_queued_run(lives: Lives) -> None:
    """Many messages of one size in one write, to sessions of both versions and of both QoS."""
    for name, qos in (("a", 1), ("b", 2)):
        await lives.away5(name, ("t", qos))
        client = await lives.connected(f"{name}4")
        await client.subscribe(("t", qos))
        await lives.leave(client, f"{name}4")
    publisher = await lives.publisher()
    payloads = [b"%04d" % number for number in range(200)]
    publisher.send(*(publish("t", payload, 2, 1 + place) for place, payload in enumerate(payloads)))
    for place in range(200):
        assert (await publisher.expect(PUBREC)).packet_id == 1 + place
    await lives.restart()
    for name in ("a", "b"):
        assert await (await lives.back5(name)).messages(200) == payloads
        assert await (await lives.back(f"{name}4")).messages(200) == payloads


async def test_properties_and_identifiers_of_what_is_queued(lives: Lives) -> None:
    """[MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-15] [MQTT-3.3.4-3]: unaltered and in their order."""
    client = await lives.connected5("c1")
    await client.subscribe(("t/#", 2), properties=[(P.SUBSCRIPTION_ID, 1)])
    await client.subscribe(("+/1", 1), properties=[(P.SUBSCRIPTION_ID, 70_000)])
    await lives.leave(client, "c1")
    for number in (1, 2):
        await lives.publish(f"t/{number}", "ü".encode(), 2, properties=PROPERTIES)
    await lives.restart()
    client = await lives.back5("c1")
    got = [await client.message() for _ in range(2)]
    assert [one.forwarded for one in got] == [PROPERTIES, PROPERTIES]
    assert [one.subscription_ids for one in got] == [[1, 70_000], [1]]


async def test_qos_1_in_flight_is_sent_again(lives: Lives) -> None:
    """[MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-2.2.1-6]: with DUP and its packet identifier, before what is queued."""
    client = await lives.connected5("c1", [*KEPT, (P.RECEIVE_MAXIMUM, 4)])
    await client.subscribe(("t", 1))
    publisher = await lives.publisher()
    for number in range(6):
        await publisher.publish("t", b"%d" % number, 1)
    first = await told(client, 4)
    assert [payload for _, payload, _ in first] == [b"0", b"1", b"2", b"3"]
    client.send(acknowledge(PUBACK, first[1][0]))
    fifth = await told(client, 1)
    await lives.written()
    await lives.restart()
    client = await lives.back5("c1", [*KEPT, (P.RECEIVE_MAXIMUM, 4)])
    expected = [first[0], *first[2:], *fifth]
    again = await told(client, 4)
    assert again == [(packet_id, payload, True) for packet_id, payload, _ in expected]
    client.send(*(acknowledge(PUBACK, packet_id) for packet_id, _, _ in again))
    ((packet_id, payload, _),) = await told(client, 1)
    assert payload == b"5"
    assert packet_id not in {packet_id for packet_id, _, _ in again}
    client.send(acknowledge(PUBACK, packet_id))
    await lives.nothing_more(client, "t")


async def test_part_of_a_run_in_flight_is_sent_again(lives: Lives) -> None:
    """What was acknowledged of it is not, wherever in the run it stands."""
    client = await lives.connected("c1")
    await client.subscribe(("t", 2))
    publisher = await lives.publisher()
    publisher.send(*(publish("t", b"%02d" % number, 1, 1 + number) for number in range(20)))
    sent = await told(client, 20)
    acknowledged = {0, 1, 5, 6, 7, 12, 19}
    client.send(*(wire.acknowledge(PUBACK, sent[place][0]) for place in sorted(acknowledged)))
    await client.ping()
    await lives.written()
    await lives.restart()
    client = await lives.back("c1")
    left = [one for place, one in enumerate(sent) if place not in acknowledged]
    assert await told(client, len(left)) == [(packet_id, payload, True) for packet_id, payload, _ in left]
    client.send(*(wire.acknowledge(PUBACK, packet_id) for packet_id, _, _ in left))
    await lives.nothing_more(client, "t")


async def test_a_narrower_window_after_the_restart(lives: Lives) -> None:
    """[MQTT-3.3.4-9] [MQTT-4.9.0-2]: what is sent again keeps to it too."""
    client = await lives.connected5("c1")
    await client.subscribe(("t", 1))
    publisher = await lives.publisher()
    for number in range(10):
        await publisher.publish("t", b"%d" % number, 1)
    sent = await told(client, 10)
    await lives.restart()
    client = await lives.back5("c1", [*KEPT, (P.RECEIVE_MAXIMUM, 2)])
    for place in range(0, 10, 2):
        assert await told(client, 2) == [(packet_id, payload, True) for packet_id, payload, _ in sent[place:][:2]]
        await client.nothing_came()
        client.send(*(acknowledge(PUBACK, packet_id) for packet_id, _, _ in sent[place:][:2]))
    await lives.nothing_more(client, "t")


async def half_delivered(lives: Lives, steps: int) -> tuple[Client5, int]:
    """Have one QoS 2 message delivered up to a step: PUBLISH, PUBREL, PUBCOMP; give its packet identifier."""
    client = await lives.connected5("c1")
    await client.subscribe(("t", 2))
    await lives.publish("t", b"x", 2)
    packet_id = (await client.expect(PUBLISH)).packet_id
    if steps > 0:
        client.send(acknowledge(PUBREC, packet_id))
        assert (await client.expect(PUBREL)).packet_id == packet_id
    if steps > 1:
        client.send(acknowledge(PUBCOMP, packet_id))
        await client.ping()
    await lives.written()
    return client, packet_id


async def test_qos_2_after_the_publish(lives: Lives) -> None:
    """[MQTT-4.3.3-1] [MQTT-4.4.0-1]: the PUBLISH is sent again, with DUP and its identifier."""
    _, packet_id = await half_delivered(lives, 0)
    await lives.restart()
    client = await lives.back5("c1")
    assert await told(client, 1) == [(packet_id, b"x", True)]
    client.send(acknowledge(PUBREC, packet_id))
    assert (await client.expect(PUBREL)).packet_id == packet_id
    client.send(acknowledge(PUBCOMP, packet_id))
    await lives.nothing_more(client, "t")


async def test_qos_2_after_the_pubrel(lives: Lives) -> None:
    """[MQTT-4.3.3-1] [MQTT-4.3.3-6]: the PUBREL is sent again, and never the PUBLISH."""
    _, packet_id = await half_delivered(lives, 1)
    await lives.restart()
    client = await lives.back5("c1")
    got = await client.read()
    assert (got.kind, got.packet_id) == (PUBREL, packet_id)
    client.send(acknowledge(PUBCOMP, packet_id))
    await lives.nothing_more(client, "t")


async def test_qos_2_after_the_pubcomp(lives: Lives) -> None:
    """Nothing is left of it."""
    await half_delivered(lives, 2)
    await lives.restart()
    assert lives.session("c1").in_flight_count == 0
    await lives.nothing_more(await lives.back5("c1"), "t")


async def test_the_steps_of_many_messages_are_told_apart(lives: Lives) -> None:
    """A run at QoS 2, of which each third message is at another step."""
    client = await lives.connected("c1")
    await client.subscribe(("t", 2))
    publisher = await lives.publisher()
    publisher.send(*(publish("t", b"%02d" % number, 2, 1 + number) for number in range(30)))
    sent = await told(client, 30)
    received = [packet_id for place, (packet_id, _, _) in enumerate(sent) if place % 3]
    client.send(*(wire.acknowledge(PUBREC, packet_id) for packet_id in received))
    assert [(await client.expect(PUBREL)).packet_id for _ in received] == received
    client.send(*(wire.acknowledge(PUBCOMP, packet_id) for packet_id in received[1::2]))
    await client.ping()
    await lives.written()
    await lives.restart()
    client = await lives.back("c1")
    again = [await client.read() for _ in range(20)]
    assert [one.packet_id for one in again if one.kind == PUBREL] == received[::2]
    published = [(one.packet_id, one.payload, one.dup) for one in again if one.kind == PUBLISH]
    assert published == [(packet_id, payload, True) for packet_id, payload, _ in sent[::3]]


async def test_what_the_client_refused_is_not_sent_again(lives: Lives) -> None:
    """[MQTT-4.3.3-4] [MQTT-4.4.0-2]: a PUBREC with an error ends it."""
    client = await lives.connected5("c1")
    await client.subscribe(("t", 2))
    await lives.publish("t", b"x", 2)
    client.send(acknowledge(PUBREC, (await client.expect(PUBLISH)).packet_id, 0x83))
    await client.ping()
    await lives.written()
    await lives.restart()
    await lives.nothing_more(await lives.back5("c1"), "t")


async def test_the_queue_keeps_its_bound(tmp_path: Path, clock: WallClock) -> None:
    """What was dropped does not come back, and what comes later drops the oldest."""
    async with living(tmp_path, "crashed", clock, MqttSettings(max_mqueue_len=3)) as lives:
        await lives.away5("c1", ("t", 1))
        for number in range(5):
            await lives.publish("t", b"%d" % number)
        await lives.restart()
        assert lives.session("c1").queue_length == 3
        await lives.publish("t", b"5")
        await lives.written()
        await lives.restart()
        assert await (await lives.back5("c1")).messages(3) == [b"3", b"4", b"5"]


@pytest.mark.parametrize("most", [0, 1, 1_000])
@pytest.mark.parametrize("qos", [1, 2])
async def test_payloads_that_are_on_the_disk_alone(tmp_path: Path, clock: WallClock, most: int, qos: int) -> None:
    """Whatever may be kept of them in memory, each is delivered in its turn, queued or in flight."""
    async with living(tmp_path, "crashed", clock, MqttSettings(max_queued_memory=most)) as lives:
        client = await lives.connected5("c1")
        await client.subscribe(("t", qos))
        publisher = await lives.publisher()
        payloads = [b"%03d" % number * 200 for number in range(100)]
        for payload in payloads:
            await publisher.publish("t", payload, 2)
        await told(client, 32)
        await lives.restart()
        client = await lives.back5("c1")
        got = await client.messages(100) if qos == 1 else [(await received_late(client)) for _ in payloads]
        assert got == payloads
        await lives.nothing_more(client, "t")


async def received_late(client: Client5) -> bytes:
    """Take a QoS 2 message to the end of its handshake, whatever other messages come meanwhile."""
    got = await client.expect(PUBLISH)
    client.send(acknowledge(PUBREC, got.packet_id))
    assert (await client.expect(PUBREL)).packet_id == got.packet_id
    client.send(acknowledge(PUBCOMP, got.packet_id))
    return got.payload


# -- from the client


@pytest.mark.parametrize("level", [4, 5])
@pytest.mark.parametrize("reason", ["PUBREC lost", "PUBREC known"])
async def test_qos_2_from_the_client_before_the_pubrel(lives: Lives, level: int, reason: str) -> None:
    """[MQTT-4.3.3-2] [MQTT-4.3.3-10]: sent again with its packet identifier, it is not delivered again."""
    await lives.away5("s", ("t", 2))
    spoken = wire5 if level == 5 else wire
    client = await lives.connected5("c1") if level == 5 else await lives.connected("c1")
    client.send(spoken.publish("t", b"x", 2, 77))
    assert (await client.expect(PUBREC)).packet_id == 77
    await lives.restart()
    client = await lives.back5("c1") if level == 5 else await lives.back("c1")
    if reason == "PUBREC lost":
        client.send(spoken.publish("t", b"x", 2, 77, dup=True))
        assert (await client.expect(PUBREC)).packet_id == 77
    client.send(spoken.acknowledge(PUBREL, 77))
    done = await client.expect(PUBCOMP)
    assert done.packet_id == 77
    assert not isinstance(done, Packet5) or done.reason == 0
    subscriber = await lives.back5("s")
    assert (await subscriber.message()).payload == b"x"
    await lives.nothing_more(subscriber, "t")


async def test_qos_2_from_the_client_after_the_pubcomp(lives: Lives) -> None:
    """[MQTT-4.3.3-12]: the packet identifier is free, and what comes with it is new."""
    await lives.away5("s", ("t", 2))
    client = await lives.connected5("c1")
    client.send(publish("t", b"x", 2, 77))
    await client.expect(PUBREC)
    client.send(acknowledge(PUBREL, 77))
    await client.expect(PUBCOMP)
    await lives.restart()
    client = await lives.back5("c1")
    client.send(acknowledge(PUBREL, 77))  # had the PUBCOMP been lost
    assert (await client.expect(PUBCOMP)).reason in (0, 0x92)
    client.send(publish("t", b"y", 2, 77))
    assert (await client.expect(PUBREC)).reason == 0
    client.send(acknowledge(PUBREL, 77))
    assert (await client.expect(PUBCOMP)).reason == 0
    assert await (await lives.back5("s")).messages(2) == [b"x", b"y"]


async def test_many_identifiers_are_held_until_their_pubrel(lives: Lives) -> None:
    client = await lives.connected5("c1")
    await lives.away5("s", ("t", 1))
    client.send(*(publish("t", b"%03d" % number, 2, 1 + number) for number in range(100)))
    for _ in range(100):
        await client.expect(PUBREC)
    client.send(*(acknowledge(PUBREL, 1 + number) for number in range(50)))
    for _ in range(50):
        await client.expect(PUBCOMP)
    await lives.restart()
    assert lives.session("c1").awaiting_rel_count == 50
    client = await lives.back5("c1")
    client.send(*(publish("t", b"%03d" % number, 2, 1 + number, dup=True) for number in range(50, 100)))
    client.send(*(acknowledge(PUBREL, 1 + number) for number in range(50, 100)))
    for _ in range(50):
        await client.expect(PUBREC)
    for _ in range(50):
        assert (await client.expect(PUBCOMP)).reason == 0
    subscriber = await lives.back5("s")
    assert await subscriber.messages(100) == [b"%03d" % number for number in range(100)]
    await lives.nothing_more(subscriber, "t")


# -- expiry of messages


async def test_queued_messages_expire_while_nobody_is_there(lives: Lives) -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6]: what is left has less of its interval left."""
    await lives.away5("c1", ("t", 2))
    publisher = await lives.publisher()
    for number, seconds in enumerate((1_000, 50_000, 2_000, None, 90_000)):
        properties = [] if seconds is None else [(P.MESSAGE_EXPIRY, seconds)]
        await publisher.publish("t", b"%d" % number, 1 + number % 2, properties=properties)
    await lives.restart(after=10_000)
    client = await lives.back5("c1")
    got = [await client.message() for _ in range(3)]
    assert [one.payload for one in got] == [b"1", b"3", b"4"]
    left = [one.get(P.MESSAGE_EXPIRY) for one in got]
    assert left[1] is None
    assert isinstance(left[0], int) and isinstance(left[2], int)
    assert 39_000 < left[0] <= 40_000 and 79_000 < left[2] <= 80_000, left
    await lives.nothing_more(client, "t")


async def test_a_message_in_flight_does_not_expire(lives: Lives) -> None:
    """Its delivery has begun (3.3.2.3.3), and the client of QoS 2 may know it."""
    client = await lives.connected5("c1")
    await client.subscribe(("t", 2))
    await lives.publish("t", b"x", 2, properties=[(P.MESSAGE_EXPIRY, 1_000)])
    packet_id = (await client.expect(PUBLISH)).packet_id
    await lives.restart(after=5_000)
    client = await lives.back5("c1")
    assert await told(client, 1) == [(packet_id, b"x", True)]


# -- retained messages


async def retained(lives: Lives, *filters: str) -> dict[str, Packet5]:
    """Give what a new subscriber gets."""
    client = await lives.connected5("", ())
    for name in filters:
        await client.subscribe((name, options(2, retain_as_published=True)))
    await client.subscribe(("the/end", 0))
    lives.broker.publish("the/end", b"end")
    found: dict[str, Packet5] = {}
    while (got := await client.message()).topic != "the/end":
        found[got.topic] = got
    await client.disconnect()
    return found


async def test_retained_messages(lives: Lives) -> None:
    """[MQTT-3.1.2-7] [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7]: the last of each topic, as it was published."""
    publisher = await lives.publisher()
    for number in range(30):
        await publisher.publish(f"r/{number % 10}", b"%d" % number, number % 3, retain=True)
    await publisher.publish("r/1", b"", 1, retain=True)
    await publisher.publish("r/2", b"", 0, retain=True)
    await publisher.publish("r/3", b"not retained", 1)
    await publisher.publish("r/\U0001f40d", b"x" * 100_000, 2, retain=True, properties=PROPERTIES)
    await lives.written()
    await lives.restart()
    found = await retained(lives, "r/#")
    last = {number % 10: number for number in range(30)}
    assert {topic: (one.payload, one.qos, one.retain) for topic, one in found.items() if len(topic) == 3} == {
        **{f"r/{place}": (b"%d" % number, number % 3, True) for place, number in last.items() if place not in (1, 2)},
        "r/\U0001f40d": (b"x" * 100_000, 2, True),
    }
    assert found["r/\U0001f40d"].forwarded == PROPERTIES


async def test_retained_messages_expire_while_nobody_is_there(lives: Lives) -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6]: and what is left of the others has less left, and expires then."""
    publisher = await lives.publisher()
    for topic, seconds in (("r/1", 1_000), ("r/2", 50_000)):
        await publisher.publish(topic, b"x", 1, retain=True, properties=[(P.MESSAGE_EXPIRY, seconds)])
    await publisher.publish("r/3", b"x", 1, retain=True)
    await lives.restart(after=10_000)
    found = await retained(lives, "r/#")
    assert found.keys() == {"r/2", "r/3"}
    left = found["r/2"].get(P.MESSAGE_EXPIRY)
    assert isinstance(left, int) and 39_000 < left <= 40_000
    lives.clock.advance(50_000)
    await until(lambda: len(lives.broker._engine.retained) == 1)
    await lives.written()
    await lives.restart()
    assert (await retained(lives, "r/#")).keys() == {"r/3"}


async def test_an_acknowledged_retained_message_is_there(lives: Lives) -> None:
    """Though no session is owed it: a PUBACK says that it is kept."""
    publisher = await lives.connected5("", ())
    for number in range(5):
        assert await publisher.publish("r", b"%d" % number, 1 + number % 2, retain=True) in (0, 0x10)
    await lives.restart()
    assert (await retained(lives, "r"))["r"].payload == b"4"


async def test_an_acknowledged_deletion_is_kept(lives: Lives) -> None:
    """[MQTT-3.3.1-6] [MQTT-3.3.1-10]"""
    await lives.publish("r", b"x", retain=True)
    await lives.written()
    await lives.publish("r", b"", retain=True)
    await lives.restart()
    assert await retained(lives, "r") == {}


# -- wills


def will(delay: int, topic: str = "w", **more: int) -> Will5:
    return Will5(topic, b"gone", 1, properties=[(P.WILL_DELAY, delay), *users(("a", "b"))], **more)  # type: ignore[arg-type]


async def test_a_delayed_will_that_is_due_while_nobody_is_there(lives: Lives) -> None:
    """[MQTT-3.1.3-9]: it is published by the next broker, once, with its properties."""
    await lives.away5("watcher", ("w", 2))
    client = await lives.connected5("c1", will=will(1_000, retain=True))
    client.abort()
    await until(lambda: not lives.session("c1").connected)
    await lives.written()
    await lives.restart(after=5_000)
    watcher = await lives.back5("watcher")
    got = await watcher.message()
    assert (got.topic, got.payload, got.qos, got.forwarded) == ("w", b"gone", 1, users(("a", "b")))
    await lives.written()
    await lives.restart()
    await lives.nothing_more(await lives.back5("watcher"), "w")


async def test_a_delayed_will_that_is_due_later(lives: Lives) -> None:
    """[MQTT-3.1.3-9]: not before its time, as far as it had not passed before."""
    await lives.away5("watcher", ("w", 2))
    client = await lives.connected5("c1", will=will(2_000))
    client.abort()
    await until(lambda: not lives.session("c1").connected)
    await lives.written()
    await lives.restart(after=1_000)
    watcher = await lives.back5("watcher")
    await lives.nothing_more(watcher, "w")
    await lives.leave(watcher, "watcher")
    await lives.restart(after=1_500)
    assert (await (await lives.back5("watcher")).message()).payload == b"gone"


async def test_a_client_that_is_back_in_time_has_no_will(lives: Lives) -> None:
    """[MQTT-3.1.3-9]: whatever becomes of the broker after that."""
    await lives.away5("watcher", ("w", 2))
    client = await lives.connected5("c1", will=will(2_000))
    client.abort()
    await until(lambda: not lives.session("c1").connected)
    await lives.written()
    await lives.restart(after=500)
    client = await lives.back5("c1")
    await lives.written()
    await lives.leave(client, "c1")
    await lives.restart(after=10_000)
    await lives.nothing_more(await lives.back5("watcher"), "w")


async def test_a_will_is_published_when_its_session_ends(lives: Lives) -> None:
    """[MQTT-3.1.3-9] [MQTT-3.1.2-8]: though its own delay is longer, and that while nobody is there."""
    await lives.away5("watcher", ("w", 2))
    client = await lives.connected5("c1", [(P.SESSION_EXPIRY, 1_000)], will=will(50_000))
    client.abort()
    await until(lambda: not lives.session("c1").connected)
    await lives.written()
    await lives.restart(after=5_000)
    assert (await (await lives.back5("watcher")).message()).payload == b"gone"
    assert lives.broker.registry.get("c1") is None


async def test_the_will_of_a_client_that_said_goodbye_is_gone(lives: Lives) -> None:
    """[MQTT-3.14.4-3] [MQTT-3.1.2-10]"""
    await lives.away5("watcher", ("w", 2))
    await lives.leave(await lives.connected5("c1", will=will(1_000)), "c1")
    await lives.restart(after=5_000)
    await lives.nothing_more(await lives.back5("watcher"), "w")


@pytest.mark.parametrize("delay", [0, 1_000])
async def test_the_will_of_a_client_that_was_connected(lives: Lives, delay: int) -> None:
    """A broker that dies takes the connection with it, and the will is said; one that is stopped keeps quiet."""
    await lives.away5("watcher", ("w", 2))
    await lives.connected5("c1", will=will(delay))
    await lives.written()
    await lives.restart()
    await lives.written()
    lives.clock.advance(5_000)
    if lives.crashes:  # a delay begins with the start
        await lives.restart()
    watcher = await lives.back5("watcher")
    if lives.crashes:
        assert (await watcher.message()).payload == b"gone"
    await lives.nothing_more(watcher, "w")


# -- a life after


async def test_life_goes_on_after_many_restarts(tmp_path: Path, clock: WallClock) -> None:
    """Numbers of messages, sessions and positions are never used for another thing."""
    async with living(tmp_path, "crashed", clock) as lives:
        await lives.away5("s", ("t/#", 2))
        expected: list[bytes] = []
        for life in range(8):
            for number in range(5):
                expected.append(b"%d.%d" % (life, number))
                await lives.publish(f"t/{life}", expected[-1], 1 + number % 2)
            await lives.away5(f"new {life}", (f"t/{life + 1}", 1))
            await lives.restart()
            if life % 2:
                client = await lives.back5("s")
                assert await client.messages(6) == expected[:6]
                del expected[:6]
                client.abort()
                await until(lambda: not lives.session("s").connected)
                await lives.written()
        client = await lives.back5("s")
        assert await client.messages(len(expected)) == expected
        for life in range(7):
            got = await (await lives.back5(f"new {life}")).messages(5)
            assert got == [b"%d.%d" % (life + 1, number) for number in range(5)]
