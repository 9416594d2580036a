"""Any split of the same bytes gives the same result, whatever the bytes."""

import sys
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.protocol.encode import encode_publish_head, encode_remaining_length
from wardenmq.broker.protocol.errors import MalformedPacket, MqttError
from wardenmq.broker.protocol.packets import Packet
from wardenmq.broker.protocol.reader import PacketReader
from wardenmq.broker.protocol.reason_codes import ReasonCode

from .build import CONNECT5, CONNECTS, block, connect, field, packet
from .packets5 import GOOD, HOLDERS_FIRST, HOLDERS_LATER
from .recorder import CONNECT, Recorder, read

topics = st.sampled_from([b"a", b"a/b", b"sensors/1/temperature", "größe".encode(), b"x" * 200])
payloads = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\x30\x03\x00\x01a", b"\x00" * 200]))
versions = st.sampled_from([3, 4, 5])


@st.composite
def publishes(draw: st.DrawFn) -> bytes:
    topic, payload = draw(topics), draw(payloads)
    first = draw(st.sampled_from([0x30, 0x30, 0x30, 0x31, 0x32, 0x3A, 0x34, 0x35]))
    packet_id = draw(st.integers(1, 65_535)).to_bytes(2, "big") if first & 6 else b""
    return packet(first, field(topic) + packet_id + payload) * draw(st.integers(1, 5))


good_ids = st.sampled_from([1, 2, 3, 255, 256, 512, 0x4002, 65_535])
bad_ids = st.sampled_from([1, 2, 255, 256, 512, 0])


@st.composite
def numbered(draw: st.DrawFn, version: int, packet_ids: st.SearchStrategy[int]) -> bytes:
    """Draw QoS 1 or 2 packets in a row that are alike but for identifier and payload."""
    topic, payload = draw(topics), draw(payloads)
    first = draw(st.sampled_from([0x32, 0x34, 0x33, 0x3A]))
    properties = block(GOOD["user property"]) if draw(st.booleans()) else block()
    middle = properties if version == 5 else b""
    row = [number.to_bytes(2, "big") for number in draw(st.lists(packet_ids, min_size=2, max_size=9))]
    return b"".join(packet(first, field(topic) + number + middle + payload) for number in row)


@st.composite
def acknowledgements(draw: st.DrawFn, packet_ids: st.SearchStrategy[int]) -> bytes:
    first = draw(st.sampled_from([0x40, 0x50, 0x62, 0x70]))
    row = draw(st.lists(packet_ids, min_size=2, max_size=9))
    return b"".join(bytes((first, 2)) + number.to_bytes(2, "big") for number in row)


message_properties = st.lists(
    st.sampled_from([GOOD[name] for name in HOLDERS_LATER["PUBLISH"][1]] + [b"\x26\x00\x01k\x00\xc8" + b"v" * 200]),
    max_size=4,
    unique=True,
)


@st.composite
def publishes5(draw: st.DrawFn) -> bytes:
    topic, payload, properties = draw(topics), draw(payloads), draw(message_properties)
    first = draw(st.sampled_from([0x30, 0x30, 0x30, 0x31, 0x32, 0x3A, 0x34, 0x35]))
    packet_id = draw(st.integers(1, 65_535)).to_bytes(2, "big") if first & 6 else b""
    one = packet(first, field(topic) + packet_id + block(*properties) + payload)
    if GOOD["topic alias"] in properties:
        one += packet(first, field(b"") + packet_id + block(GOOD["topic alias"]) + payload)
    return one * draw(st.integers(1, 5))


others = [
    b"\xc0\x00",
    b"\x40\x02\x00\x01",
    b"\x50\x02\xff\xff",
    b"\x62\x02\x00\x07",
    b"\x70\x02\x01\x00",
    b"\x82\x08\x00\x01\x00\x03a/#\x01",
    b"\xa2\x07\x00\x02\x00\x03a/#",
    b"\xe0\x00",
]
others5 = [
    *others[:5],
    b"\x40\x03\x00\x01\x10",
    *(
        holder(block(GOOD["authentication method"] if name == "AUTH" else b"", *(GOOD[kind] for kind in kinds[-1:])))
        for name, (holder, kinds) in HOLDERS_LATER.items()
    ),
    *(holder(block(GOOD["user property"])) for name, (holder, _) in HOLDERS_LATER.items() if name != "AUTH"),
]
connects5 = [connect(5, block(*(GOOD[kind] for kind in kinds))) for kinds in ([], HOLDERS_FIRST["CONNECT"][1])]


