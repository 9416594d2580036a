"""What every client can do in every version, over every transport that it has."""

import asyncio

import pytest

from ..engine.conditions import until
from .conftest import Guarded
from .kinds import KINDS, PARTIES, Meeting, parameters, runnable
from .party import SECONDS, Filter, Kind, Refused, Will, fence

LISTENER_IDS = {"tcp": "tcp:default", "ws": "ws:ws", "tls": "ssl:tls", "wss": "wss:wss"}
OVERLAP = 40
"""More than the broker keeps in flight towards one client."""

every_client = pytest.mark.parametrize("kind", parameters(KINDS))


@every_client
async def test_it_connects_and_leaves(meeting: Meeting, kind: Kind) -> None:
    """(3.1, 3.14) Known to the broker under the version and listener that it came by."""
    client = await meeting.join(kind, "c1")
    session = meeting.broker.registry.get("c1")
    assert session is not None
    assert (session.protocol_version, session.listener) == (kind.level, LISTENER_IDS[kind.transport])
    assert client.session_present in (False, None)
    await client.disconnect()
    await until(lambda: meeting.broker.registry.get("c1") is None, SECONDS)


@every_client
async def test_credentials_and_rules(guarded: Guarded, kind: Kind) -> None:
    """[MQTT-3.2.2-5] [MQTT-3.3.5-2] [MQTT-3.9.3-2]: each refusal in the version's own code."""
    with pytest.raises(Refused) as refused:
        await guarded.meeting.join(kind, "c1", username="alice", password="wrong")
    assert refused.value.code == kind.code(4, 0x86)
    client = await guarded.meeting.join(kind, "c1", username="alice", password="secret")
    denied = {3: 1, 4: 0x80, 5: 0x87}[kind.level]  # 3.1 has no code for it
    assert await client.subscribe(Filter("own/#", 1), Filter("other/#", 1)) == [1, denied]
    await client.publish("other/x", b"denied", 1)
    await client.publish("own/x", b"allowed", 1)
    assert (await client.take(1))[0].payload == b"allowed"


@pytest.mark.parametrize("qos", [0, 1, 2])
@every_client
async def test_many_messages_keep_their_order(meeting: Meeting, kind: Kind, qos: int) -> None:
    """[MQTT-4.6.0-6]: sent without waiting, more than fit in flight, each received once."""
    subscriber, publisher = await meeting.join(kind, "sub"), await meeting.join(kind, "pub")
    assert await subscriber.subscribe(Filter("room/+/temperature", qos)) == [qos]
    sent = [b"%d" % n for n in range(OVERLAP)]
    await publisher.publish_all("room/1/temperature", sent, qos)
    received = await subscriber.take(OVERLAP)
    assert [message.payload for message in received] == sent
    assert {(message.topic, message.qos, message.retain) for message in received} == {
        ("room/1/temperature", qos, False)
    }


@every_client
async def test_the_lower_qos_is_delivered(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.8.4-6]: of what was asked for and what was published, in all nine combinations."""
    client = await meeting.join(kind, "c1")
    await client.subscribe(*(Filter(f"q{qos}", qos) for qos in range(3)))
    for asked in range(3):
        for published in range(3):
            await client.publish(f"q{asked}", b"%d" % published, published)
    expected = {(f"q{asked}", b"%d" % published): min(asked, published) for asked in range(3) for published in range(3)}
    received = await client.take(9)
    assert {(message.topic, message.payload): message.qos for message in received} == expected
    assert len(received) == 9


@every_client
async def test_big_messages(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.3.2-1]: nearly as large as the broker takes, with every value of a byte, at each QoS."""
    client = await meeting.join(kind, "c1")
    await client.subscribe(Filter("t", 2))
    payload = bytes(range(256)) * 4_000
    for qos in (0, 1, 2):
        await client.publish("t", payload, qos)
    received = await client.take(3)
    assert [message.payload == payload for message in received] == [True] * 3
    assert sorted(message.qos for message in received) == [0, 1, 2]


@every_client
async def test_retained_messages(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.3.1-6] [MQTT-3.3.1-8] [MQTT-3.3.1-9] [MQTT-3.3.1-10]: kept for later, live without the flag, cleared."""
    publisher, early = await meeting.join(kind, "pub"), await meeting.join(kind, "early")
    await early.subscribe(Filter("state/#", 1), Filter("fence", 1))
    await publisher.publish("state/a", b"old", 1, retain=True)
    await publisher.publish("state/a", b"new", 1, retain=True)
    await publisher.publish("state/b", b"other", 1, retain=True)
    await publisher.publish("state/b", b"", 1, retain=True)
    await fence(publisher, early)
    assert [(m.topic, m.payload, m.retain) for m in early.messages] == [
        ("state/a", b"old", False),
        ("state/a", b"new", False),
        ("state/b", b"other", False),
        ("state/b", b"", False),
    ]
    late = await meeting.join(kind, "late")
    await late.subscribe(Filter("state/#", 1), Filter("fence", 1))
    await fence(publisher, late)
    assert [(m.topic, m.payload, m.retain) for m in late.messages] == [("state/a", b"new", True)]


@every_client
async def test_the_will(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.2-17]: for who vanishes, not for who says good-bye."""
    watcher = await meeting.join(kind, "watcher")
    await watcher.subscribe(Filter("will/#", 1), Filter("fence", 1))
    leaving = await meeting.join(kind, "leaving", will=Will("will/leaving", b"never said", 1))
    await leaving.disconnect()
    vanishing = await meeting.join(kind, "vanishing", will=Will("will/vanishing", b"gone", 1, retain=True))
    await vanishing.drop()
    await watcher.take(1)
    await fence(watcher, watcher)
    assert [(m.topic, m.payload, m.qos, m.retain) for m in watcher.messages] == [("will/vanishing", b"gone", 1, False)]
    late = await meeting.join(kind, "late")
    await late.subscribe(Filter("will/#", 1))
    assert (await late.take(1))[0].retain


