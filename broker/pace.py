"""Hold publishers while a healthy consumer catches up.

A consumer that reads more slowly than others publish would otherwise lose messages as soon as its bound is reached.
So who publishes is not read while somebody is behind, but only for a while: a consumer that has not caught up by then
is slow, loses what its bounds say, and holds nobody up again until it has taken all that waits for it.
"""

import asyncio
from typing import Protocol

_PATIENCE = 3.0
"""Seconds that one consumer may hold publishers up."""


class Consumer(Protocol):
    """The outgoing half of a connection."""

    behind: bool
    slow: bool


class Publisher(Protocol):
    """The incoming half of a connection."""

    def go_on(self) -> None:
        """Read again."""
        ...


class Pace:
    """Know who is behind and who is held for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.behind: dict[Consumer, asyncio.TimerHandle] = {}
        self._held: list[Publisher] = []
        self.episodes = 0
        """How often publishers have been held."""
        self.given_up = 0
        """How often a consumer did not catch up in time."""

    def fall_behind(self, consumer: Consumer) -> None:
        """Have publishers held until this consumer has caught up, unless it has been found slow."""
        if consumer.behind or consumer.slow:
            return
        consumer.behind = True
        self.episodes += 1
        self.behind[consumer] = self._loop.call_later(_PATIENCE, self._give_up, consumer)

    def catch_up(self, consumer: Consumer) -> None:
        """Let publishers go on, if nobody else is behind."""
        timer = self.behind.pop(consumer, None)
        consumer.behind = False
        if timer is not None:
            timer.cancel()
        if not self.behind and self._held:
            held, self._held = self._held, []
            for publisher in held:
                # Not from here: we may be in the middle of another publisher's message.
                self._loop.call_soon(publisher.go_on)

    def hold(self, publisher: Publisher) -> None:
        """Remember a publisher that is not read any more."""
        self._held.append(publisher)

    def _give_up(self, consumer: Consumer) -> None:
        consumer.slow = True
        self.given_up += 1
        self.catch_up(consumer)