@st.composite
def streams(draw: st.DrawFn, version: int) -> bytes:
    """Draw a stream that is right from the CONNECT on."""
    packets = (
        st.one_of(publishes5(), numbered(5, good_ids), acknowledgements(good_ids), st.sampled_from(others5))
        if version == 5
        else st.one_of(publishes(), numbered(version, good_ids), acknowledgements(good_ids), st.sampled_from(others))
    )
    start = draw(st.sampled_from(connects5)) if version == 5 else CONNECTS[version]
    return start + b"".join(draw(st.lists(packets, max_size=12)))


any_streams = versions.flatmap(streams)
cuts_anywhere = st.lists(st.integers(0, 5_000), max_size=8)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    points = sorted({0, len(data), *(point % (len(data) + 1) for point in cuts)})
    return [data[a:b] for a, b in pairwise(points)]


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@given(any_streams, cuts_anywhere)
def test_valid_streams_read_alike_whole_in_pieces_and_byte_by_byte(data: bytes, cuts: list[int]) -> None:
    whole = read([data])
    assert whole.failure is None
    assert len(whole.found) >= 1
    for other in (
        read(cut(data, cuts)),
        read(single_bytes(data)),
        read([data], coalesce=False),
        read([data], tap=True),
        read([data], stop_every=1),
        read(cut(data, cuts), stop_every=2),
    ):
        assert other.failure is None
        assert other.found == whole.found


@given(
    any_streams,
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), max_size=4),
    st.lists(st.integers(0, 5_000)),
)
def test_mutated_streams_fail_alike_and_only_as_mqtt_errors(
    data: bytes, changes: list[tuple[int, int]], cuts: list[int]
) -> None:
    mutated = bytearray(data)
    for at, value in changes:
        mutated[at % len(mutated)] = value
    check_alike(bytes(mutated), cuts)


@given(any_streams, st.integers(0, 5_000), st.binary(max_size=8), st.integers(0, 8), st.lists(st.integers(0, 5_000)))
def test_streams_with_bytes_put_in_and_taken_out(
    data: bytes, at: int, inserted: bytes, removed: int, cuts: list[int]
) -> None:
    at %= len(data)
    check_alike(data[:at] + inserted + data[at + removed :], cuts)


@st.composite
def rows_with_zero(draw: st.DrawFn) -> bytes:
    """Draw rows in which packet identifiers may be 0, which ends a stream."""
    version = draw(versions)
    rows = st.one_of(numbered(version, bad_ids), acknowledgements(bad_ids))
    return CONNECTS[version] + b"".join(draw(st.lists(rows, max_size=4)))


@given(rows_with_zero(), st.lists(st.integers(0, 5_000)))
def test_a_packet_identifier_of_zero_ends_a_row_where_it_stands(data: bytes, cuts: list[int]) -> None:
    check_alike(data, cuts, limit=5_000)


def test_packets_that_are_alike_but_for_identifier_and_payload_are_handed_on_together() -> None:
    for version, middle in ((4, b""), (5, block(GOOD["user property"]))):
        row = [packet(0x32, field(b"a") + number.to_bytes(2, "big") + middle + b"payload") for number in range(1, 301)]
        other = packet(0x32, field(b"b") + b"\0\1" + middle + b"payload")
        sink = read([CONNECTS[version] + b"".join(row) + other + row[0] + row[1]])
        assert sink.numbered == [256, 44]
        assert len(sink.found) == 1 + 300 + 1 + 2


def test_acknowledgements_in_a_row_are_handed_on_together() -> None:
    row = [b"\x40\x02" + number.to_bytes(2, "big") for number in range(1, 301)]
    for start in (CONNECTS[4], CONNECTS[5]):
        sink = read([start + b"".join(row) + b"\x50\x02\0\1" + row[0] + row[1]])
        assert sink.acknowledged == [256, 44]  # two are not worth it
        assert len(sink.found) == 1 + 300 + 1 + 2


def test_packets_on_topics_that_go_the_same_way_are_handed_on_together() -> None:
    for version, middle in ((4, b""), (5, b"\0")):
        one, other = (packet(0x30, field(topic) + middle + b"1" * 9) for topic in (b"a", b"d"))
        third = packet(0x30, field(b"b") + middle)
        data = CONNECTS[version] + one + other + third + (one + other) * 9 + third * 2 + one
        sink = read([data])
        assert sink.parts == [(("two", "three"), 18), (("three", "one"), 2)]
        assert sink.found == read([data], coalesce=False).found


def test_packets_for_one_receiver_each_are_sorted() -> None:
    for version, middle in ((4, b""), (5, b"\0")):
        rows = [packet(0x30, field(b"abc"[n % 3 :][:1]) + middle + b"%d" % n) for n in range(33)]
        data = CONNECTS[version] + b"".join(rows)
        sink = read([data], alone=True)
        assert sorted(sink.parts) == [(("one",), 10), (("three",), 10), (("two",), 10)]
        assert by_topic(sink) == by_topic(read([data], coalesce=False))


