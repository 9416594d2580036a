"""What `wardenmq doctor --repair` does: rows put right that do not fit, and damaged databases made anew.

Nothing is deleted. Of a database whose rows are put right a copy is kept beside it, a damaged one is kept itself.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from .database_copy import copy_database
from .errors import DatabaseUnavailable, StoreError
from .examination import look_at, set_aside_files
from .file_exchange import FileExchange, finish_or_undo, give_to_owner, unused_name
from .known_databases import CONTROL, DATABASES, SESSIONS, KnownDatabase, open_for_reading
from .recovery import TableRecovery, recover_database
from .session_consistency import Rule, count_inconsistent, mend_inconsistent
from .sessions.setting_aside import SIDE_FILES, side_file


def repair(data_dir: Path, *, now: float, source: Path | None = None, full: bool = False) -> Iterator[str]:
    """Put right what can be put right, and say of each thing in a sentence what was done.

    `source` is a damaged database of sessions to be recovered in place of the one that is there. The caller owns the
    directory's lock. Killed at any moment, this leaves each database as it was or repaired, once `finish_or_undo` has
    been called. Raises a StoreError where something cannot be repaired; what was said is done.
    """
    finished = finish_or_undo(data_dir)
    if finished is not None:
        yield finished
    failures: list[StoreError] = []
    for database in DATABASES:
        try:
            yield from _repair(data_dir, database, source if database is SESSIONS else None, now=now, full=full)
        except StoreError as error:
            failures.append(error)
    if failures:
        raise type(failures[0])(" ".join(failure.message for failure in failures))


def _repair(data_dir: Path, database: KnownDatabase, source: Path | None, *, now: float, full: bool) -> Iterator[str]:
    path = data_dir / database.name
    state, _ = look_at(path, database, full=full)
    if source is None and database is SESSIONS and state == "missing":
        source = next(reversed(set_aside_files(data_dir)), None)
    if source is not None:
        yield from _recover(data_dir, database, source, now=now)
    elif state == "damaged":
        yield from _recover(data_dir, database, path, now=now)
    elif state == "sound" and database is SESSIONS:
        yield from _mend(path, data_dir, now=now)


def _recover(data_dir: Path, database: KnownDatabase, source: Path, *, now: float) -> Iterator[str]:
    """Make a database anew of what can be read of a damaged one, and put it in its place when it is finished."""
    if not source.is_file():
        raise DatabaseUnavailable(f"There is no file {source} from which anything could be recovered.")
    path = data_dir / database.name
    try:
        exchange = FileExchange(data_dir)
        try:
            new = exchange.folder / database.name
            tables = recover_database(source, new, database)
            mended = _mend_new(new) if database is SESSIONS else []
            mark = "damaged" if source.absolute() == path.absolute() else "replaced"
            kept = unused_name(data_dir, f"{database.name}.{mark}-", now)
            present = [suffix for suffix in ("", *SIDE_FILES) if os.path.lexists(side_file(path, suffix))]
            away = [(f"{database.name}{suffix}", f"{kept}{suffix}") for suffix in present]
            exchange.carry_out(away, [(database.name, database.name)])
        finally:
            exchange.abandon()
    except OSError as error:
        raise DatabaseUnavailable(f"{source} could not be recovered: {error.strerror or error}.") from error
    yield f"{database.name} was made anew of what can be read of {source.name}: {_describe(tables)}."
    if mended:
        yield f"Of that, {_count(mended)} were of no use and are left out or put right."
    if present:
        yield f"What was {database.name} before is kept as {kept}."
    if database is CONTROL and any(table.lost_ranges for table in tables):
        yield (
            "Rules, bans and roles may be among what is lost: look through them before the server runs again, "
            "or restore a backup."
        )


def _mend_new(path: Path) -> list[tuple[Rule, int]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return mend_inconsistent(connection)


def _mend(path: Path, data_dir: Path, *, now: float) -> Iterator[str]:
    """Put rows right that do not fit, after a copy was made."""
    try:
        with closing(open_for_reading(path)) as connection:
            if not count_inconsistent(connection):
                return
        copy = path.with_name(unused_name(data_dir, f"{path.name}.before-repair-", now))
        copy_database(path, copy)
        give_to_owner(copy, data_dir)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            mended = mend_inconsistent(connection)
    except (OSError, sqlite3.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DatabaseUnavailable(f"{path} could not be repaired: {reason}.") from error
    yield f"{_count(mended)} were deleted or put right; {path.name} as it was is kept as {copy.name}."


def _count(mended: list[tuple[Rule, int]]) -> str:
    return ", ".join(f"{count:,} {rule.words}" for rule, count in mended)


def _describe(tables: list[TableRecovery]) -> str:
    return ", ".join(_describe_table(table) for table in tables if table.saved or table.refused or table.lost_ranges)


def _describe_table(table: TableRecovery) -> str:
    text = f"{table.saved:,} rows of {table.table}"
    if table.lost_ranges:
        text += f" ({table.lost_ranges:,} damaged {'place' if table.lost_ranges == 1 else 'places'})"
    if table.refused:
        text += f" ({table.refused:,} unusable)"
    return text
