"""Those who want to know what becomes of clients: for `$SYS` events, traces and statistics."""

from typing import TYPE_CHECKING, Protocol

from .protocol.reason_codes import ReasonCode

if TYPE_CHECKING:
    from .deliveries import Subscription
    from .session import Session

_WORDS = {
    ReasonCode.SUCCESS: "normal",
    ReasonCode.KEEP_ALIVE_TIMEOUT: "keepalive_timeout",
    ReasonCode.SESSION_TAKEN_OVER: "takenover",
    ReasonCode.ADMINISTRATIVE_ACTION: "kicked",
    ReasonCode.NOT_AUTHORIZED: "not_authorized",
    ReasonCode.BANNED: "banned",
    ReasonCode.MAXIMUM_CONNECT_TIME: "expired",
    ReasonCode.SERVER_SHUTTING_DOWN: "shutdown",
}


class SessionWatch:
    """Be told of clients; each call is quick and does not raise. What is of no interest is not overridden."""

    def connected(self, session: "Session") -> None:
        """Take note of a client that has been let in."""

    def disconnected(self, session: "Session", reason: str) -> None:
        """Take note of a connection that has ended, with EMQX's word for why."""

    def refused(self, client_id: str, username: str | None, peer_host: str, reason: str) -> None:
        """Take note of a client that was not let in."""

    def subscribed(self, session: "Session", topic_filter: str, subscription: "Subscription", is_new: bool) -> None:
        """Take note of a subscription as it was entered."""

    def unsubscribed(self, session: "Session", topic_filter: str) -> None:
        """Take note of a subscription that was taken out."""

    def session_ended(self, session: "Session") -> None:
        """Take note of a session that is no more."""


class DeliveryWatch(Protocol):
    """Be told of acknowledgements."""

    def acknowledged(self, session: "Session", packet_type: int, packet_ids: bytes) -> None:
        """Take note of PUBACK (4), PUBREC (5) or PUBCOMP (7), before the session moves on."""
        ...


def word_for(reason: ReasonCode) -> str:
    """Give EMQX's word for why a connection ended."""
    return _WORDS.get(reason) or reason.name.lower()
