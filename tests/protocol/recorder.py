"""A sink that writes down what the reader finds, with runs taken apart, so that any two readings can be compared."""

from wardenmq.broker.protocol.decode import decode_topic_name
from wardenmq.broker.protocol.errors import MqttError, ProtocolError
from wardenmq.broker.protocol.packet_ids import unpack_ids
from wardenmq.broker.protocol.packets import Connect, Packet
from wardenmq.broker.protocol.properties import decode_publish_properties
from wardenmq.broker.protocol.reader import PacketReader
from wardenmq.broker.protocol.runs import Parts, Relay
from wardenmq.broker.topic_aliases import IncomingAliases

from .build import CONNECT4 as CONNECT

TOPIC_ALIAS_MAXIMUM = 10
_RELAYS = (Relay(("one", "two")), Relay(("two", "three")), Relay(("three", "one")))
_RELAYS_ALONE = (Relay(("one",)), Relay(("two",)), Relay(("three",)))
__all__ = ["CONNECT", "TOPIC_ALIAS_MAXIMUM", "Recorder", "read"]


class Recorder:
    """Keep every message, acknowledgement and packet in order; stop where told to."""

    def __init__(self, stop_every: int = 0, *, alone: bool = False) -> None:
        """With `alone`, each topic's packets go to one receiver; what goes to several of them may be sorted."""
        self._relays = _RELAYS_ALONE if alone else _RELAYS
        self.found: list[object] = []
        self.runs: list[int] = []
        self.numbered: list[int] = []
        self.acknowledged: list[int] = []
        self.tapped: list[bytes] = []
        self.failure: tuple[type[MqttError], int, int | None] | None = None
        """Kind, reason and the version to answer in."""
        self.most_buffered = 0
        self.relays: dict[bytes, Relay] = {}
        """What has been published on; topics that end alike go the same way."""
        self.parts: list[tuple[tuple[str, ...], int]] = []
        self._aliases = IncomingAliases(TOPIC_ALIAS_MAXIMUM)
        self._stop_every = stop_every
        self._calls = 0

    def relay_of(self, topic: bytes) -> Relay | None:
        return self.relays.get(topic)

    def relay_parts(self, parts: Parts) -> bool | None:
        """Take the packets apart by another reader, which knows no relays."""
        connect = self.found[0]
        assert isinstance(connect, Connect)
        for relay, chunk, count in parts:
            alone = Recorder()
            reader = PacketReader(alone, len(chunk), coalesce=False)
            reader.greeted, reader.version = True, connect.protocol_version
            reader.receive_data(chunk)
            assert reader.buffered == 0 and len(alone.found) == count
            self.found += alone.found
            self.parts.append((relay.receivers, count))
        return self._stop()

    def publish_run(self, topic: bytes, data: bytes, start: int, body: int, end: int, count: int) -> bool | None:
        name = decode_topic_name(topic)
        self.relays[topic] = self._relays[topic[-1] % 3]
        length, rest = divmod(end - start, count)
        assert rest == 0
        for at in range(start, end, length):
            packet = data[at : at + length]
            assert packet[body - len(topic) : body] == topic
            self.found.append(("publish", 0, name, b"", packet[body:]))
        self.runs.append(count)
        return self._stop()

    def publish(self, flags: int, topic: bytes, packet_id: bytes, payload: bytes) -> bool | None:
        self.found.append(("publish", flags, decode_topic_name(topic), packet_id, payload))
        return self._stop()

    def publish_run5(
        self, topic: bytes, properties: bytes, data: bytes, start: int, body: int, end: int, count: int
    ) -> bool | None:
        length, rest = divmod(end - start, count)
        assert rest == 0
        if topic and not properties:
            self.relays[topic] = self._relays[topic[-1] % 3]
        payloads = [data[at + body : at + length] for at in range(start, end, length)]
        assert len({data[at : at + body] for at in range(start, end, length)}) == 1
        for payload in payloads:
            self._publish5(0, topic, b"", properties, payload)
        self.runs.append(count)
        return self._stop()

    def publish5(self, flags: int, topic: bytes, packet_id: bytes, properties: bytes, payload: bytes) -> bool | None:
        self._publish5(flags, topic, packet_id, properties, payload)
        return self._stop()

    def _publish5(self, flags: int, topic: bytes, packet_id: bytes, properties: bytes, payload: bytes) -> None:
        split = decode_publish_properties(properties)
        if split.topic_alias:
            topic = self._aliases.resolve(split.topic_alias, topic)
        elif not topic:
            raise ProtocolError("neither a topic nor an alias")
        self.found.append(("publish", flags, decode_topic_name(topic), packet_id, payload, *split))

    def run_limit(self, flags: int, topic: bytes) -> int:
        decode_topic_name(topic)
        return {b"a": 256, b"a/b": 4}.get(topic, 0)

    def publish_numbered(
        self, flags: int, topic: bytes, packet_ids: bytes, properties: bytes, data: bytes, id_at: int, body: int
    ) -> bool | None:
        connect = self.found[0]
        assert isinstance(connect, Connect)
        count = len(packet_ids) // 2
        length, rest = divmod(len(data), count)
        assert rest == 0 and count > 1
        for number in range(count):
            packet = data[number * length : (number + 1) * length]
            packet_id, payload = packet_ids[2 * number : 2 * number + 2], packet[body:]
            assert packet[id_at : id_at + 2] == packet_id and unpack_ids(packet_id) != (0,)
            if connect.protocol_version == 5:
                self._publish5(flags, topic, packet_id, properties, payload)
            else:
                self.found.append(("publish", flags, decode_topic_name(topic), packet_id, payload))
        self.numbered.append(count)
        return self._stop()

    def acknowledgements(self, packet_type: int, packet_ids: bytes) -> bool | None:
        assert packet_ids and len(packet_ids) % 2 == 0
        self.found += [
            ("acknowledgement", packet_type, packet_ids[at : at + 2], 0) for at in range(0, len(packet_ids), 2)
        ]
        self.acknowledged.append(len(packet_ids) // 2)
        return self._stop()

    def acknowledgement(self, packet_type: int, packet_id: bytes, reason: int = 0) -> bool | None:
        self.found.append(("acknowledgement", packet_type, packet_id, reason))
        return self._stop()

    def packet(self, packet: Packet) -> bool | None:
        self.found.append(packet)
        return self._stop()

    def _stop(self) -> bool:
        self._calls += 1
        return bool(self._stop_every) and self._calls % self._stop_every == 0


def read(
    chunks: list[bytes],
    *,
    coalesce: bool = True,
    limit: int = 1_048_576,
    stop_every: int = 0,
    tap: bool = False,
    alone: bool = False,
) -> Recorder:
    """Feed chunks to a reader; keep what it found, how it failed and the most that it kept."""
    sink = Recorder(stop_every, alone=alone)
    reader = PacketReader(sink, limit, coalesce=coalesce, tap=sink.tapped.append if tap else None)
    try:
        for chunk in chunks:
            reader.receive_data(chunk)
            while reader.stopped:
                reader.resume()
            sink.most_buffered = max(sink.most_buffered, reader.buffered)
    except MqttError as error:
        sink.failure = (type(error), error.reason, error.protocol_version)
    return sink
