"""Shared subscriptions (MQTT 5.0, section 4.8.2): who gets a message, and what becomes of it when a member leaves."""

from collections import Counter

import pytest
from wardenmq.broker.settings import MqttSettings

from ...clocks import WallClock
from ...engine.brokers import ANONYMOUS
from ...engine.conditions import until
from ...engine.packets5 import P
from ...engine.wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from ...engine.wire5 import Client5, acknowledge, publish, users
from . import plugins
from .serving import KEPT, Clients5, serving5

GROUP = "$share/g/t/#"


async def _members(
    clients: Clients5, count: int, qos: int = 2, *, window: int = 65_535, topic_filter: str = GROUP
) -> list[Client5]:
    members: list[Client5] = []
    for number in range(count):
        member = await clients.connected5(f"m{number}", properties=[*KEPT, (P.RECEIVE_MAXIMUM, window)])
        assert await member.subscribe((topic_filter, qos)) == [qos]
        members.append(member)
    return members


async def _waiting(client: Client5) -> list[bytes]:
    """Take the payloads of what comes until nothing more does, acknowledged."""
    await client.ping()
    payloads: list[bytes] = []
    while client._waiting:
        payloads.append((await client.message()).payload)
        if not client._waiting:
            await client.ping()  # the acknowledgement may have made room for more
    return payloads


# Who gets it.


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_one_member_gets_each_message(clients: Clients5, qos: int) -> None:
    """[MQTT-4.8.2-1] [MQTT-4.8.2-2] [MQTT-4.8.2-3]: in turn, beside subscribers that do not share."""
    members = await _members(clients, 3)
    alone = await clients.subscribed5("alone", ("t/1", 2))
    publisher = await clients.connected5("publisher")
    for number in range(9):
        assert await publisher.publish("t/1", b"%d" % number, qos) == 0
    shares = [await _waiting(member) for member in members]
    assert sorted(len(share) for share in shares) == [3, 3, 3]
    assert sorted(payload for share in shares for payload in share) == [b"%d" % number for number in range(9)]
    assert await alone.messages(9) == [b"%d" % number for number in range(9)]


async def test_each_group_gets_each_message(clients: Clients5) -> None:
    """[MQTT-4.8.2-1]: groups are told apart by name and by filter."""
    publisher = await clients.connected5("publisher")
    filters = ["$share/g/t/1", "$share/h/t/1", "$share/g/t/+", "$share/G/t/1"]
    groups = [
        [await clients.subscribed5(f"{number}-{one}", (topic_filter, 1)) for one in range(2)]
        for number, topic_filter in enumerate(filters)
    ]
    for number in range(4):
        await publisher.publish("t/1", b"%d" % number, 1)
    for group in groups:
        shares = [await _waiting(member) for member in group]
        assert [len(share) for share in shares] == [2, 2]


async def test_each_member_has_its_own_qos(clients: Clients5) -> None:
    """[MQTT-4.8.2-3]: the lower of the message's and the one granted to the member that gets it."""
    members = [await clients.subscribed5(f"m{qos}", (GROUP, qos)) for qos in range(3)]
    publisher = await clients.connected5("publisher")
    for number in range(6):
        await publisher.publish("t/1", b"%d" % number, 2)
    for qos, member in enumerate(members):
        assert [(await member.message()).qos for _ in range(2)] == [qos, qos]


async def test_each_member_has_its_own_identifier(clients: Clients5) -> None:
    """[MQTT-3.3.4-3]: and its own Retain As Published."""
    members: list[Client5] = []
    for number in range(2):
        member = await clients.connected5(f"m{number}")
        await member.subscribe((GROUP, 1 | number << 3), properties=[(P.SUBSCRIPTION_ID, number + 1)])
        members.append(member)
    publisher = await clients.connected5("publisher")
    for qos in (0, 0, 1, 1):
        await publisher.publish("t/1", b"x", qos, retain=True, properties=users(("k", "v")))
    for number, member in enumerate(members):
        for _ in range(2):
            got = await member.message()
            assert (got.subscription_ids, got.retain) == ([number + 1], bool(number))
            assert got.forwarded == users(("k", "v"))


