"""What every client that speaks MQTT 5 can do with it. What takes seconds is done by all of them at the same time."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from wardenmq.broker.settings import MqttSettings

from ..engine.conditions import until
from .conftest import Guarded
from .kinds import KINDS, PARTIES, Meeting, parameters, runnable
from .node import Node
from .party import SECONDS, Filter, Kind, Party, Properties, Will, fence
from .places import Certificates, open_place

NEW = [kind for kind in KINDS if kind.level == 5 and kind.transport in ("tcp", "ws")]
EVERYTHING: Properties = {
    "payload_format": 1,
    "content_type": "text/plain; charset=utf-8",
    "response_topic": "answers/7",
    "correlation_data": bytes(range(256)),
}
LARGEST_IDENTIFIER = 268_435_455

every_client = pytest.mark.parametrize("kind", parameters(NEW))


def that_tell(*facts: str) -> pytest.MarkDecorator:
    """Choose the clients whose library lets these be seen."""
    return pytest.mark.parametrize("kind", parameters(k for k in NEW if set(facts) <= PARTIES[k.library].TELLS))


@every_client
async def test_message_properties(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20].

    They arrive unchanged and in order, at each QoS.
    """
    client = await meeting.join(kind, "c1")
    pairs = [("a", "1"), ("a", "2"), ("b", "ä")]
    if "pair_order" in client.TELLS:
        pairs.insert(2, ("c", "between"))
        pairs.append(("a", "3"))
    await client.subscribe(Filter("t", 2))
    for qos in (0, 1, 2):
        await client.publish("t", b"text", qos, message_expiry=300, user_properties=pairs, **EVERYTHING)
    for message in await client.take(3):
        remaining = message.properties.pop("message_expiry")
        assert isinstance(remaining, int) and 280 <= remaining <= 300
        assert message.properties == EVERYTHING | {"user_properties": pairs}


@every_client
async def test_will_properties(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.1.3-10]: a will is a message like others."""
    watcher = await meeting.join(kind, "watcher")
    await watcher.subscribe(Filter("will", 1))
    pairs = [("a", "1"), ("a", "2")]
    properties = EVERYTHING | {"user_properties": pairs, "message_expiry": 300}
    dying = await meeting.join(kind, "dying", will=Will("will", b"gone", 1, properties=properties))
    await dying.drop()
    (will,) = await watcher.take(1)
    assert will.properties.pop("message_expiry") in range(280, 301)
    assert will.properties == EVERYTHING | {"user_properties": pairs}


@every_client
async def test_no_local(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.8.3-3]: nothing of one's own, everything of the others."""
    client, other = await meeting.join(kind, "c1"), await meeting.join(kind, "other")
    await client.subscribe(Filter("t", 1, no_local=True), Filter("fence", 1))
    await client.publish("t", b"own", 1)
    await other.publish("t", b"other's", 1)
    await fence(client, client)
    assert client.payloads() == [b"other's"]


@every_client
async def test_retain_as_published(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.3.1-12] [MQTT-3.3.1-13]: the flag is kept for who asked for it."""
    client = await meeting.join(kind, "c1")
    await client.subscribe(Filter("kept/#", 1, retain_as_published=True), Filter("cleared/#", 1))
    for topic in ("kept/a", "cleared/a"):
        await client.publish(topic, b"x", 1, retain=True)
        await client.publish(topic, b"x", 1)
    flags = [(message.topic, message.retain) for message in await client.take(4)]
    assert flags == [("kept/a", True), ("kept/a", False), ("cleared/a", False), ("cleared/a", False)]


@every_client
async def test_retain_handling(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]: always, for a new subscription only, never."""
    client = await meeting.join(kind, "c1")
    await client.publish("t", b"x", 1, retain=True)
    await client.subscribe(Filter("fence", 1))
    expected = {0: [1, 1], 1: [1, 0], 2: [0, 0]}
    for handling, counts in expected.items():
        await client.unsubscribe("t")
        for count in counts:
            client.messages.clear()
            await client.subscribe(Filter("t", 1, retain_handling=handling))
            await fence(client, client)
            assert len(client.messages) == count, f"Retain Handling {handling}"


