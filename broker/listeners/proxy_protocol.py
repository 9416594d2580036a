"""Read the PROXY protocol's header, versions 1 and 2, by which a proxy announces the client that it speaks for.

No I/O here: bytes come in, and out comes how many of them are the header's, so that not one byte more is taken off the
socket. The format is that of HAProxy's proxy-protocol.txt. Of version 2's type-length-value fields none is needed;
they are skipped, whatever they are.
"""

import ipaddress
from dataclasses import dataclass

_SIGNATURE_1 = b"PROXY "
_SIGNATURE_2 = b"\r\n\r\n\0\r\nQUIT\n"
_MAX_LINE = 107
"""Bytes of version 1's line, its end included."""
_FIXED = 16
"""Bytes of a version 2 header before its addresses."""
_LOCAL, _PROXY = 0, 1
_INET_STREAM, _INET6_STREAM, _UNIX_STREAM = 0x11, 0x21, 0x31
_ADDRESS_BYTES = {0: 0, 1: 12, 2: 36, 3: 216}
"""By address family: unspecified, IPv4, IPv6, Unix."""
_UNIX_PATH = 108


class ProxyProtocolError(ValueError):
    """Say what is wrong with a header."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a proxy announced; `source` is None where it speaks for itself or does not know the client."""

    source: tuple[str, int] | None


class ProxyHeaderParser:
    """Take one header in, in as many pieces as it comes; it is at most 65,551 bytes long."""

    def __init__(self) -> None:
        self.header: ProxyHeader | None = None
        """The result, once the header is complete."""
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> int:
        """Take bytes and return how many of them belong to the header: all of them, until it is complete.

        Raises ProxyProtocolError as soon as the bytes cannot be the beginning of a header.
        """
        if self.header is not None:
            return 0
        before = len(self._buffer)
        self._buffer += data
        if self._begins_with(_SIGNATURE_1):
            end = self._read_line()
        elif self._begins_with(_SIGNATURE_2):
            end = self._read_binary()
        else:
            raise ProxyProtocolError("it begins with something else")
        return len(data) if end is None else end - before

    def _begins_with(self, signature: bytes) -> bool:
        begun = bytes(self._buffer[: len(signature)])
        return signature.startswith(begun)

    def _read_line(self) -> int | None:
        """Read version 1; return where it ends, None where it has not come yet."""
        end = self._buffer.find(b"\n", 0, _MAX_LINE) + 1
        if not end:
            if len(self._buffer) >= _MAX_LINE:
                raise ProxyProtocolError("its line does not end")
            return None
        line = bytes(self._buffer[:end])
        if not line.endswith(b"\r\n"):
            raise ProxyProtocolError("its line ends without a carriage return")
        self.header = ProxyHeader(_source_of_line(line[:-2]))
        return end

    def _read_binary(self) -> int | None:
        """Read version 2; return where it ends, None where it has not come yet."""
        if len(self._buffer) < _FIXED:
            return None
        version_command, family, length = self._buffer[12], self._buffer[13], int.from_bytes(self._buffer[14:16], "big")
        if version_command >> 4 != 2:
            raise ProxyProtocolError(f"version {version_command >> 4} is unknown")
        command = version_command & 15
        if command not in (_LOCAL, _PROXY):
            raise ProxyProtocolError(f"command {command} is unknown")
        # What a proxy says of itself (a health check) is not looked at, addresses included.
        if command == _PROXY and (family >> 4 not in _ADDRESS_BYTES or family & 15 > 2):
            raise ProxyProtocolError(f"address family {family:#04x} is unknown")
        if command == _PROXY and length < _ADDRESS_BYTES[family >> 4]:
            raise ProxyProtocolError("it is too short for its addresses")
        end = _FIXED + length
        if len(self._buffer) < end:
            return None
        self.header = ProxyHeader(
            _source_of_addresses(family, bytes(self._buffer[_FIXED:end])) if command == _PROXY else None
        )
        return end


def _source_of_line(line: bytes) -> tuple[str, int] | None:
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return None  # what follows is to be ignored
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyProtocolError("its line is not understood")
    try:
        addresses = [_address(word) for word in words[2:4]]
        ports = [_port(word) for word in words[4:]]
    except ValueError:
        raise ProxyProtocolError("its line has no valid addresses") from None
    version = 4 if words[1] == b"TCP4" else 6
    if any(address.version != version for address in addresses):
        raise ProxyProtocolError("its line has addresses of another family")
    return _plain(addresses[0]), ports[0]


def _address(word: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if b"%" in word:  # the scope behind it could be any text
        raise ValueError
    return ipaddress.ip_address(word.decode("ascii"))


def _port(word: bytes) -> int:
    if not (word.isdigit() and len(word) <= 5 and int(word) <= 65_535):
        raise ValueError
    return int(word)


def _source_of_addresses(family: int, block: bytes) -> tuple[str, int] | None:
    if family == _INET_STREAM:
        return _plain(ipaddress.IPv4Address(block[:4])), int.from_bytes(block[8:10], "big")
    if family == _INET6_STREAM:
        return _plain(ipaddress.IPv6Address(block[:16])), int.from_bytes(block[32:34], "big")
    if family == _UNIX_STREAM:
        path = block[:_UNIX_PATH].partition(b"\0")[0].decode("utf-8", "replace")
        return "unix:" + "".join(letter if letter.isprintable() else "?" for letter in path), 0
    return None  # unspecified, or datagrams: nothing that a stream of ours could have come from


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Format an address; an IPv4 address dressed up as IPv6 is the former, so that rules for it apply."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
