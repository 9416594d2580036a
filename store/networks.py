"""Peers' addresses and networks of them (CIDR): one spelling for each, and a table that is asked by address.

An IPv4 address that arrives mapped into IPv6 (`::ffff:10.0.0.1`, which is what a socket for both families reports) is
the IPv4 address; were it another, a ban would hold on one listener and not on the next.
"""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Generic, NamedTuple, TypeVar

from .errors import Invalid
from .names import shown

T = TypeVar("T")

_V4_BITS = 32
_V6_BITS = 128
_MAPPED = 0xFFFF
_ONE_CUSTOMER = {_V4_BITS: 32, _V6_BITS: 48}
"""What one customer may have many addresses in: of IPv6 a site gets up to so large a network."""
_PREFIX_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)


class Address(NamedTuple):
    """Hold an address as a number of 32 or 128 bits."""

    bits: int
    number: int

    def __str__(self) -> str:
        """Spell it in the canonical way."""
        return str(IPv4Address(self.number) if self.bits == _V4_BITS else IPv6Address(self.number))


@dataclass(frozen=True, slots=True)
class Network:
    """Hold the addresses that begin with the same `length` bits as `first`, whose other bits are 0."""

    first: Address
    length: int

    def __contains__(self, address: Address) -> bool:
        """Tell whether an address is in the network."""
        bits, number = self.first
        return address.bits == bits and (number ^ address.number) >> (bits - self.length) == 0

    def __str__(self) -> str:
        """Spell it in the canonical way, always with its length."""
        return f"{self.first}/{self.length}"


def read_address(text: str) -> Address | None:
    """Read an address; None where it is none, as for the peer of a Unix socket. The zone of an IPv6 one is left out."""
    try:
        if ":" not in text:
            return Address(_V4_BITS, int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big"))
        number = int.from_bytes(socket.inet_pton(socket.AF_INET6, text.partition("%")[0]), "big")
    except (OSError, ValueError):
        return None
    return Address(_V4_BITS, number & 0xFFFF_FFFF) if number >> _V4_BITS == _MAPPED else Address(_V6_BITS, number)


def network_of(peer_host: str) -> str:
    """Return what stands for all addresses of a peer's customer; the same for all peers that have no address."""
    address = read_address(peer_host)
    if address is None:
        return ""
    length = _ONE_CUSTOMER[address.bits]
    host_bits = address.bits - length
    return str(Network(Address(address.bits, address.number >> host_bits << host_bits), length))


def parse_address(text: str) -> Address:
    """Read an address that somebody wrote; raise Invalid where it is none."""
    address = read_address(text)
    if address is None:
        raise Invalid(f"'{shown(text)}' is not an IP address.")
    return address


def parse_network(text: str) -> Network:
    """Read a network that somebody wrote, such as `10.1.0.0/16`; an address alone is a network of one.

    Bits behind the length may be set and are cleared. Raises Invalid.
    """
    before, slash, after = text.partition("/")
    address = read_address(before)
    if address is None or (slash and not _PREFIX_LENGTH.fullmatch(after)):
        raise Invalid(f"'{shown(text)}' is not a network such as 10.1.0.0/16 or 2001:db8::/32.")
    written_bits = _V6_BITS if ":" in before else _V4_BITS
    # What is written as a mapped address counts its length from the front of all 128 bits.
    length = (int(after) if slash else written_bits) - (written_bits - address.bits)
    if not 0 <= length <= address.bits:
        raise Invalid(f"The length of the network '{shown(text)}' is out of range.")
    host_bits = address.bits - length
    return Network(Address(address.bits, address.number >> host_bits << host_bits), length)


class NetworkTable(Generic[T]):
    """Keep a value for each network; what covers an address is found by one look-up for each length in use."""

    def __init__(self) -> None:
        self._by_length: dict[int, dict[int, dict[int, T]]] = {_V4_BITS: {}, _V6_BITS: {}}

    def __bool__(self) -> bool:
        """Tell whether there is any network."""
        return any(self._by_length.values())

    def put(self, network: Network, value: T) -> None:
        """Keep a value in place of the one that the network had."""
        bits, number = network.first
        lengths = self._by_length[bits]
        if network.length not in lengths:
            # Longest first, so that the nearest network is found first.
            self._by_length[bits] = lengths = dict(sorted({**lengths, network.length: {}}.items(), reverse=True))
        lengths[network.length][number] = value

    def remove(self, network: Network) -> None:
        """Forget the network's value, if it has one."""
        bits, number = network.first
        lengths = self._by_length[bits]
        values = lengths.get(network.length, {})
        values.pop(number, None)
        if not values:
            lengths.pop(network.length, None)

    def covering(self, address: Address) -> Iterator[T]:
        """Give the values of the networks that the address is in, the smallest network's first."""
        bits, number = address
        for length, values in self._by_length[bits].items():
            host_bits = bits - length
            value = values.get(number >> host_bits << host_bits)
            if value is not None:
                yield value
