"""The connection as its session sees it."""

from typing import Protocol

from .message import Message
from .message_run import MessageRun
from .protocol.reason_codes import ReasonCode
from .traffic import Traffic


class Waiter(Protocol):
    """Who waits for a batch of the journal."""

    @property
    def waits(self) -> bool:
        """Tell whether there is anything to be told for."""
        ...

    def written(self, committed: int) -> None:
        """Hear that all batches up to this one are committed."""
        ...

    def stalled(self) -> None:
        """Hear that nothing can be written for now."""
        ...


class Journal(Protocol):
    """What decides when something may be sent."""

    @property
    def number(self) -> int:
        """The batch that gathers."""
        ...

    def wait(self, waiter: Waiter) -> int:
        """Have somebody told when all that is gathered by now is written; give the batch's number."""
        ...


class Link(Protocol):
    """The connection that a session is carried by."""

    traffic: Traffic
    behind: bool
    """Whether publishers are held until this link has caught up."""
    slow: bool
    """Whether it has held them for too long, and holds nobody until it has caught up."""

    paused: bool
    """Whether the socket takes no more for now; only then can the link be `congested`."""

    @property
    def congested(self) -> bool:
        """Tell whether the peer reads too slowly for more."""
        ...

    def relay(self, chunk: bytes, count: int) -> None:
        """Send `count` encoded QoS 0 packets, or drop and count them."""
        ...

    def send_publish(
        self, message: Message, qos: int, retain: bool, packet_id: int, dup: bool = False, identifiers: bytes = b""
    ) -> bool:
        """Send one message; False if it is larger than the client takes."""
        ...

    def send_run(self, run: MessageRun, qos: int, at: int, count: int, first_id: int, identifiers: bytes = b"") -> None:
        """Send `count` messages of a run from the one at `at` on, with consecutive packet identifiers.

        All of them at QoS 0. Not for those who are `limited`.
        """
        ...

    def send_pubrel(self, packet_id: int, known: bool = True) -> None:
        """Release a QoS 2 message, or tell MQTT 5 clients that there is none of this identifier."""
        ...

    def release_when_written(self, journal: Journal, packet_ids: bytes) -> None:
        """Release QoS 2 messages once it is written that the client has received them."""
        ...

    def send_pubrels(self, packet_ids: bytes) -> None:
        """Release the QoS 2 messages of a column of packet identifiers."""
        ...

    def fall_behind(self) -> None:
        """Have publishers held for a while, because the session's queue fills."""
        ...

    def catch_up(self) -> None:
        """Let publishers go on if the socket has caught up too."""
        ...

    def forget_decisions(self) -> None:
        """Decide anew on what the client publishes from now on."""
        ...

    def close(self, reason: ReasonCode) -> None:
        """End the connection after what is waiting has been sent; no will is held back by this."""
        ...