@every_client
async def test_subscription_identifiers(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]: all that match on one delivery, none where none was given."""
    client = await meeting.join(kind, "c1")
    await client.subscribe(Filter("a/#", 1), identifier=1)
    await client.subscribe(Filter("a/+", 1), identifier=2)
    await client.subscribe(Filter("b", 1), identifier=LARGEST_IDENTIFIER)
    await client.subscribe(Filter("c", 1))
    for topic in ("a/x", "b", "c"):
        await client.publish(topic, b"x", 1)
    received = await client.take(3)
    named = {message.topic: message.properties.get("subscription_identifiers", []) for message in received}
    assert len(received) == 3
    assert isinstance(named["a/x"], list)
    assert (sorted(named["a/x"]), named["b"], named["c"]) == ([1, 2], [LARGEST_IDENTIFIER], [])


@every_client
async def test_topic_aliases_of_the_client(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.3.2-12]: set with a topic, used without one, set anew."""
    client = await meeting.join(kind, "c1")
    await client.subscribe(Filter("#", 1))
    await client.publish("first", b"1", 1, topic_alias=3)
    await client.publish("", b"2", 1, topic_alias=3)
    await client.publish("", b"3", 0, topic_alias=3)
    await client.publish("second", b"4", 1, topic_alias=3)
    await client.publish("", b"5", 1, topic_alias=3)
    received = {message.payload: message.topic for message in await client.take(5)}
    assert received == {b"1": "first", b"2": "first", b"3": "first", b"4": "second", b"5": "second"}


@that_tell("alias")
async def test_topic_aliases_of_the_server(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]: no more than the client allows, and every topic arrives."""
    publisher = await meeting.join(kind, "pub")
    few = await meeting.join(kind, "few", properties={"topic_alias_maximum": 2})
    none = await meeting.join(kind, "none")
    for client in (few, none):
        await client.subscribe(Filter("t/#", 1))
    topics = [f"t/{n % 4}" for n in range(12)]
    for topic in topics:
        await publisher.publish(topic, topic.encode(), 1)
    for client in (few, none):
        assert [(m.topic, m.payload) for m in await client.take(12)] == [(t, t.encode()) for t in topics]
    assert few.aliases and few.aliases <= {1, 2}
    assert not none.aliases


@every_client
async def test_shared_subscriptions(meeting: Meeting, kind: Kind) -> None:
    """(4.8.2) Each message goes to one member in turn, and to everybody else who is subscribed."""
    members = [await meeting.join(kind, f"member{n}") for n in range(3)]
    for member in members:
        assert await member.subscribe(Filter("$share/workers/jobs/#", 1)) == [1]
    watcher = await meeting.join(kind, "watcher")
    await watcher.subscribe(Filter("jobs/#", 1))
    jobs = [b"%d" % n for n in range(30)]
    await watcher.publish_all("jobs/a", jobs, 1)
    assert [message.payload for message in await watcher.take(30)] == jobs
    await until(lambda: sum(len(member.messages) for member in members) >= 30, SECONDS)
    assert [len(member.messages) for member in members] == [10, 10, 10]
    assert sorted(payload for member in members for payload in member.payloads()) == sorted(jobs)
    await members[0].disconnect()
    await watcher.publish_all("jobs/a", jobs, 1)
    await until(lambda: sum(len(member.messages) for member in members) >= 60, SECONDS)
    assert len(members[0].messages) == 10


@that_tell("publish_reason")
async def test_nobody_is_subscribed(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.4.2-1]: the acknowledgement says so."""
    client = await meeting.join(kind, "c1")
    assert await client.publish("t", b"x", 1) == 0x10
    await client.subscribe(Filter("t", 1))
    assert await client.publish("t", b"x", 1) == 0
    assert await client.publish("t", b"x", 2) == 0


@that_tell("publish_reason")
async def test_a_denied_publish(guarded: Guarded, kind: Kind) -> None:
    """[MQTT-3.4.2-1] [MQTT-3.5.2-1]: not authorised, and the connection stays."""
    client = await guarded.meeting.join(kind, "c1", username="alice", password="secret")
    assert await client.publish("other/x", b"x", 1) == 0x87
    # paho goes on after a refusal in PUBREC, and reports what PUBCOMP then says of an id that is unknown.
    assert await client.publish("other/x", b"x", 2) == (0x92 if kind.library == "paho" else 0x87)
    await client.subscribe(Filter("own/x", 2))
    assert await client.publish("own/x", b"x", 2) == 0
    await client.take(1)


@that_tell("unsubscribe_reason")
async def test_unsubscribing_from_nothing(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.11.3-2]: a code for each filter."""
    client = await meeting.join(kind, "c1")
    await client.subscribe(Filter("t", 1))
    assert await client.unsubscribe("t") == [0]
    assert await client.unsubscribe("t") == [0x11]


@every_client
async def test_session_expiry(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.1.2-23]: without an interval the session ends with the connection, with one it outlives it."""
    for expiry, kept in ((0, False), (600, True)):
        client = await meeting.join(kind, "c1", clean=False, properties={"session_expiry": expiry} if expiry else {})
        await client.subscribe(Filter("t", 1))
        await client.disconnect()
        await until(lambda: not connected(meeting, "c1"), SECONDS)
        assert (meeting.broker.registry.get("c1") is not None) is kept


