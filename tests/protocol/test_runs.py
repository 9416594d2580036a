"""How far packets that are alike reach, against the same said plainly, one packet after the other."""

from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.protocol.errors import MqttError
from wardenmq.broker.protocol.properties import decode_publish_properties
from wardenmq.broker.protocol.runs import Parts, Relay, end_of_acks, end_of_numbered, sort_relays

from .build import field, packet

ONE, OTHER, BOTH = Relay(("one",)), Relay(("other",)), Relay(("one", "other"))
RELAYS = {b"a": ONE, b"b": OTHER, b"c": BOTH, b"long" * 50: ONE, "ä".encode(): ONE}
NO_PROPERTIES = b"\0"


# -- packets of QoS 1 and 2


def plain_end(data: bytes, head: bytes, block: bytes, start: int, length: int, stop: int) -> int:
    while start <= stop:
        one = data[start : start + length]
        behind = one[len(head) + 2 :]
        if len(one) < length or not one.startswith(head) or not behind.startswith(block):
            break
        start += length
    return start


heads = st.sampled_from([b"\x32\x09\0\1a", b"\x34\x09\0\1a", b"\x32\x09\0\1b"])
blocks = st.sampled_from([b"", b"\0", b"\2\1\1"])


@given(
    heads,
    blocks,
    st.lists(st.tuples(heads, st.binary(min_size=2, max_size=2), blocks, st.binary(max_size=2)), max_size=8),
    st.integers(0, 3),
    st.integers(0, 120),
    st.integers(0, 10),
)
def test_packets_in_a_row_end_where_one_is_not_alike(
    head: bytes, block: bytes, rows: list[tuple[bytes, bytes, bytes, bytes]], before: int, stop: int, missing: int
) -> None:
    length = len(head) + 2 + len(block) + 2
    alike = [
        (first + number + middle + payload).ljust(length, b"x")[:length] for first, number, middle, payload in rows
    ]
    data = b"y" * before + b"".join(alike)
    data = data[: max(before, len(data) - missing)]
    found = end_of_numbered(data, head, block, before, length, stop)
    assert found == plain_end(data, head, block, before, length, stop)


# -- acknowledgements


def plain_end_of_acks(data: bytes, start: int) -> int:
    end = start
    while end - start < 4 * 256 and len(data) - end >= 4:
        one = data[end : end + 4]
        if one[:2] != bytes((data[start], 2)) or one[2:] == b"\0\0":
            break
        end += 4
    return end


kinds = st.sampled_from([0x40, 0x40, 0x40, 0x50, 0x62])
numbers = st.one_of(st.sampled_from([1, 2, 256, 512, 65_535, 0x4002]), st.integers(0, 65_535))
acknowledgement = st.builds(lambda first, number: bytes((first, 2)) + number.to_bytes(2, "big"), kinds, numbers)


@given(
    st.lists(st.one_of(acknowledgement, st.sampled_from([b"\x40\3\0\1\0", b"\x40\2\0", b""])), max_size=12),
    st.integers(0, 3),
    st.sampled_from([1, 1, 1, 260]),
)
def test_acknowledgements_in_a_row_end_at_another_kind_and_before_a_zero(
    rows: list[bytes], before: int, repeated: int
) -> None:
    data = b"\0" * before + b"\x40\2\0\1" * repeated + b"".join(rows)
    assert end_of_acks(data, before) == plain_end_of_acks(data, before)


# -- packets of QoS 0, sorted by where they go


def plain_sort(data: bytes, start: int, limit: int, version: int) -> tuple[int, list[tuple[Relay, bytes]]]:
    """Take packets one by one, as long as the order of what anybody receives stays."""
    found: list[tuple[Relay, bytes]] = []
    at = start
    while at < len(data):
        length, body = plain_length(data, at, version)
        one = data[at : body + length]
        if body == 0 or data[at] != 0x30 or len(one) < body + length - at or len(one) > limit or length < 2:
            break
        inner = data[body : body + length]
        size = int.from_bytes(inner[:2], "big")
        topic, rest = inner[2 : 2 + size], inner[2 + size :]
        if len(topic) < size or (version == 5 and not goes_on_as_it_is(rest)):
            break
        relay = RELAYS.get(topic)
        if relay is None or (found and relay is not found[-1][0] and not (relay.alone and found[-1][0].alone)):
            break
        found.append((relay, one))
        at += len(one)
    return at, found


def goes_on_as_it_is(rest: bytes) -> bool:
    """Tell whether what follows the topic begins with right properties without an alias, of up to 127 bytes."""
    if not rest or rest[0] > 0x7F or len(rest) <= rest[0]:
        return False
    try:
        return not decode_publish_properties(rest[1 : 1 + rest[0]]).topic_alias
    except MqttError:
        return False


def plain_length(data: bytes, at: int, version: int) -> tuple[int, int]:
    """Decode a remaining length of up to two bytes and where it ends; 0 where it is longer, or not there."""
    digits = data[at + 1 : at + 3]
    if digits[:1] and digits[0] < 0x80:
        return digits[0], at + 2
    if len(digits) < 2 or digits[1] >= 0x80 or (version == 5 and not digits[1]):
        return 0, 0
    return (digits[0] & 0x7F) + (digits[1] << 7), at + 3


