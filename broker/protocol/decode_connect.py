"""CONNECT of all three versions: the one packet that says by which rules it is to be read.

What 3.1 asks for differs in one point: flags that announce a user name or a password which is not there are valid,
for the sake of clients still older (MQTT 3.1, section 3.1). Its limit of 23 characters for a client identifier
binds clients; a longer one is accepted as in 3.1.1.
"""

from .cursor import Cursor, decode_topic_name
from .errors import MalformedPacket, MqttError, ProtocolError
from .packets import Connect, PacketType, Properties, Will
from .properties import PropertyId, decode_properties, decode_will_properties
from .reason_codes import ReasonCode

_VERSIONS = {("MQIsdp", 3), ("MQTT", 4), ("MQTT", 5)}
_STARTS = {len(name).to_bytes(2, "big") + name.encode() + bytes((version,)): version for name, version in _VERSIONS}
VERSION_END = max(map(len, _STARTS))
"""Bytes of a CONNECT's body that tell its version."""

_CLEAN_START = 0x02
_WILL = 0x04
_WILL_RETAIN = 0x20
_PASSWORD = 0x40
_USER_NAME = 0x80


def decode_connect(flags: int, body: bytes) -> Connect:
    """Decode a CONNECT; an error tells by `protocol_version` in what version to answer, once that is known."""
    cursor = Cursor(body)
    name = cursor.text()
    version = cursor.byte()
    if name not in ("MQTT", "MQIsdp"):  # [MQTT-3.1.2-1]
        raise ProtocolError("an unknown protocol name")
    if (name, version) not in _VERSIONS:  # [MQTT-3.1.2-2]
        raise ProtocolError(f"protocol level {version} is not supported", ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)
    try:
        if flags:  # [MQTT-2.2.2-2], [MQTT5-2.1.3-1]
            raise MalformedPacket("reserved bits set in CONNECT")
        return _connect(cursor, name, version)
    except MqttError as error:
        error.protocol_version = version
        raise


def announced_version(body: bytes) -> int | None:
    """Return the version that the first bytes of a CONNECT announce; None if it is none that is served."""
    return next((version for start, version in _STARTS.items() if body.startswith(start)), None)


def _connect(cursor: Cursor, name: str, version: int) -> Connect:
    options = cursor.byte()
    if options & 0x01:  # [MQTT-3.1.2-3]
        raise MalformedPacket("the reserved CONNECT flag is set")
    keep_alive = cursor.integer()
    properties = _properties(cursor) if version == 5 else {}
    # The payload in its order [MQTT-3.1.3-1]
    client_id = cursor.text()  # [MQTT-3.1.3-3], [MQTT-3.1.3-4]
    will = _will(cursor, options, version)
    has_username, has_password = bool(options & _USER_NAME), bool(options & _PASSWORD)
    if has_password and not has_username and version < 5:  # [MQTT-3.1.2-22]
        raise MalformedPacket("a password without a user name")
    username = password = None
    if has_username and not (version == 3 and cursor.at_end):  # [MQTT-3.1.2-19], [MQTT5-3.1.2-17]
        username = cursor.text()  # [MQTT-3.1.3-11], [MQTT5-3.1.3-12]
    if has_password and not (version == 3 and cursor.at_end):  # [MQTT-3.1.2-21], [MQTT5-3.1.2-19]
        password = cursor.binary()
    if not cursor.at_end:  # [MQTT-3.1.2-18], [MQTT-3.1.2-20], [MQTT5-3.1.2-16], [MQTT5-3.1.2-18]
        raise MalformedPacket("bytes behind the CONNECT payload")
    clean_start = bool(options & _CLEAN_START)
    return Connect(name, version, clean_start, keep_alive, client_id, username, password, will, properties)


def _properties(cursor: Cursor) -> Properties:
    properties = decode_properties(cursor, PacketType.CONNECT)
    if PropertyId.AUTHENTICATION_DATA in properties and PropertyId.AUTHENTICATION_METHOD not in properties:
        raise ProtocolError("authentication data without a method")
    return properties


def _will(cursor: Cursor, options: int, version: int) -> Will | None:
    qos, retain = (options >> 3) & 3, bool(options & _WILL_RETAIN)
    if not options & _WILL:
        # [MQTT-3.1.2-11], [MQTT-3.1.2-13], [MQTT-3.1.2-15], [MQTT5-3.1.2-11], [MQTT5-3.1.2-13]
        if qos or retain:
            raise MalformedPacket("will flags without a will")
        return None
    if qos == 3:  # [MQTT-3.1.2-14], [MQTT5-3.1.2-12]
        raise MalformedPacket("will QoS 3")
    delay, expiry, properties = 0, None, b""
    if version == 5:
        delay, expiry, properties = decode_will_properties(cursor.take(cursor.variable_integer()))
    # [MQTT-3.1.2-9], [MQTT5-3.1.2-9]: what the flag announces has to be there
    topic = decode_topic_name(cursor.binary())  # [MQTT-3.1.3-10], [MQTT5-3.1.3-11]
    return Will(topic, cursor.binary(), qos, retain, delay, expiry, properties)