@that_tell("goodbye_properties")
async def test_session_expiry_changed_on_leaving(meeting: Meeting, kind: Kind) -> None:
    """(3.14.2.2.2) The last word counts."""
    client = await meeting.join(kind, "c1", clean=False, properties={"session_expiry": 600})
    await client.disconnect(session_expiry=0)
    await until(lambda: meeting.broker.registry.get("c1") is None, SECONDS)


@that_tell("goodbye_properties")
async def test_leaving_with_the_will(meeting: Meeting, kind: Kind) -> None:
    """(3.14.2.1) Reason 0x04 asks for the will to be published."""
    watcher = await meeting.join(kind, "watcher")
    await watcher.subscribe(Filter("will", 1))
    leaving = await meeting.join(kind, "leaving", will=Will("will", b"on purpose", 1))
    await leaving.disconnect(0x04)
    assert (await watcher.take(1))[0].payload == b"on purpose"


def connected(meeting: Meeting, client_id: str) -> bool:
    session = meeting.broker.registry.get(client_id)
    return session is not None and session.connected


@pytest.mark.parametrize("qos", [1, 2])
@every_client
async def test_receive_maximum_of_the_client(meeting: Meeting, kind: Kind, qos: int) -> None:
    """(3.1.2.11.3) Much more than the client takes at a time arrives all the same, in order."""
    narrow = await meeting.join(kind, "narrow", properties={"receive_maximum": 3})
    await narrow.subscribe(Filter("t", 2))
    publisher = await meeting.join(kind, "pub")
    sent = [b"%d" % n for n in range(50)]
    await publisher.publish_all("t", sent, qos)
    await narrow.take(50)
    assert narrow.payloads() == sent
    assert not narrow.ended


@every_client
async def test_maximum_packet_size_of_the_client(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]: what is too large is left out, what follows arrives."""
    small = await meeting.join(kind, "small", properties={"maximum_packet_size": 200})
    await small.subscribe(Filter("t", 2))
    publisher = await meeting.join(kind, "pub")
    for qos in (0, 1, 2):
        await publisher.publish("t", b"x" * 200, qos)
        await publisher.publish("t", b"%d" % qos, qos)
    assert [message.payload for message in await small.take(3)] == [b"0", b"1", b"2"]
    assert not small.ended


@every_client
async def test_request_and_response(meeting: Meeting, kind: Kind) -> None:
    """(4.10) The service answers where the request says, with the request's mark."""
    service, asker = await meeting.join(kind, "service"), await meeting.join(kind, "asker")
    await service.subscribe(Filter("ask", 1))
    await asker.subscribe(Filter("answers/asker", 1))
    await asker.publish("ask", b"ping", 1, response_topic="answers/asker", correlation_data=b"\x00\x01")
    (request,) = await service.take(1)
    answer_to, mark = request.properties["response_topic"], request.properties["correlation_data"]
    assert isinstance(answer_to, str)
    await service.publish(answer_to, b"pong", 1, correlation_data=mark)
    (answer,) = await asker.take(1)
    assert (answer.payload, answer.properties) == (b"pong", {"correlation_data": b"\x00\x01"})


