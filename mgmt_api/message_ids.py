"""Ids of messages in EMQX's form: 128 bits, ordered by time, 32 upper-case hex digits."""

from hashlib import blake2b
from typing import Protocol

from ..broker.delayed_message import DelayedMessage

_LOW_BITS = 64
_DIGITS = 32
_HASHED = 4_096
"""Bytes of a payload that an id depends on, besides its length: a list of long messages must not hash all of them."""


class Identified(Protocol):
    """A message, as far as its id goes."""

    @property
    def published_at(self) -> float:
        """Seconds since the epoch."""
        ...

    @property
    def sender(self) -> str:
        """Client id of the publisher."""
        ...

    @property
    def topic(self) -> str:
        """Where it was published."""
        ...

    @property
    def payload(self) -> bytes:
        """What it carries."""
        ...


def id_of(message: Identified) -> str:
    """Return the id of a message that the broker holds: the same at each call, and after a restart.

    Nothing is kept for it. So what one client sent twice within a microsecond has one id.
    """
    payload = message.payload
    digest = blake2b(digest_size=_LOW_BITS // 8)
    for text in (message.sender.encode(), message.topic.encode()):
        digest.update(len(text).to_bytes(4, "big"))
        digest.update(text)
    digest.update(len(payload).to_bytes(4, "big"))
    digest.update(payload[:_HASHED])
    return _timed_id(message.published_at, int.from_bytes(digest.digest(), "big"))


def id_while_delayed(delayed: DelayedMessage) -> str:
    """Return the id of a message that waits to be published; it is found by the number in it."""
    return _timed_id(delayed.message.published_at, delayed.number)


def _timed_id(moment: float, number: int) -> str:
    """Return the id of something that happened at a moment, in seconds since the epoch, and has a number of 64 bits."""
    return f"{int(moment * 1_000_000) << _LOW_BITS | number:032X}"


def number_of(message_id: str) -> int:
    """Return the number in an id. Raises ValueError where it is none."""
    if len(message_id) != _DIGITS or not message_id.isalnum() or not message_id.isascii():
        raise ValueError("a message id has 32 hexadecimal digits")
    return int(message_id, 16) & ((1 << _LOW_BITS) - 1)
