"""What changed since the last batch, without what came and went meanwhile."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..delayed_message import DelayedMessage
from ..deliveries import Subscription
from ..message import Message
from .contract import Changes, Key, Row
from .records import Journaled, Owed, Record
from .rows import delayed_row, delivery_row, message_row, retained_row, subscription_row


class Waiter(Protocol):
    """Who waits for a batch."""

    @property
    def waits(self) -> bool:
        """Tell whether there is anything to be told for."""
        ...

    def written(self, committed: int) -> None:
        """Hear that all batches up to this one are committed."""
        ...

    def stalled(self) -> None:
        """Hear that nothing can be written for now."""
        ...


class HeldPublisher(Protocol):
    """Who is not read because too much waits for the disk."""

    def go_on_writing(self) -> None:
        """Read again."""
        ...


class Batch:
    """Gather changes; each table by key, so that only the last state of a row is written."""

    __slots__ = (
        "delayed",
        "dropped",
        "dropped_records",
        "ended",
        "fresh",
        "number",
        "owed",
        "pressing",
        "records",
        "retained",
        "sessions",
        "size",
        "subscriptions",
        "unreleased",
        "waiters",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.size = 0
        """Bytes of messages that are not in the store yet."""
        self.fresh: dict[Owed, None] = {}
        """What is new and not settled, oldest first."""
        self.pressing = False
        """Whether there is anything in it that will not be settled soon by a client's acknowledgement."""
        self.records: dict[Record, None] = {}
        self.dropped_records: set[int] = set()
        self.owed: dict[Owed, None] = {}
        """Written before, and with other messages settled or received than then."""
        self.dropped: set[tuple[int, int]] = set()
        self.sessions: dict[int, Journaled] = {}
        self.ended: set[int] = set()
        self.subscriptions: dict[tuple[int, str], Subscription | None] = {}
        self.unreleased: dict[tuple[int, int], bool] = {}
        self.retained: dict[str, Message | None] = {}
        self.delayed: dict[int, DelayedMessage | None] = {}
        self.waiters: list[Waiter] = []
        """Who is told when it is committed, in this order."""

    @property
    def changes_nothing(self) -> bool:
        """Tell whether there is nothing to write."""
        return not (
            self.records
            or self.dropped_records
            or self.fresh
            or self.owed
            or self.dropped
            or self.sessions
            or self.ended
            or self.subscriptions
            or self.unreleased
            or self.retained
            or self.delayed
        )

    def changes(self) -> dict[str, dict[Key, Row | None]]:
        """Give the rows."""
        ended = self.ended
        tables: dict[str, dict[Key, Row | None]] = {
            "ended": dict.fromkeys(ended),
            "sessions": {key: session.row() for key, session in self.sessions.items() if key not in ended},
            "subscriptions": {
                key: None if subscription is None else subscription_row(key, subscription)
                for key, subscription in self.subscriptions.items()
                if key[0] not in ended
            },
            "messages": _rows(self.dropped_records, self.records, lambda record: record.id, message_row),
            "deliveries": _rows(
                {key for key in self.dropped if key[0] not in ended},
                {**self.owed, **self.fresh},
                lambda owed: (owed.session.key, owed.position),
                delivery_row,
            ),
            "unreleased": {key: key if held else None for key, held in self.unreleased.items() if key[0] not in ended},
            "retained": {
                topic: None if message is None else retained_row(message) for topic, message in self.retained.items()
            },
            "delayed": {
                number: None if delayed is None else delayed_row(delayed) for number, delayed in self.delayed.items()
            },
        }
        return {name: rows for name, rows in tables.items() if rows}


def _rows(dropped: set[Any], put: dict[Any, None], key: Callable[[Any], Key], row: Callable[[Any], Row]) -> Any:
    rows: dict[Key, Row | None] = dict.fromkeys(dropped)
    rows.update({key(entry): row(entry) for entry in put})
    return rows


_OF_SESSIONS = ("subscriptions", "deliveries", "unreleased")
"""Tables whose keys begin with a session."""


def merge(older: Changes, newer: Changes) -> dict[str, Mapping[Key, Row | None]]:
    """Make one batch of one that could not be written and what came after it."""
    ended = newer.get("ended", {})
    merged: dict[str, Mapping[Key, Row | None]] = {}
    for name in {**older, **newer}:
        rows = dict(older.get(name, {}))
        if ended and name == "sessions":
            rows = {key: row for key, row in rows.items() if key not in ended}
        elif ended and name in _OF_SESSIONS:
            rows = {key: row for key, row in rows.items() if not (isinstance(key, tuple) and key[0] in ended)}
        rows.update(newer.get(name, {}))
        merged[name] = rows
    return merged