@that_tell("end_reason")
async def test_a_kicked_client_is_told(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.14.2-1]: administrative action."""
    client = await meeting.join(kind, "c1")
    assert await meeting.broker.kick("c1")
    assert await client.end() == 0x98


@that_tell("end_reason")
async def test_clients_are_told_of_the_shutdown(certificates: Certificates, node: Node, kind: Kind) -> None:
    """[MQTT-3.14.2-1]: server shutting down."""
    async with AsyncExitStack() as stack:
        async with open_place(certificates) as place:
            client = await Meeting(place, node, stack).join(kind, "c1")
        assert await client.end() == 0x8B


@that_tell("connack")
async def test_the_server_says_what_it_offers(certificates: Certificates, node: Node, kind: Kind) -> None:
    """[MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.1.2-28]: in CONNACK; who tries all the same is told why it must go."""
    settings = MqttSettings(
        max_qos_allowed=1,
        retain_available=False,
        wildcard_subscription=False,
        shared_subscription=False,
        subscription_identifiers=False,
        max_keepalive=30,
        max_topic_alias=7,
        max_packet_size=5_000,
        max_session_expiry_interval=100,
        response_information="answers/",
    )
    async with open_place(certificates, settings=settings) as place, AsyncExitStack() as stack:
        wishes = {"session_expiry": 600, "request_response_information": 1}
        meeting = Meeting(place, node, stack)
        client = await meeting.join(kind, "c1", clean=False, properties=wishes)
        offered = {
            "maximum_qos": 1,
            "retain_available": 0,
            "wildcard_available": 0,
            "shared_available": 0,
            "identifiers_available": 0,
            "server_keep_alive": 30,
            "topic_alias_maximum": 7,
            "maximum_packet_size": 5_000,
            "session_expiry": 100,
            "response_information": "answers/",
        }
        assert {name: client.connack.get(name) for name in offered} == offered
        assert await client.subscribe(Filter("a", 2)) == [1]
        modest = await meeting.join(kind, "c2")
        assert "response_information" not in modest.connack
        for topic_filter, identifier, reason in (("a/#", None, 0xA2), ("$share/g/a", None, 0x9E), ("a", 1, 0xA1)):
            bold = await meeting.join(kind, "bold")
            subscribing = asyncio.create_task(bold.subscribe(Filter(topic_filter, 1), identifier=identifier))
            assert await bold.end() == reason
            subscribing.cancel()


@that_tell("connack")
async def test_an_assigned_client_id(meeting: Meeting, kind: Kind) -> None:
    """[MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]: unique, told to the client, for one without an id only."""
    if kind.library == "gmqtt":  # it makes up an id of its own
        client = await meeting.join(kind, "own")
        assert "assigned_client_id" not in client.connack
        return
    clients = [await meeting.join(kind, "") for _ in range(2)]
    assigned = {client.connack.get("assigned_client_id") for client in clients}
    assert assigned == {session.client_id for session in meeting.broker.registry}
    assert len(assigned) == 2


async def test_messages_expire(meeting: Meeting) -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6]: what waited too long is not delivered, the rest says how long it has left."""
    kinds = runnable(NEW)
    session = {"clean": False, "properties": {"session_expiry": 600}}
    devices = [await meeting.join(kind, str(kind), **session) for kind in kinds]
    for device in devices:
        await device.subscribe(Filter("t", 1))
        await device.disconnect()
    await until(lambda: meeting.broker.registry.connected_count == 0, SECONDS)
    publisher = await meeting.join(kinds[0], "pub")
    await publisher.publish("t", b"short", 1, message_expiry=1)
    await publisher.publish("t", b"long", 1, message_expiry=100)
    await publisher.publish("t", b"endless", 1)
    over = asyncio.get_running_loop().time() + 1.1
    await until(lambda: asyncio.get_running_loop().time() > over, SECONDS)
    for kind in kinds:
        device = await meeting.join(kind, str(kind), **session)
        long, endless = (await device.take(2))[:2]
        assert (long.payload, endless.payload) == (b"long", b"endless"), kind
        left = long.properties["message_expiry"]
        assert isinstance(left, int) and 80 <= left <= 99, kind
        assert "message_expiry" not in endless.properties, kind


async def test_wills_wait_for_their_delay(meeting: Meeting) -> None:
    """[MQTT-3.1.3-9]: published when it is over, and not if the client is back before."""
    kinds = runnable(NEW)
    watcher = await meeting.join(kinds[0], "watcher")
    await watcher.subscribe(Filter("will/#", 1))
    session = {"clean": False, "properties": {"session_expiry": 600}}

    async def vanish(name: str, kind: Kind, delay: int) -> Party:
        will = Will(f"will/{name}", b"gone", 1, properties={"will_delay": delay})
        client = await meeting.join(kind, name, will=will, **session)
        await client.drop()
        return client

    loop = asyncio.get_running_loop()
    delay = 3  # so that nobody is back too late
    for kind in kinds:
        await vanish(f"back-{kind}", kind, delay)
        await meeting.join(kind, f"back-{kind}", **session)
    began = loop.time()
    for kind in kinds:
        await vanish(f"away-{kind}", kind, delay)
    wills = await watcher.take(len(kinds))
    assert loop.time() - began >= delay
    assert sorted(will.topic for will in wills) == sorted(f"will/away-{kind}" for kind in kinds)


async def test_sessions_expire(meeting: Meeting) -> None:
    """(3.1.2.11.2) A second after the connection, if that is what was asked for."""
    for kind in runnable(NEW):
        client = await meeting.join(kind, str(kind), clean=False, properties={"session_expiry": 1})
        await client.drop()
    await until(lambda: len(meeting.broker.registry) == 0, SECONDS)