topics = st.sampled_from([*RELAYS, b"a", b"b", b"unknown"])
payloads = st.sampled_from([b"", b"1", b"12345", b"\0", b"x" * 100, b"x" * 200, b"x" * 17_000])
odd = st.sampled_from(
    [
        b"\x31\4\0\1a1",
        b"\x32\5\0\1a\0\1",
        b"\xc0\0",
        b"\x30\2\0\1",
        b"\x30\3\0\2a",
        b"\x30\0",
        b"\x30\x84\0\0\1a\0",
        b"\x30\x84\x80\0\0\1a1",
        b"\x30\6\0\1a\2\1\1",
        b"\x30",
    ]
)


def user(name: bytes, value: bytes) -> bytes:
    return b"\x26" + field(name) + field(value)


properties = st.sampled_from(
    [
        NO_PROPERTIES,
        *(
            bytes((len(block),)) + block
            for block in (
                user(b"k", b"value"),
                user(b"k", b"") + user(b"", b"value"),
                user("ö".encode(), b"value"),
                user(b"k", b"\0"),
                user(b"\0", b""),
                user(b"k", b"\xff"),
                user(b"k", b"value") + b"\x01\x01",
                user(b"k", b"value")[:-1],
                user(b"k", b"value") + b"\x26\0",
                b"\x02\0\0\0\x05",
                b"\x23\0\x01",
                b"\x01\x02",
                b"\x0b\x01",
                b"\x7f",
            )
        ),
        b"\x05\x26\0",
        b"\x80\x00",
    ]
)


@st.composite
def streams(draw: st.DrawFn, middles: st.SearchStrategy[bytes]) -> tuple[bytes, int, int]:
    """Draw packets the first of which are relayed; with their end and number."""
    relayed, middle = draw(st.sampled_from([b"a", b"b", b"c"])), draw(middles)
    first = packet(0x30, field(relayed) + middle + draw(payloads)) * draw(st.integers(1, 3))
    count = plain_count(first)
    one = st.builds(
        lambda topic, middle, payload: packet(0x30, field(topic) + middle + payload), topics, middles, payloads
    )
    rest = b"".join(draw(st.lists(st.one_of(one, one, one, one, odd), max_size=10)))
    missing = draw(st.sampled_from([0, 0, 1, 3, 8]))
    return first + rest[: max(0, len(rest) - missing)], len(first), count


def plain_count(data: bytes) -> int:
    at = count = 0
    while at < len(data):
        length, shift, end = 0, 0, at + 1
        while True:
            digit, end = data[end], end + 1
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                break
        at, count = end + length, count + 1
    return count


def check_sorted(stream: tuple[bytes, int, int], before: int, limit: int, version: int) -> None:
    data, end, count = stream
    topic = data.index(b"\0\1", 1) + 2
    relay = RELAYS[data[topic : topic + 1]]
    behind, parts = sort_relays(
        b"\xff" * before + data, before, before + end, count, limit, RELAYS, relay, version == 5
    )
    at, found = plain_sort(data, end, limit, version)
    if found and found[0][0] is not relay and not (found[0][0].alone and relay.alone):
        at, found = end, []
    assert behind == before + at
    assert list(parts) == expected_parts(relay, data[:end], count, found)


def expected_parts(
    relay: Relay, first: bytes, count: int, found: list[tuple[Relay, bytes]]
) -> list[tuple[Relay, bytes, int]]:
    parts = {relay: (first, count)}
    for other, one in found:
        chunk, known = parts.get(other, (b"", 0))
        parts[other] = (chunk + one, known + 1)
    return [(other, chunk, known) for other, (chunk, known) in parts.items()]


limits = st.sampled_from([1_000_000, 1_000_000, 10, 150])


@given(streams(st.just(b"")), st.integers(0, 3), limits)
def test_packets_of_3_1_1_are_sorted_by_where_they_go(stream: tuple[bytes, int, int], before: int, limit: int) -> None:
    check_sorted(stream, before, limit, 4)


@given(streams(properties), st.integers(0, 3), limits)
def test_packets_of_version_5_are_sorted_by_where_they_go(
    stream: tuple[bytes, int, int], before: int, limit: int
) -> None:
    check_sorted(stream, before, limit, 5)


def test_a_relay_to_several_is_not_mixed_with_another() -> None:
    """Nobody may get the packets of two topics in another order than they came in."""
    a, b, c = (packet(0x30, field(topic) + b"1") for topic in (b"a", b"b", b"c"))
    end, parts = sort_relays(a + b + a + c + a, 0, len(a), 1, 100, RELAYS, ONE, False)
    assert end == 3 * len(a)
    assert list(parts) == [(ONE, a + a, 2), (OTHER, b, 1)]
    end, parts = sort_relays(c + c + a, 0, len(c), 1, 100, RELAYS, BOTH, False)
    assert end == 2 * len(c)
    assert list(parts) == [(BOTH, c + c, 2)]


def test_parts_keep_the_order_in_which_they_were_added() -> None:
    parts = Parts()
    for relay, chunk in ((ONE, b"1"), (OTHER, b"2"), (ONE, b"34"), (OTHER, b"5")):
        parts.add(relay, chunk, len(chunk))
    assert list(parts) == [(ONE, b"134", 3), (OTHER, b"25", 2)]
    assert list(Parts()) == []
    assert (ONE.alone, BOTH.alone) == (True, False)
