"""Messages in a ring: what a subscriber of the benchmark takes for the next one, and what for an alteration."""

import random
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from durable_loads import (
    NUMBER_DIGITS,
    PAYLOAD_BYTES,
    RING,
    Exchange,
    Publisher,
    Ring,
    Subscriber,
    await_first,
    drain,
    equal_sizes,
    leave,
    open_session,
    varied_sizes,
)
from wire import DISCONNECT, packet, text

SHAPES = {"runs": equal_sizes(), "varied": varied_sizes()}
COUNT = 300
TIMEOUT = 30.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.settimeout(TIMEOUT)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture(params=SHAPES)
def sizes(request: pytest.FixtureRequest) -> Sequence[int]:
    return SHAPES[request.param]


def packets(ring: Ring, first: int, count: int, identifiers: Callable[[int], int] = lambda n: n + 1) -> list[bytes]:
    """Give messages of a ring as a broker sends them, with identifiers of its own."""
    found = []
    for number in range(first, first + count):
        at = number % ring.count
        found.append(ring.heads[at] + identifiers(number).to_bytes(2, "big") + ring.tails[at])
    return found


def answers(first: int, identifiers: Sequence[int]) -> bytes:
    return b"".join(bytes((first, 2)) + number.to_bytes(2, "big") for number in identifiers)


