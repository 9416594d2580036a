"""How far packets that are alike reach: a publisher in bulk repeats itself, and so does who acknowledges it."""

from collections.abc import Iterator, Mapping
from typing import Any

from .properties import may_be_relayed

RUN_BYTES = 16_384
RUN_MESSAGES = 256
"""The most that one run of QoS 1 or 2 is: a message that waits for its acknowledgement keeps all of it in memory."""
_ACKS_AT_ONCE = 256
"""Acknowledgements that are looked at once."""


def end_of_numbered(data: bytes, head: bytes, block: bytes, start: int, length: int, stop: int) -> int:
    """Give where the QoS 1 or 2 packets from `start` end that are alike but for packet identifier and payload.

    All are `length` bytes long and begin with `head`; `block`, the properties of MQTT 5, follows the identifier. None
    that begins behind `stop` is looked at.
    """
    stop = min(stop, len(data) - length)
    if not block:
        while start <= stop and data.startswith(head, start):
            start += length
        return start
    at = len(head) + 2
    while start <= stop and data.startswith(head, start) and data.startswith(block, start + at):
        start += length
    return start


def end_of_acks(data: bytes, start: int) -> int:
    """Give where the acknowledgements from `start` end that are of one kind, without a reason, with an identifier."""
    size = min((len(data) - start) >> 2, _ACKS_AT_ONCE)
    stop = start + 4 * size
    firsts, lengths = data[start:stop:4], data[start + 1 : stop : 4]
    count = min(size - len(firsts.lstrip(firsts[:1])), size - len(lengths.lstrip(b"\x02")))
    end = start + 4 * count
    zero = data.find(b"\0\0", start, end)  # nowhere else in such a row are two zeros
    return end if zero < 0 else zero - 2


class Relay:
    """Those to whom QoS 0 packets go as they come; the sink's own business but for their being one or many."""

    __slots__ = ("alone", "receivers")

    def __init__(self, receivers: tuple[Any, ...]) -> None:
        self.receivers = receivers
        self.alone = len(receivers) == 1
        """Whether there is one receiver only; then nobody can tell in which order this and another one are served."""


class Parts:
    """Packets sorted by where they go: chunks and numbers of packets for each relay."""

    __slots__ = ("_chunks", "counts")

    def __init__(self) -> None:
        self._chunks: dict[Relay, list[bytes]] = {}
        self.counts: dict[Relay, int] = {}

    def add(self, relay: Relay, chunk: bytes, count: int) -> None:
        """Take packets that go there behind those that were added before."""
        chunks = self._chunks.get(relay)
        if chunks is None:
            self._chunks[relay], self.counts[relay] = [chunk], count
        else:
            chunks.append(chunk)
            self.counts[relay] += count

    def __iter__(self) -> Iterator[tuple[Relay, bytes, int]]:
        for relay, chunks in self._chunks.items():
            yield relay, b"".join(chunks), self.counts[relay]


def sort_relays(
    data: bytes, start: int, end: int, count: int, limit: int, relays: Mapping[bytes, Relay], relay: Relay, five: bool
) -> tuple[int, Parts]:
    """Sort the QoS 0 packets in a row by their relays; give where they end, and the parts.

    `count` packets from `start` to `end` go to `relay`; others may follow as long as the order of what anybody
    receives stays and, with `five` in MQTT 5, their properties may go to others as they are. What is incomplete,
    malformed or larger than `limit` ends them, and is for the reader to look at.
    """
    parts = Parts()
    size = len(data)
    last = size - 5
    at = end
    while at <= last and data[at] == 0x30:
        remaining = data[at + 1]
        topic = at + 4
        if remaining > 0x7F:
            high = data[at + 2]
            if high > 0x7F or (five and not high):
                break
            remaining += (high << 7) - 0x80
            topic += 1
        topic_end = topic + ((data[topic - 2] << 8) | data[topic - 1])
        end = topic - 2 + remaining
        if topic_end > end or end > size or end - at > limit:
            break
        if five:
            if topic_end == end:
                break
            length = data[topic_end]
            if length:
                payload = topic_end + 1 + length
                if length > 0x7F or payload > end or not may_be_relayed(data[topic_end + 1 : payload]):
                    break
        found = relays.get(data[topic:topic_end])
        if found is not relay:
            if found is None or not found.alone or not relay.alone:
                break
            parts.add(relay, data[start:at], count)
            start, count, relay = at, 0, found
        at = end
        count += 1
    parts.add(relay, data[start:at], count)
    return at, parts
