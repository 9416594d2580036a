"""A run of messages: encoded for every kind of receiver as each of its messages would be by itself."""

import gc
import tracemalloc
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.message import Message
from wardenmq.broker.message_run import MessageRun

from . import wire, wire5
from .packets5 import P, encode_property

EXPIRY_LEFT = 10
USER = encode_property(P.USER, ("name", "value"))
IDENTIFIER = encode_property(P.SUBSCRIPTION_ID, 200)


@dataclass(frozen=True)
class Source:
    """What a publisher sent in a row."""

    topic: str
    payloads: tuple[bytes, ...]
    qos: int = 1
    version: int = 4
    user: bool = False
    expires: bool = False

    def properties(self, identifier: int | None = None, *, told: int | None = None) -> list[tuple[int, object]]:
        """Give what a version 5 receiver is to get; with the expiry that is told."""
        expiry = [] if told is None else [(P.MESSAGE_EXPIRY, told)]
        own = [] if identifier is None else [(P.SUBSCRIPTION_ID, identifier)]
        return [*expiry, *own, *([(P.USER, ("name", "value"))] if self.user else [])]

    def packets(self, *, first_id: int = 7) -> list[bytes]:
        fields = {"properties": self.properties(told=60 if self.expires else None)} if self.version == 5 else {}
        build = wire5 if self.version == 5 else wire
        numbered = enumerate(self.payloads, first_id)
        return [build.publish(self.topic, payload, self.qos, number, **fields) for number, payload in numbered]

    def run(self, *, native: bool = True) -> MessageRun:
        data = self.packets()
        body = len(data[0]) - len(self.payloads[0])
        head = len(data[0]) - len(self.payloads[0]) - 2
        if self.version == 5:
            head -= len(wire5.property_block(self.properties(told=60 if self.expires else None)))
        return MessageRun(
            self.topic,
            self.topic.encode(),
            "publisher",
            self.qos,
            b"".join(data),
            len(data),
            head,
            body,
            USER if self.user else b"",
            1_000.0 + EXPIRY_LEFT if self.expires else None,
            (0x30 | self.qos << 1, self.version == 5) if native and not self.expires else None,
        )

    def expected(self, qos: int, version: int, first_id: int, identifier: int | None = None) -> bytes:
        """Build by hand what a receiver is to get."""
        numbers = range(first_id, first_id + len(self.payloads))
        if version == 5:
            told = EXPIRY_LEFT if self.expires else None
            fields = {"properties": self.properties(identifier, told=told)}
            build = wire5
        else:
            fields, build = {}, wire
        pairs = zip(self.payloads, numbers, strict=True)
        return b"".join(
            build.publish(self.topic, payload, qos, number if qos else None, **fields) for payload, number in pairs
        )


sizes = st.sampled_from([0, 1, 5, 110, 117, 118, 119, 120, 121, 122, 123, 124, 125, 16_370, 16_375, 16_380])


@st.composite
def sources(draw: st.DrawFn) -> Source:
    size, count = draw(sizes), draw(st.integers(1, 6))
    payloads = tuple(bytes([65 + number]) * size for number in range(count))
    version = draw(st.sampled_from([4, 5]))
    five = version == 5
    topic = draw(st.sampled_from(["t", "a/ä/€", "x" * 120]))
    return Source(
        topic, payloads, draw(st.integers(1, 2)), version, five and draw(st.booleans()), five and draw(st.booleans())
    )


@given(
    sources(),
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([3, 4, 5]), st.booleans(), st.integers(1, 65_000)), max_size=6
    ),
    st.booleans(),
)
def test_every_receiver_gets_what_is_built_by_hand(
    source: Source, receivers: list[tuple[int, int, bool, int]], native: bool
) -> None:
    """For one run in all the forms that its receivers take it in, one after the other."""
    run = source.run(native=native)
    for granted, version, identified, first_id in receivers:
        qos = min(granted, source.qos)
        extra = b""
        if version == 5:
            extra = run.expiry_property(1_000.0) + (IDENTIFIER if identified else b"")
        template = run.template(0x30 | qos << 1, version, extra)
        data = template.numbered(0, len(source.payloads), first_id) if qos else template.data
        identifier = 200 if identified and version == 5 else None
        assert data == source.expected(qos, version, first_id, identifier)


