"""Columns of packet identifiers come to what taking one identifier after the other comes to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.protocol.packet_ids import encode_acks, find_zero, read_column, unpack_ids, write_consecutive

any_ids = st.lists(st.one_of(st.sampled_from([0, 1, 255, 256, 512, 0xFF00, 65_535]), st.integers(0, 65_535)))


def column(numbers: list[int]) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in numbers)


@given(any_ids, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_column_is_read_out_of_packets_of_one_size(numbers: list[int], before: int, at: int, behind: int) -> None:
    packets = b"".join(b"\xaa" * at + number.to_bytes(2, "big") + b"\xbb" * behind for number in numbers)
    data = b"\xcc" * before + packets + b"\xdd" * 20
    assert read_column(data, before + at, before + len(packets), at + 2 + behind) == column(numbers)


@given(st.integers(1, 300), st.integers(1, 65_535), st.integers(0, 9), st.integers(0, 9))
def test_consecutive_identifiers_are_written_where_they_belong(count: int, first: int, at: int, behind: int) -> None:
    first = min(first, 65_536 - count)
    data = bytearray((b"\xaa" * at + b"\0\0" + b"\xbb" * behind) * count)
    write_consecutive(data, at, at + 2 + behind, first)
    assert data == b"".join(
        b"\xaa" * at + number.to_bytes(2, "big") + b"\xbb" * behind for number in range(first, first + count)
    )


@pytest.mark.parametrize(("first", "count"), [(1, 1), (65_535, 1), (255, 3), (65_280, 256), (1, 65_535)])
def test_consecutive_identifiers_at_their_borders(first: int, count: int) -> None:
    data = bytearray(2 * count)
    write_consecutive(data, 0, 2, first)
    assert bytes(data) == column(list(range(first, first + count)))
    assert unpack_ids(bytes(data)) == tuple(range(first, first + count))


@given(any_ids)
def test_a_column_gives_its_numbers_and_the_place_of_the_first_zero(numbers: list[int]) -> None:
    """Two zeros in a row may also belong to two identifiers, such as 256 and 1."""
    assert unpack_ids(column(numbers)) == tuple(numbers)
    assert find_zero(column(numbers)) == (numbers.index(0) if 0 in numbers else -1)


def test_zeros_of_two_identifiers_are_no_zero() -> None:
    assert find_zero(column([256, 1, 512, 2])) == -1
    assert find_zero(column([256, 1, 0, 0])) == 2


@given(st.sampled_from([b"\x40\2", b"\x50\2", b"\x62\2", b"\x70\2"]), any_ids)
def test_an_acknowledgement_is_made_of_each(first_two: bytes, numbers: list[int]) -> None:
    expected = b"".join(first_two + number.to_bytes(2, "big") for number in numbers)
    assert encode_acks(first_two, column(numbers)) == expected
