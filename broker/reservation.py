"""The place of a client that is let in as soon as what its session holds has been looked through."""

from .link import Journal
from .message import Message
from .message_run import MessageRun
from .protocol.reason_codes import ReasonCode
from .traffic import Traffic


class Reservation:
    """Be a session's `Link` until its connection may be: what the client must acknowledge is queued, nothing is sent.

    Whatever ends a live session's connection meanwhile (a write, another connection) ends this one, and so the
    admission that made it.
    """

    __slots__ = ("behind", "closed_for", "paused", "slow", "traffic")

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.behind = False
        self.slow = False
        self.paused = True
        self.closed_for: ReasonCode | None = None
        """Why the client may not come in any more."""

    @property
    def congested(self) -> bool:
        """Have everything queued."""
        return True

    def relay(self, chunk: bytes, count: int) -> None:
        """Drop QoS 0 packets, as for any client that is not there."""
        self.traffic.dropped_qos0 += count

    def send_publish(
        self, message: Message, qos: int, retain: bool, packet_id: int, dup: bool = False, identifiers: bytes = b""
    ) -> bool:
        """Drop a message at QoS 0; others do not come here."""
        self.traffic.dropped_qos0 += 1
        return True

    def send_run(self, run: MessageRun, qos: int, at: int, count: int, first_id: int, identifiers: bytes = b"") -> None:
        """Drop a run at QoS 0; others do not come here."""
        self.traffic.dropped_qos0 += count

    def send_pubrel(self, packet_id: int, known: bool = True) -> None:
        """Leave it: what is in flight is sent again when the client is in."""

    def release_when_written(self, journal: Journal, packet_ids: bytes) -> None:
        """Leave them, too."""

    def send_pubrels(self, packet_ids: bytes) -> None:
        """Leave them, too."""

    def fall_behind(self) -> None:
        """Hold nobody."""

    def catch_up(self) -> None:
        """Hold nobody."""

    def forget_decisions(self) -> None:
        """Remember none: the client has published nothing yet."""

    def close(self, reason: ReasonCode) -> None:
        """Keep the client out."""
        self.closed_for = reason
