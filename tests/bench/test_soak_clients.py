"""The clients of the long soak against a peer that says byte by byte what a broker could: what they count, and when."""

import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from soak_clients import (
    EXPIRY_SECONDS,
    IN_FLIGHT,
    NUMBER_DIGITS,
    SIZES,
    SMALLEST,
    WILL_DELAY_SECONDS,
    Client,
    Source,
    Will,
    Wish,
    World,
)
from wire import packet, text

TIMEOUT = 30.0
TOPIC = b"soak/0/0"
FILTER = b"soak/0/+"


class Peer:
    """The other end: takes connections, keeps what was said, says what it is told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(TIMEOUT)
        self.world = World("127.0.0.1", int(self.listener.getsockname()[1]), "user", "word")
        self.sock: socket.socket | None = None

    def accept(self, client: Client) -> bytes:
        """Have the client connect and give its CONNECT."""
        client.connect()
        if self.sock is not None:
            self.sock.close()
        self.sock, _ = self.listener.accept()
        self.sock.settimeout(TIMEOUT)
        return self.heard()

    def heard(self) -> bytes:
        """Give the next packet that the client sent."""
        head = self._read(2)
        size, shift = head[1] & 127, 7
        while head[-1] & 0x80:
            head += self._read(1)
            size |= (head[-1] & 127) << shift
            shift += 7
        return head + self._read(size)

    def says(self, client: Client, *packets: bytes) -> None:
        """Send these, and wait until the client has taken them all."""
        assert self.sock is not None
        wanted = self.world.arrived + len(packets)
        self.sock.sendall(b"".join(packets))
        end = time.monotonic() + TIMEOUT
        while self.world.arrived < wanted:
            assert time.monotonic() < end, f"{self.world.arrived} of {wanted} packets were taken"
            self.world.poll(0.1)

    def hangs_up(self, client: Client) -> None:
        """Close the connection and wait until the client has seen it."""
        assert self.sock is not None
        self.sock.close()
        end = time.monotonic() + TIMEOUT
        while client.connected:
            assert time.monotonic() < end, "the client did not see the end"
            self.world.poll(0.1)

    def close(self) -> None:
        for client in list(self.world.clients.values()):
            client.leave(abruptly=True)
        if self.sock is not None:
            self.sock.close()
        self.world.epoll.close()
        self.listener.close()

    def _read(self, count: int) -> bytes:
        assert self.sock is not None
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            assert part, "the client closed"
            data += part
        return data


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


def source(peer: Peer, qos: int = 1, topic: bytes = TOPIC, **options: Any) -> Source:
    found = peer.world.sources[topic] = Source(topic, qos, seed=3, **options)
    return found


def connack(version: int, *, present: bool = False, code: int = 0) -> bytes:
    return packet(0x20, bytes((present, code)) + (b"\0" if version == 5 else b""))


def suback(version: int, *codes: int) -> bytes:
    return packet(0x90, b"\0\1" + (b"\0" if version == 5 else b"") + bytes(codes))


def publish(
    of: Source, number: int, *, qos: int = 1, identifier: int = 1, flags: int = 0, version: int = 4, topic: bytes = b""
) -> bytes:
    body = text(topic or of.topic) + (identifier.to_bytes(2, "big") if qos else b"") + (b"\0" if version == 5 else b"")
    return packet(0x30 | qos << 1 | flags, body + of.payload(number))


def subscriber(peer: Peer, version: int = 4, *, persistent: bool = True, qos: int = 1, owed: bool = True) -> Client:
    """Give a client that has subscribed to all topics of a group."""
    client = Client(peer.world, "one", version, persistent=persistent, wishes=[Wish(FILTER, qos)])
    if owed:
        client.owe(peer.world.sources.values())
    peer.accept(client)
    peer.says(client, connack(version))
    peer.heard()
    peer.says(client, suback(version, qos))
    assert client.ready
    return client


def come_back(peer: Peer, client: Client, version: int = 4) -> None:
    client.leave(abruptly=True)
    peer.accept(client)
    peer.says(client, connack(version, present=client.persistent))


# -- what is published


def test_payloads_depend_on_source_and_number() -> None:
    first, second = Source(b"a", 0, seed=1), Source(b"b", 0, seed=2)
    payloads = {each.payload(number) for each in (first, second) for number in range(500)}
    assert len(payloads) == 1_000
    assert {int(payload[:NUMBER_DIGITS]) for payload in payloads} == set(range(500))
    sizes = {len(payload) for payload in payloads}
    assert (min(sizes), max(sizes)) == (SMALLEST, SMALLEST + SIZES - 1)


def test_payloads_of_a_bulk_source_have_one_size() -> None:
    bulk = Source(b"a", 1, seed=70, equal=True)
    assert len({len(bulk.payload(number)) for number in range(500)}) == 1
    assert len({bulk.payload(number) for number in range(500)}) == 500


# -- how it says hello


def test_a_311_client_asks_for_a_clean_session_or_for_the_old_one(peer: Peer) -> None:
    login = text(b"one") + text(b"user") + text(b"word")
    for persistent, flags in ((True, 0xC0), (False, 0xC2)):
        client = Client(peer.world, "one", 4, persistent=persistent)
        for _ in range(2):
            assert peer.accept(client) == packet(0x10, text(b"MQTT") + bytes((4, flags, 0, 120)) + login)


def test_a_5_client_begins_anew_once_and_has_its_session_kept(peer: Peer) -> None:
    client = Client(peer.world, "one", 5, persistent=True)
    rest = b"\x05\x11" + struct.pack("!I", EXPIRY_SECONDS) + text(b"one") + text(b"user") + text(b"word")
    for flags in (0xC2, 0xC0, 0xC0):
        assert peer.accept(client) == packet(0x10, text(b"MQTT") + bytes((5, flags, 0, 120)) + rest)


@pytest.mark.parametrize("version", [4, 5])
def test_a_will_names_the_connection(peer: Peer, version: int) -> None:
    will = Will(b"soak/will/0")
    client = Client(peer.world, "one", version, persistent=True, will=will)
    delay = b"\x05\x18" + struct.pack("!I", WILL_DELAY_SECONDS) if version == 5 else b""
    for connection in (1, 2):
        hello = peer.accept(client)
        assert text(b"one") + delay + text(b"soak/will/0") + text(Will.payload(connection)) in hello


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("persistent", "present", "fault"),
    [
        (True, [False, True, True], ""),
        (True, [False, False], "a session was not present"),
        (False, [False, False], ""),
        (False, [False, True], "a session was present that must not be"),
    ],
)
def test_a_session_is_present_when_it_has_to_be(
    peer: Peer, version: int, persistent: bool, present: list[bool], fault: str
) -> None:
    client = Client(peer.world, "one", version, persistent=persistent)
    for each in present:
        peer.accept(client)
        peer.says(client, connack(version, present=each))
        assert client.ready
        client.leave(abruptly=True)
    assert list(peer.world.counts.faults) == ([fault] if fault else [])


def test_a_refused_connection_is_a_fault(peer: Peer) -> None:
    client = Client(peer.world, "one", 4, persistent=False)
    peer.accept(client)
    peer.says(client, connack(4, code=5))
    assert not client.ready
    assert list(peer.world.counts.faults) == ["a CONNECT was answered with 05"]


@pytest.mark.parametrize("version", [4, 5])
def test_it_subscribes_once_to_a_persistent_session(peer: Peer, version: int) -> None:
    client = Client(peer.world, "one", version, persistent=True, wishes=[Wish(FILTER, 2)])
    peer.accept(client)
    peer.says(client, connack(version))
    properties = b"\0" if version == 5 else b""
    assert peer.heard() == packet(0x82, b"\0\1" + properties + text(FILTER) + b"\2")
    assert not client.ready
    peer.says(client, suback(version, 2))
    assert client.ready
    come_back(peer, client, version)
    assert client.ready
    assert not peer.world.counts.wrong


@pytest.mark.parametrize("code", [0, 1, 0x80])
def test_a_subscription_that_is_granted_otherwise_is_a_fault(peer: Peer, code: int) -> None:
    client = Client(peer.world, "one", 4, persistent=False, wishes=[Wish(FILTER, 2)])
    peer.accept(client)
    peer.says(client, connack(4))
    peer.says(client, suback(4, code))
    assert peer.world.counts.faults.total() == 1


# -- what is received


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_in_their_order_are_right(peer: Peer, version: int, qos: int) -> None:
    of = source(peer, qos)
    client = subscriber(peer, version, qos=2)
    of.sent = 30
    numbers = range(of.sent)
    peer.says(client, *(publish(of, n, qos=qos, identifier=n + 1, version=version) for n in numbers))
    assert (peer.world.counts.delivered, peer.world.counts.wrong) == (30, False)
    assert client.missing == 0
    if qos:
        first = b"\x40" if qos == 1 else b"\x50"
        assert [peer.heard() for _ in numbers] == [first + b"\2" + (n + 1).to_bytes(2, "big") for n in numbers]


def test_packets_may_come_in_pieces(peer: Peer) -> None:
    of = source(peer)
    client = subscriber(peer)
    data = b"".join(publish(of, n, identifier=n + 1) for n in range(4))
    assert peer.sock is not None
    for at in range(len(data)):
        peer.sock.sendall(data[at : at + 1])
        end = time.monotonic() + TIMEOUT
        while peer.world.arrived < 2 and at == 0 and time.monotonic() < end:  # CONNACK and SUBACK have been taken
            peer.world.poll(0.1)
        peer.world.poll(0.1)
    assert (client.next[TOPIC], peer.world.counts.wrong) == (4, False)


DUP, RETAIN = 0x08, 0x01
Seen = tuple[int, int, int]
"""Lost, out of turn, altered."""


@pytest.mark.parametrize(
    ("what", "packets", "persistent", "expected"),
    [
        ("a gap", [(0, 0), (2, 0)], True, (1, 0, 0)),
        ("the first is missing", [(1, 0)], True, (1, 0, 0)),
        ("the same again", [(0, 0), (0, 0)], True, (0, 1, 0)),
        ("an older one", [(0, 0), (1, 0), (0, 0)], True, (0, 1, 0)),
        ("the same with DUP", [(0, 0), (0, DUP)], True, (0, 0, 0)),
        ("the next with DUP", [(0, 0), (1, DUP)], True, (0, 0, 0)),
        ("the same with DUP in a clean session", [(0, 0), (0, DUP)], False, (0, 1, 0)),
        ("RETAIN on a message that is none", [(0, RETAIN)], True, (0, 0, 1)),
    ],
)
def test_what_is_wrong_is_counted(
    peer: Peer, what: str, packets: list[tuple[int, int]], persistent: bool, expected: Seen
) -> None:
    of = source(peer)
    client = subscriber(peer, persistent=persistent)
    of.sent = 10
    peer.says(client, *(publish(of, n, identifier=at + 1, flags=flags) for at, (n, flags) in enumerate(packets)))
    counts = peer.world.counts
    assert (counts.lost, counts.out_of_turn, counts.altered) == expected, what
    assert counts.wrong == any(expected)


def test_what_is_missing_at_qos_0_is_no_loss(peer: Peer) -> None:
    of = source(peer, 0)
    client = subscriber(peer)
    peer.says(client, publish(of, 4, qos=0), publish(of, 7, qos=0))
    assert (peer.world.counts.missed, peer.world.counts.wrong) == (2, False)
    of.sent = 20
    assert client.missing == 0


@pytest.mark.parametrize("how", ["payload", "number", "topic", "qos"])
def test_what_is_altered_is_seen(peer: Peer, how: str) -> None:
    of = source(peer)
    client = subscriber(peer)
    right = publish(of, 0)
    wrong = {
        "payload": right[:-1] + b"!",
        "number": right.replace(b"%0*d" % (NUMBER_DIGITS, 0), b"no number!"),
        "topic": publish(of, 0, topic=b"soak/0/9"),
        "qos": publish(of, 0, qos=2),
    }[how]
    assert wrong != right
    peer.says(client, wrong)
    assert peer.world.counts.altered == 1


def test_a_message_at_qos_2_counts_once_until_it_is_released(peer: Peer) -> None:
    of = source(peer, 2)
    client = subscriber(peer, qos=2)
    peer.says(client, publish(of, 0, qos=2, identifier=7))
    come_back(peer, client)
    peer.says(client, publish(of, 0, qos=2, identifier=7, flags=DUP))
    counts = peer.world.counts
    assert (counts.delivered, counts.redelivered, counts.wrong) == (1, 1, False)
    peer.says(client, b"\x62\x02\x00\x07", publish(of, 1, qos=2, identifier=7))
    assert (counts.delivered, counts.wrong) == (2, False)
    assert [peer.heard() for _ in range(3)] == [b"\x50\2\0\7", b"\x70\2\0\7", b"\x50\2\0\7"]
    peer.says(client, publish(of, 1, qos=2, identifier=7))
    assert counts.out_of_turn == 1, "without DUP"


def test_a_message_at_qos_2_that_comes_under_another_identifier_came_twice(peer: Peer) -> None:
    of = source(peer, 2)
    client = subscriber(peer, qos=2)
    peer.says(client, publish(of, 0, qos=2, identifier=7), publish(of, 0, qos=2, identifier=8, flags=DUP))
    assert peer.world.counts.out_of_turn == 1


def test_a_persistent_session_is_owed_what_was_sent_while_it_was_away(peer: Peer) -> None:
    of = source(peer)
    client = subscriber(peer)
    peer.says(client, publish(of, 0))
    client.leave(abruptly=False)
    of.sent = 4
    assert client.missing == 3
    peer.accept(client)
    peer.says(client, connack(4, present=True))
    peer.says(client, publish(of, 1, identifier=2), publish(of, 3, identifier=3))
    assert (peer.world.counts.lost, client.missing) == (1, 0)


def test_a_clean_session_is_owed_nothing_when_it_comes_back(peer: Peer) -> None:
    of = source(peer)
    client = subscriber(peer, persistent=False, owed=False)
    peer.says(client, publish(of, 5))
    come_back(peer, client)
    peer.says(client, suback(4, 1), publish(of, 9, identifier=1))
    assert not peer.world.counts.wrong


# -- retained messages and wills


def retained_subscriber(peer: Peer, of: Source) -> Client:
    client = Client(peer.world, "one", 4, persistent=False, wishes=[Wish(of.topic, 1)])
    peer.accept(client)
    peer.says(client, connack(4))
    peer.says(client, suback(4, 1))
    return client


@pytest.mark.parametrize(("number", "lost"), [(2, 1), (3, 0), (4, 0)])
def test_a_retained_message_is_the_last_acknowledged_or_a_later_one(peer: Peer, number: int, lost: int) -> None:
    of = source(peer, retain=True)
    of.sent, of.acknowledged = 5, 4
    client = retained_subscriber(peer, of)
    assert client.missing == 1
    peer.says(client, publish(of, number, flags=RETAIN), publish(of, number + 1, identifier=2))
    client.leave(abruptly=False)
    assert (peer.world.counts.lost, peer.world.counts.retained) == (lost, 1)
    assert (peer.world.counts.altered, peer.world.counts.out_of_turn) == (0, 0)


def test_a_retained_message_that_does_not_come_is_lost(peer: Peer) -> None:
    of = source(peer, retain=True)
    of.sent = of.acknowledged = 1
    client = retained_subscriber(peer, of)
    client.leave(abruptly=True)
    assert peer.world.counts.lost == 1


def test_wills_come_once_and_in_their_order(peer: Peer) -> None:
    will = peer.world.wills[b"soak/will/0"] = Will(b"soak/will/0")
    watcher = Client(peer.world, "watcher", 4, persistent=True, wishes=[Wish(b"soak/will/+", 1)])
    watcher.expect_wills()
    peer.accept(watcher)
    peer.says(watcher, connack(4))
    peer.says(watcher, suback(4, 1))
    will.due += [1, 4]
    assert watcher.missing == 2

    def told(connection: int, flags: int = 0) -> bytes:
        return packet(0x32 | flags, text(will.topic) + b"\0\1" + Will.payload(connection))

    peer.says(watcher, told(1), told(1, DUP), told(4))
    counts = peer.world.counts
    assert (watcher.missing, counts.wills, counts.wrong) == (0, 2, False)
    peer.says(watcher, told(4))
    peer.says(watcher, told(5))
    assert (counts.wills, counts.out_of_turn) == (2, 2)


@pytest.mark.parametrize(("how", "due"), [("with a DISCONNECT", []), ("abruptly", [1]), ("after not reading", [1])])
def test_only_an_abrupt_end_makes_a_will_due(peer: Peer, how: str, due: list[int]) -> None:
    will = Will(b"soak/will/0")
    client = Client(peer.world, "one", 4, persistent=True, will=will)
    peer.accept(client)
    peer.says(client, connack(4))
    if how == "after not reading":
        client.stop_reading()
    client.leave(abruptly=how != "with a DISCONNECT")
    assert will.due == due


# -- what it publishes


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_it_publishes_the_next_numbers(peer: Peer, version: int, qos: int) -> None:
    of = source(peer, qos)
    client = Client(peer.world, "one", version, persistent=True, source=of)
    assert client.publish() == 0, "not connected"
    peer.accept(client)
    peer.says(client, connack(version))
    assert client.publish(3) == 3
    assert [peer.heard() for _ in range(3)] == [
        publish(of, n, qos=qos, identifier=n + 1, version=version) for n in range(3)
    ]
    assert (of.sent, peer.world.counts.published, len(client.unacknowledged)) == (3, 3, 3 if qos else 0)


def publisher(peer: Peer, qos: int, count: int) -> tuple[Client, Source]:
    of = source(peer, qos)
    client = Client(peer.world, "one", 4, persistent=True, source=of)
    peer.accept(client)
    peer.says(client, connack(4))
    client.publish(count)
    for _ in range(count):
        peer.heard()
    return client, of


def test_no_more_are_on_their_way_than_may_be(peer: Peer) -> None:
    client, of = publisher(peer, 1, IN_FLIGHT)
    assert client.publish(5) == 0
    peer.says(client, b"\x40\2\0\1")
    assert client.publish(5) == 1
    assert (of.sent, of.acknowledged) == (IN_FLIGHT + 1, 1)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"\x40\2\0\1", ""),
        (b"\x40\2\0\2", "an acknowledgement out of order"),
        (b"\x40\2\0\x63", "an acknowledgement that nobody waits for"),
        (b"\x40\3\0\1\x10", ""),
        (b"\x40\3\0\1\x97", "a message was answered with 97"),
    ],
)
def test_acknowledgements_are_looked_at(peer: Peer, answer: bytes, fault: str) -> None:
    client, _ = publisher(peer, 1, 3)
    peer.says(client, answer)
    assert list(peer.world.counts.faults) == ([fault] if fault else [])


def test_what_was_not_acknowledged_is_sent_again_as_it_stands(peer: Peer) -> None:
    client, of = publisher(peer, 2, 3)
    peer.says(client, b"\x50\2\0\1", b"\x50\2\0\2")
    assert [peer.heard(), peer.heard()] == [b"\x62\2\0\1", b"\x62\2\0\2"]
    peer.says(client, b"\x70\2\0\1")
    come_back(peer, client)
    assert peer.heard() == b"\x62\2\0\2"
    assert peer.heard() == publish(of, 2, qos=2, identifier=3, flags=DUP)
    peer.says(client, b"\x70\3\0\2\x92", b"\x50\2\0\3", b"\x70\2\0\3")
    assert (client.unacknowledged, of.acknowledged) == ({}, 3)
    assert not peer.world.counts.wrong, "that it was released before is no fault"


# -- the connection


def test_an_end_that_nobody_asked_for_is_a_fault(peer: Peer) -> None:
    client = subscriber(peer)
    peer.hangs_up(client)
    assert list(peer.world.counts.faults) == ["the broker closed a connection"]
    assert not client.ready


def test_an_end_after_a_disconnect_is_none(peer: Peer) -> None:
    client = subscriber(peer)
    client.leave(abruptly=False)
    assert peer.heard() == b"\xe0\x00"
    peer.hangs_up(client)
    assert not peer.world.counts.faults


def test_what_comes_after_it_stopped_reading_is_not_taken(peer: Peer) -> None:
    of = source(peer)
    client = subscriber(peer)
    client.stop_reading()
    assert peer.sock is not None
    peer.sock.sendall(publish(of, 0))
    peer.world.poll(0.1)
    assert (client.ready, client.connected, peer.world.counts.delivered) == (False, True, 0)
    come_back(peer, client)
    peer.says(client, publish(of, 0, flags=DUP))
    assert (client.next[TOPIC], peer.world.counts.wrong) == (1, False)


def test_an_unanswered_ping_is_a_fault(peer: Peer) -> None:
    client = subscriber(peer)
    client.ping()
    assert peer.heard() == b"\xc0\x00"
    peer.says(client, b"\xd0\x00")
    client.ping()
    assert not peer.world.counts.faults
    client.ping()
    assert list(peer.world.counts.faults) == ["a PINGREQ was not answered"]


@pytest.mark.parametrize("data", [b"\xe0\x01\x8b", b"\xf0\x00"])
def test_any_other_packet_is_a_fault(peer: Peer, data: bytes) -> None:
    client = subscriber(peer)
    peer.says(client, data)
    assert peer.world.counts.faults.total() == 1


def test_what_a_full_socket_does_not_take_is_sent_later(peer: Peer) -> None:
    client = subscriber(peer)
    assert peer.sock is not None
    data = bytes(range(256)) * 80_000
    client.send(data)
    client.send(b"the end")
    got, end = bytearray(), time.monotonic() + TIMEOUT
    while len(got) < len(data) + 7 and time.monotonic() < end:
        peer.world.poll(0.0)
        got += peer.sock.recv(1_000_000)
    assert bytes(got) == data + b"the end"
