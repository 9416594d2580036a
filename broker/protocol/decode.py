"""Packet bodies to packet objects. The only failures are `MalformedPacket` and `ProtocolError`."""

from collections.abc import Callable

from .cursor import Cursor, decode_text, decode_topic_name
from .decode_connect import decode_connect
from .errors import MalformedPacket, ProtocolError
from .packets import (
    Auth,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    Pingreq,
    Properties,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
)
from .properties import PropertyId, decode_properties
from .reason_codes import ReasonCode

__all__ = ["Cursor", "check_acknowledgement5", "decode_packet", "decode_text", "decode_topic_name"]

_SHARED = ("$share/", "$queue/")

_PUBLISH_ANSWERS = {
    ReasonCode.SUCCESS,
    ReasonCode.NO_MATCHING_SUBSCRIBERS,
    ReasonCode.UNSPECIFIED_ERROR,
    ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode.NOT_AUTHORIZED,
    ReasonCode.TOPIC_NAME_INVALID,
    ReasonCode.PACKET_IDENTIFIER_IN_USE,
    ReasonCode.QUOTA_EXCEEDED,
    ReasonCode.PAYLOAD_FORMAT_INVALID,
}
_RELEASE_ANSWERS = {ReasonCode.SUCCESS, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND}
# What a client may give as a reason; for DISCONNECT and AUTH less than a server may.
_REASONS: dict[int, set[ReasonCode]] = {
    PacketType.PUBACK: _PUBLISH_ANSWERS,
    PacketType.PUBREC: _PUBLISH_ANSWERS,
    PacketType.PUBREL: _RELEASE_ANSWERS,
    PacketType.PUBCOMP: _RELEASE_ANSWERS,
    PacketType.DISCONNECT: {
        ReasonCode.SUCCESS,
        ReasonCode.DISCONNECT_WITH_WILL,
        ReasonCode.UNSPECIFIED_ERROR,
        ReasonCode.MALFORMED_PACKET,
        ReasonCode.PROTOCOL_ERROR,
        ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
        ReasonCode.TOPIC_ALIAS_INVALID,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.MESSAGE_RATE_TOO_HIGH,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.ADMINISTRATIVE_ACTION,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
    },
    PacketType.AUTH: {ReasonCode.CONTINUE_AUTHENTICATION, ReasonCode.REAUTHENTICATE},
}


def decode_packet(first_byte: int, body: bytes, version: int) -> Packet:
    """Decode a packet other than PUBLISH and its acknowledgements by the rules of a version; CONNECT knows its own."""
    decoder = _DECODERS.get(first_byte >> 4)
    if decoder is None:
        raise _not_from_a_client(first_byte >> 4)
    return decoder(first_byte & 0x0F, body, version)


def check_acknowledgement5(kind: int, body: bytes) -> ReasonCode:
    """Check what follows the packet identifier in an acknowledgement of MQTT 5; return its reason."""
    return _reason(Cursor(body), PacketType(kind))[0]


def _not_from_a_client(kind: int) -> ProtocolError:
    return ProtocolError(f"packet type {kind} is not a client's to send")


def _connect(flags: int, body: bytes, version: int) -> Connect:
    return decode_connect(flags, body)


def _subscribe(flags: int, body: bytes, version: int) -> Subscribe:
    cursor, packet_id, properties = _request(PacketType.SUBSCRIBE, flags, body, version)
    requests: list[SubscribeRequest] = []
    while not cursor.at_end:
        requests.append(_subscribe_request(cursor.text(), cursor.byte(), version))  # [MQTT-3.8.3-1]
    if not requests:  # [MQTT-3.8.3-3], [MQTT5-3.8.3-2]
        raise ProtocolError("SUBSCRIBE without a topic filter")
    return Subscribe(packet_id, tuple(requests), properties)


