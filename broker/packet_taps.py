"""The packets of single connections, shown to whoever watches them: amqtt's plugins, traces, statistics.

A connection that nobody watches has no tap, and nothing is asked for its packets. Taps may be set and taken off at any
time; what is in the middle of being read is shown from the next chunk on.
"""

from typing import Protocol


class PacketWatch(Protocol):
    """Watch the packets of one connection; what it raises ends the connection."""

    reads: bool
    """Whether it wants what is received, too: then nothing of it is handed on in runs."""

    def received(self, packet: bytes) -> None:
        """Take note of a packet that came, before its parts are checked."""
        ...

    def sent(self, data: bytes) -> None:
        """Take note of packets that go out, one or several whole ones."""
        ...

    def ended(self) -> None:
        """Take note that the connection is gone, or that it is watched no longer."""
        ...


class Tapped(Protocol):
    """A connection, as far as its packets can be watched."""

    @property
    def closed(self) -> bool:
        """Tell whether nothing more is read or sent."""
        ...

    def watch_packets(self, watch: PacketWatch) -> None:
        """Show each packet to this watch, too, from now on."""
        ...

    def unwatch_packets(self, watch: PacketWatch) -> None:
        """Show it no more."""
        ...


class PacketTaps:
    """Hold the watches of one connection; called with what is sent."""

    __slots__ = ("watches",)

    def __init__(self, watches: tuple[PacketWatch, ...]) -> None:
        self.watches = watches

    @property
    def read(self) -> bool:
        """Tell whether somebody wants to see what is received."""
        return any(watch.reads for watch in self.watches)

    def received(self, packet: bytes) -> None:
        """Show a packet that came."""
        for watch in self.watches:
            if watch.reads:
                watch.received(packet)

    def __call__(self, data: bytes) -> None:
        """Show what goes out."""
        for watch in self.watches:
            watch.sent(data)

    def end(self) -> None:
        """Tell all of them that the connection is gone."""
        for watch in self.watches:
            watch.ended()
