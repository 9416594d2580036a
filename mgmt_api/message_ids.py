"""Ids of messages published over HTTP, in EMQX's form: 128 bits, ordered by time, 32 upper-case hex digits."""

from secrets import randbits
from time import time_ns

_NODE_BITS = 48
_COUNTER_BITS = 16


class MessageIds:
    """Make ids that grow: 64 bits of microseconds, 48 random bits of this source, 16 bits of counter."""

    def __init__(self) -> None:
        self._source = randbits(_NODE_BITS) << _COUNTER_BITS
        self._last = 0

    def next(self) -> str:
        """Return the next id; two calls never give the same, even if the clock stands still or goes back."""
        tick = time_ns() // 1_000 << _COUNTER_BITS
        self._last = max(tick, self._last + 1)
        moment, counter = divmod(self._last, 1 << _COUNTER_BITS)
        return f"{moment << _NODE_BITS + _COUNTER_BITS | self._source | counter:032X}"