@given(sources())
def test_the_messages_are_what_each_would_be_by_itself(source: Source) -> None:
    run = source.run()
    assert run.payloads == list(source.payloads)
    expires_at = 1_000.0 + EXPIRY_LEFT if source.expires else None
    for message, payload in zip(run.messages, source.payloads, strict=True):
        alone = Message(
            source.topic, payload, source.qos, False, "publisher", None, USER if source.user else b"", expires_at
        )
        for name in (
            "topic",
            "topic_bytes",
            "payload",
            "qos",
            "retain",
            "sender",
            "properties",
            "expires_at",
            "weight",
        ):
            assert getattr(message, name) == getattr(alone, name), name
        assert message.weight == run.weight
    assert run.messages is run.messages
    assert (run.expires_at, run.count) == (expires_at, len(source.payloads))


@given(sources(), st.integers(0, 5), st.integers(1, 6))
def test_some_of_the_messages_are_numbered_by_themselves(source: Source, at: int, count: int) -> None:
    at = min(at, len(source.payloads) - 1)
    count = min(count, len(source.payloads) - at)
    run = source.run()
    some = replace(source, payloads=source.payloads[at : at + count])
    for version in (4, 5):
        extra = run.expiry_property(1_000.0) if version == 5 else b""
        template = run.template(0x30 | source.qos << 1, version, extra)
        assert template.numbered(at, count, 9) == some.expected(source.qos, version, 9)
        assert template.numbered(0, len(source.payloads), 9) == source.expected(source.qos, version, 9)


def test_what_goes_on_as_it_came_is_not_encoded() -> None:
    for version in (4, 5):
        source = Source("t", (b"a", b"b"), 1, version, user=version == 5)
        run = source.run()
        data = b"".join(source.packets())
        assert run.template(0x32, version).data == data
        assert run._payloads is None
        assert run.template(0x34, version).data != data
        assert run.template(0x32, 9 - version).data != data


def test_the_forms_that_were_asked_for_last_are_kept_until_the_run_is_settled() -> None:
    """One for MQTT 5 and one for the others, whoever asks in between."""
    run = Source("t", (b"a", b"b"), 2, 5, user=True).run()
    first, other = run.template(0x32, 5, IDENTIFIER), run.template(0x32, 4)
    assert run.template(0x32, 5, IDENTIFIER) is first
    assert run.template(0x32, 3) is other
    assert run.template(0x32, 5) is not first
    again = run.template(0x32, 5, IDENTIFIER)
    assert again.data == first.data
    assert again.numbered(0, 2, 65_534) == first.numbered(0, 2, 65_534)
    run.settle()
    assert run.template(0x32, 4) is not other
    assert run.template(0x32, 4).data == other.data
    assert run.payloads == [b"a", b"b"]


@pytest.mark.parametrize("version", [4, 5])
def test_a_settled_run_holds_its_bytes_and_no_more(version: int) -> None:
    """Whatever was asked of it; the messages by themselves it keeps, where anybody needs them."""
    payloads = tuple(b"%0*d" % (200, number) for number in range(250))
    run = Source("t", payloads, 1, version).run()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for receiver in (4, 5):
        run.template(0x30, receiver)
        run.template(0x32, receiver).numbered(0, 250, 1)
    run.settle()
    more = tracemalloc.get_traced_memory()[0] - before
    assert len(run.messages) == 250
    run.settle()
    with_messages = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert more < 1_000
    assert with_messages < 250 * (200 + 250)
