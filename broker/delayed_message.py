"""A message that is to be published at a later time."""

from .message import Message

ENTRY_WEIGHT = 400
"""Bytes that it costs to keep a message until then, beside what it holds itself."""


class DelayedMessage:
    """Hold a message and when it is due; immutable."""

    __slots__ = ("delay", "due", "message", "number")

    def __init__(self, number: int, due: float, delay: float, message: Message) -> None:
        self.number = number
        """What it is known by; another one may have had the number before the last start."""
        self.due = due
        """Seconds since the epoch."""
        self.delay = delay
        """Seconds from when it was published."""
        self.message = message
        """Under its real topic."""

    @property
    def weight(self) -> int:
        """What it holds in memory, in bytes."""
        return self.message.weight + ENTRY_WEIGHT
