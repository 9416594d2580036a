"""The retained messages within their limits, and the end of those that expire."""

import asyncio
from dataclasses import dataclass
from logging import getLogger
from time import time

from .events import Events
from .expiries import Expiries
from .journal.journal import Journal
from .message import Message
from .routing.retained import RetainedMessages
from .settings import MqttSettings

_logger = getLogger(__name__)
_SLICE = 500
"""Messages that are moved before others have their turn."""
_OWN = "$SYS/"
"""What the server says about itself is said anew by the next one."""
_ENTRY_WEIGHT = 400
_LEVEL_WEIGHT = 240
"""Bytes that a message and a level of its topic cost beside their texts, if it shares no level with another."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Say what is retained, beside the settings of the broker; sizes in bytes, times in seconds."""

    enabled: bool = True
    """Whether messages are stored, and subscribers sent those that are."""
    expiry_interval: float = 0.0
    """How long a message is kept that says nothing about that itself; 0 for ever."""
    max_payload: int | None = None
    """Largest payload that is retained, 0 for no bound; None for the broker's setting."""
    max_messages: int | None = None
    """How many topics may have one, 0 for no bound; None for the broker's setting."""
    forward_clearing: bool = True
    """Whether the empty message that clears a topic goes to subscribers, too."""
    journaled: bool = True
    """Whether they are written where there is a journal, so that they outlive the process."""
    delivery_rate: float = 0.0
    """Messages per second that subscribers are sent when they subscribe, all together; 0 for no bound."""


class Retention:
    """Own the retained messages."""

    def __init__(self, settings: MqttSettings, events: Events) -> None:
        self.messages: RetainedMessages[Message] = RetainedMessages(weigh)
        self.refused = 0
        """Messages that were not retained because of a limit."""
        self.expired = 0
        self.forward_clearing = True
        """Whether the empty message that clears a topic goes to subscribers, too."""
        self.journal: Journal | None = None
        """Where they are written, so that they outlive the process."""
        self.settings = settings
        self.policy = RetentionPolicy()
        self._events = events
        self._expiries: Expiries[str] = Expiries()

    def has_room(self, message: Message) -> bool:
        """Tell whether a message may be retained, as far as the limits go."""
        settings, messages, policy = self.settings, self.messages, self.policy
        if not message.payload or not policy.enabled:
            return True
        max_messages = settings.max_retained if policy.max_messages is None else policy.max_messages
        max_payload = settings.max_retained_payload if policy.max_payload is None else policy.max_payload
        old = messages.get(message.topic)
        size = weigh(message) - (0 if old is None else weigh(old))
        return not (
            (0 < max_messages <= len(messages) and old is None)
            or 0 < settings.max_retained_bytes < messages.total_size + size
            or 0 < max_payload < len(message.payload)
        )

    def retain(self, message: Message, *, silent: bool = False) -> bool:
        """Store, replace or with an empty payload clear a retained message; False if there is no room for it.

        Then none is left either. `silent` where it is a plugin that does it, which then is not told.
        """
        topic = message.topic
        if not self.policy.enabled:
            return True
        if not message.payload:  # [MQTT-3.3.1-10], [MQTT-3.3.1-11], [MQTT5-3.3.1-6], [MQTT5-3.3.1-7]
            if self._discard(topic) and not silent:
                self._events.retained(message)
            return True
        if not self.has_room(message):
            self.refuse()
            self._discard(topic)  # [MQTT-3.3.1-7]
            return False
        if not message.published_at:
            message.published_at = time()
        kept = message
        if self.policy.expiry_interval and message.expires_at is None and not topic.startswith(_OWN):
            kept = message.under(topic)
            kept.expires_at = message.published_at + self.policy.expiry_interval
        self.restore(kept)
        if self.journal is not None:
            self._write(topic, kept)
        if not silent:
            self._events.retained(message)
        return True

    def restore(self, message: Message) -> None:
        """Store or replace a retained message of which everybody knows already."""
        self.messages.store(message.topic, message)
        if message.expires_at is None:
            self._expiries.cancel(message.topic)
        else:
            self._expiries.schedule(message.topic, message.expires_at)

    def _write(self, topic: str, message: Message | None) -> None:
        if self.journal is not None and self.policy.journaled and not topic.startswith(_OWN):
            self.journal.retain(topic, message)

    async def change(self, policy: RetentionPolicy) -> None:
        """Go by another policy from now on; what is stored stays, though not in the journal where it wants none."""
        moves = policy.journaled != self.policy.journaled
        self.policy = policy
        self.forward_clearing = policy.forward_clearing
        journal = self.journal
        if journal is None or not moves:
            return
        for number, topic in enumerate(self.messages.topics(), 1):
            message = self.messages.get(topic)
            if message is not None and not topic.startswith(_OWN):
                journal.retain(topic, message if policy.journaled else None)
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    def refuse(self) -> None:
        """Count a message that is not retained because of a limit; the first one is heard of."""
        self.refused += 1
        if self.refused == 1:
            _logger.warning("a message was not retained, because of a limit; there may be more of these")

    def discard(self, topic: str) -> bool:
        """Forget a topic's message; False if there is none."""
        return self._discard(topic)

    def _discard(self, topic: str) -> bool:
        self._expiries.cancel(topic)
        if not self.messages.discard(topic):
            return False
        if self.journal is not None:
            self._write(topic, None)
        return True

    def expire(self) -> None:
        """Forget the messages whose time is over [MQTT5-3.3.2-5]."""
        now = time()
        for topic in self._expiries.due(now):
            message = self.messages.get(topic)
            if message is None or message.expires_at is None:
                continue
            if message.expired(now):
                self.messages.discard(topic)
                self._write(topic, None)
                self.expired += 1
            else:
                self._expiries.schedule(topic, message.expires_at)


def weigh(message: Message) -> int:
    """Count what a retained message holds in memory, in bytes, as if it shared no level of its topic with another."""
    texts = 2 * len(message.topic_bytes) + len(message.payload) + len(message.properties)
    return texts + _ENTRY_WEIGHT + _LEVEL_WEIGHT * (1 + message.topic.count("/"))
