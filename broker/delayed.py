"""Messages that clients want to be published later: on `$delayed/SECONDS/TOPIC`, kept until their time has come.

When a message is due is a point in time, not a count of seconds: it is due while the broker is stopped, too, and then
published at the start, and it follows the system's clock where that is set. What a message owes once it is published
is written in the same batch as that it waits no more. So persistent sessions are owed it once, whatever happens; who
is connected may get it again if the process is killed within the moment after.
"""

import asyncio
from collections.abc import Callable, Iterator
from logging import getLogger
from time import time

from .delayed_message import DelayedMessage
from .detours import DELAYED, Detours
from .due_order import DueOrder
from .journal.journal import Journal
from .message import Message
from .routing.topics import InvalidTopic
from .settings import MqttSettings

_logger = getLogger(__name__)
MOST_SECONDS = 42_949_669
"""The longest delay; a greater number is a moment, in seconds since the epoch."""
_MOST_DIGITS = 12
_LOOK = 1.0
"""Seconds after which it is looked at the clock, which may have been set."""
_WORK = 500
"""Messages and deliveries after which others have their turn."""
_SLICE = 500
"""Messages that are discarded before others have theirs."""


class Delayed:
    """Own the messages that wait, within a number and a size."""

    def __init__(self, settings: MqttSettings, publish: Callable[[Message], int], detours: Detours) -> None:
        self.enabled = True
        self.max_messages = 0
        """How many may wait; 0 for as many as there is room for."""
        self.kept = 0
        """Messages that were kept since the start."""
        self.dropped = 0
        """Messages that were not, because there was no room."""
        self.expired = 0
        """Messages whose own time was over when they were due."""
        self.discarded_of_banned = 0
        """Messages whose clients were banned when they were due."""
        self.size = 0
        """What those that wait hold in memory, in bytes."""
        self.journal: Journal | None = None
        """Where they are written, so that they outlive the process."""
        self.is_banned: Callable[[str], bool] | None = None
        """Tells whether a client may not be heard any more."""
        self._most_bytes = settings.max_delayed_bytes
        self._publish = publish
        self._detours = detours
        self._order: DueOrder[DelayedMessage] = DueOrder()
        self._by_number: dict[int, DelayedMessage] = {}
        self._next = 1
        self._timer: asyncio.Handle | None = None
        self._opened = False
        """Whether what is due is published."""
        self._held = False
        """Whether the journal says when to go on."""
        detours.delays = self

    def __len__(self) -> int:
        return len(self._order)

    # -- what comes in

    def read(self, topic: str) -> tuple[float, str] | None:
        """Give the seconds from now and the real topic of `$delayed/...`; None while nothing is delayed.

        Raises `InvalidTopic` where the topic is malformed.
        """
        if not self.enabled or not topic.startswith(DELAYED):
            return None
        number, _, real = topic.removeprefix(DELAYED).partition("/")
        if not real or not number.isascii() or not number.isdigit() or len(number) > _MOST_DIGITS:
            raise InvalidTopic("a delayed topic has the form $delayed/SECONDS/TOPIC")
        seconds = int(number)
        if seconds <= MOST_SECONDS:
            return float(seconds), real
        delay = seconds - time()
        if not 0 <= delay <= MOST_SECONDS:
            raise InvalidTopic("a message can be delayed to a moment in the future, within 497 days")
        return delay, real

    def keep(self, message: Message, delay: float) -> bool:
        """Keep a message, which has its real topic; False where there is no room and it is dropped."""
        now = time()
        if not message.published_at:
            message.published_at = now
        delayed = DelayedMessage(self._next, now + delay, delay, message)
        full = 0 < self.max_messages <= len(self._order)
        if full or 0 < self._most_bytes < self.size + delayed.weight:
            self.dropped += 1
            if self.dropped == 1:
                _logger.warning("a message was not delayed but dropped, for want of room; there may be more of these")
            return False
        self.kept += 1
        self._enter(delayed)
        if self.journal is not None:
            self.journal.delay(delayed)
        if self._order.first is delayed:
            self._arm()
        return True

    def restore(self, delayed: DelayedMessage) -> None:
        """Have a message wait on, of an earlier process; nobody is let in yet."""
        self._enter(delayed)

    def _enter(self, delayed: DelayedMessage) -> None:
        self._next = max(self._next, delayed.number + 1)
        self._order.add(delayed)
        self._by_number[delayed.number] = delayed
        self.size += delayed.weight

    # -- what is managed

    @property
    def newest(self) -> DelayedMessage | None:
        """The message that was kept last, if it still waits."""
        return self._by_number.get(self._next - 1)

    def get(self, number: int) -> DelayedMessage | None:
        """Return a message by its number, if it waits."""
        return self._by_number.get(number)

    def from_place(self, place: int) -> Iterator[DelayedMessage]:
        """Iterate over the messages by when they are due, from so many after the first on; bears changes meanwhile."""
        return self._order.from_place(place)

    def all(self) -> list[DelayedMessage]:
        """Return all that wait now, in no particular order."""
        return [*self._by_number.values()]

    def discard(self, delayed: DelayedMessage) -> bool:
        """Forget a message; False if it does not wait any more."""
        if self._by_number.get(delayed.number) is not delayed:
            return False
        self._take_out(delayed)
        return True

    async def configure(self, enabled: bool, max_messages: int) -> None:
        """Change what is kept from now on. Without being enabled all that waits is discarded."""
        self.max_messages = max_messages
        if enabled != self.enabled:
            self.enabled = enabled
            self._detours.delays = self if enabled else None
            self._detours.changed()
        if not enabled:
            for number, delayed in enumerate(self.all(), 1):
                self.discard(delayed)
                if number % _SLICE == 0:
                    await asyncio.sleep(0)

    # -- what is due

    def open(self) -> None:
        """Publish from now on what is due, that included which became so while nothing ran."""
        self._opened = True
        self._arm()

    def close(self) -> None:
        """Publish nothing any more and forget what waits; what is journaled comes back with the next process."""
        self._opened = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._order.clear()
        self._by_number.clear()
        self.size = 0

    def go_on_writing(self) -> None:
        """Go on: the journal takes something again."""
        self._held = False
        self._release()

    def _arm(self) -> None:
        """See that the first one is published when it is due; look at the clock before, now and then."""
        first = self._order.first
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if first is not None and self._opened and not self._held:
            wait = min(max(0.0, first.due - time()), _LOOK)
            self._timer = asyncio.get_running_loop().call_later(wait, self._release)

    def _release(self) -> None:
        """Publish what is due, as far as it may take before others have their turn."""
        if not self._opened or self._held:
            return
        now, work = time(), 0
        try:
            while (first := self._order.first) is not None and first.due <= now and work < _WORK:
                if self.journal is not None and self.journal.congested:
                    self._held = True
                    self.journal.hold(self)
                    break
                self._take_out(first)
                work += 1 + self._publish_late(first.message, now)
        finally:
            self._arm()

    def _take_out(self, delayed: DelayedMessage) -> None:
        self._order.remove(delayed)
        del self._by_number[delayed.number]
        self.size -= delayed.weight
        if self.journal is not None:
            self.journal.delay_no_more(delayed)

    def _publish_late(self, message: Message, now: float) -> int:
        """Publish a message that is due; return the number of sessions that it went to."""
        if message.expired(now):  # [MQTT-3.3.2-5]: it has been on its way since its client sent it
            self.expired += 1
            return 0
        if self.is_banned is not None and self.is_banned(message.sender):
            self.discarded_of_banned += 1
            return 0
        try:
            return self._publish(message)
        except InvalidTopic as error:
            _logger.info("delayed message of client %r not published: %s", message.sender, error)
            return 0
