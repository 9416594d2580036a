"""amqtt's pictures of all sessions, subscriptions and retained messages: live views of what the engine holds.

Nothing is copied when a view is made or counted, so that a plugin which counts 100,000 of them every few seconds costs
nothing in between.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from amqtt.broker import RetainedApplicationMessage
from amqtt.session import Session as AmqttSession

from .amqtt_session import SUBSCRIBED_QOS, view_of
from .message import Message

if TYPE_CHECKING:
    from .engine import Engine


class Sessions(Mapping[str, tuple[AmqttSession, None]]):
    """Show the sessions by client id; in place of amqtt's protocol handler stands None."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def __getitem__(self, client_id: str) -> tuple[AmqttSession, None]:
        session = self._engine.registry.get(client_id)
        if session is None:
            raise KeyError(client_id)
        return view_of(session), None

    def __setitem__(self, client_id: str, entry: object) -> None:
        """Take what is there already: amqtt's own context enters each session that the broker has made for it."""
        if self._engine.registry.get(client_id) is None:
            raise KeyError(client_id)

    def __iter__(self) -> Iterator[str]:
        return iter([session.client_id for session in self._engine.registry])

    def __len__(self) -> int:
        return len(self._engine.registry)


class Subscribers(Sequence[tuple[AmqttSession, int]]):
    """Show who subscribes to one filter, and at which QoS; empty once nobody does."""

    def __init__(self, engine: "Engine", topic_filter: str) -> None:
        self._engine = engine
        self._topic_filter = topic_filter

    def _rows(self) -> list[tuple[AmqttSession, int]]:
        subscribers = self._engine.router.subscribers(self._topic_filter)
        return [(view_of(session), subscription.qos) for session, subscription in subscribers.items()]

    def __getitem__(self, index: Any) -> Any:
        rows: Any = self._rows()
        return rows[index]

    def __iter__(self) -> Iterator[tuple[AmqttSession, int]]:
        return iter(self._rows())

    def __len__(self) -> int:
        return len(self._engine.router.subscribers(self._topic_filter))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence) and not isinstance(other, (str, bytes)):
            return self._rows() == list(cast("Sequence[object]", other))
        return NotImplemented

    __hash__ = None  # pyright: ignore[reportAssignmentType] # it changes


class Subscriptions(Mapping[str, Subscribers]):
    """Show the subscriptions by topic filter, shared ones under their full filter."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def __getitem__(self, topic_filter: str) -> Subscribers:
        if not self._engine.router.has_filter(topic_filter):
            raise KeyError(topic_filter)
        return Subscribers(self._engine, topic_filter)

    def __contains__(self, topic_filter: object) -> bool:
        return isinstance(topic_filter, str) and self._engine.router.has_filter(topic_filter)

    def __iter__(self) -> Iterator[str]:
        return iter(self._engine.router.filters())

    def __len__(self) -> int:
        return self._engine.router.filter_count


class Retained(MutableMapping[str, RetainedApplicationMessage]):
    """Show the retained messages by topic; what is put in or deleted here fires no event, as in amqtt."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def __getitem__(self, topic: str) -> RetainedApplicationMessage:
        message = self._engine.retained.get(topic)
        if message is None:
            raise KeyError(topic)
        return show_retained(self._engine, message)

    def __setitem__(self, topic: str, message: RetainedApplicationMessage) -> None:
        qos = SUBSCRIBED_QOS if message.qos is None else message.qos
        self._engine.retain(Message(topic, bytes(message.data), qos, True), silent=True)

    def __delitem__(self, topic: str) -> None:
        if not self._engine.retention.discard(topic):
            raise KeyError(topic)

    def __contains__(self, topic: object) -> bool:
        return isinstance(topic, str) and self._engine.retained.get(topic) is not None

    def __iter__(self) -> Iterator[str]:
        return self._engine.retained.topics()

    def __len__(self) -> int:
        return len(self._engine.retained)


def show_retained(engine: "Engine", message: Message) -> RetainedApplicationMessage:
    """Show a retained message with the session that it came from, where that is still known."""
    source = engine.registry.get(message.sender) if message.sender else None
    return RetainedApplicationMessage(
        None if source is None else view_of(source), message.topic, message.payload, message.qos
    )
