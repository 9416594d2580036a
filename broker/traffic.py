"""Plain counters: integers on objects, added up when somebody looks."""

from typing import Final

_TYPES: Final = 16


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
        self.missed = [0] * _TYPES
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
        for name in self.__slots__:
            mine: int | list[int] = getattr(self, name)
            theirs: int | list[int] = getattr(other, name)
            if isinstance(mine, list) and isinstance(theirs, list):
                setattr(self, name, [a + b for a, b in zip(mine, theirs, strict=True)])
            elif isinstance(mine, int) and isinstance(theirs, int):
                setattr(self, name, mine + theirs)
