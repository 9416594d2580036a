"""The properties of MQTT 5, read and written.

Most packets carry few properties, and rarely; those go through the table. A message is the exception: its block is
read over local integers, and what subscribers get of it is kept as the bytes that came in. The tests hold that both
readings say the same.
"""

from typing import NamedTuple, cast

from .cursor import Cursor, decode_text
from .errors import MalformedPacket, ProtocolError
from .packets import PacketType, Properties
from .property_table import READERS, WILL, WRITERS, PropertyId, check_value
from .variable_integer import decode_varint, encode_varint

__all__ = [
    "Properties",
    "PropertyId",
    "PublishProperties",
    "decode_properties",
    "decode_publish_properties",
    "decode_will_properties",
    "encode_properties",
    "encode_property",
    "parse_properties",
]

_PAYLOAD_FORMAT = int(PropertyId.PAYLOAD_FORMAT_INDICATOR)
_MESSAGE_EXPIRY = int(PropertyId.MESSAGE_EXPIRY_INTERVAL)
_CONTENT_TYPE = int(PropertyId.CONTENT_TYPE)
_RESPONSE_TOPIC = int(PropertyId.RESPONSE_TOPIC)
_CORRELATION_DATA = int(PropertyId.CORRELATION_DATA)
_SUBSCRIPTION_IDENTIFIER = int(PropertyId.SUBSCRIPTION_IDENTIFIER)
_WILL_DELAY = int(PropertyId.WILL_DELAY_INTERVAL)
_TOPIC_ALIAS = int(PropertyId.TOPIC_ALIAS)
_USER_PROPERTY = int(PropertyId.USER_PROPERTY)


def decode_properties(cursor: Cursor, packet: PacketType, *, will: bool = False) -> Properties:
    """Read the properties of a client's packet, or those of the will in its CONNECT, with their length."""
    length = cursor.variable_integer()
    return parse_properties(cursor.take(length), packet, will=will) if length else {}


def parse_properties(raw: bytes, packet: PacketType, *, will: bool = False) -> Properties:
    """Read a block of properties whose length is known; a `PublishProperties.forwarded`, for example."""
    readers = READERS[WILL if will else packet]
    properties: Properties = {}
    cursor = Cursor(raw)
    while not cursor.at_end:
        identifier = cursor.byte()  # a variable byte integer by the standard, and one byte for all there are
        read = readers.get(identifier)
        if read is None:
            raise MalformedPacket(f"property 0x{identifier:02x} does not belong in {'a will' if will else packet.name}")
        if identifier == PropertyId.USER_PROPERTY:
            pairs = cast("list[object]", properties.setdefault(identifier, []))
            pairs.append(read(cursor))  # [MQTT5-3.3.2-18], [MQTT5-3.1.3-10]: the order is kept
            continue
        if identifier in properties:
            raise ProtocolError(f"property 0x{identifier:02x} stands in a packet twice")
        properties[identifier] = value = read(cursor)
        check_value(identifier, value)
        if identifier == PropertyId.SUBSCRIPTION_IDENTIFIER and packet == PacketType.PUBLISH:  # [MQTT5-3.3.4-6]
            raise ProtocolError("a subscription identifier in a client's PUBLISH")
    return properties


def encode_properties(properties: Properties) -> bytes:
    """Encode properties in the order of the dictionary, with their length.

    A list stands for a property that is repeated. Raises `ValueError` for a text or data of more than 65,535 bytes.
    """
    if not properties:
        return b"\0"  # [MQTT5-2.2.2-1]
    block = b"".join(encode_property(identifier, value) for identifier, value in properties.items())
    return encode_varint(len(block)) + block


def encode_property(identifier: int, value: object) -> bytes:
    """Encode one property, without a length; a list stands for as many of it."""
    write = WRITERS[identifier]
    head = bytes((identifier,))
    if isinstance(value, list):
        return b"".join(head + write(each) for each in cast("list[object]", value))
    return head + write(value)


class PublishProperties(NamedTuple):
    """The properties of one PUBLISH."""

    topic_alias: int = 0
    """0 for none."""
    message_expiry: int | None = None
    """Seconds from the arrival."""
    forwarded: bytes = b""
    """What goes on to subscribers, encoded as it came and in its order, without a length.

    Payload format, content type, response topic, correlation data and user properties
    ([MQTT5-3.3.2-4], [MQTT5-3.3.2-15], [MQTT5-3.3.2-16], [MQTT5-3.3.2-17], [MQTT5-3.3.2-18], [MQTT5-3.3.2-20]).
    """


