"""Columns of packet identifiers: many read from and written into packets of one size at a time."""

import struct

_HIGH = bytes(number >> 8 for number in range(65_536))
_LOW = bytes(number & 0xFF for number in range(65_536))


def read_column(data: bytes, at: int, end: int, length: int) -> bytes:
    """Collect the two bytes at `at` and at every `length` bytes behind it, up to `end`."""
    high, low = data[at:end:length], data[at + 1 : end : length]
    packet_ids = bytearray(2 * len(high))
    packet_ids[0::2], packet_ids[1::2] = high, low
    return bytes(packet_ids)


def write_consecutive(data: bytearray, at: int, length: int, first: int) -> None:
    """Write consecutive packet identifiers from `first` into packets of `length` bytes, `at` bytes behind the start."""
    end = first + len(data) // length
    data[at::length], data[at + 1 :: length] = _HIGH[first:end], _LOW[first:end]


def unpack_ids(packet_ids: bytes) -> tuple[int, ...]:
    """Give a column of packet identifiers as numbers."""
    return struct.unpack(f">{len(packet_ids) >> 1}H", packet_ids)


def find_zero(packet_ids: bytes) -> int:
    """Give the place of the first packet identifier 0, or -1."""
    if b"\0\0" not in packet_ids:
        return -1
    numbers = unpack_ids(packet_ids)
    return numbers.index(0) if 0 in numbers else -1


def encode_acks(first_two: bytes, packet_ids: bytes) -> bytes:
    """Encode a PUBACK, PUBREC, PUBREL or PUBCOMP without a reason for each; `first_two` are their fixed header."""
    data = bytearray(first_two + b"\0\0") * (len(packet_ids) >> 1)
    data[2::4], data[3::4] = packet_ids[0::2], packet_ids[1::2]
    return bytes(data)
