"""Any split of the same bytes gives the same result, whatever the bytes."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.protocol.encode import encode_publish_head, encode_remaining_length
from wardenmq.broker.protocol.errors import MqttError
from wardenmq.broker.protocol.reader import PacketReader

from .recorder import CONNECT, Recorder, read

topics = st.sampled_from([b"a", b"a/b", b"sensors/1/temperature", "größe".encode(), b"x" * 200])
payloads = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\x30\x03\x00\x01a", b"\x00" * 200]))


@st.composite
def publishes(draw: st.DrawFn) -> bytes:
    topic, payload = draw(topics), draw(payloads)
    first = draw(st.sampled_from([0x30, 0x30, 0x30, 0x31, 0x32, 0x3A, 0x34, 0x35]))
    packet_id = draw(st.integers(1, 65_535)).to_bytes(2, "big") if first & 6 else b""
    one = encode_publish_head(first, topic, len(payload)) + packet_id + payload
    return one * draw(st.integers(1, 5))


others = st.sampled_from(
    [
        b"\xc0\x00",
        b"\x40\x02\x00\x01",
        b"\x50\x02\xff\xff",
        b"\x62\x02\x00\x07",
        b"\x70\x02\x01\x00",
        b"\x82\x08\x00\x01\x00\x03a/#\x01",
        b"\xa2\x07\x00\x02\x00\x03a/#",
        b"\xe0\x00",
    ]
)
streams = st.lists(st.one_of(publishes(), others), max_size=12).map(lambda packets: CONNECT + b"".join(packets))


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    points = sorted({0, len(data), *(point % (len(data) + 1) for point in cuts)})
    return [data[a:b] for a, b in pairwise(points)]


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@given(streams, st.lists(st.integers(0, 5_000), max_size=8))
def test_valid_streams_read_alike_whole_in_pieces_and_byte_by_byte(data: bytes, cuts: list[int]) -> None:
    whole = read([data])
    assert whole.failure is None
    assert len(whole.found) >= 1
    for other in (
        read(cut(data, cuts)),
        read(single_bytes(data)),
        read([data], coalesce=False),
        read(cut(data, cuts), stop_every=2),
    ):
        assert other.failure is None
        assert other.found == whole.found


@given(
    streams,
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), max_size=4),
    st.lists(st.integers(0, 5_000)),
)
def test_mutated_streams_fail_alike_and_only_as_mqtt_errors(
    data: bytes, changes: list[tuple[int, int]], cuts: list[int]
) -> None:
    mutated = bytearray(data)
    for at, value in changes:
        mutated[at % len(mutated)] = value
    whole = read([bytes(mutated)], limit=500)
    for other in (read(cut(bytes(mutated), cuts), limit=500), read(single_bytes(bytes(mutated)), limit=500)):
        assert other.failure == whole.failure
        assert other.found == whole.found


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_random_bytes_behind_a_connect(data: bytes, cuts: list[int]) -> None:
    whole = read([CONNECT + data])
    pieces = read(cut(CONNECT + data, cuts))
    assert (pieces.found, pieces.failure) == (whole.found, whole.failure)


def test_a_run_is_passed_on_as_one_slice() -> None:
    packet = encode_publish_head(0x30, b"a/b", 4) + b"data"
    other = encode_publish_head(0x30, b"a/c", 4) + b"data"
    assert read([CONNECT + packet * 100 + other + packet * 3]).runs == [100, 1, 3]


def test_a_run_ends_where_the_length_changes() -> None:
    short = encode_publish_head(0x30, b"a", 1) + b"1"
    longer = encode_publish_head(0x30, b"a", 2) + b"12"
    assert read([CONNECT + short * 2 + longer * 2]).runs == [2, 2]


def test_a_payload_that_looks_like_a_packet_is_not_one() -> None:
    packet = encode_publish_head(0x30, b"a", 5) + b"\x30\x03\x00\x01a"
    assert read([CONNECT + packet * 2]).runs == [2]


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_remaining_length_at_its_borders(length: int) -> None:
    """[MQTT 3.1.1, 2.2.3]: table 2.4 of the specification."""
    encoded = encode_remaining_length(length)
    assert len(encoded) == 1 + (length > 127) + (length > 16_383) + (length > 2_097_151)
    topic = b"t"
    if length >= 3:
        data = CONNECT + b"\x30" + encoded + b"\x00\x01" + topic + b"x" * (length - 3)
        found = read([data], limit=3_000_000).found
        assert found[1] == ("publish", 0, "t", b"", b"x" * (length - 3))


def test_an_over_long_packet_is_refused_before_it_has_arrived() -> None:
    sink = Recorder()
    reader = PacketReader(sink, 100)
    reader.receive_data(CONNECT)
    with pytest.raises(MqttError):
        reader.receive_data(b"\x30\xff\xff\x7f")


def test_a_large_packet_byte_by_byte_costs_what_it_holds() -> None:
    """Bytes that wait are kept once, not once for each arrival."""
    packet = encode_publish_head(0x32, b"a", 300_000) + b"\x00\x01" + b"x" * 300_000
    sink = Recorder()
    reader = PacketReader(sink, 1_000_000)
    reader.receive_data(CONNECT)
    tracemalloc.start()
    for at in range(len(packet) - 1):
        reader.receive_data(packet[at : at + 1])
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reader.buffered == len(packet) - 1
    assert held < 2 * len(packet)
    assert peak < 4 * len(packet)
    reader.receive_data(packet[-1:])
    assert len(sink.found) == 2
    assert reader.buffered == 0


def test_a_stopped_reader_keeps_what_comes() -> None:
    sink = Recorder(stop_every=1)
    reader = PacketReader(sink, 1_000)
    reader.receive_data(CONNECT + b"\xc0\x00")
    reader.receive_data(b"\xc0\x00")
    assert len(sink.found) == 1
    reader.resume()
    assert len(sink.found) == 2
    reader.resume()
    assert len(sink.found) == 3
    assert reader.buffered == 0
