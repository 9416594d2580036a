"""Packets as one line of text each, for traces: passwords and authentication data never, payloads as it is wanted.

What clients send may hold anything: no control character of theirs gets into a line.
"""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from re import compile as compile_pattern

from ..protocol.cursor import Cursor
from ..protocol.errors import MqttError
from ..protocol.packets import PacketType, Properties
from ..protocol.properties import PropertyId, parse_properties
from ..protocol.variable_integer import decode_varint
from .definition import PayloadEncode

HIDDEN = "******"
MOST_SHOWN = 1_024
"""Bytes of a payload, and characters of any other field, that are shown."""
_SECRET = frozenset((PropertyId.AUTHENTICATION_DATA,))
_CONTENT = frozenset((PropertyId.USER_PROPERTY, PropertyId.CORRELATION_DATA))
"""Properties that are the application's, as its payloads are."""
_TOKEN = compile_pattern(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
"""Three parts in base64url; the first one is an object of JSON."""
_UNREADABLE = (MqttError, ValueError, LookupError)


def printable(text: str) -> str:
    """Escape what would break a line, and cut what is very long."""
    cut = text[:MOST_SHOWN]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut)
    return cut if len(text) <= MOST_SHOWN else f"{cut}...({len(text)} characters)"


def show_username(username: str) -> str:
    """Show a user name, unless it is a signed token: JWTs may come in its place, and whoever has one is let in."""
    found = _TOKEN.fullmatch(username.strip())
    if found is not None:
        header = urlsafe_b64decode(found[1][: len(found[1]) // 4 * 4])
        if header.lstrip().startswith(b"{"):
            return HIDDEN
    return printable(username)


def show_payload(payload: bytes, encode: PayloadEncode) -> str:
    """Write a payload as text, as hexadecimal digits, or not at all; of a long one the beginning."""
    if encode == "hidden":
        return HIDDEN
    cut = payload[:MOST_SHOWN]
    shown = cut.hex().upper() if encode == "hex" else printable(cut.decode("utf-8", "backslashreplace"))
    return shown if len(payload) <= MOST_SHOWN else f"{shown}...({len(payload)} bytes)"


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Take whole packets apart: the first byte and what follows the fixed header of each."""
    start = 0
    while start + 1 < len(data):
        length, body = decode_varint(data, start + 1)
        yield data[start], data[body : body + length]
        start = body + length


def describe_packets(data: bytes, version: int, encode: PayloadEncode) -> Iterator[str]:
    """Describe whole packets, one or several, of a connection that speaks this version."""
    for first_byte, body in split(data):
        yield describe(first_byte, body, version, encode)


def describe(first_byte: int, body: bytes, version: int, encode: PayloadEncode) -> str:
    """Describe one packet; what cannot be read of it is said to be malformed."""
    kind = first_byte >> 4
    name = PacketType(kind).name if kind else "RESERVED"
    header = f"Q{first_byte >> 1 & 3}, R{first_byte & 1}, D{first_byte >> 3 & 1}"
    if kind != PacketType.PUBLISH:
        header = "Q0, R0, D0"
    reader = _READERS.get(kind)
    if reader is None:
        return f"{name}({header})"
    try:
        fields = reader(Cursor(body), version, first_byte, encode)
    except _UNREADABLE:
        fields = [f"malformed, {len(body)} bytes"]
    return f"{name}({', '.join([header, *fields])})"


def _connect(cursor: Cursor, _version: int, _first: int, encode: PayloadEncode) -> list[str]:
    protocol, version, flags, keep_alive = cursor.text(), cursor.byte() & 0x7F, cursor.byte(), cursor.integer()
    properties = _properties(cursor, PacketType.CONNECT, version, encode)
    fields = [
        f"ClientId={printable(cursor.text())}",
        f"ProtoName={printable(protocol)}",
        f"ProtoVsn={version}",
        f"CleanStart={'true' if flags & 2 else 'false'}",
        f"KeepAlive={keep_alive}",
    ]
    will: list[str] = []
    if flags & 4:
        will_properties = _properties(cursor, PacketType.CONNECT, version, encode, will=True)
        topic, payload = printable(cursor.text()), show_payload(cursor.binary(), encode)
        inner = [f"Q{flags >> 3 & 3}", f"R{flags >> 5 & 1}", f"Topic={topic}", *will_properties, f"Payload={payload}"]
        will = [f"Will({', '.join(inner)})"]
    if flags & 0x80:
        fields.append(f"Username={show_username(cursor.text())}")
    if flags & 0x40:
        fields.append(f"Password={HIDDEN}")
    return [*fields, *properties, *will]


def _connack(cursor: Cursor, version: int, _first: int, encode: PayloadEncode) -> list[str]:
    fields = [f"AckFlags={cursor.byte()}", f"ReasonCode={cursor.byte()}"]
    return fields + _properties(cursor, PacketType.CONNACK, version, encode)


def _publish(cursor: Cursor, version: int, first: int, encode: PayloadEncode) -> list[str]:
    fields = [f"Topic={printable(cursor.text())}"]
    if first & 0x06:
        fields.append(f"PacketId={cursor.integer()}")
    fields += _properties(cursor, PacketType.PUBLISH, version, encode)
    return [*fields, f"Payload={show_payload(cursor.body[cursor.position :], encode)}"]


def _acknowledgement(cursor: Cursor, version: int, first: int, encode: PayloadEncode) -> list[str]:
    fields = [f"PacketId={cursor.integer()}", f"ReasonCode={0 if cursor.at_end else cursor.byte()}"]
    return fields + _properties(cursor, PacketType(first >> 4), version, encode)


def _subscribe(cursor: Cursor, version: int, _first: int, encode: PayloadEncode) -> list[str]:
    identifier = f"PacketId={cursor.integer()}"
    properties = _properties(cursor, PacketType.SUBSCRIBE, version, encode)
    filters: list[str] = []
    while not cursor.at_end:
        topic_filter, options = printable(cursor.text()), cursor.byte()
        shown = f"{topic_filter}(QoS={options & 3}"
        if version == 5:
            shown += f", NL={options >> 2 & 1}, RAP={options >> 3 & 1}, RH={options >> 4 & 3}"
        filters.append(shown + ")")
    return [identifier, *properties, f"TopicFilters=[{', '.join(filters)}]"]


def _suback(cursor: Cursor, version: int, first: int, encode: PayloadEncode) -> list[str]:
    identifier = f"PacketId={cursor.integer()}"
    properties = _properties(cursor, PacketType(first >> 4), version, encode)
    codes = list(cursor.body[cursor.position :])
    return [identifier, *properties, f"ReasonCodes={codes}"] if codes else [identifier, *properties]


def _unsubscribe(cursor: Cursor, version: int, _first: int, encode: PayloadEncode) -> list[str]:
    identifier = f"PacketId={cursor.integer()}"
    properties = _properties(cursor, PacketType.UNSUBSCRIBE, version, encode)
    filters: list[str] = []
    while not cursor.at_end:
        filters.append(printable(cursor.text()))
    return [identifier, *properties, f"TopicFilters=[{', '.join(filters)}]"]


def _reason(cursor: Cursor, version: int, first: int, encode: PayloadEncode) -> list[str]:
    fields = [f"ReasonCode={0 if cursor.at_end else cursor.byte()}"]
    return fields + _properties(cursor, PacketType(first >> 4), version, encode)


def _properties(
    cursor: Cursor, packet: PacketType, version: int, encode: PayloadEncode, *, will: bool = False
) -> list[str]:
    if version != 5 or cursor.at_end:
        return []
    found = parse_properties(cursor.take(cursor.variable_integer()), packet, will=will)
    return [f"Properties={_show_properties(found, encode)}"] if found else []


def _show_properties(properties: Properties, encode: PayloadEncode) -> str:
    shown: list[str] = []
    for identifier, value in properties.items():
        name = PropertyId(identifier).name.title().replace("_", "-")
        if identifier in _SECRET or (encode == "hidden" and identifier in _CONTENT):
            text = HIDDEN
        elif isinstance(value, bytes):
            text = show_payload(value, encode)
        else:
            text = printable(str(value))
        shown.append(f"{name}: {text}")
    return "{" + ", ".join(shown) + "}"


_READERS: dict[int, Callable[[Cursor, int, int, PayloadEncode], list[str]]] = {
    PacketType.CONNECT: _connect,
    PacketType.CONNACK: _connack,
    PacketType.PUBLISH: _publish,
    PacketType.PUBACK: _acknowledgement,
    PacketType.PUBREC: _acknowledgement,
    PacketType.PUBREL: _acknowledgement,
    PacketType.PUBCOMP: _acknowledgement,
    PacketType.SUBSCRIBE: _subscribe,
    PacketType.SUBACK: _suback,
    PacketType.UNSUBSCRIBE: _unsubscribe,
    PacketType.UNSUBACK: _suback,
    PacketType.DISCONNECT: _reason,
    PacketType.AUTH: _reason,
}