def by_topic(sink: Recorder) -> list[object]:
    """Give what was found with the messages of QoS 0 in between sorted by topic, each topic's in their order."""
    found: list[object] = []
    messages: list[tuple[object, ...]] = []
    for item in [*sink.found, None]:
        if isinstance(item, tuple) and item[:2] == ("publish", 0):
            messages.append(item)
        else:
            found += [*sorted(messages, key=lambda message: str(message[2])), item]
            messages = []
    return found


@given(any_streams, cuts_anywhere)
def test_sorting_keeps_the_order_of_each_topic(data: bytes, cuts: list[int]) -> None:
    whole = read([data], coalesce=False)
    for other in (read([data], alone=True), read(cut(data, cuts), alone=True), read([data], alone=True, stop_every=2)):
        assert other.failure is None
        assert by_topic(other) == by_topic(whole)


@given(st.sampled_from([b"", *CONNECTS.values()]), st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_random_bytes_alone_and_behind_a_connect(start: bytes, data: bytes, cuts: list[int]) -> None:
    check_alike(start + data, cuts)


@given(versions, st.integers(1, 15), st.integers(0, 15), st.binary(max_size=60), st.lists(st.integers(0, 80)))
def test_every_packet_type_with_random_bodies(
    version: int, kind: int, flags: int, body: bytes, cuts: list[int]
) -> None:
    check_alike(CONNECTS[version] + packet(kind << 4 | flags, body) + b"\xc0\x00", cuts)


def check_alike(data: bytes, cuts: list[int], limit: int = 500) -> None:
    """Check that nothing but an `MqttError` escapes, that all readings agree, and that little is kept."""
    whole = read([data], limit=limit)
    single = read(single_bytes(data), limit=limit)
    pieces = read(cut(data, cuts), limit=limit)
    for other in (single, pieces, read([data], limit=limit, coalesce=False), read([data], limit=limit, stop_every=3)):
        assert other.failure == whole.failure
        assert other.found == whole.found
    for reading in (whole, single, pieces):
        assert reading.most_buffered < limit


@pytest.mark.parametrize("version", [3, 4, 5])
def test_what_waits_is_never_more_than_one_packet(version: int) -> None:
    """However much comes, and however it is cut; before the CONNECT as well as behind it."""
    body = field(b"t") + (b"\x00" if version == 5 else b"")
    one = packet(0x30, body + b"x" * (400 - len(body)))
    for step in (1, 7, 399, 403, 404, 1_000):
        data = CONNECTS[version] + one * 20
        sink = read([data[at : at + step] for at in range(0, len(data), step)], limit=len(one))
        assert sink.failure is None
        assert len(sink.found) == 21
        assert sink.most_buffered < len(one)


@given(any_streams, cuts_anywhere)
def test_a_tap_gets_the_packets_of_the_stream(data: bytes, cuts: list[int]) -> None:
    """Each whole packet once, in its order, its parts afterwards; nothing is coalesced then."""
    sink = read(cut(data, cuts), tap=True)
    assert b"".join(sink.tapped) == data
    assert len(sink.tapped) == len(sink.found)
    assert sink.runs == []


def test_a_tap_is_called_before_the_sink_and_once_the_version_is_known() -> None:
    events: list[tuple[str, int]] = []

    class Sink(Recorder):
        def packet(self, packet: Packet) -> bool | None:
            events.append((type(packet).__name__, reader.version))
            return None

    reader = PacketReader(Sink(), 1_000, tap=lambda packet: events.append((f"{packet[0]:02x}", reader.version)))
    assert reader.version == 4
    reader.receive_data(CONNECT5 + b"\xc0\x00")
    assert events == [("10", 5), ("Connect", 5), ("c0", 5), ("Pingreq", 5)]


def test_a_run_is_passed_on_as_one_slice() -> None:
    packet = encode_publish_head(0x30, b"a/b", 4) + b"data"
    other = encode_publish_head(0x30, b"a/c", 4) + b"data"
    assert read([CONNECT + packet * 100 + other + packet * 3]).runs == [100, 1, 3]


def test_a_run_ends_where_the_length_changes() -> None:
    short = encode_publish_head(0x30, b"a", 1) + b"1"
    longer = encode_publish_head(0x30, b"a", 2) + b"12"
    assert read([CONNECT + short * 2 + longer * 2]).runs == [2, 2]


def test_a_run_of_version_5_is_passed_on_as_one_slice() -> None:
    properties = block(GOOD["message expiry"], GOOD["user property"])
    one = packet(0x30, field(b"a/b") + properties + b"data")
    other_value = packet(0x30, field(b"a/b") + block(b"\x02\x00\x00\x00\x3d", GOOD["user property"]) + b"data")
    plain = packet(0x30, field(b"a/b") + b"\x00" + b"data")
    sink = read([CONNECT5 + one * 100 + other_value + plain * 3 + plain[:-1]])
    assert sink.runs == [100, 1, 3]
    assert sink.found[1] == ("publish", 0, "a/b", b"", b"data", 0, 60, GOOD["user property"])
    assert sink.found[-1] == ("publish", 0, "a/b", b"", b"data", 0, None, b"")


def test_a_run_of_version_5_ends_where_the_payload_begins_with_what_were_properties() -> None:
    """Two packets of one length and one topic, whose property lengths differ."""
    with_property = packet(0x30, field(b"a") + block(b"\x01\x01"))
    without = packet(0x30, field(b"a") + b"\x00" + b"\x01\x01")
    sink = read([CONNECT5 + with_property + without + with_property])
    assert sink.runs == [1, 1, 1]
    assert [found[4:] for found in sink.found[1:]] == [
        (b"", 0, None, b"\x01\x01"),
        (b"\x01\x01", 0, None, b""),
        (b"", 0, None, b"\x01\x01"),
    ]  # type: ignore[index]


def test_a_pubrel_of_3_1_may_be_repeated_with_dup() -> None:
    """MQTT 3.1, section 3.6; a flag that 3.1.1 took away [MQTT-3.6.1-1]."""
    assert read([CONNECTS[3] + b"\x6a\x02\x00\x01"]).found[1:] == [("acknowledgement", 6, b"\x00\x01", 0)]
    assert read([CONNECTS[4] + b"\x6a\x02\x00\x01"]).failure is not None


def test_long_remaining_lengths_of_3_1_1_are_read() -> None:
    """Only MQTT 5 demands the shortest form [MQTT5-1.5.5-1]."""
    assert len(read([b"\x10\x8d\x00" + CONNECT[2:] + b"\xc0\x80\x00"]).found) == 2


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


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_packet_may_be_as_long_as_the_limit_and_no_longer(version: int) -> None:
    """[MQTT5-3.2.2-15]: the fixed header counts, a CONNECT is measured too."""
    one = packet(0x30, field(b"t") + (b"\x00" if version == 5 else b"") + b"x" * 200)
    assert read([CONNECTS[version] + one], limit=len(one)).failure is None
    for data, limit in ((CONNECTS[version] + one, len(one) - 1), (CONNECTS[version], len(CONNECTS[version]) - 1)):
        failure = read([data], limit=limit).failure
        assert failure is not None
        assert failure[1] == ReasonCode.PACKET_TOO_LARGE


@pytest.mark.parametrize("first", [0x30, 0x31, 0x32, 0x34])
@pytest.mark.parametrize("coalesce", [True, False])
def test_properties_do_not_reach_into_the_next_packet(first: int, coalesce: bool) -> None:
    """The bytes behind the packet would be a property, if they were a part of it."""
    user = GOOD["user property"]
    head = field(b"a") + (b"\x00\x01" if first & 6 else b"")
    for length in (bytes((len(user),)), bytes((len(user) + 7,)), b"\x80\x01"):
        sink = read([CONNECT5 + packet(first, head + length) + user * 20], coalesce=coalesce)
        assert sink.failure == (MalformedPacket, ReasonCode.MALFORMED_PACKET, None)
        assert len(sink.found) == 1


def test_what_was_handed_on_is_not_kept() -> None:
    """While a client waits for its CONNACK, its password is not held here."""
    sink = Recorder(stop_every=1)
    reader = PacketReader(sink, 1_000)
    data = connect(4, b"", field(b"a") + field(b"u") + field(b"secret"), flags=0xC2)
    before = sys.getrefcount(data)
    reader.receive_data(data)
    assert reader.stopped
    assert sys.getrefcount(data) == before
    assert reader.buffered == 0


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
    assert held < 1.5 * len(packet)
    assert peak < 1.5 * len(packet)  # more, and all of it was copied at an arrival
    reader.receive_data(packet[-1:])
    assert len(sink.found) == 2
    assert reader.buffered == 0


def test_a_sink_that_stops_at_each_packet_costs_no_copies_of_the_rest() -> None:
    """Each `resume` goes on where the last one ended, in the same bytes."""
    data = packet(0x32, field(b"a") + b"\x00\x01" + b"x" * 4_000) * 200
    sink = Recorder(stop_every=1)
    reader = PacketReader(sink, 10_000, coalesce=False)
    reader.receive_data(CONNECT)
    reader.resume()
    reader.receive_data(data)
    assert reader.buffered == len(data) - len(data) // 200
    tracemalloc.start()
    reader.resume()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000
    reader.receive_data(b"\xc0\x00")
    for _ in range(199):
        reader.resume()
    assert len(sink.found) == 202
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