_NONE = PublishProperties()


def decode_publish_properties(raw: bytes) -> PublishProperties:
    """Split the property block of a client's PUBLISH, given without its length."""
    if not raw:
        return _NONE
    alias, expiry, forwarded = _split(raw, _TOPIC_ALIAS)
    return PublishProperties(alias or 0, expiry, forwarded)


def may_be_relayed(raw: bytes) -> bool:
    """Tell whether the property block of a client's PUBLISH is right and may go to others as it is.

    Most often it holds user properties alone, in plain ASCII, for which a look at the lengths is enough.
    """
    if not raw:
        return True
    size = len(raw)
    at = 0
    if raw.isascii():
        while at + 5 <= size and raw[at] == _USER_PROPERTY:
            name = at + 3
            value = name + ((raw[at + 1] << 8) | raw[at + 2]) + 2
            if value > size:
                break
            end = value + ((raw[value - 2] << 8) | raw[value - 1])
            if end > size or b"\0" in raw[name : value - 2] or b"\0" in raw[value:end]:
                break
            at = end
        if at == size:
            return True
    try:
        return not _split(raw, _TOPIC_ALIAS)[0]
    except (MalformedPacket, ProtocolError):
        return False  # the reader finds out what is wrong when it comes to this packet


def decode_will_properties(raw: bytes) -> tuple[int, int | None, bytes]:
    """Split the property block of a will: its delay, its message expiry, what goes on to subscribers."""
    if not raw:
        return 0, None, b""
    delay, expiry, forwarded = _split(raw, _WILL_DELAY)
    return delay or 0, expiry, forwarded


def _split(raw: bytes, own: int) -> tuple[int | None, int | None, bytes]:
    """Return the property `own`, the message expiry, and the rest as bytes."""
    size = len(raw)
    position = 0
    seen: list[int] = []
    own_value: int | None = None
    expiry: int | None = None
    parts: list[bytes] = []
    kept = 0  # everything before it is in `parts` or taken out
    while position < size:
        start = position
        identifier = raw[start]
        if identifier == _USER_PROPERTY:
            position = _text_end(raw, _text_end(raw, start + 1))
            continue
        if identifier in seen:
            raise ProtocolError(f"property 0x{identifier:02x} stands in a message twice")
        seen.append(identifier)
        if identifier in (_MESSAGE_EXPIRY, own):
            position = start + (3 if identifier == _TOPIC_ALIAS else 5)
            value = int.from_bytes(raw[start + 1 : position], "big")
            if not value and position <= size:
                check_value(identifier, value)
            if identifier == own:
                own_value = value
            else:
                expiry = value
            if kept < start:
                parts.append(raw[kept:start])
            kept = position
        elif identifier in (_CONTENT_TYPE, _RESPONSE_TOPIC):
            position = _text_end(raw, start + 1)  # [MQTT5-3.3.2-13], [MQTT5-3.3.2-19]
            if identifier == _RESPONSE_TOPIC:
                check_value(identifier, raw[start + 3 : position].decode())
        elif identifier == _CORRELATION_DATA:
            position = _end(raw, start + 1)
        elif identifier == _PAYLOAD_FORMAT:
            position = start + 2
            if position <= size and raw[start + 1] > 1:
                check_value(identifier, raw[start + 1])
        elif identifier == _SUBSCRIPTION_IDENTIFIER and own == _TOPIC_ALIAS:  # [MQTT5-3.3.4-6]
            check_value(identifier, decode_varint(raw, start + 1)[0])
            raise ProtocolError("a subscription identifier in a client's PUBLISH")
        else:
            raise MalformedPacket(f"property 0x{identifier:02x} does not belong in a message")
        if position > size:
            raise MalformedPacket("a property is longer than the properties")
    if not kept:
        return own_value, expiry, raw
    if kept < size:
        parts.append(raw[kept:])
    return own_value, expiry, b"".join(parts)


def _end(raw: bytes, position: int) -> int:
    """Return where a length-prefixed field ends."""
    start = position + 2
    if start > len(raw):
        raise MalformedPacket("a property is longer than the properties")
    end = start + ((raw[position] << 8) | raw[position + 1])
    if end > len(raw):
        raise MalformedPacket("a property is longer than the properties")
    return end


def _text_end(raw: bytes, position: int) -> int:
    """Return where a text ends that is as MQTT allows it."""
    end = _end(raw, position)
    decode_text(raw[position + 2 : end])
    return end
