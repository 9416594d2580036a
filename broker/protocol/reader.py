"""The byte stream of one client, cut into packets: the hot half of the decoder.

`receive_data` walks every complete packet of a chunk over local integers and keeps the incomplete tail. PUBLISH and
acknowledgements go to the sink in parts, without an object for each; the rest goes through `decode_packet`. The first
packet is a CONNECT and decides which of two loops reads the rest: that of 3.1 and 3.1.1, or that of MQTT 5. They are
two because asking for the version at every packet would cost both.

A publisher in bulk repeats itself: where the next packet begins with the same bytes as the last one (fixed header,
remaining length, topic, in MQTT 5 the properties), topic, decision and route are the same too. Such a run of QoS 0
packets is found with one comparison for each packet and handed on as one slice. Packets on topics that the sink
relays to the same receivers are one slice as well. QoS 1 and 2 packets and acknowledgements that come in a row are
handed on together, with their packet identifiers in a column.

Invariant, held by the tests: any split of the same bytes makes the same messages, and no other exception than
`MalformedPacket` and `ProtocolError` leaves this module.
"""

from collections.abc import Callable

from .decode import check_acknowledgement5, decode_packet
from .decode_connect import VERSION_END, announced_version, decode_connect
from .errors import MalformedPacket, ProtocolError
from .packet_ids import find_zero, read_column
from .properties import may_be_relayed
from .reason_codes import ReasonCode
from .runs import RUN_BYTES, end_of_acks, end_of_numbered, sort_relays
from .sink import PacketSink
from .variable_integer import decode_varint

_CONNECT = 1
_PUBLISH = 3
_ACKS = frozenset((0x40, 0x50, 0x62, 0x70))
_RUN_LEAST = 3
"""QoS 1 and 2 packets for which it is worth while to be handed on together."""
_APART = 16
"""QoS 0 packets that are handed on by themselves after two were found to have nothing in common."""
_CONNECT_LIMIT = 5 * 65_537 + 16
"""Bytes; five fields of the greatest length. Before it is known who sends, no more is kept."""


