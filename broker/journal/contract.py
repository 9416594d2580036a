"""What the journal wants of the store behind it; everything that crosses is plain data."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

Row: TypeAlias = tuple[Any, ...]
Key: TypeAlias = int | str | tuple[int, int | str]
Changes: TypeAlias = Mapping[str, Mapping[Key, Row | None]]
"""Whole rows by table and key, None where a row is to go; `ended` names sessions of which nothing is to stay."""


class JournalStore(Protocol):
    """Keep the tables of the journal; it is the caller's, who opens and closes it."""

    problem: str | None
    """A sentence about a damaged file that was set aside when the store was opened."""

    def bind(self, committed: Callable[[int], None], failed: Callable[[int, str, str], None]) -> None:
        """Have the end of each batch told in the event loop's thread: its number; where it failed, a kind and a text.

        The kind is `full` where there was no space, else `error`. Nothing of a failed batch was written.
        """
        ...

    def submit(self, number: int, changes: Changes) -> None:
        """Write a batch in one transaction, without blocking; one at a time."""
        ...

    def load(self, message_ids: Sequence[int]) -> Awaitable[list[Row]]:
        """Read rows of messages that are committed; raises what the store raises."""
        ...

    def load_now(self, message_ids: Sequence[int]) -> list[Row]:
        """Read them at once, blocking."""
        ...

    def scan(self, table: str) -> AsyncIterator[list[Row]]:
        """Read a whole table in pieces, by key; of messages the size of the data in its place, at the end."""
        ...
