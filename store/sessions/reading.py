"""Read what is committed, beside the thread that writes: messages by id, and whole tables in pieces."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ..errors import DatabaseDamaged, DatabaseUnavailable
from . import connections
from .opening import is_damage
from .tables import ROW_COUNTS, TABLES, Table, fitting, load, parameters, scan

PIECE = 5_000
"""Rows of a table that are read at once."""
_PIECE_BYTES = 8 * 1024 * 1024
"""Bytes of payload after which a piece has no more rows."""

Row = tuple[Any, ...]


class Reader:
    """Own a connection that reads; everything happens in one thread, that of the caller."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file now, and not when something is first read. Raises DatabaseUnavailable, DatabaseDamaged."""
        self._run("SELECT 1", ())

    def load(self, message_ids: Sequence[int]) -> list[Row]:
        """Return messages by id, as far as they exist. Raises DatabaseUnavailable, DatabaseDamaged."""
        rows: list[Row] = []
        for begin in range(0, len(message_ids), ROW_COUNTS[-1]):
            part = [(message_id,) for message_id in message_ids[begin : begin + ROW_COUNTS[-1]]]
            size = fitting(len(part))
            rows += self._run(load(TABLES["messages"], size), parameters(part, 1, size))
        return rows

    def next_piece(self, table: Table, last: Row | None) -> list[Row]:
        """Return the rows after that one, in the order of their key. Raises DatabaseUnavailable, DatabaseDamaged."""
        payload = None if table.scanned else table.payload
        after = () if last is None else last[: len(table.key)]
        return self._run(scan(table, after=last is not None), (*after, PIECE), payload)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _run(self, sql: str, values: Sequence[object], payload: int | None = None) -> list[Row]:
        try:
            if self._connection is None:
                self._connection = connections.for_reading(self._path)
            with closing(self._connection.execute(sql, values)) as cursor:
                return cursor.fetchall() if payload is None else _fetch_piece(cursor, payload)
        except (sqlite3.Error, OverflowError) as error:
            self.close()  # whatever the reason was, the next one begins with a fresh connection
            sentence = f"{self._path} could not be read: {error}."
            raise (DatabaseDamaged if _is_damage(error) else DatabaseUnavailable)(sentence) from error


def _is_damage(error: Exception) -> bool:
    # A text that is not UTF-8 is found by Python's own module, which has no code for it.
    return is_damage(error) or str(error).startswith("Could not decode to UTF-8")


def _fetch_piece(cursor: sqlite3.Cursor, payload: int) -> list[Row]:
    rows: list[Row] = []
    length = 0
    for row in cursor:
        rows.append(row)
        length += len(row[payload] or b"")
        if length > _PIECE_BYTES:
            break
    return rows
