"""Packet bodies to packet objects. The only failures are `MalformedPacket` and `ProtocolError`."""

from collections.abc import Callable

from .errors import MalformedPacket, ProtocolError
from .packets import Connect, Disconnect, Packet, PacketType, Pingreq, Subscribe, SubscribeRequest, Unsubscribe, Will
from .reason_codes import ReasonCode

_VERSIONS = {("MQIsdp", 3), ("MQTT", 4)}


class Cursor:
    """Read fields from a packet body; reading past its end is a malformed packet."""

    __slots__ = ("body", "position")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.position = 0

    @property
    def at_end(self) -> bool:
        """Tell whether the body is used up."""
        return self.position >= len(self.body)

    def byte(self) -> int:
        """Read one byte."""
        position = self.position
        if position >= len(self.body):
            raise MalformedPacket("the packet ends within a field")
        self.position = position + 1
        return self.body[position]

    def integer(self) -> int:
        """Read a two-byte integer."""
        return (self.byte() << 8) | self.byte()

    def binary(self) -> bytes:
        """Read a length-prefixed field."""
        length = self.integer()
        start = self.position
        if start + length > len(self.body):
            raise MalformedPacket("a field is longer than the packet")
        self.position = start + length
        return self.body[start : start + length]

    def text(self) -> str:
        """Read a length-prefixed UTF-8 string."""
        return decode_text(self.binary())

    def packet_id(self) -> int:
        """Read a packet identifier."""
        value = self.integer()
        if value == 0:  # [MQTT-2.3.1-1]
            raise MalformedPacket("packet identifier 0")
        return value


def decode_text(raw: bytes) -> str:
    """Decode a UTF-8 string as MQTT allows it."""
    try:
        text = raw.decode("utf-8")  # [MQTT-1.5.3-1]: refuses surrogates too
    except UnicodeDecodeError:
        raise MalformedPacket("a string is not UTF-8") from None
    if "\0" in text:  # [MQTT-1.5.3-2]
        raise MalformedPacket("a string contains U+0000")
    return text


def decode_topic_name(raw: bytes) -> str:
    """Decode the topic of a PUBLISH."""
    if not raw:  # [MQTT-4.7.3-1]
        raise MalformedPacket("an empty topic name", ReasonCode.TOPIC_NAME_INVALID)
    topic = decode_text(raw)
    if "+" in topic or "#" in topic:  # [MQTT-3.3.2-2]
        raise MalformedPacket("a topic name with a wildcard", ReasonCode.TOPIC_NAME_INVALID)
    return topic


def _connect(flags: int, body: bytes) -> Connect:
    if flags:
        raise MalformedPacket("reserved bits set in CONNECT")  # [MQTT-2.2.2-2]
    cursor = Cursor(body)
    name = cursor.text()
    version = cursor.byte()
    if name not in ("MQTT", "MQIsdp"):  # [MQTT-3.1.2-1]
        raise ProtocolError("an unknown protocol name")
    if (name, version) not in _VERSIONS:  # [MQTT-3.1.2-2]
        raise ProtocolError(f"protocol level {version} is not supported", ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)
    options = cursor.byte()
    if options & 0x01:  # [MQTT-3.1.2-3]
        raise MalformedPacket("the reserved CONNECT flag is set")
    keep_alive = cursor.integer()
    client_id = cursor.text()
    will = _will(cursor, options)
    has_username, has_password = bool(options & 0x80), bool(options & 0x40)
    if has_password and not has_username:  # [MQTT-3.1.2-22]
        raise MalformedPacket("a password without a user name")
    username = cursor.text() if has_username else None  # [MQTT-3.1.3-11]
    password = cursor.binary() if has_password else None
    if not cursor.at_end:
        raise MalformedPacket("bytes behind the CONNECT payload")
    return Connect(name, version, bool(options & 0x02), keep_alive, client_id, username, password, will)


def _will(cursor: Cursor, options: int) -> Will | None:
    qos, retain = (options >> 3) & 3, bool(options & 0x20)
    if not options & 0x04:
        if qos or retain:  # [MQTT-3.1.2-11], [MQTT-3.1.2-13], [MQTT-3.1.2-15]
            raise MalformedPacket("will flags without a will")
        return None
    if qos == 3:  # [MQTT-3.1.2-14]
        raise MalformedPacket("will QoS 3")
    topic = decode_topic_name(cursor.binary())  # [MQTT-3.1.3-10]
    return Will(topic, cursor.binary(), qos, retain)


def _subscribe(flags: int, body: bytes) -> Subscribe:
    if flags != 0x02:  # [MQTT-3.8.1-1]
        raise MalformedPacket("reserved bits wrong in SUBSCRIBE")
    cursor = Cursor(body)
    packet_id = cursor.packet_id()
    requests: list[SubscribeRequest] = []
    while not cursor.at_end:
        topic_filter = cursor.text()
        options = cursor.byte()
        if options > 2:  # [MQTT-3.8.3-4]
            raise MalformedPacket("requested QoS is not 0, 1 or 2")
        requests.append(SubscribeRequest(topic_filter, options))
    if not requests:  # [MQTT-3.8.3-3]
        raise ProtocolError("SUBSCRIBE without a topic filter")
    return Subscribe(packet_id, tuple(requests))


def _unsubscribe(flags: int, body: bytes) -> Unsubscribe:
    if flags != 0x02:  # [MQTT-3.10.1-1]
        raise MalformedPacket("reserved bits wrong in UNSUBSCRIBE")
    cursor = Cursor(body)
    packet_id = cursor.packet_id()
    topic_filters: list[str] = []
    while not cursor.at_end:
        topic_filters.append(cursor.text())
    if not topic_filters:  # [MQTT-3.10.3-2]
        raise ProtocolError("UNSUBSCRIBE without a topic filter")
    return Unsubscribe(packet_id, tuple(topic_filters))


def _pingreq(flags: int, body: bytes) -> Pingreq:
    if flags or body:
        raise MalformedPacket("PINGREQ with flags or a body")
    return Pingreq()


def _disconnect(flags: int, body: bytes) -> Disconnect:
    if flags or body:  # [MQTT-3.14.1-1]
        raise MalformedPacket("DISCONNECT with flags or a body")
    return Disconnect()


_DECODERS: dict[int, Callable[[int, bytes], Packet]] = {
    PacketType.CONNECT: _connect,
    PacketType.SUBSCRIBE: _subscribe,
    PacketType.UNSUBSCRIBE: _unsubscribe,
    PacketType.PINGREQ: _pingreq,
    PacketType.DISCONNECT: _disconnect,
}


def decode_packet(first_byte: int, body: bytes) -> Packet:
    """Decode a packet other than PUBLISH and its acknowledgements."""
    decoder = _DECODERS.get(first_byte >> 4)
    if decoder is None:
        raise ProtocolError(f"packet type {first_byte >> 4} is not a client's to send")
    return decoder(first_byte & 0x0F, body)
