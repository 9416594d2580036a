"""Topic aliases against plain dictionaries, and what happens at their bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.protocol.errors import ProtocolError
from wardenmq.broker.protocol.reason_codes import ReasonCode
from wardenmq.broker.topic_aliases import IncomingAliases, OutgoingAliases

TOPICS = st.sampled_from([b"a", b"b", b"a/b", "ä".encode()])


def test_an_alias_stands_for_the_topic_it_was_given_last() -> None:
    aliases = IncomingAliases(2)
    assert aliases.resolve(1, b"a") == b"a"
    assert aliases.resolve(2, b"b") == b"b"  # [MQTT-3.3.2-12]: the maximum itself is allowed
    assert aliases.resolve(1, b"") == b"a"
    assert aliases.resolve(1, b"c") == b"c"
    assert [aliases.resolve(alias, b"") for alias in (1, 2, 1)] == [b"c", b"b", b"c"]


@pytest.mark.parametrize("topic", [b"", b"a"])
@pytest.mark.parametrize(("maximum", "alias"), [(2, 3), (2, 65_535), (2, 0), (0, 1), (0, 0)])
def test_an_alias_out_of_range_is_invalid(maximum: int, alias: int, topic: bytes) -> None:
    """[MQTT-3.3.2-8], [MQTT-3.3.2-9]: the topic that comes along does not help."""
    with pytest.raises(ProtocolError) as caught:
        IncomingAliases(maximum).resolve(alias, topic)
    assert caught.value.reason is ReasonCode.TOPIC_ALIAS_INVALID


def test_an_alias_that_stands_for_nothing_is_a_protocol_error() -> None:
    aliases = IncomingAliases(5)
    aliases.resolve(1, b"a")
    with pytest.raises(ProtocolError) as caught:
        aliases.resolve(2, b"")
    assert caught.value.reason is ReasonCode.PROTOCOL_ERROR


def test_aliases_end_with_their_connection() -> None:
    """[MQTT-3.3.2-7]: each connection has a map of its own, and the next one begins empty."""
    IncomingAliases(5).resolve(1, b"a")
    with pytest.raises(ProtocolError):
        IncomingAliases(5).resolve(1, b"")
    OutgoingAliases(5).find(b"a")
    assert OutgoingAliases(5).find(b"a") == (1, False)


def test_the_first_topics_get_the_aliases() -> None:
    """[MQTT-3.1.2-26], [MQTT-3.3.2-11]: never more than the client allows."""
    aliases = OutgoingAliases(2)
    assert [aliases.find(topic) for topic in (b"a", b"b", b"c", b"a", b"c", b"b")] == [
        (1, False),
        (2, False),
        (0, False),
        (1, True),
        (0, False),
        (2, True),
    ]


def test_a_client_without_aliases_gets_none() -> None:
    """[MQTT-3.1.2-27]."""
    aliases = OutgoingAliases(0)
    assert [aliases.find(topic) for topic in (b"a", b"a")] == [(0, False), (0, False)]


@given(st.integers(0, 3), st.integers(0, 3), st.lists(TOPICS))
def test_what_is_sent_with_aliases_arrives_as_it_was(outgoing: int, incoming: int, topics: list[bytes]) -> None:
    """Let one side send and the other resolve: the receiver sees the topics, and no alias that it did not allow."""
    sender, receiver = OutgoingAliases(min(outgoing, incoming)), IncomingAliases(incoming)
    for topic in topics:
        alias, known = sender.find(topic)
        sent = b"" if known else topic
        assert (receiver.resolve(alias, sent) if alias else sent) == topic
