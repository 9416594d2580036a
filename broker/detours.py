"""What is done with the messages of some topics beside routing them: rewritten, delayed, watched.

Whether a topic is concerned is decided when its route is, and remembered with it: messages of all other topics do not
come by here.
"""

from collections.abc import Callable
from typing import Protocol

from .message import Message

DELAYED = "$delayed/"


class Rewriter(Protocol):
    """Replace topics and topic filters by others."""

    def publish_topic(self, topic: str, client_id: str, username: str | None) -> str:
        """Give the topic under which a message is passed on, mostly the same."""
        ...

    def filter(self, topic_filter: str, client_id: str, username: str | None) -> str:
        """Give the filter that is subscribed to; of a shared subscription in its full form."""
        ...


class Delays(Protocol):
    """Keep messages until their time has come."""

    def read(self, topic: str) -> tuple[float, str] | None:
        """Give the seconds from now and the real topic of `$delayed/...`; None while nothing is delayed.

        Raises `InvalidTopic` where the topic is malformed.
        """
        ...

    def keep(self, message: Message, delay: float) -> bool:
        """Keep a message, which has its real topic; False where there is no room and it is dropped."""
        ...


class TopicWatch(Protocol):
    """Be told of each message on topics of one's choice."""

    def watches(self, topic: str, sender: str) -> bool:
        """Tell whether messages of this client on this topic are to be shown; asked once for many of them."""
        ...

    def published(self, message: Message, reached: int, sender: str) -> None:
        """Take note of a message that went to so many sessions."""
        ...

    def denied(self, topic: str, qos: int, sender: str) -> None:
        """Take note of a message that its client was not allowed to publish."""
        ...


class Detours:
    """Own what there is of it in one broker; nothing until somebody sets or adds it, followed by `changed`."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is to have all routes decided anew."""
        self.rewriter: Rewriter | None = None
        self.delays: Delays | None = None
        self.divert = False
        """Whether any topic but those that begin with `$` may be concerned."""
        self._watches: tuple[TopicWatch, ...] = ()
        self._changed = changed

    def add(self, watch: TopicWatch) -> None:
        """Have a watch told from now on."""
        self._watches = (*self._watches, watch)
        self.changed()

    def remove(self, watch: TopicWatch) -> None:
        """Tell a watch nothing any more."""
        self._watches = tuple(other for other in self._watches if other is not watch)
        self.changed()

    def changed(self) -> None:
        """Have all topics decided anew."""
        self.divert = self.rewriter is not None or bool(self._watches)
        self._changed()

    def watching(self, topic: str, sender: str) -> tuple[TopicWatch, ...]:
        """Give those who want to see a client's messages on a topic."""
        if not self._watches:
            return ()
        return tuple(watch for watch in self._watches if watch.watches(topic, sender))

    def delay_of(self, topic: str) -> Delays | None:
        """Give what keeps messages on this topic for a while."""
        return self.delays if self.delays is not None and topic.startswith(DELAYED) else None