async def test_shared_and_not_shared_of_one_client(clients: Clients5) -> None:
    """[MQTT-3.3.4-2] [MQTT-3.3.4-3]: its own subscription always delivers; the group's share comes on top of it."""
    client = await clients.connected5("c1")
    await client.subscribe(("t/1", 1), properties=[(P.SUBSCRIPTION_ID, 1)])
    await client.subscribe((GROUP, 1), properties=[(P.SUBSCRIPTION_ID, 2)])
    publisher = await clients.connected5("publisher")
    await publisher.publish("t/1", b"x", 1)
    await client.ping()
    got = [await client.message() for _ in range(len(client._waiting))]
    assert sorted(identifier for one in got for identifier in one.subscription_ids) == [1, 2]  # type: ignore[type-var]


async def test_unsubscribing(clients: Clients5) -> None:
    """[MQTT-3.10.4-1] [MQTT-4.8.2-1]: by the whole filter; the last member takes the group with it."""
    first, second = await _members(clients, 2)
    publisher = await clients.connected5("publisher")
    assert await first.unsubscribe("t/#", "$share/h/t/#", "$share/g/t/1") == [0x11] * 3
    assert await first.unsubscribe(GROUP) == [0]
    for number in range(4):
        assert await publisher.publish("t/1", b"%d" % number, 1) == 0
    assert await second.messages(4) == [b"0", b"1", b"2", b"3"]
    await first.nothing_came()
    assert await second.unsubscribe(GROUP) == [0]
    assert await publisher.publish("t/1", b"x", 1) == 0x10


async def test_resubscribing_is_no_second_membership(clients: Clients5) -> None:
    """[MQTT-3.8.4-3]: the new QoS counts, and turns stay fair."""
    first, second = await _members(clients, 2)
    for qos in (0, 1):
        await first.subscribe((GROUP, qos))
    publisher = await clients.connected5("publisher")
    for number in range(6):
        await publisher.publish("t/1", b"%d" % number, 2)
    got = [await first.message() for _ in range(3)]
    assert {one.qos for one in got} == {1}
    assert len(await _waiting(second)) == 3


# Strategies.


async def _counts(strategy: str, members: int, publishes: list[tuple[str, str]]) -> list[list[bytes]]:
    """Publish as these clients on these topics, and give what each member got."""
    async with serving5(MqttSettings(shared_subscription_strategy=strategy)) as sharing:
        group = await _members(sharing, members)
        publishers = {sender: await sharing.connected5(sender) for sender, _ in publishes}
        for sender, topic in publishes:
            await publishers[sender].publish(topic, f"{sender} {topic}".encode(), 1)
        return [await _waiting(member) for member in group]


async def test_round_robin() -> None:
    """[MQTT-4.8.2-1]: equal shares."""
    shares = await _counts("round_robin", 4, [(f"p{n % 3}", f"t/{n % 5}") for n in range(20)])
    assert [len(share) for share in shares] == [5, 5, 5, 5]


async def test_random() -> None:
    """[MQTT-4.8.2-1]: all messages, and nearly surely not all to one of four members."""
    shares = await _counts("random", 4, [("p", "t/1")] * 60)
    assert sum(len(share) for share in shares) == 60
    assert max(len(share) for share in shares) < 60


async def test_sticky() -> None:
    """[MQTT-4.8.2-1]: one member gets all while it is there."""
    shares = await _counts("sticky", 3, [(f"p{n % 2}", f"t/{n % 5}") for n in range(20)])
    assert sorted(len(share) for share in shares) == [0, 0, 20]


