"""What packets that are taken together may hold, keep others waiting and lose: no more than those that come alone.

Memory is counted and turns of the loop are made by hand, so nothing here depends on what else the machine does.
"""

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence

import pytest
from wardenmq.broker import publish_routes, router
from wardenmq.broker.protocol.runs import RUN_BYTES
from wardenmq.broker.session import Session
from wardenmq.broker.settings import MqttSettings

from . import wire, wire5
from .costs import (
    Peer,
    Stage,
    bytes_more,
    count_instructions,
    count_publishes,
    no_collection,
    on_stage,
    packet_ids,
    packets,
)
from .packets5 import P
from .wire import PUBACK, PUBREC

TOPIC = "t/x"
MEGABYTE = 1_000_000
WORK = 10_000
"""Deliveries that one client may cause before others have their turn."""
MANY_TURNS = 100_000


def _publishes(version: int, sizes: Sequence[int], qos: int = 0, topic: str = TOPIC, *, dup: bool = False) -> bytes:
    """Build messages of these sizes, numbered from 1 on."""
    build = wire5.publish if version == 5 else wire.publish
    return b"".join(
        [build(topic, b"x" * size, qos, number if qos else None, dup=dup) for number, size in enumerate(sizes, 1)]
    )


def _crowd(stage: Stage, number: int, version: int, qos: int, *, topic: str = TOPIC, **fields: object) -> list[Peer]:
    peers = [stage.connected(f"subscriber-{index}", version, **fields) for index in range(number)]
    for peer in peers:
        peer.subscribe(version, (topic, qos))
    return peers


def _session(peer: Peer) -> Session:
    session = peer.connection.session
    assert session is not None
    return session


def _acknowledge(peer: Peer, received: bytes, kind: int = PUBACK, start: int = 0) -> None:
    """Answer what was received, from one of the packets on."""
    peer.ask(b"".join([wire.acknowledge(kind, packet_id) for packet_id in packet_ids(received)[start:]]))


class TestAliases:
    """Under an alias, eight bytes stand for a topic of 60,000 of them, which each receiver is to be sent again."""

    PACKETS = 2_000
    BOUND = 2 * MEGABYTE
    LONG = "t/" + "x" * 60_000

    def flood(self, stage: Stage, version: int, high_water: int | None) -> tuple[Peer, int]:
        """Give the receiver, and the memory that was held at the most, with all that its transport was given."""
        subscriber = stage.connected("subscriber", version)
        subscriber.subscribe(version, ("t/#", 0))
        subscriber.wire.high_water = high_water
        publisher = stage.connected("publisher", 5)
        publisher.wire.may_pause = True
        alias = [(P.TOPIC_ALIAS, 1)]
        publisher.ask(wire5.publish(self.LONG, properties=alias))
        subscriber.take()
        data = wire5.publish("", properties=alias) * self.PACKETS
        with no_collection():
            tracemalloc.start()
            try:
                publisher.send(data)
                stage.loop.settle()
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        return subscriber, peak

    @pytest.mark.parametrize("version", [4, 5])
    def test_bound_of_a_receiver_whose_socket_is_full(self, version: int) -> None:
        def play(stage: Stage) -> None:
            subscriber, peak = self.flood(stage, version, 65_536)
            traffic = subscriber.connection.traffic
            assert peak < self.BOUND + MEGABYTE
            assert traffic.dropped_qos0 > 0
            assert traffic.messages_sent_qos[0] + traffic.dropped_qos0 == self.PACKETS + 1

        on_stage(play, MqttSettings(max_outgoing_bytes=self.BOUND))

    @pytest.mark.parametrize("version", [4, 5])
    def test_pieces(self, version: int) -> None:
        """So that the bound has something to say while a run is converted, and not afterwards only."""

        def play(stage: Stage) -> None:
            subscriber, _ = self.flood(stage, version, None)
            assert max(map(len, subscriber.wire.data)) < MEGABYTE
            assert count_publishes(subscriber.take()) == self.PACKETS

        on_stage(play)