class PacketReader:
    """Cut one client's bytes into packets.

    `coalesce` may be switched off for sinks that want every packet. `tap` is called with each whole packet before its
    parts are checked and handed on (CONNECT is checked before, so that `version` holds); with it, nothing is coalesced.
    """

    __slots__ = (
        "_apart",
        "_needed",
        "_position",
        "_sink",
        "_unwanted",
        "coalesce",
        "greeted",
        "max_packet_size",
        "stopped",
        "tail",
        "tap",
        "version",
    )

    def __init__(
        self,
        sink: PacketSink,
        max_packet_size: int,
        *,
        coalesce: bool = True,
        tap: Callable[[bytes], object] | None = None,
    ) -> None:
        self._sink = sink
        self.tail = bytearray()
        self._needed = 0
        self._apart = 0
        """Packets to go before one is again asked where the next one goes; the last one led to nothing."""
        self._unwanted = b""
        self._position = 0
        self.max_packet_size = max_packet_size
        self.coalesce = coalesce and tap is None
        self.tap = tap
        self.version = 4
        """The protocol version of the CONNECT; 4 before there was one."""
        self.greeted = False
        self.stopped = False

    @property
    def buffered(self) -> int:
        """Bytes kept of packets that are not complete or not yet wanted."""
        return len(self.tail) + len(self._unwanted) - self._position

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the wire; raises `MalformedPacket` or `ProtocolError`, after which nothing more is read."""
        if self.tail or self.stopped or not self.greeted:
            self._receive_more(data)
            return
        position = self._walk5(data, 0) if self.version == 5 else self._walk(data, 0)
        if position != len(data):
            self._keep(data, position)

    def _receive_more(self, data: bytes) -> None:
        """Do so where something is kept already, or the CONNECT is still to come."""
        tail = self.tail
        if tail or self.stopped:
            # Appending costs what arrives, not what waits: a packet that comes byte by byte is joined once.
            tail += data
            if self.stopped or len(tail) < self._needed:
                return
            data = bytes(tail)
            tail.clear()
            self._needed = 0
        position = 0
        if not self.greeted:
            position = self._greet(data)
            if self.stopped or not self.greeted:
                self._keep(data, position)
                return
        position = self._walk5(data, position) if self.version == 5 else self._walk(data, position)
        if position != len(data):
            self._keep(data, position)

    def resume(self) -> None:
        """Go on after a sink's True with what has been kept."""
        self.stopped = False
        data, position = self._unwanted, self._position
        if data:
            self._unwanted, self._position = b"", 0
            self._keep(data, self._walk5(data, position) if self.version == 5 else self._walk(data, position))
        if self.tail and not self.stopped:
            self._needed = 0
            self.receive_data(b"")

    def _keep(self, data: bytes, position: int) -> None:
        if position == len(data):
            return
        if self.stopped:
            # Kept as it is: a sink that stops at each packet of a large chunk must not have the rest copied each time.
            self._unwanted, self._position = data, position
        else:
            self.tail[:0] = data[position:] if position else data

    def _greet(self, data: bytes) -> int:
        """Hand on the CONNECT if it is complete; return where it ends, or 0."""
        if len(data) < 2:
            return 0
        if data[0] >> 4 != _CONNECT:  # [MQTT-3.1.0-1]
            raise ProtocolError("the first packet is not a CONNECT")
        remaining, body = _remaining_length(data, 0)
        if not body:
            return 0
        end = body + remaining
        if end > min(self.max_packet_size, _CONNECT_LIMIT):
            if len(data) < body + VERSION_END:
                return 0
            error = _too_large(end)
            error.protocol_version = announced_version(data[body:])
            raise error
        if end > len(data):
            self._needed = end
            return 0
        connect = decode_connect(data[0] & 0x0F, data[body:end])
        self.version = connect.protocol_version
        if self.version == 5 and body > 2 and not data[body - 1]:  # [MQTT5-1.5.5-1]
            error = MalformedPacket("a remaining length is longer than its value needs")
            error.protocol_version = 5
            raise error
        self.greeted = True
        if self.tap is not None:
            self.tap(data[:end])
        if self._sink.packet(connect):
            self.stopped = True
        return end

    def _walk(self, data: bytes, start: int) -> int:
        """Hand on every complete packet of 3.1 or 3.1.1; return where the first incomplete or unwanted one begins."""
        sink = self._sink
        size = len(data)
        limit = self.max_packet_size
        tap = self.tap
        coalesce = self.coalesce
        while start + 1 < size:
            first = data[start]
            remaining = data[start + 1]
            body = start + 2
            if remaining > 0x7F:
                remaining, body = _remaining_length(data, start)
                if not body:
                    return start
            end = body + remaining
            if end - start > limit:
                raise _too_large(end - start)
            if end > size:
                self._needed = end - start
                return start
            if tap is not None:
                tap(data[start:end])
            kind = first >> 4
            if kind == _PUBLISH:
                topic_end = body + 2 + ((data[body] << 8) | data[body + 1]) if remaining > 1 else end + 1
                if topic_end > end:
                    raise MalformedPacket("PUBLISH ends within its topic")
                topic = data[body + 2 : topic_end]
                if first == 0x30 and coalesce:
                    if end == size:
                        stop = sink.publish_run(topic, data, start, topic_end - start, end, 1)
                    else:
                        end, stop = self._plain_run(data, start, topic, topic_end, end)
                elif first & 0x06:
                    packet_id = data[topic_end : topic_end + 2]
                    if first & 0x06 == 0x06 or topic_end + 2 > end or packet_id == b"\0\0":
                        raise _wrong_id(first, topic_end + 2 > end)
                    run = None
                    if end + 1 < size and data[end] == first and data[end + 1] == data[start + 1] and coalesce:
                        run = self._numbered_run(data, start, topic, topic_end, topic_end + 2, end)
                    if run is None:
                        stop = sink.publish(first & 0x0F, topic, packet_id, data[topic_end + 2 : end])
                    else:
                        end, stop = run
                elif first & 0x08:  # [MQTT-3.3.1-2]
                    raise MalformedPacket("DUP set on a QoS 0 PUBLISH")
                else:
                    stop = sink.publish(first & 0x0F, topic, b"", data[topic_end:end])
            elif 4 <= kind <= 7:
                # [MQTT-2.2.2-2], [MQTT-3.6.1-1]; 3.1 has a DUP flag in PUBREL
                if remaining != 2 or (first not in _ACKS and not (first == 0x6A and self.version == 3)):
                    raise MalformedPacket("an acknowledgement with wrong flags or length")
                packet_id = data[body:end]
                if packet_id == b"\0\0":  # [MQTT-2.3.1-1]
                    raise ProtocolError("packet identifier 0")
                if end + 4 < size and data[end] == data[end + 4] == first and end - start == 4 and coalesce:
                    end = end_of_acks(data, start)
                    stop = sink.acknowledgements(kind, read_column(data, start + 2, end, 4))
                else:
                    stop = sink.acknowledgement(kind, packet_id)
            else:
                stop = self._other(first, data[body:end])
            start = end
            if stop or self.stopped:
                self.stopped = True
                return start
        return start

    def _walk5(self, data: bytes, start: int) -> int:
        """Do the same for MQTT 5."""
        sink = self._sink
        size = len(data)
        limit = self.max_packet_size
        tap = self.tap
        coalesce = self.coalesce
        while start + 1 < size:
            first = data[start]
            remaining = data[start + 1]
            body = start + 2
            if remaining > 0x7F:
                remaining, body = _remaining_length(data, start)
                if not body:
                    return start
                if not data[body - 1]:  # [MQTT5-1.5.5-1]
                    raise MalformedPacket("a remaining length is longer than its value needs")
            end = body + remaining
            if end - start > limit:
                raise _too_large(end - start)  # [MQTT-3.2.2-15]
            if end > size:
                self._needed = end - start
                return start
            if tap is not None:
                tap(data[start:end])
            kind = first >> 4
            if kind == _PUBLISH:
                topic_end = body + 2 + ((data[body] << 8) | data[body + 1]) if remaining > 1 else end + 1
                at = topic_end + 2 if first & 0x06 else topic_end
                if at >= end:
                    raise MalformedPacket("PUBLISH ends before its properties")
                payload = at + 1
                properties = b""
                length = data[at]
                if length:
                    if length > 0x7F:
                        length, payload = decode_varint(data, at)
                    properties = data[payload : payload + length]
                    payload += length
                    if payload > end:
                        raise MalformedPacket("PUBLISH ends within its properties")
                topic = data[body + 2 : topic_end]
                if first == 0x30 and coalesce:
                    if end == size:
                        stop = sink.publish_run5(topic, properties, data, start, payload - start, end, 1)
                    else:
                        end, stop = self._plain_run5(data, start, topic, properties, payload, end)
                elif first & 0x06:
                    packet_id = data[topic_end : topic_end + 2]
                    if first & 0x06 == 0x06 or packet_id == b"\0\0":
                        raise _wrong_id(first, False)
                    run = None
                    if end + 1 < size and data[end] == first and data[end + 1] == data[start + 1] and coalesce:
                        run = self._numbered_run(data, start, topic, topic_end, payload, end, properties)
                    if run is None:
                        stop = sink.publish5(first & 0x0F, topic, packet_id, properties, data[payload:end])
                    else:
                        end, stop = run
                elif first & 0x08:  # [MQTT-3.3.1-2]
                    raise MalformedPacket("DUP set on a QoS 0 PUBLISH")
                else:
                    stop = sink.publish5(first & 0x0F, topic, b"", properties, data[payload:end])
            elif 4 <= kind <= 7:
                if remaining < 2 or first not in _ACKS:  # [MQTT5-2.1.3-1], [MQTT5-3.6.1-1]
                    raise MalformedPacket("an acknowledgement with wrong flags or length")
                packet_id = data[body : body + 2]
                if packet_id == b"\0\0":
                    raise ProtocolError("packet identifier 0")
                if remaining == 2:
                    if end + 4 < size and data[end] == data[end + 4] == first and end - start == 4 and coalesce:
                        end = end_of_acks(data, start)
                        stop = sink.acknowledgements(kind, read_column(data, start + 2, end, 4))
                    else:
                        stop = sink.acknowledgement(kind, packet_id)
                else:
                    stop = sink.acknowledgement(kind, packet_id, check_acknowledgement5(kind, data[body + 2 : end]))
            else:
                stop = self._other(first, data[body:end])
            start = end
            if stop or self.stopped:
                self.stopped = True
                return start
        return start

    def _plain_run(self, data: bytes, start: int, topic: bytes, topic_end: int, end: int) -> tuple[int, bool | None]:
        """Hand on the QoS 0 packets in a row that go where the one at `start` does; give their end and the answer."""
        sink = self._sink
        head = data[start:topic_end]
        if self._apart and not data.startswith(head, end):
            self._apart -= 1
            return end, sink.publish_run(topic, data, start, len(head), end, 1)
        length = end - start
        last = len(data) - length
        while end <= last and data.startswith(head, end):
            end += length
        count = (end - start) // length
        relay = sink.relay_of(topic) if data[end : end + 1] == b"0" and not self._apart else None
        if relay is None:
            return end, sink.publish_run(topic, data, start, len(head), end, count)
        behind, parts = sort_relays(data, start, end, count, self.max_packet_size, sink.relays, relay, False)
        if behind == end:
            self._apart = _APART
        return behind, sink.relay_parts(parts)

    def _plain_run5(
        self, data: bytes, start: int, topic: bytes, properties: bytes, payload: int, end: int
    ) -> tuple[int, bool | None]:
        """Do the same for MQTT 5."""
        sink = self._sink
        head = data[start:payload]
        if self._apart and not data.startswith(head, end):
            self._apart -= 1
            return end, sink.publish_run5(topic, properties, data, start, payload - start, end, 1)
        length = end - start
        last = len(data) - length
        while end <= last and data.startswith(head, end):
            end += length
        count = (end - start) // length
        relay = None
        if topic and data[end : end + 1] == b"0" and not self._apart and may_be_relayed(properties):
            relay = sink.relay_of(topic)
        if relay is None:
            return end, sink.publish_run5(topic, properties, data, start, payload - start, end, count)
        behind, parts = sort_relays(data, start, end, count, self.max_packet_size, sink.relays, relay, True)
        if behind == end:
            self._apart = _APART
        return behind, sink.relay_parts(parts)

    def _numbered_run(
        self, data: bytes, start: int, topic: bytes, topic_end: int, payload: int, end: int, properties: bytes = b""
    ) -> tuple[int, bool | None] | None:
        """Hand on the QoS 1 or 2 packets in a row that begin with the one at `start`, if the sink takes them together.

        Give where they end and the sink's answer, or None where there is no such run.
        """
        sink = self._sink
        flags = data[start] & 0x0F
        length = end - start
        if flags & 0x09 or not topic or _RUN_LEAST * length > min(RUN_BYTES, len(data) - start):
            return None
        head = data[start:topic_end]
        if not (data.startswith(head, end) and data.startswith(head, end + length)):  # `_RUN_LEAST` of them
            return None
        most = sink.run_limit(flags, topic)
        if most < _RUN_LEAST:
            return None
        stop_at = start + min(RUN_BYTES - length, (most - 1) * length)
        last = end_of_numbered(data, head, data[topic_end + 2 : payload], end, length, stop_at)
        packet_ids = read_column(data, topic_end, last, length)
        zero = find_zero(packet_ids)
        if zero >= 0:  # what comes before it is taken, as if it had come alone
            last = start + zero * length
            packet_ids = packet_ids[: 2 * zero]
        if last - start < _RUN_LEAST * length:
            return None
        packets = data[start:last]
        stop = sink.publish_numbered(flags, topic, packet_ids, properties, packets, topic_end - start, payload - start)
        return last, stop

    def _other(self, first: int, body: bytes) -> bool | None:
        if first >> 4 == _CONNECT:  # [MQTT-3.1.0-2], [MQTT-3.2.0-2]
            raise ProtocolError("a second CONNECT")
        return self._sink.packet(decode_packet(first, body, self.version))


def _wrong_id(first: int, missing: bool) -> MalformedPacket | ProtocolError:
    """Say what is wrong with a PUBLISH that has a packet identifier, or should have one."""
    if first & 0x06 == 0x06:  # [MQTT-3.3.1-4]
        return MalformedPacket("PUBLISH with QoS 3")
    if missing:
        return MalformedPacket("PUBLISH ends within its packet identifier")
    return ProtocolError("packet identifier 0")  # [MQTT-2.3.1-1], [MQTT5-2.2.1-3]


def _remaining_length(data: bytes, start: int) -> tuple[int, int]:
    """Decode a remaining length and where it ends; the second number is 0 where bytes are missing."""
    value = 0
    for index in range(4):
        at = start + 1 + index
        if at >= len(data):
            return 0, 0
        byte = data[at]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + 1
    raise MalformedPacket("a remaining length of more than four bytes")


def _too_large(length: int) -> MalformedPacket:
    return MalformedPacket(f"a packet of {length} bytes, longer than allowed", ReasonCode.PACKET_TOO_LARGE)