@pytest.mark.parametrize(("strategy", "place"), [("hash_clientid", 0), ("hash_topic", 1)])
async def test_hash(strategy: str, place: int) -> None:
    """[MQTT-4.8.2-1]: what has the publisher, or the topic, in common goes to one member; not everything does."""
    publishes = [(f"p{n % 12}", f"t/{n // 12}") for n in range(12 * 12)]
    shares = await _counts(strategy, 3, publishes)
    assert sum(len(share) for share in shares) == len(publishes)
    owners: dict[bytes, set[int]] = {}
    for number, share in enumerate(shares):
        for payload in share:
            owners.setdefault(payload.split()[place], set()).add(number)
    assert all(len(members) == 1 for members in owners.values())
    assert len({member for members in owners.values() for member in members}) > 1


@pytest.mark.parametrize("strategy", ["round_robin", "random", "sticky", "hash_clientid", "hash_topic"])
async def test_never_to_an_absent_member_while_one_is_there(strategy: str) -> None:
    """[MQTT-4.8.2-1]: by no strategy; where nobody is there, it waits for somebody."""
    async with serving5(MqttSettings(shared_subscription_strategy=strategy)) as sharing:
        for number in range(3):
            await sharing.away(f"away{number}", (GROUP, 1))
        there = await sharing.subscribed5("there", (GROUP, 1))
        publisher = await sharing.connected5("publisher")
        for number in range(12):
            assert await publisher.publish(f"t/{number}", b"%d" % number, 1) == 0
            await publisher.publish(f"t/{number}", b"QoS 0")
        assert len(await there.messages(24)) == 24
        await there.disconnect()
        await sharing.gone("there")
        assert await publisher.publish("t/1", b"waits", 1) == 0
        got: list[bytes] = []
        for number in range(3):
            got += await _waiting(await sharing.back(f"away{number}"))
        assert got == [b"waits"]


async def test_a_full_member_is_passed_over() -> None:
    """[MQTT-4.8.2-1] [MQTT-4.9.0-2]: one whose queue fills, while another can take more; nothing is dropped."""
    async with serving5(MqttSettings(max_mqueue_len=8)) as sharing:
        full, free = await _members(sharing, 2, window=1)
        got: list[bytes] = []
        for number in range(40):
            sharing.broker.publish("t/1", b"%d" % number, 1)
            got += await _waiting(free)
        held = await _waiting(full)
        assert len(held) <= 7 and len(held) + len(got) == 40
        assert sorted(held + got) == sorted(b"%d" % number for number in range(40))


