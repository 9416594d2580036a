"""A new database made of all rows of a damaged one that can still be read."""

import os
import shutil
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .errors import DatabaseDamaged, DatabaseTooNew, DatabaseUnavailable
from .known_databases import CONTROL, SESSIONS, KnownDatabase, holds_something, open_for_reading, read_pragma
from .page_scan import PageScan, row_kinds
from .salvage import Row, Salvage, TableShape
from .sessions.setting_aside import SIDE_FILES, side_file

_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class TableRecovery:
    """Say what became of a table."""

    table: str
    saved: int
    refused: int
    """Rows that could be read, but cannot be rows of this table, or belong to rows that are lost."""
    lost_ranges: int
    """Ranges of keys where the table is damaged; how many rows are lost there, nobody knows."""


def recover_database(source: Path, target: Path, database: KnownDatabase) -> list[TableRecovery]:
    """Write what can be read of `source` to the new file `target` (mode 0600), in this release's schema.

    `source` is left as it is. Raises DatabaseDamaged where nothing of it can be recovered or where it is no such
    database, DatabaseTooNew, or DatabaseUnavailable where a file cannot be read or written.
    """
    try:
        with closing(open_for_reading(source)) as damaged:
            known, version = _find_tables(damaged, source, database)
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            with closing(sqlite3.connect(target, isolation_level=None)) as new:
                # Whoever made the folder throws it away with the file where this is cut short.
                new.execute("PRAGMA journal_mode = OFF")
                new.execute("PRAGMA synchronous = OFF")
                database.lay_down(new, 1, version)
                tables = _Recovery(source, target, database, damaged, new).carry_out(known)
                database.lay_down(new, version + 1, database.version)
                _check(new)
    except (OSError, ValueError, sqlite3.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DatabaseUnavailable(f"{source} could not be recovered: {reason}.") from error
    if not any(table.saved for table in tables):
        raise DatabaseDamaged(f"Nothing can be recovered from {source}: there is no row in it that can be read.")
    return tables


def _find_tables(damaged: sqlite3.Connection, source: Path, database: KnownDatabase) -> tuple[set[str], int]:
    """Have SQLite read as far as it can; return the tables that it knows where to find, and the schema version."""
    try:
        # A file that was cut off is refused without this, and so is one whose schema is partly unreadable.
        damaged.execute("PRAGMA writable_schema = ON")
        owner, version = (read_pragma(damaged, name) for name in ("application_id", "user_version"))
        names = {str(name) for (name,) in damaged.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        if database is not SESSIONS:
            raise DatabaseDamaged(
                f"Nothing can be recovered from {source}: its beginning, which says what is where, is lost ({error})."
            ) from error
        return set(), database.version
    if not owner and not version and not names:
        raise DatabaseDamaged(f"Nothing can be recovered from {source}: there is nothing in it.")
    if owner != database.application_id or version < 1:
        raise DatabaseDamaged(f"{source} is a database of some other program; it was left as it is.")
    if version > database.version:
        raise DatabaseTooNew(f"{source} is of a newer release; it was left as it is.")
    return names, version


class _Recovery:
    """Fill a new database."""

    def __init__(
        self,
        source: Path,
        target: Path,
        database: KnownDatabase,
        damaged: sqlite3.Connection,
        new: sqlite3.Connection,
    ) -> None:
        self._source = source
        self._target = target
        self._database = database
        self._damaged = damaged
        self._new = new
        names = new.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
        self._shapes = [TableShape.of(new, str(name)) for (name,) in names]
        self._read: dict[str, int] = {}
        self._salvages: dict[str, Salvage] = {}

    def carry_out(self, known: set[str]) -> list[TableRecovery]:
        """Fill all tables; SQLite can find those that are `known`."""
        new, shapes = self._new, self._shapes
        # What a new database holds from the start makes room for what the damaged one holds in its place.
        initial = {shape.name: new.execute(f"SELECT * FROM {shape.name}").fetchall() for shape in shapes}  # noqa: S608
        new.execute("PRAGMA foreign_keys = OFF")
        new.execute("BEGIN")
        for shape in shapes:
            new.execute(f"DELETE FROM {shape.name}")  # noqa: S608
        for shape in shapes:
            salvage = self._salvages[shape.name] = Salvage(self._damaged, shape)
            if shape.name not in known:
                salvage.give_up()
            self._read[shape.name] = _insert(new, shape, salvage.rows() if shape.name in known else iter(()))
        self._scan_pages()
        if self._database is CONTROL:
            _name_the_tenant(new, initial["tenant"])
        _delete_dangling(new, shapes)
        report: list[TableRecovery] = []
        for shape in shapes:
            name = shape.name
            (saved,) = new.execute(f"SELECT count(*) FROM {name}").fetchone()  # noqa: S608
            _insert(new, shape, iter(initial[name]))
            lost = self._salvages[name].count_lost()
            report.append(TableRecovery(name, saved, max(self._read[name] - saved, 0), lost))
        new.execute("COMMIT")
        return report

    def _scan_pages(self) -> None:
        """Look into the pages themselves for rows of whose keys SQLite could read none."""
        damaged = [shape for shape in self._shapes if self._salvages[shape.name].count_lost()]
        kinds = [kind for kind in row_kinds(self._new, self._shapes) if kind.shape in damaged]
        if not kinds:
            return
        with _without_log(self._source, self._target) as file, closing(PageScan(file)) as scan:
            # Where pages that are free cannot be told from others, what was deleted may come back. A message that
            # comes twice is better than one that never comes; a login that was revoked had better stay lost.
            if not scan.knows_what_is_free and self._database is not SESSIONS:
                return
            for shape, row in scan.rows(kinds, lambda shape, key: self._salvages[shape.name].is_lost(key)):
                before = self._new.total_changes
                _insert(self._new, shape, iter([row]))
                self._read[shape.name] += self._new.total_changes - before


@contextmanager
def _without_log(source: Path, target: Path) -> Generator[Path]:
    """Give a file in which all is that the log of the damaged one holds."""
    if not holds_something(side_file(source, "-wal")):
        yield source
        return
    copy = target.with_name(f"{target.name}.scanned")
    try:
        for suffix in ("", "-wal"):
            shutil.copyfile(side_file(source, suffix), side_file(copy, suffix))
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        yield copy
    finally:
        for suffix in ("", *SIDE_FILES):
            side_file(copy, suffix).unlink(missing_ok=True)


def _insert(new: sqlite3.Connection, shape: TableShape, rows: Iterator[Row]) -> int:
    """Write rows, but none that the table does not take, and return how many there were."""
    count = 0
    places = ", ".join("?" * len(shape.columns))
    while some := list(islice(rows, _AT_ONCE)):
        new.executemany(f"INSERT OR IGNORE INTO {shape.name} VALUES ({places})", some)  # noqa: S608
        count += len(some)
    return count


def _name_the_tenant(new: sqlite3.Connection, initial: Sequence[Row]) -> None:
    """Make the operator's tenant anew where only its own row is lost: all plain logins belong to it."""
    if new.execute("SELECT 1 FROM tenant WHERE name = 'default'").fetchone():
        return
    lost = new.execute(
        "SELECT DISTINCT tenant_id FROM principal WHERE tenant_id NOT IN (SELECT id FROM tenant)"
    ).fetchall()
    if len(lost) == 1:
        (row,) = initial
        new.execute(f"INSERT INTO tenant VALUES ({', '.join('?' * len(row))})", (*lost[0], *row[1:]))  # noqa: S608


def _delete_dangling(new: sqlite3.Connection, shapes: Sequence[TableShape]) -> None:
    """Delete rows whose parents are lost, as their deletion would have."""
    references = [
        (shape.name, row[3], row[2], row[4])
        for shape in shapes
        for row in new.execute(f"PRAGMA foreign_key_list({shape.name})").fetchall()
    ]
    changed = True
    while changed:
        changed = False
        for name, column, parent, key in references:
            cursor = new.execute(
                f"DELETE FROM {name} WHERE {column} IS NOT NULL AND {column} NOT IN (SELECT {key} FROM {parent})"  # noqa: S608
            )
            changed = changed or cursor.rowcount > 0


def _check(new: sqlite3.Connection) -> None:
    (answer,) = new.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        raise sqlite3.DatabaseError(f"the new file is damaged ({answer})")
