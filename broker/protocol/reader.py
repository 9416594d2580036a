"""The byte stream of one client, cut into packets: the hot half of the decoder.

`receive_data` walks every complete packet of a chunk over local integers and keeps the incomplete tail. PUBLISH and
acknowledgements go to the sink in parts, without an object for each; the rest goes through `decode_packet`.

A publisher in bulk repeats itself: where the next packet begins with the same bytes as the last one (fixed header,
remaining length, topic), topic, decision and route are the same too. Such a run of QoS 0 packets is found with one
comparison for each packet and handed on as one slice.

Invariant, held by the tests: any split of the same bytes makes the same messages, and no other exception than
`MalformedPacket` and `ProtocolError` leaves this module.
"""

from typing import Protocol

from .decode import decode_packet
from .errors import MalformedPacket, ProtocolError
from .packets import Connect, Packet
from .reason_codes import ReasonCode

_CONNECT = 1
_PUBLISH = 3
_PUBREL = 6
_CONNECT_LIMIT = 5 * 65_537 + 16
"""Bytes; five fields of the greatest length. Before it is known who sends, no more is kept."""


class PacketSink(Protocol):
    """Receive what the reader finds; an answer of True stops the reader until `resume` is called."""

    def publish_run(self, topic: bytes, data: bytes, start: int, end: int, count: int) -> bool | None:
        """Take `count` whole QoS 0 packets without RETAIN, all on one topic, that lie in data[start:end]."""
        ...

    def publish(self, flags: int, topic: bytes, packet_id: bytes, payload: bytes) -> bool | None:
        """Take one PUBLISH; `flags` is the low half of its first byte, `packet_id` two bytes, or none for QoS 0."""
        ...

    def acknowledgement(self, packet_type: int, packet_id: bytes) -> bool | None:
        """Take a PUBACK, PUBREC, PUBREL or PUBCOMP."""
        ...

    def packet(self, packet: Packet) -> bool | None:
        """Take any other packet."""
        ...


class PacketReader:
    """Cut one client's bytes into packets; `coalesce` may be switched off for sinks that want every packet."""

    __slots__ = ("_needed", "_sink", "_tail", "coalesce", "greeted", "max_packet_size", "stopped")

    def __init__(self, sink: PacketSink, max_packet_size: int, *, coalesce: bool = True) -> None:
        self._sink = sink
        self._tail = bytearray()
        self._needed = 0
        self.max_packet_size = max_packet_size
        self.coalesce = coalesce
        self.greeted = False
        self.stopped = False

    @property
    def buffered(self) -> int:
        """Bytes kept of packets that are not complete or not yet wanted."""
        return len(self._tail)

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the wire; raises `MalformedPacket` or `ProtocolError`, after which nothing more is read."""
        tail = self._tail
        if tail or self.stopped:
            # Appending costs what arrives, not what waits: a packet that comes byte by byte is joined once.
            tail += data
            if self.stopped or len(tail) < self._needed:
                return
            data = bytes(tail)
            tail.clear()
        self._needed = 0
        position = self._walk(data)
        if position < len(data):
            tail += data[position:] if position else data

    def resume(self) -> None:
        """Go on after a sink's True with what has been kept."""
        self.stopped = False
        if self._tail:
            self._needed = 0
            self.receive_data(b"")

    def _walk(self, data: bytes) -> int:
        """Hand on every complete packet; return where the first incomplete or unwanted one begins."""
        sink = self._sink
        size = len(data)
        limit = self.max_packet_size
        coalesce = self.coalesce
        start = 0
        while start + 1 < size:
            first = data[start]
            remaining = data[start + 1]
            body = start + 2
            if remaining > 0x7F:
                remaining, body = self._remaining_length(data, start)
                if not body:
                    return start
            end = body + remaining
            if end - start > limit:
                raise MalformedPacket(f"a packet of {end - start} bytes, over the limit", ReasonCode.PACKET_TOO_LARGE)
            if not self.greeted:
                self._check_first(first, end - start)
            if end > size:
                self._needed = end - start
                return start
            kind = first >> 4
            if kind == _PUBLISH:
                topic_end = body + 2 + ((data[body] << 8) | data[body + 1]) if remaining > 1 else end + 1
                if topic_end > end:
                    raise MalformedPacket("PUBLISH ends within its topic")
                if first == 0x30 and coalesce:
                    head = data[start:topic_end]
                    length = end - start
                    count = 1
                    while data.startswith(head, end) and end + length <= size:
                        end += length
                        count += 1
                    stop = sink.publish_run(data[body + 2 : topic_end], data, start, end, count)
                elif first & 0x06:
                    stop = self._publish_with_id(first, data, body + 2, topic_end, end)
                elif first & 0x08:  # [MQTT-3.3.1-2]
                    raise MalformedPacket("DUP set on a QoS 0 PUBLISH")
                else:
                    stop = sink.publish(first & 0x0F, data[body + 2 : topic_end], b"", data[topic_end:end])
            elif 4 <= kind <= 7:
                if remaining != 2 or first & 0x0F != (2 if kind == _PUBREL else 0):  # [MQTT-2.2.2-2], [MQTT-3.6.1-1]
                    raise MalformedPacket("an acknowledgement with wrong flags or length")
                packet_id = data[body:end]
                if packet_id == b"\0\0":
                    raise MalformedPacket("packet identifier 0")
                stop = sink.acknowledgement(kind, packet_id)
            else:
                stop = self._other(first, data[body:end])
            start = end
            if stop or self.stopped:
                self.stopped = True
                return start
        return start

    @staticmethod
    def _check_first(first: int, length: int) -> None:
        if first >> 4 != _CONNECT:  # [MQTT-3.1.0-1]
            raise ProtocolError("the first packet is not a CONNECT")
        if length > _CONNECT_LIMIT:
            raise MalformedPacket(f"a CONNECT of {length} bytes, longer than any can be", ReasonCode.PACKET_TOO_LARGE)

    def _publish_with_id(self, first: int, data: bytes, topic: int, topic_end: int, end: int) -> bool | None:
        if first & 0x06 == 0x06:  # [MQTT-3.3.1-4]
            raise MalformedPacket("PUBLISH with QoS 3")
        packet_id = data[topic_end : topic_end + 2]
        if topic_end + 2 > end:
            raise MalformedPacket("PUBLISH ends within its packet identifier")
        if packet_id == b"\0\0":  # [MQTT-2.3.1-1]
            raise MalformedPacket("packet identifier 0")
        return self._sink.publish(first & 0x0F, data[topic:topic_end], packet_id, data[topic_end + 2 : end])

    def _other(self, first: int, body: bytes) -> bool | None:
        if self.greeted and first >> 4 == _CONNECT:  # [MQTT-3.1.0-2]
            raise ProtocolError("a second CONNECT")
        packet = decode_packet(first, body)
        if isinstance(packet, Connect):
            self.greeted = True
        return self._sink.packet(packet)

    @staticmethod
    def _remaining_length(data: bytes, start: int) -> tuple[int, int]:
        """Decode a remaining length of two to four bytes; the second number is 0 where bytes are missing."""
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