@pytest.mark.parametrize("vanishing", [False, True], ids=["after good-bye", "after a broken connection"])
@every_client
async def test_a_session_keeps_what_its_client_missed(meeting: Meeting, kind: Kind, vanishing: bool) -> None:
    """[MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT-4.1.0-1] [MQTT-4.4.0-1]: each topic's messages, complete and in order."""
    session = {"clean": False} | ({"properties": {"session_expiry": 600}} if kind.level == 5 else {})
    device = await meeting.join(kind, "device", **session)
    assert device.session_present in (False, None)
    await device.subscribe(Filter("t/1", 1), Filter("t/2", 2))
    await (device.drop() if vanishing else device.disconnect())
    await until(lambda: not session_connected(meeting, "device"), SECONDS)
    publisher = await meeting.join(kind, "pub")
    missed = [b"%d" % n for n in range(OVERLAP)]
    for qos in (1, 2):
        await publisher.publish_all(f"t/{qos}", missed, qos)
    device = await meeting.join(kind, "device", **session)
    assert device.session_present in (kind.level > 3, None)  # the CONNACK of 3.1 has no such bit
    received = await device.take(2 * OVERLAP)
    for qos in (1, 2):  # a library may hand on a QoS 2 message when it comes or when it is released
        assert [m.payload for m in received if (m.topic, m.qos) == (f"t/{qos}", qos)] == missed
    await device.disconnect()
    fresh = await meeting.join(kind, "device")
    assert fresh.session_present in (False, None)
    assert fresh.messages == []


def session_connected(meeting: Meeting, client_id: str) -> bool:
    session = meeting.broker.registry.get(client_id)
    assert session is not None, "the session was to be kept"
    return session.connected


@every_client
async def test_unsubscribe(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.10.4-2] [MQTT-3.10.4-4]: nothing more comes of that filter, the others stay."""
    client = await meeting.join(kind, "c1")
    await client.subscribe(Filter("a/#", 1), Filter("b/#", 1), Filter("fence", 1))
    await client.publish("a/1", b"before", 1)
    await client.take(1)
    assert await client.unsubscribe("a/#") in ([0] if kind.level == 5 else [], [])
    await client.publish("a/1", b"after", 1)
    await client.publish("b/1", b"other", 1)
    await fence(client, client)
    assert client.payloads() == [b"before", b"other"]


@every_client
async def test_a_second_connection_takes_over(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.1.4-2]: the first is closed (5: and told why), the second works."""
    first = await meeting.join(kind, "same")
    second = await meeting.join(kind, "same")
    assert await first.end() == (0x8E if kind.level == 5 and "end_reason" in first.TELLS else None)
    await second.subscribe(Filter("t", 1))
    await second.publish("t", b"x", 1)
    await second.take(1)
    assert meeting.broker.registry.connected_count == 1
    assert not second.ended


@pytest.mark.parametrize("kind", parameters(kind for kind in KINDS if PARTIES[kind.library].RECONNECTS))
async def test_a_library_reconnects_by_itself(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-4.1.0-1] [MQTT-3.1.2-5]: its session is there, and so is what was published in between."""
    properties = {"session_expiry": 600} if kind.level == 5 else {}
    device = await meeting.join(kind, "device", clean=False, reconnect=True, properties=properties)
    await device.subscribe(Filter("t", 1))
    publisher = await meeting.join(kind, "pub")
    session = meeting.broker.registry.get("device")
    assert session is not None
    for n in range(3):
        await device.drop()
        await publisher.publish("t", b"%d" % n, 1)
        await until(lambda: b"%d" % n in device.payloads(), SECONDS)  # noqa: B023
    # One whose acknowledgement was lost with the connection comes again.
    assert list(dict.fromkeys(device.payloads())) == [b"0", b"1", b"2"]
    assert meeting.broker.registry.get("device") is session


async def test_idle_clients_stay_connected(meeting: Meeting) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.12.4-1]: the pings that each library sends by itself are answered and count."""
    idle = [await meeting.join(kind, str(kind), keep_alive=1) for kind in runnable(KINDS)]
    sessions = [session for session in meeting.broker.registry if session.connected]
    assert len(sessions) == len(idle)
    before = {session.client_id: session.traffic.packets_received_total for session in sessions}
    # Two pings after CONNECT: without an answer to the first, or were it not counted, there would be no second.
    await until(lambda: all(s.traffic.packets_received_total >= before[s.client_id] + 2 for s in sessions), SECONDS)
    assert [str(client.kind) for client in idle if client.ended] == []
    await asyncio.gather(*(client.publish("t", b"still here", 1) for client in idle))