def received(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        assert part, f"closed after {len(data)} of {count} bytes"
        data += part
    return data


def attached(ring: Ring, sock: socket.socket) -> Subscriber:
    subscriber = Subscriber(ring)
    subscriber.attach(sock)
    return subscriber


def feed(subscriber: Subscriber, peer: socket.socket, data: bytes) -> None:
    peer.sendall(data)
    subscriber.take()


# -- sizes and rings


def test_varied_sizes_have_the_same_mean_and_no_two_in_a_row_are_alike() -> None:
    sizes = varied_sizes()
    assert len(sizes) == len(equal_sizes()) == RING
    assert abs(sum(sizes) / RING - PAYLOAD_BYTES) < 3
    assert all(size != following for size, following in zip(sizes, [*sizes[1:], sizes[0]], strict=True))
    assert min(sizes) >= NUMBER_DIGITS


def test_a_ring_has_one_size_only_where_all_packets_have(sizes: Sequence[int]) -> None:
    ring = Ring(1, sizes)
    assert (ring.size is not None) == (len(set(sizes)) == 1)


@pytest.mark.parametrize("first", [0, 1, RING - 3, RING, 3 * RING + 17])
def test_what_is_sent_goes_on_over_the_end_of_the_ring(sizes: Sequence[int], first: int) -> None:
    ring = Ring(1, sizes)
    wanted = b"".join(packets(ring, first, 10, lambda number: number % RING + 1))
    assert bytes(ring.sent(first, 10)) == wanted


@pytest.mark.parametrize("size", [PAYLOAD_BYTES, 1_000])
def test_a_ring_reads_the_number_of_a_packet_once_that_has_come(size: int) -> None:
    ring = Ring(1, [size] * 20, b" of one")
    data = bytes(ring.sent(17, 1))
    assert ring.number(data) == 17
    assert b" of one." in data
    at = data.index(b"%0*d" % (NUMBER_DIGITS, 17))
    assert {ring.number(data[:length]) for length in range(at + NUMBER_DIGITS)} == {None}


# -- the subscriber


@pytest.mark.parametrize("seed", range(3))
def test_messages_are_taken_in_whatever_pieces_they_come(
    sizes: Sequence[int], seed: int, ends: tuple[socket.socket, socket.socket]
) -> None:
    ring, chance = Ring(1, sizes), random.Random(seed)
    subscriber = attached(ring, ends[0])
    data = b"".join(packets(ring, 0, COUNT))
    while data:
        cut = chance.randint(1, 3_000)
        feed(subscriber, ends[1], data[:cut])
        data = data[cut:]
    assert (subscriber.received, subscriber.delivered, subscriber.altered) == (COUNT, COUNT, False)
    assert received(ends[1], 4 * COUNT) == answers(0x40, range(1, COUNT + 1))


def test_messages_go_on_over_the_end_of_the_ring(
    sizes: Sequence[int], ends: tuple[socket.socket, socket.socket]
) -> None:
    ring = Ring(1, sizes)
    subscriber = attached(ring, ends[0])
    subscriber.skip_to(RING - 20)
    feed(subscriber, ends[1], b"".join(packets(ring, RING - 20, 40, lambda number: number % 1_000 + 1)))
    assert (subscriber.delivered, subscriber.altered) == (RING + 20, False)


def with_payload(data: bytes) -> bytes:
    return data[:-1] + b"!"


def with_flag(flag: int) -> Callable[[bytes], bytes]:
    return lambda data: bytes((data[0] | flag,)) + data[1:]


SPOILED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "one is missing": lambda sent: sent[:5] + sent[6:],
    "one comes twice": lambda sent: sent[:5] + sent[4:],
    "two change places": lambda sent: [*sent[:5], sent[6], sent[5], *sent[7:]],
    "a payload is another one": lambda sent: [*sent[:5], with_payload(sent[5]), *sent[6:]],
    "a message has DUP": lambda sent: [*sent[:5], with_flag(0x08)(sent[5]), *sent[6:]],
    "a message has RETAIN": lambda sent: [*sent[:5], with_flag(0x01)(sent[5]), *sent[6:]],
    "another packet comes between": lambda sent: [*sent[:5], b"\xd0\x00", *sent[5:]],
    "a topic is another one": lambda sent: [*sent[:5], sent[5].replace(b"durable", b"curable"), *sent[6:]],
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_not_the_next_message_is_an_alteration(
    sizes: Sequence[int], how: str, ends: tuple[socket.socket, socket.socket]
) -> None:
    ring = Ring(1, sizes)
    subscriber = attached(ring, ends[0])
    feed(subscriber, ends[1], b"".join(SPOILED[how](packets(ring, 0, 20))))
    assert subscriber.altered


def test_no_message_has_the_identifier_zero(sizes: Sequence[int], ends: tuple[socket.socket, socket.socket]) -> None:
    ring = Ring(1, sizes)
    subscriber = attached(ring, ends[0])
    feed(subscriber, ends[1], packets(ring, 0, 1, lambda _: 0)[0])
    assert subscriber.altered


def test_a_message_at_qos_2_is_delivered_when_it_is_released(
    sizes: Sequence[int], ends: tuple[socket.socket, socket.socket]
) -> None:
    ring = Ring(2, sizes)
    subscriber = attached(ring, ends[0])
    feed(subscriber, ends[1], b"".join(packets(ring, 0, 10)))
    assert (subscriber.received, subscriber.delivered) == (10, 0)
    assert received(ends[1], 40) == answers(0x50, range(1, 11))
    releases = answers(0x62, range(1, 11))
    feed(subscriber, ends[1], releases[:18] + b"")
    feed(subscriber, ends[1], releases[18:] + b"".join(packets(ring, 10, 5)))
    assert (subscriber.received, subscriber.delivered, subscriber.altered) == (15, 10, False)
    assert received(ends[1], 60) == answers(0x70, range(1, 11)) + answers(0x50, range(11, 16))


def test_what_begins_a_connection_begins_a_packet(ends: tuple[socket.socket, socket.socket]) -> None:
    ring = Ring(1, SHAPES["runs"])
    subscriber = attached(ring, ends[0])
    first, second = packets(ring, 0, 2)
    feed(subscriber, ends[1], first + second[:30])
    assert subscriber.delivered == 1
    subscriber.attach(ends[0])
    feed(subscriber, ends[1], second)
    assert (subscriber.delivered, subscriber.altered) == (2, False)


# -- what was kept


def test_what_was_kept_is_drained_to_the_last_and_what_is_too_much_is_seen(
    sizes: Sequence[int], ends: tuple[socket.socket, socket.socket]
) -> None:
    ring = Ring(1, sizes)
    subscriber = attached(ring, ends[0])
    ends[1].sendall(b"".join(packets(ring, 0, 100)))
    assert drain(subscriber, 100) >= 0
    assert (subscriber.delivered, subscriber.altered) == (100, False)
    ends[1].sendall(b"".join(packets(ring, 100, 1)))
    drain(subscriber, 100)
    assert subscriber.delivered == 101


def test_what_was_dropped_can_be_skipped(sizes: Sequence[int], ends: tuple[socket.socket, socket.socket]) -> None:
    ring = Ring(1, sizes)
    subscriber = attached(ring, ends[0])
    ends[1].sendall(b"".join(packets(ring, 2_500, 100)))
    assert await_first(subscriber) == 2_500
    subscriber.skip_to(RING + 2_500)
    subscriber.take(more=False)
    drain(subscriber, RING + 2_600)
    assert (subscriber.delivered, subscriber.altered) == (RING + 2_600, False)


# -- the publisher


def test_acknowledgements_come_in_the_order_of_the_messages(ends: tuple[socket.socket, socket.socket]) -> None:
    ring = Ring(1, SHAPES["runs"])
    publisher = Publisher(ends[0], ring)
    publisher.send(20)
    assert received(ends[1], len(ring.sent(0, 20))) == bytes(ring.sent(0, 20))
    ends[1].sendall(answers(0x40, range(1, 11)) + b"\x40\x02")
    publisher.take()
    assert (publisher.acknowledged, publisher.altered) == (10, False)
    ends[1].sendall((11).to_bytes(2, "big") + answers(0x40, [13, 12]))
    publisher.take()
    assert (publisher.acknowledged, publisher.altered) == (13, True)


def test_a_publisher_releases_what_was_received(ends: tuple[socket.socket, socket.socket]) -> None:
    ring = Ring(2, SHAPES["varied"])
    publisher = Publisher(ends[0], ring)
    publisher.send(5)
    received(ends[1], len(ring.sent(0, 5)))
    ends[1].sendall(answers(0x50, range(1, 6)))
    publisher.take()
    assert received(ends[1], 20) == answers(0x62, range(1, 6))
    assert publisher.acknowledged == 0
    ends[1].sendall(answers(0x70, range(1, 6)))
    publisher.take()
    assert (publisher.acknowledged, publisher.altered) == (5, False)


# -- both ends


def relay(publisher: socket.socket, subscriber: socket.socket, ring: Ring, drop: int | None) -> None:
    """Pass messages on and acknowledge them, until the publisher is gone; `drop` is the number of one to leave out."""
    data, number = b"", 0
    while part := publisher.recv(65_536):
        data += part
        if select.select([subscriber], [], [], 0)[0]:
            subscriber.recv(65_536)  # what it acknowledges
        while len(data) >= ring.sizes[number % ring.count]:
            size = ring.sizes[number % ring.count]
            if number != drop:
                subscriber.sendall(data[:size])
            publisher.sendall(answers(0x40, [number % ring.count + 1]))
            data, number = data[size:], number + 1


@pytest.mark.parametrize("drop", [None, 7])
def test_an_exchange_counts_what_does_not_arrive(
    sizes: Sequence[int], drop: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable_loads.STALL_SECONDS", 1.0)
    ring = Ring(1, sizes)
    ours, broker_in = socket.socketpair()
    theirs, broker_out = socket.socketpair()
    with ours, broker_in, theirs, broker_out:
        for sock in (ours, broker_in, theirs, broker_out):
            sock.settimeout(TIMEOUT)
        thread = threading.Thread(target=relay, args=(broker_in, broker_out, ring, drop))
        thread.start()
        exchange = Exchange(Publisher(ours, ring), [attached(ring, theirs)], 50)
        exchange.run(0.05)
        exchange.settle()
        ours.shutdown(socket.SHUT_WR)
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    assert exchange.publisher.sent >= 50
    if drop is None:
        assert (exchange.wrong, exchange.on_their_way) == (0, 0)
    else:
        assert exchange.wrong > 0


# -- sessions


class Answerer:
    """Answer one connection with given bytes, and keep what it said first."""

    def __init__(self, answer: bytes) -> None:
        self.said = b""
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def join(self) -> None:
        self._thread.join(TIMEOUT)
        self._listener.close()

    def _serve(self) -> None:
        sock, _ = self._listener.accept()
        with sock:
            sock.settimeout(TIMEOUT)
            self.said = sock.recv(65_536)
            sock.sendall(self._answer)
            while (part := sock.recv(65_536)) and part != DISCONNECT:
                pass


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("expected", [False, True])
def test_a_session_has_to_be_there_or_not_as_expected(present: bool, expected: bool) -> None:
    from brokers import Endpoint

    answerer = Answerer(bytes((0x20, 2, present, 0)))
    endpoint = Endpoint("test", "127.0.0.1", answerer.port, "user", "word", 0)
    try:
        if present == expected:
            leave(open_session(endpoint, "one", present=expected))
        else:
            with pytest.raises(RuntimeError, match="answered"):
                open_session(endpoint, "one", present=expected)
    finally:
        answerer.join()
    names = text(b"one") + text(b"user") + text(b"word")
    assert answerer.said == packet(0x10, text(b"MQTT") + b"\x04\xc0\x00\x00" + names)