async def test_a_message_too_large_for_one_member(clients: Clients5) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]: dropped for it or given to another; small ones are shared as ever."""
    small = await clients.subscribed5("small", (GROUP, 1), properties=[(P.MAXIMUM_PACKET_SIZE, 60)])
    big = await clients.subscribed5("big", (GROUP, 1))
    publisher = await clients.connected5("publisher")
    for number in range(10):
        assert await publisher.publish("t/1", b"%d" % number * (100 if number % 2 else 1), 1) == 0
    shares = [await _waiting(small), await _waiting(big)]
    assert all(len(payload) == 1 for payload in shares[0])
    assert {payload for share in shares for payload in share if len(payload) == 1} == {b"0", b"2", b"4", b"6", b"8"}
    assert clients.session("small").in_flight_count == 0


# A member leaves.


@pytest.mark.parametrize("ending", ["broken", "kicked", "goodbye", "taken over"])
async def test_what_a_lost_session_had_goes_to_the_next(clients: Clients5, ending: str) -> None:
    """[MQTT-4.8.2-1] [MQTT-4.4.0-1]: QoS 1 in flight and queued, when the session ends; each once, in order."""
    leaving = await clients.connected5("leaving", properties=[(P.RECEIVE_MAXIMUM, 2)])
    await leaving.subscribe((GROUP, 1))
    publisher = await clients.connected5("publisher")
    for number in range(6):
        await publisher.publish("t/1", b"%d" % number, 1)
    assert [(await leaving.expect(PUBLISH)).payload for _ in range(2)] == [b"0", b"1"]
    staying = await clients.subscribed5("staying", (GROUP, 1))
    await staying.nothing_came()
    match ending:
        case "broken":
            leaving.abort()
        case "kicked":
            await clients.broker.kick("leaving")
        case "goodbye":
            await leaving.disconnect()
        case _:
            await clients.connected5("leaving", clean=True)
    got = [await staying.message() for _ in range(6)]
    assert [one.payload for one in got] == [b"%d" % number for number in range(6)]
    assert {one.qos for one in got} == {1}
    await staying.nothing_came()


async def test_what_an_absent_member_has_is_not_lost(clients: Clients5) -> None:
    """[MQTT-4.8.2-1] [MQTT-4.4.0-1]: of a session that is kept, QoS 1 comes to it later or to another now; once."""
    leaving, staying = await _members(clients, 2, 1, window=2)
    publisher = await clients.connected5("publisher")
    for number in range(4):
        await publisher.publish("t/1", b"%d" % number, 1)
    for member in (leaving, staying):
        assert len([await member.expect(PUBLISH) for _ in range(2)]) == 2
    for number in range(4, 8):
        await publisher.publish("t/1", b"%d" % number, 1)
    leaving.abort()
    await clients.gone("m0")
    await staying.disconnect()
    await clients.gone("m1")
    got: Counter[bytes] = Counter()
    for client_id in ("m1", "m0", "m1"):
        member = await clients.back(client_id)
        got.update(await _waiting(member))
        await member.disconnect()
        await clients.gone(client_id)
    assert got == Counter({b"%d" % number: 1 for number in range(8)})


async def test_when_the_stored_session_expires(clients: Clients5, clock: WallClock) -> None:
    """[MQTT-4.8.2-1] [MQTT-4.1.0-2]: what it still held goes to a member that came meanwhile."""
    leaving = await clients.connected5("leaving", properties=[(P.SESSION_EXPIRY, 100)])
    await leaving.subscribe((GROUP, 1))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t/1", b"sent", 1)
    await leaving.expect(PUBLISH)
    leaving.abort()
    await clients.gone("leaving")
    await publisher.publish("t/1", b"queued", 1)
    staying = await clients.subscribed5("staying", (GROUP, 1))
    clock.advance(101)
    await until(lambda: clients.broker.registry.get("leaving") is None)
    assert await staying.messages(2) == [b"sent", b"queued"]
    await staying.nothing_came()


async def test_qos_2_in_flight_stays_with_its_session(clients: Clients5) -> None:
    """[MQTT-4.8.2-4]: completed when the client comes back, and by nobody else meanwhile."""
    leaving = await clients.connected5("leaving", properties=KEPT)
    await leaving.subscribe((GROUP, 2))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t/1", b"sent", 2)
    await publisher.publish("t/1", b"received", 2)
    sent, received = await leaving.expect(PUBLISH), await leaving.expect(PUBLISH)
    leaving.send(acknowledge(PUBREC, received.packet_id))
    await leaving.expect(PUBREL)
    staying = await clients.subscribed5("staying", (GROUP, 2))
    leaving.abort()
    await clients.gone("leaving")
    await staying.nothing_came()
    back = await clients.back("leaving")
    again = [await back.read(), await back.read()]
    assert [(one.kind, one.packet_id) for one in again] == [(PUBLISH, sent.packet_id), (PUBREL, received.packet_id)]
    assert again[0].dup
    back.send(acknowledge(PUBREC, sent.packet_id))
    assert (await back.expect(PUBREL)).packet_id == sent.packet_id
    back.send(acknowledge(PUBCOMP, sent.packet_id), acknowledge(PUBCOMP, received.packet_id))
    await back.nothing_came()
    await staying.nothing_came()
    assert clients.session("leaving").in_flight_count == 0


@pytest.mark.parametrize("ending", ["broken", "kicked", "clean start"])
async def test_qos_2_in_flight_ends_with_its_session(clients: Clients5, ending: str) -> None:
    """[MQTT-4.8.2-5]: it goes to nobody else; what was only queued does."""
    properties = [(P.RECEIVE_MAXIMUM, 1), *(KEPT if ending == "clean start" else [])]
    leaving = await clients.connected5("leaving", properties=properties)
    await leaving.subscribe((GROUP, 2))
    publisher = await clients.connected5("publisher")
    await publisher.publish("t/1", b"in flight", 2)
    await publisher.publish("t/1", b"queued", 2)
    assert (await leaving.expect(PUBLISH)).payload == b"in flight"
    staying = await clients.subscribed5("staying", (GROUP, 2))
    if ending == "kicked":
        await clients.broker.kick("leaving")
    else:
        leaving.abort()
        await clients.gone("leaving")
    if ending == "clean start":
        await clients.connected5("leaving", clean=True)
    assert (await staying.message()).payload == b"queued"
    await staying.nothing_came()


@pytest.mark.parametrize("reason", [0x80, 0x83, 0x97])
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_message_that_a_member_refuses(clients: Clients5, reason: int, qos: int) -> None:
    """[MQTT-4.8.2-6]: is discarded and goes to nobody else, then or when the member leaves."""
    first, second = await _members(clients, 2, qos)
    publisher = await clients.connected5("publisher")
    for number in range(2):
        await publisher.publish("t/1", b"%d" % number, qos)
    for member in (first, second):
        got = await member.expect(PUBLISH)
        member.send(acknowledge(PUBACK if qos == 1 else PUBREC, got.packet_id, reason))
        await member.nothing_came()
    first.abort()
    await clients.broker.kick("m0")
    await second.nothing_came()


async def test_unsubscribing_loses_nothing(clients: Clients5) -> None:
    """[MQTT-3.10.4-3]: what was sent is completed, what waited reaches somebody; each once."""
    leaving, staying = await _members(clients, 2, 1, window=2)
    publisher = await clients.connected5("publisher")
    for number in range(8):
        await publisher.publish("t/1", b"%d" % number, 1)
    sent = [await leaving.expect(PUBLISH) for _ in range(2)]
    assert await leaving.unsubscribe(GROUP) == [0]
    for one in sent:
        await leaving.complete(one)
    got = [one.payload for one in sent]
    for _ in range(10):
        got += await _waiting(staying) + await _waiting(leaving)
    assert sorted(got) == [b"%d" % number for number in range(8)]


async def test_a_burst_is_shared(clients: Clients5) -> None:
    """[MQTT-4.8.2-1] [MQTT-4.6.0-5]: 300 equal QoS 0 packets in one write: all, once, in order at each member."""
    members = await _members(clients, 3)
    publisher = await clients.connected5("publisher")
    publisher.send(*(publish("t/1", b"%03d" % number) for number in range(300)))
    await publisher.ping()
    shares = [await _waiting(member) for member in members]
    assert all(share == sorted(share) and len(share) == 100 for share in shares)
    assert sorted(payload for share in shares for payload in share) == [b"%03d" % number for number in range(300)]


async def test_members_of_older_versions(clients: Clients5) -> None:
    """[MQTT-4.8.2-3]: a client of 3.1.1 may share with clients of MQTT 5."""
    new = await clients.subscribed5("new", (GROUP, 1))
    old = await clients.connected("old")
    assert await old.subscribe((GROUP, 1)) == [1]
    publisher = await clients.connected5("publisher")
    for number in range(6):
        await publisher.publish("t/1", b"%d" % number, 1, properties=users(("k", "v")))
    assert len(await _waiting(new)) == 3
    assert len(await old.messages(3)) == 3
    await old.nothing_came()


async def test_a_member_that_is_taken_over(clients: Clients5) -> None:
    """[MQTT-4.4.0-1] [MQTT-3.1.4-3]: resumed at once; what was in flight reaches it or another, none is lost."""
    first, second = await _members(clients, 2, 1, window=2)
    publisher = await clients.connected5("publisher")
    for number in range(6):
        await publisher.publish("t/1", b"%d" % number, 1)
    for member in (first, second):
        assert len([await member.expect(PUBLISH) for _ in range(2)]) == 2
    again = await clients.back("m0", properties=[*KEPT, (P.RECEIVE_MAXIMUM, 2)])
    await first.disconnected(0x8E)
    second.abort()
    await clients.gone("m1")
    got = await _waiting(again)
    second = await clients.back("m1")
    got += await _waiting(second)
    assert sorted(got) == [b"%d" % number for number in range(6)]


async def test_a_member_that_may_not_receive() -> None:
    """[MQTT-4.8.2-1]: is passed over, whatever its turn; where it is alone, nobody gets the message."""
    async with serving5(plugins={**ANONYMOUS, f"{plugins.__name__}.Deaf": {}}) as guarded:
        deaf = await guarded.subscribed5("deaf", (GROUP, 1))
        publisher = await guarded.connected5("publisher")
        assert await publisher.publish("t/1", b"x", 1) == 0x10
        hearing = await guarded.subscribed5("hearing", (GROUP, 1))
        publisher.send(*(publish("t/1", b"%d" % number) for number in range(5)))
        for number in range(5, 10):
            assert await publisher.publish("t/1", b"%d" % number, 1) == 0
        assert await hearing.messages(10) == [b"%d" % number for number in range(10)]
        await deaf.nothing_came()


async def test_what_the_only_member_had_comes_again_to_it(clients: Clients5) -> None:
    """[MQTT-4.4.0-1] [MQTT-3.3.1-1]: with its identifier and DUP, where there was nobody to have it instead."""
    client = await clients.connected5("c1", properties=[*KEPT, (P.RECEIVE_MAXIMUM, 2)])
    await client.subscribe((GROUP, 1), ("own", 1))
    publisher = await clients.connected5("publisher")
    for topic in ("t/1", "own", "t/2"):
        await publisher.publish(topic, topic.encode(), 1)
    first = [await client.expect(PUBLISH) for _ in range(2)]
    client.abort()
    await clients.gone("c1")
    client = await clients.back("c1")
    got = [await client.message() for _ in range(3)]
    assert [(one.packet_id, one.payload, one.dup) for one in got[:2]] == [
        (one.packet_id, one.payload, True) for one in first
    ]
    assert (got[2].payload, got[2].dup) == (b"t/2", False)


@pytest.mark.parametrize("graceful", [True, False])
async def test_what_an_absent_member_had_goes_to_one_that_is_there(clients: Clients5, graceful: bool) -> None:
    """[MQTT-4.8.2-1] [MQTT-4.8.2-4]: QoS 1 at once, in order and once; what is not shared waits for its client."""
    leaving = await clients.connected5("leaving", properties=[*KEPT, (P.RECEIVE_MAXIMUM, 3)])
    await leaving.subscribe((GROUP, 1), ("own", 1))
    publisher = await clients.connected5("publisher")
    for topic, payload in (
        ("t/1", b"0"),
        ("own", b"own"),
        ("t/1", b"1"),
        ("t/1", b"2"),
        ("own", b"too"),
        ("t/1", b"3"),
    ):
        await publisher.publish(topic, payload, 1)
    first = [await leaving.expect(PUBLISH) for _ in range(3)]
    staying = await clients.subscribed5("staying", (GROUP, 1))
    if graceful:
        await leaving.disconnect()
    else:
        leaving.abort()
    assert await staying.messages(4) == [b"0", b"1", b"2", b"3"]
    await staying.nothing_came()
    back = await clients.back("leaving")
    got = [await back.message() for _ in range(2)]
    assert [(one.packet_id, one.payload, one.dup) for one in got] == [
        (first[1].packet_id, b"own", True),
        (got[1].packet_id, b"too", False),
    ]
    await back.nothing_came()


async def test_a_full_member_comes_before_an_absent_one() -> None:
    """[MQTT-4.8.2-1]: never to a member that is not there while one is, not even where that one's queue fills."""
    async with serving5(MqttSettings(max_mqueue_len=8)) as sharing:
        await sharing.away("away", (GROUP, 1))
        there = await sharing.connected5("there", properties=[(P.RECEIVE_MAXIMUM, 1)])
        await there.subscribe((GROUP, 1))
        for number in range(9):
            sharing.broker.publish("t/1", b"%d" % number, 1)
        assert sharing.session("away").queue_length == 0
        assert await there.messages(9) == [b"%d" % number for number in range(9)]
