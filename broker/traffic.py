"""Plain counters: integers on objects, added up when somebody looks."""

from operator import add
from typing import Final

_TYPES: Final = 16
_ACKNOWLEDGEMENT_TYPES: Final = 8
"""PUBCOMP is the last acknowledgement."""


class Traffic:
    """Count what went over one connection, or over all connections that have ended."""

    __slots__ = (
        "acked",
        "acks_received",
        "acks_sent",
        "bytes_received",
        "bytes_sent",
        "cache_miss",
        "dropped_expired",
        "dropped_qos0",
        "dropped_queue_full",
        "dropped_too_large",
        "messages_received_qos",
        "messages_sent_qos",
        "missed",
        "no_subscribers",
        "publish_dropped",
        "reads",
        "writes",
    )

    def __init__(self) -> None:
        self.bytes_received = 0
        self.bytes_sent = 0
        self.reads = 0
        self.writes = 0
        self.messages_received_qos = [0, 0, 0]
        self.messages_sent_qos = [0, 0, 0]
        self.acks_received = [0] * _TYPES
        """Packets received other than PUBLISH, by packet type."""
        self.acks_sent = [0] * _TYPES
        """Packets sent other than PUBLISH, by packet type."""
        self.missed = [0] * _ACKNOWLEDGEMENT_TYPES
        """Acknowledgements of packet identifiers that are not in use, by packet type."""
        self.acked = 0
        """QoS 1 and 2 messages that the client has acknowledged."""
        self.publish_dropped = 0
        """Messages of the client that it was not allowed to publish."""
        self.no_subscribers = 0
        self.dropped_queue_full = 0
        self.dropped_expired = 0
        self.dropped_too_large = 0
        self.dropped_qos0 = 0
        """QoS 0 messages to the client that its outgoing backlog had no room for."""
        self.cache_miss = 0

    @property
    def packets_received_total(self) -> int:
        """Packets received."""
        return sum(self.messages_received_qos) + sum(self.acks_received)

    @property
    def packets_sent_total(self) -> int:
        """Packets sent."""
        return sum(self.messages_sent_qos) + sum(self.acks_sent)

    def copy(self) -> "Traffic":
        """Return the same counts in an object of their own."""
        copied = Traffic()
        copied.add(self)
        return copied

    def add(self, other: "Traffic") -> None:
        """Add another's counts to these."""
        # Written out, for it is done at the end of each connection and a loop over the names takes four times as long.
        self.bytes_received += other.bytes_received
        self.bytes_sent += other.bytes_sent
        self.reads += other.reads
        self.writes += other.writes
        self.messages_received_qos = list(map(add, self.messages_received_qos, other.messages_received_qos))
        self.messages_sent_qos = list(map(add, self.messages_sent_qos, other.messages_sent_qos))
        self.acks_received = list(map(add, self.acks_received, other.acks_received))
        self.acks_sent = list(map(add, self.acks_sent, other.acks_sent))
        self.missed = list(map(add, self.missed, other.missed))
        self.acked += other.acked
        self.publish_dropped += other.publish_dropped
        self.no_subscribers += other.no_subscribers
        self.dropped_queue_full += other.dropped_queue_full
        self.dropped_expired += other.dropped_expired
        self.dropped_too_large += other.dropped_too_large
        self.dropped_qos0 += other.dropped_qos0
        self.cache_miss += other.cache_miss
