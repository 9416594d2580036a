"""Hold publishers while a healthy consumer catches up.

A consumer that reads more slowly than others publish would otherwise lose messages as soon as its bound is reached.
So who publishes is not read while somebody is behind, but only for a while: a consumer that has not caught up by then
is slow, loses what its bounds say, and holds nobody up again until it has taken all that waits for it.
"""

import asyncio
from collections import deque
from typing import Protocol

_PATIENCE = 3.0
"""Seconds that one consumer may hold publishers up."""
_STILL = 1.0
"""The same for one that takes nothing meanwhile."""
_FORGIVEN = 60.0
_TOLERATED = 8
"""Consumers that may be given up in that many seconds before others are waited for less and less."""


class Consumer(Protocol):
    """The outgoing half of a connection."""

    behind: bool
    slow: bool

    @property
    def taken(self) -> int:
        """A number that grows with whatever the peer takes."""
        ...


class Publisher(Protocol):
    """The incoming half of a connection."""

    def go_on(self) -> None:
        """Read again."""
        ...


class Pace:
    """Know who is behind and who is held for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._behind: dict[Consumer, asyncio.TimerHandle] = {}
        self._held: list[Publisher] = []
        self._given_up: deque[float] = deque(maxlen=10 * _TOLERATED)
        self.met = False
        """Whether what was just published went to somebody who is behind; the publisher's to read and reset."""
        self.episodes = 0
        """How often publishers have been held."""
        self.given_up = 0
        """How often a consumer did not catch up in time."""

    @property
    def nobody_behind(self) -> bool:
        """Tell whether there is nobody to wait for."""
        return not self._behind

    def fall_behind(self, consumer: Consumer) -> None:
        """Have who publishes to this consumer held until it has caught up, unless it has been found slow."""
        if consumer.slow:
            return
        self.met = True
        if consumer.behind:
            return
        consumer.behind = True
        self.episodes += 1
        now = self._loop.time()
        while self._given_up and self._given_up[0] < now - _FORGIVEN:
            self._given_up.popleft()
        # Consumers that never catch up, one after the other, must not hold somebody up for ever.
        patience = min(1.0, _TOLERATED / (1 + len(self._given_up)))
        self._wait(consumer, now + _PATIENCE * patience, _STILL * patience)

    def _wait(self, consumer: Consumer, until: float, still: float) -> None:
        delay = min(still, max(0.0, until - self._loop.time()))
        self._behind[consumer] = self._loop.call_later(delay, self._look, consumer, consumer.taken, until, still)

    def _look(self, consumer: Consumer, taken: int, until: float, still: float) -> None:
        """Wait on for a consumer that takes something, give up on one that does not."""
        if consumer.taken != taken and self._loop.time() < until:
            self._wait(consumer, until, still)
            return
        consumer.slow = True
        self.given_up += 1
        self._given_up.append(self._loop.time())
        self.catch_up(consumer)

    def catch_up(self, consumer: Consumer) -> None:
        """Let publishers go on, if nobody else is behind."""
        timer = self._behind.pop(consumer, None)
        consumer.behind = False
        if timer is not None:
            timer.cancel()
        if not self._behind and self._held:
            held, self._held = self._held, []
            for publisher in held:
                # Not from here: we may be in the middle of another publisher's message.
                self._loop.call_soon(publisher.go_on)

    def hold(self, publisher: Publisher) -> None:
        """Remember a publisher that is not read any more."""
        self._held.append(publisher)
