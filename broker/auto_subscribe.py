"""Subscriptions that the server makes for each client that connects. Source of their form: EMQX 5's auto subscribe."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .protocol.packets import SubscribeRequest
from .routing.topics import InvalidTopic, check_filter, split_share
from .session import Session

_PLACEHOLDER = re.compile(r"\$\{(clientid|username|host|port)\}")
_NOT_IN_NAMES = frozenset("/+#")


@dataclass(frozen=True, slots=True)
class AutoSubscription:
    """Describe one subscription; all but topic and QoS are MQTT 5's options."""

    topic: str
    """A filter with `${clientid}`, `${username}`, `${host}` and `${port}`, the latter of the client's address."""
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class AutoSubscribe:
    """Own the list, and subscribe the clients that are let in."""

    def __init__(self, subscribe: Callable[[Session, SubscribeRequest], object]) -> None:
        """`subscribe` enters a subscription without asking for rights."""
        self._subscribe = subscribe
        self._wanted: tuple[AutoSubscription, ...] = ()

    @property
    def wanted(self) -> tuple[AutoSubscription, ...]:
        """The subscriptions that each client gets."""
        return self._wanted

    def set_wanted(self, wanted: Iterable[AutoSubscription]) -> None:
        """Take the place of the list; clients that are there keep what they have."""
        self._wanted = tuple(wanted)

    def admitted(self, session: Session) -> None:
        """Subscribe a client; an entry that needs a name which the client does not have is left out."""
        for entry in self._wanted:
            topic_filter = _fill(entry.topic, session)
            if topic_filter is not None:
                request = SubscribeRequest(
                    topic_filter, entry.qos, entry.no_local, entry.retain_as_published, entry.retain_handling
                )
                self._subscribe(session, request)


def _fill(template: str, session: Session) -> str | None:
    values = {
        "clientid": session.client_id,
        "username": session.username,
        "host": session.peer_host,
        "port": str(session.peer_port),
    }
    used = {found[1] for found in _PLACEHOLDER.finditer(template)}
    # A name with `/`, `+` or `#` would subscribe its client to more than it was meant to.
    if any(not (value := values[name]) or not _NOT_IN_NAMES.isdisjoint(value) for name in used):
        return None
    topic_filter = _PLACEHOLDER.sub(lambda found: values[found[1]] or "", template)
    try:
        check_filter(split_share(topic_filter)[1])
    except InvalidTopic:
        return None
    return topic_filter