def _subscribe_request(topic_filter: str, options: int, version: int) -> SubscribeRequest:
    if version < 5:
        if options > 2:  # [MQTT-3.8.3-4]
            raise MalformedPacket("requested QoS is not 0, 1 or 2")
        return SubscribeRequest(topic_filter, options)
    if options & 0xC0:  # [MQTT5-3.8.3-5]
        raise MalformedPacket("reserved bits set in the subscription options")
    qos, no_local, handling = options & 3, bool(options & 0x04), options >> 4
    if qos == 3:
        raise ProtocolError("requested QoS is not 0, 1 or 2")
    if handling == 3:
        raise ProtocolError("retain handling is not 0, 1 or 2")
    if no_local and topic_filter.startswith(_SHARED):  # [MQTT5-3.8.3-4]
        raise ProtocolError("No Local on a shared subscription")
    return SubscribeRequest(topic_filter, qos, no_local, bool(options & 0x08), handling)


def _unsubscribe(flags: int, body: bytes, version: int) -> Unsubscribe:
    cursor, packet_id, properties = _request(PacketType.UNSUBSCRIBE, flags, body, version)
    topic_filters: list[str] = []
    while not cursor.at_end:
        topic_filters.append(cursor.text())  # [MQTT-3.10.3-1]
    if not topic_filters:  # [MQTT-3.10.3-2]
        raise ProtocolError("UNSUBSCRIBE without a topic filter")
    return Unsubscribe(packet_id, tuple(topic_filters), properties)


def _request(kind: PacketType, flags: int, body: bytes, version: int) -> tuple[Cursor, int, Properties]:
    """Read what SUBSCRIBE and UNSUBSCRIBE begin with."""
    # [MQTT-3.8.1-1], [MQTT-3.10.1-1]; 3.1 has a DUP flag here, for a request that is sent again
    if flags != 0x02 and not (version == 3 and flags == 0x0A):
        raise MalformedPacket(f"reserved bits wrong in {kind.name}")
    cursor = Cursor(body)
    packet_id = cursor.packet_id()
    return cursor, packet_id, decode_properties(cursor, kind) if version == 5 else {}


def _pingreq(flags: int, body: bytes, version: int) -> Pingreq:
    if flags or body:  # [MQTT-2.2.2-2], [MQTT5-2.1.3-1]
        raise MalformedPacket("PINGREQ with flags or a body")
    return Pingreq()


def _disconnect(flags: int, body: bytes, version: int) -> Disconnect:
    if flags or (body and version < 5):  # [MQTT-3.14.1-1]
        raise MalformedPacket("DISCONNECT with flags or a body")
    return Disconnect(*_reason(Cursor(body), PacketType.DISCONNECT)) if body else Disconnect()


def _auth(flags: int, body: bytes, version: int) -> Auth:
    if version < 5:
        raise _not_from_a_client(PacketType.AUTH)
    if flags:  # [MQTT5-3.15.1-1]
        raise MalformedPacket("AUTH with flags")
    reason, properties = _reason(Cursor(body), PacketType.AUTH)
    if PropertyId.AUTHENTICATION_METHOD not in properties:
        raise ProtocolError("AUTH without its method")
    return Auth(reason, properties)


def _reason(cursor: Cursor, kind: PacketType) -> tuple[ReasonCode, Properties]:
    """Read a reason and properties, either of which a packet may end before."""
    value = 0 if cursor.at_end else cursor.byte()
    # [MQTT5-3.4.2-1], [MQTT5-3.5.2-1], [MQTT5-3.6.2-1], [MQTT5-3.7.2-1], [MQTT5-3.14.2-1], [MQTT5-3.15.2-1]
    if value not in _REASONS[kind]:
        raise ProtocolError(f"reason 0x{value:02x} in a client's {kind.name}")
    properties = {} if cursor.at_end else decode_properties(cursor, kind)
    if not cursor.at_end:
        raise MalformedPacket(f"bytes behind the properties of {kind.name}")
    return ReasonCode(value), properties


_DECODERS: dict[int, Callable[[int, bytes, int], Packet]] = {
    PacketType.CONNECT: _connect,
    PacketType.SUBSCRIBE: _subscribe,
    PacketType.UNSUBSCRIBE: _unsubscribe,
    PacketType.PINGREQ: _pingreq,
    PacketType.DISCONNECT: _disconnect,
    PacketType.AUTH: _auth,
}
