"""The audit log: every write has a row, read from the newest to the oldest and kept for as long as is wanted.

The rows come with the writes themselves, in their transactions (`writer.py`).
"""

import json
from collections.abc import Callable
from typing import Any

from .database import Database, Statement
from .errors import Invalid
from .names import check_text
from .records import LAST_SECOND, AuditEntry

MAX_LIMIT = 1_000
"""Entries of one page."""
_MAX_TEXT = 1_000
_LAST_ID = 2**63 - 1
_SECONDS_A_DAY = 86_400
_PURGED_AT_ONCE = 500

_READ = "SELECT id, at, actor, facade, action, target, detail FROM audit_log"
_COUNT = "SELECT count(*) FROM audit_log"
# The newest entry always stays: an empty log is how a new database is told, and ids would begin anew.
_PURGE_AGE = """
    DELETE FROM audit_log WHERE id IN (
      SELECT id FROM audit_log WHERE at < ? AND id < (SELECT max(id) FROM audit_log) ORDER BY at LIMIT ?)"""
_PURGE_COUNT = """
    DELETE FROM audit_log WHERE id IN (
      SELECT id FROM audit_log WHERE id <= ? AND id < (SELECT max(id) FROM audit_log) ORDER BY id LIMIT ?)"""
_LAST_TO_GO = "SELECT id FROM audit_log ORDER BY id DESC LIMIT 1 OFFSET ?"


class Audit:
    """Read the audit log and keep it short."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def entries(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        actor: str | None = None,
        facade: str | None = None,
        action: str | None = None,
        target: str | None = None,
        before_id: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Return the entries that fit all that is given, the newest first; the last one's id begins the next page.

        From `since` on and before `until`. `actor` and `facade` are whole texts, `action` too unless a `*` ends it;
        `target` is a part of the target, ASCII letters in either case. Raises Invalid.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise Invalid(f"The limit must be between 1 and {MAX_LIMIT}.")
        if before_id is not None and not 0 <= before_id <= _LAST_ID:
            raise Invalid("The id of an audit entry must be a number from 0 to 2**63 - 1.")
        conditions: list[tuple[str, object]] = []
        if before_id is not None:
            conditions.append(("id < ?", before_id))
        for condition, seconds in (("at >= ?", since), ("at < ?", until)):
            if seconds is not None:
                conditions.append((condition, _check_time(seconds)))
        for column, text in (("actor", actor), ("facade", facade), ("action", action), ("target", target)):
            if text is not None:
                check_text(text, column, _MAX_TEXT)
                conditions.append(_text_condition(column, text))
        where = f" WHERE {' AND '.join(condition for condition, _ in conditions)}" if conditions else ""
        # By id: a clock that was set back must not change what came after what.
        rows = await self._database.read_aside(
            f"{_READ}{where} ORDER BY id DESC LIMIT ?", [*(value for _, value in conditions), limit]
        )
        return [_to_entry(row) for row in rows]

    async def count(self) -> int:
        """Return how many entries there are."""
        ((count,),) = await self._database.read_aside(_COUNT)
        return count

    async def purge(self, retention_days: float, max_entries: int) -> int:
        """Delete what is older than the days or more than the most, 0 each for no bound, and return how many.

        The newest entry stays in any case. Other writes get their turn in between.
        """
        check_bounds(retention_days, max_entries)
        purged = 0
        if retention_days:
            oldest = round((self._clock() - retention_days * _SECONDS_A_DAY) * 1_000_000)
            purged += await self._purge(_PURGE_AGE, oldest)
        if max_entries:
            last = await self._database.read_aside(_LAST_TO_GO, [max_entries])
            if last:
                purged += await self._purge(_PURGE_COUNT, last[0][0])
        return purged

    async def _purge(self, sql: str, bound: int) -> int:
        purged = 0
        while True:
            slice_ = await self._database.transact([Statement(sql, [(bound, _PURGED_AT_ONCE)])])
            purged += slice_
            if slice_ < _PURGED_AT_ONCE:
                return purged


def check_bounds(retention_days: float, max_entries: int) -> None:
    """Raise Invalid for bounds that the audit log cannot be kept within."""
    if not 0 <= retention_days <= LAST_SECOND / _SECONDS_A_DAY:
        raise Invalid("The retention of the audit log must not be negative.")
    if not 0 <= max_entries <= _LAST_ID:
        raise Invalid("The number of audit entries to be kept must not be negative.")


def _text_condition(column: str, text: str) -> tuple[str, str]:
    if column == "target":
        return (f"{column} LIKE ? ESCAPE '\\'", f"%{_escape(text)}%")
    if column == "action" and text.endswith("*"):
        return (f"{column} LIKE ? ESCAPE '\\'", f"{_escape(text[:-1])}%")
    return (f"{column} = ?", text)


def _escape(text: str) -> str:
    """Make a text stand for itself in a LIKE pattern."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _check_time(seconds: float) -> int:
    if not 0 <= seconds <= LAST_SECOND:
        raise Invalid("The time must be between the years 1970 and 9999.")
    return round(seconds * 1_000_000)


def _to_entry(row: tuple[Any, ...]) -> AuditEntry:
    number, at, actor, facade, action, target, detail = row
    return AuditEntry(number, at / 1_000_000, actor, facade, action, target, json.loads(detail))
