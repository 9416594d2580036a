"""What was sent, acknowledged and received in a crash test, and what the standard says of these three together.

All that happens to a test's clients has a place on one time-line, in ticks: the next thing has the next tick. A
publish was taken by the server at some moment between the tick at which it was first sent and the one at which its
acknowledgement came, and a subscription began to count between SUBSCRIBE and SUBACK. So what a subscriber must get,
and what it must not, is known without knowing when the server did what.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from typing import NamedTuple

from paho.mqtt.client import topic_matches_sub

_HEAD = struct.Struct("!HI")
SMALLEST = 10
"""Bytes of the smallest payload that tells whose it is and is not the same as another's."""


class Key(NamedTuple):
    """Which message: the publisher's number, and the message's among the publisher's."""

    publisher: int
    number: int


def payload_of(key: Key, size: int) -> bytes:
    """Give the payload of a message: its key, then bytes that no other message has."""
    head = _HEAD.pack(*key)
    return (head + blake2b(head).digest() * (size // 64 + 1))[:size]


def key_of(payload: bytes) -> Key:
    """Read whose payload it is."""
    assert len(payload) >= SMALLEST, f"a payload of {len(payload)} bytes that nobody sent"
    return Key(*_HEAD.unpack_from(payload))


@dataclass(slots=True)
class Publication:
    """One message on its way to the server."""

    key: Key
    topic: str
    size: int
    qos: int
    retain: bool
    sent_at: int
    """Tick at which it was first sent."""
    acknowledged_at: int | None = None
    """Tick of the PUBACK or PUBCOMP."""
    sent_again: bool = False

    @property
    def payload(self) -> bytes:
        """The bytes; of size 0 it is what deletes a retained message."""
        return payload_of(self.key, self.size)


@dataclass(slots=True)
class Reception:
    """One message given to a subscriber's application."""

    at: int
    subscriber: str
    packet_id: int
    connection: int
    qos: int
    certain: bool = False
    """Whether the message was sent, the first time, after the SUBACK: then every copy of it was for the subscriber."""


@dataclass(slots=True)
class Gap:
    """Ticks between an UNSUBACK, or the CONNACK of a new session, and the SUBSCRIBE after it."""

    begin: int
    end: int | None = None


@dataclass(slots=True)
class Audience:
    """A subscriber, or the members of a group, and what is owed to it."""

    name: str
    filters: dict[str, int]
    """The QoS of each topic filter; no topic matches two of them."""
    shared: bool = False
    since: int | None = None
    """Tick of the SUBACK from which on everything is owed; None while not subscribed for certain."""
    born_at: int = 0
    """Tick at which the client asked for the session that it has."""
    gaps: list[Gap] = field(default_factory=list)
    lacking: dict[Key, Publication] = field(default_factory=dict)
    """Acknowledged, owed and not there yet."""
    receptions: dict[Key, list[Reception]] = field(default_factory=dict)
    _qos: dict[str, int | None] = field(default_factory=dict)

    def qos_of(self, topic: str) -> int | None:
        """Give the QoS of the filter that matches a topic; None if none does."""
        if topic not in self._qos:
            matching = [qos for name, qos in self.filters.items() if topic_matches_sub(name, topic)]
            assert len(matching) < 2, f"{self.name} subscribes to {topic} twice"
            self._qos[topic] = matching[0] if matching else None
        return self._qos[topic]

    def subscribed(self, at: int) -> None:
        """Owe everything from now on."""
        if self.since is None:
            self.since = at

    def left(self) -> None:
        """Owe nothing, not even what is on its way: the server may complete its delivery, but need not."""
        self.since = None
        self.lacking.clear()

    def begin_gap(self, at: int) -> None:
        """Let nothing come that is sent from now on."""
        self.gaps.append(Gap(at))

    def end_gap(self, at: int) -> None:
        """Let what is sent from now on come."""
        for gap in self.gaps:
            gap.end = gap.end or at

    def owed(self, publication: Publication) -> bool:
        """Tell whether the message must arrive, or must have arrived."""
        return (
            publication.size > 0
            and publication.acknowledged_at is not None
            and self.since is not None
            and publication.sent_at > self.since
            and self.qos_of(publication.topic) is not None
        )


class Ledger:
    """Write down what happens, and refuse at once what may not happen."""

    def __init__(self) -> None:
        self.publications: dict[Key, Publication] = {}
        self.audiences: dict[str, Audience] = {}
        self.retained: dict[str, list[Publication]] = defaultdict(list)
        """By topic, in the order of sending."""
        self.acknowledged = 0
        self._closed = False
        self._ticks = count(1)

    def close(self) -> None:
        """Let nothing be received any more."""
        self._closed = True

    def tick(self) -> int:
        """Give the time of something that happens now."""
        return next(self._ticks)

    # -- publishers

    def publish(self, key: Key, topic: str, size: int, qos: int, retain: bool) -> Publication:
        """Write down that a message is sent for the first time."""
        publication = Publication(key, topic, size, qos, retain, self.tick())
        assert key not in self.publications
        self.publications[key] = publication
        if retain:
            self.retained[topic].append(publication)
        return publication

    def acknowledge(self, publication: Publication) -> None:
        """Write down a PUBACK or PUBCOMP."""
        assert publication.acknowledged_at is None, f"{publication} acknowledged twice"
        publication.acknowledged_at = self.tick()
        self.acknowledged += 1
        for audience in self.audiences.values():
            if publication.key not in audience.receptions and audience.owed(publication):
                audience.lacking[publication.key] = publication

    # -- subscribers

    def audience(self, name: str, filters: dict[str, int], *, shared: bool = False) -> Audience:
        """Give the audience of this name, made if there is none yet."""
        return self.audiences.setdefault(name, Audience(name, filters, shared))

    def receive(self, audience: Audience, payload: bytes, topic: str, reception: Reception) -> Key:
        """Write down a message that a subscriber's application is given; AssertionError where it may not be.

        `reception.at` and `reception.certain` are filled in.
        """
        key = key_of(payload)
        assert not self._closed, f"{audience.name} got {key} when nothing was owed any more"
        publication = self.publications.get(key)
        assert publication is not None, f"{audience.name} got {key} on {topic}, which was never sent"
        assert topic == publication.topic, f"{audience.name} got {publication} on {topic}"
        assert payload == publication.payload, f"{audience.name} got {publication}, altered: {payload[:40]!r}..."
        granted = audience.qos_of(topic)
        assert granted is not None, f"{audience.name} never subscribed to {topic}"
        assert reception.qos == min(granted, publication.qos), f"{audience.name} got {publication} as {reception}"
        reception.at = self.tick()
        reception.certain = audience.since is not None and publication.sent_at > audience.since
        self._check_due(audience, publication)
        earlier = audience.receptions.setdefault(key, [])
        if reception.qos == 2:
            assert not earlier, f"{audience.name} got {publication} twice: {earlier} and {reception}"
        earlier.append(reception)
        audience.lacking.pop(key, None)
        return key

    @staticmethod
    def _check_due(audience: Audience, publication: Publication) -> None:
        """Assert that a message is not one of a time at which it could reach nobody there."""
        acknowledged_at = publication.acknowledged_at
        if acknowledged_at is None or audience.shared:
            return
        assert acknowledged_at > audience.born_at, f"{audience.name} got {publication} of a session that had ended"
        for gap in audience.gaps:
            end = gap.end
            inside = gap.begin < publication.sent_at and (end is None or acknowledged_at < end)
            assert not inside, f"{audience.name} got {publication}, sent while it was not subscribed: {gap}"

    # -- what must be at the end

    def missing(self, audience: Audience) -> list[Publication]:
        """List what is owed and has not arrived."""
        return [
            publication
            for publication in self.publications.values()
            if publication.key not in audience.receptions and audience.owed(publication)
        ]

    @property
    def all_acknowledged(self) -> bool:
        """Tell whether the server has acknowledged everything."""
        return self.acknowledged == len(self.publications)

    def assert_in_order(self, audience: Audience) -> None:
        """Assert that the messages of each publisher and topic came, the first time each, as they were sent.

        A message may have been sent once before the subscription and again after a kill, behind later ones. That is
        the publisher's order, too.
        """
        last: dict[tuple[int, str], Key] = {}
        for key, receptions in sorted(audience.receptions.items(), key=lambda item: item[1][0].at):
            if not receptions[0].certain:
                continue
            line = key.publisher, self.publications[key].topic
            before = last.setdefault(line, key)
            assert before <= key, (  # [MQTT-4.6.0-5], [MQTT-4.6.0-6]
                f"{audience.name} got {key} as {receptions[0]} after {before} as {audience.receptions[before][0]}"
            )
            last[line] = key

    def assert_kept(self) -> None:
        """Assert that everything acknowledged arrived, exactly once where that was promised, and in order."""
        for audience in self.audiences.values():
            missing = self.missing(audience)
            assert not missing, f"{audience.name} lacks {len(missing)}, the first is {missing[0]}"
            if not audience.shared:
                self.assert_in_order(audience)

    def retained_now(self, topic: str, at: int) -> Iterator[Publication]:
        """Give what may be the retained message of a topic: the last acknowledged before a tick and all after it."""
        sent = self.retained[topic]
        done = [place for place, one in enumerate(sent) if one.acknowledged_at and one.acknowledged_at < at]
        return iter(sent[done[-1] if done else 0 :])

    def check_retained(self, topic: str, payload: bytes | None, at: int) -> None:
        """Assert that a retained message, None for none, is one that may be there as of a tick or later."""
        possible: Iterable[Publication] = list(self.retained_now(topic, at))
        contents = [publication.payload or None for publication in possible]
        if not any(one.acknowledged_at and one.acknowledged_at < at for one in possible):
            contents.append(None)
        assert payload in contents, f"{topic} retains {payload and key_of(payload)}, and could {list(possible)}"