class TestFaults:
    """A fault of ours in the middle of QoS 2 messages closes the connection, and what is sent again is delivered."""

    @pytest.mark.parametrize("sizes", [[3] * 5, [1, 2, 3, 4, 5]], ids=["in a run", "one by one"])
    def test_nothing_is_lost(self, monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> None:
        def play(stage: Stage) -> None:
            subscribers = _crowd(stage, 2, 4, 2)
            publisher = stage.connected("publisher", clean=False)
            broken = _session(subscribers[1])
            with monkeypatch.context() as patch:
                for name in ("deliver", "deliver_run"):
                    patch.setattr(Session, name, _fails_for(broken, getattr(Session, name)))
                assert publisher.ask(_publishes(4, sizes, 2)) == b""
            assert publisher.connection.closed
            again = stage.connected("publisher", clean=False)
            answer = again.ask(_publishes(4, sizes, 2, dup=True))
            assert [first >> 4 for first, _ in packets(answer)] == [PUBREC] * 5
            assert packet_ids(answer) == [1, 2, 3, 4, 5]
            assert count_publishes(subscribers[1].take()) == 5

        on_stage(play)


def _fails_for(broken: Session, original: Callable[..., None]) -> Callable[..., None]:
    def deliver(self: Session, *arguments: object, **options: object) -> None:
        if self is broken:
            raise MemoryError
        original(self, *arguments, **options)

    return deliver


class TestGivenUp:
    """One subscriber of fifty that acknowledges nothing and holds nobody up does not make the messages dear for all."""

    MESSAGES = 50

    def cost(self, stage: Stage, *, silent: bool) -> float:
        subscribers = _crowd(stage, 50, 4, 1)
        one = subscribers[-1]
        one.connection.out.slow = True
        publisher = stage.connected("publisher")
        data = _publishes(4, [60] * self.MESSAGES, 1)

        def once() -> None:
            publisher.ask(data)
            for subscriber in subscribers:
                received = subscriber.take()
                if not (silent and subscriber is one):
                    _acknowledge(subscriber, received)

        for _ in range(24):  # until its queue is full
            once()
        assert (_session(one).queue_length == stage.broker.settings.max_mqueue_len) is silent
        return count_instructions(stage.loop, once)[0]

    def test_cost(self) -> None:
        with_it = on_stage(lambda stage: self.cost(stage, silent=True))
        without = on_stage(lambda stage: self.cost(stage, silent=False))
        assert with_it < 1.2 * without


class TestMemory:
    @pytest.mark.parametrize("version", [4, 5])
    def test_sessions_share_a_run(self, version: int) -> None:
        """Whether it is in flight or queued, wholly or in part."""
        sessions, messages, size = 100, 60, 1_000
        window = [(P.RECEIVE_MAXIMUM, 32)]

        def play(stage: Stage) -> None:
            subscribers = _crowd(stage, sessions, version, 1, **({"properties": window} if version == 5 else {}))
            publisher = stage.connected("publisher")

            def publish() -> None:
                publisher.ask(_publishes(4, [size] * messages, 1))
                for subscriber in subscribers:
                    subscriber.take()

            held = bytes_more(publish)
            assert {_session(subscriber).in_flight_count for subscriber in subscribers} == {32}
            assert {_session(subscriber).queue_length for subscriber in subscribers} == {messages - 32}
            assert held < 4 * messages * size + sessions * messages * 150

        on_stage(play, MqttSettings())

    @pytest.mark.parametrize("size", [16, 240, 2_000])
    @pytest.mark.parametrize("version", [4, 5])
    def test_one_unacknowledged_message_of_each_run(self, version: int, size: int) -> None:
        """It holds the run that it came in, and that has a bound."""
        window = 32

        def play(stage: Stage) -> None:
            subscriber = _crowd(stage, 1, version, 1)[0]
            publisher = stage.connected("publisher", version)
            session = _session(subscriber)

            def fill() -> None:
                while session.in_flight_count < window:
                    publisher.ask(_publishes(version, [size] * (window - session.in_flight_count), 1))
                    _acknowledge(subscriber, subscriber.take(), start=1)

            assert bytes_more(fill) < window * (RUN_BYTES + 1_500)
            assert session.queued_bytes == 0

        on_stage(play, MqttSettings())

    @pytest.mark.parametrize("size", [16, 240, 2_000])
    def test_one_unacknowledged_message_of_a_large_run(self, size: int) -> None:
        def play(stage: Stage) -> None:
            subscriber = _crowd(stage, 1, 4, 1)[0]
            publisher = stage.connected("publisher")

            def publish(start: int) -> None:
                publisher.ask(_publishes(4, [size] * 100, 1))
                _acknowledge(subscriber, subscriber.take(), start=start)

            publish(0)
            held = bytes_more(lambda: publish(1))
            assert _session(subscriber).in_flight_count == 1
            assert held < RUN_BYTES + 10_000  # the table of a window of a hundred is up to 9,000

        on_stage(play)


def _deliveries_in_turns(stage: Stage, publisher: Peer, data: bytes, receivers: int) -> Iterator[int]:
    """Send all at once; give how many deliveries each turn of the loop made of it."""
    publisher.wire.may_pause = True
    received = publisher.connection.traffic.messages_received_qos
    before = sum(received)
    publisher.send(data)
    while True:
        yield (sum(received) - before) * receivers
        if not stage.loop.waits:
            return
        before = sum(received)
        stage.loop.turn()


class TestTurns:
    """However many receivers there are, others have their turn after some ten thousand deliveries."""

    CROWD = 100
    READ = 32_768

    def check(self, stage: Stage, data: bytes, receivers: int, version: int) -> None:
        publisher = stage.connected("publisher", version)
        messages = count_publishes(data)
        turns = list(_deliveries_in_turns(stage, publisher, data, receivers))
        assert sum(turns) == messages * receivers > 4 * WORK
        assert max(turns) <= 2 * WORK

    @pytest.mark.parametrize("version", [4, 5])
    def test_qos_0(self, version: int) -> None:
        """No two in a row are alike; a run of such as are is one delivery for each receiver."""

        def play(stage: Stage) -> None:
            _crowd(stage, self.CROWD, version, 0)
            sizes = [number % 2 for number in range(self.READ // 9)]
            self.check(stage, _publishes(version, sizes), self.CROWD, version)

        on_stage(play)

    @pytest.mark.parametrize("subscriber", [4, 5])
    @pytest.mark.parametrize("qos", [1, 2])
    def test_runs(self, subscriber: int, qos: int) -> None:
        def play(stage: Stage) -> None:
            _crowd(stage, self.CROWD, subscriber, qos)
            self.check(stage, _publishes(4, [90] * 500, qos), self.CROWD, 4)

        on_stage(play, MqttSettings(max_inflight=1_000, max_mqueue_len=0))

    @pytest.mark.parametrize("receivers", [16, 100])
    @pytest.mark.parametrize("alike", [True, False])
    def test_absent_sessions(self, receivers: int, alike: bool) -> None:
        def play(stage: Stage) -> None:
            for subscriber in _crowd(stage, receivers, 4, 1, clean=False):
                subscriber.ask(wire.GOODBYE)
            sizes = [0 if alike else number % 2 for number in range(50_000 // receivers)]
            self.check(stage, _publishes(4, sizes, 1), receivers, 4)

        on_stage(play)


class TestForm:
    """A length in more bytes than it needs, which MQTT 5 forbids, does not get to who speaks it."""

    @pytest.mark.parametrize("number", [1, 3])
    def test_qos_0(self, number: int) -> None:
        def play(stage: Stage) -> None:
            subscriber = _crowd(stage, 1, 5, 0)[0]
            stage.connected("publisher").ask(b"\x30\x8a\x00\x00\x03t/xhello" * number)
            assert subscriber.take() == b"\x30\x0b\x00\x03t/x\x00hello" * number

        on_stage(play)

    @pytest.mark.parametrize("number", [1, 5])
    def test_qos_1(self, number: int) -> None:
        def play(stage: Stage) -> None:
            subscriber = _crowd(stage, 1, 5, 1)[0]
            publisher = stage.connected("publisher")
            ids = [bytes((0, packet_id)) for packet_id in range(1, number + 1)]
            publisher.ask(b"".join([b"\x32\x8c\x00\x00\x03t/x" + packet_id + b"hello" for packet_id in ids]))
            assert subscriber.take() == b"".join([b"\x32\x0d\x00\x03t/x" + number + b"\x00hello" for number in ids])

        on_stage(play)


class TestRelays:
    def test_topics_of_another_kind_do_not_take_them_away(self) -> None:
        """More topics at QoS 1 than are remembered leave a gateway at QoS 0 as cheap as it was, or make it so again."""

        def play(stage: Stage) -> None:
            subscriber = _crowd(stage, 1, 4, 0, topic="t/#")[0]
            publisher = stage.connected("publisher")
            gateway = b"".join([wire.publish(f"t/gateway/{number}", b"x" * (20 + number)) for number in range(100)])

            def once() -> None:
                publisher.ask(gateway)
                assert count_publishes(subscriber.take()) == 100

            for _ in range(3):
                once()
            before = count_instructions(stage.loop, once)
            for number in range(publish_routes._LIMIT + 1):
                publisher.send(wire.publish(f"t/other/{number}", b"", 1, 1))
            stage.loop.settle()
            subscriber.take()
            for _ in range(2):
                once()
            assert count_instructions(stage.loop, once) == before

        on_stage(play)

    def test_order_where_there_are_more_receivers_than_are_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two topics that go to one receiver keep their order, whatever was forgotten between them."""
        limit = 16
        monkeypatch.setattr(router, "_RELAY_LIMIT", limit)

        def play(stage: Stage) -> None:
            subscriber = stage.connected("subscriber")
            subscriber.subscribe(4, ("t/a", 0), ("t/b", 0))
            for bit in range(6):  # each topic goes to a set of receivers of its own
                topics = [(f"t/c/{number}", 0) for number in range(1, 4 * limit) if number >> bit & 1]
                stage.connected(f"other-{bit}").subscribe(4, *topics)
            publisher, others = stage.connected("publisher"), stage.connected("others")
            publisher.ask(wire.publish("t/a", b"a0"))
            for number in range(1, 4 * limit):
                others.ask(wire.publish(f"t/c/{number}", b""))
            publisher.ask(wire.publish("t/b", b"b0"))
            subscriber.take()
            sent = [f"{topic}{number}" for number in range(1, 9) for topic in "ab"]
            publisher.ask(b"".join([wire.publish(f"t/{name[0]}", name.encode()) for name in sent]))
            assert [body[5:].decode() for _, body in packets(subscriber.take())] == sent

        on_stage(play)


class TestEnds:
    def test_sessions_that_ended_are_let_go(self) -> None:
        """By whoever published to them, with the next message at the latest."""

        def play(stage: Stage) -> None:
            publisher = stage.connected("publisher")

            def alive() -> int:
                gc.collect()
                return sum(type(known) is Session for known in gc.get_objects())

            before = alive()
            subscribers = _crowd(stage, 100, 4, 1)
            publisher.ask(_publishes(4, [0], 1))
            publisher.ask(_publishes(4, [10] * 5, 1))
            for subscriber in subscribers:
                subscriber.ask(wire.GOODBYE)
            del subscriber
            subscribers.clear()
            assert len(stage.broker.registry) == 1
            publisher.ask(wire.publish("t/y", b""))
            assert alive() == before

        on_stage(play)
