"""The tables of a backup: read in a thread some rows at a time, and written in as many transactions.

What one row says wrong keeps no other one out, but for rules: a list of which one is missing may allow what it denied.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter, time
from typing import Any, Generic, TypeVar

from ....broker.message import Message
from ....store import portable_rows
from ....store.api_keys import MAX_API_KEYS, NewApiKey
from ....store.background_work import in_slices
from ....store.credentials.stored_secrets import StoredSecret
from ....store.errors import Invalid, Overloaded, StoreError
from ....store.login_values import NewLogin
from ....store.plain_tar import BackupUnacceptable
from ....store.portable_rows import Subject, read_row
from ....store.records import Ban, Rule
from ....store.rules import MAX_RULES
from ...encoding import TURN
from ...errors import from_store
from ...routes import Call
from ..dashboard.users import DEFAULT_USER
from .import_archive import ImportArchive, TableReader
from .import_problems import Problems
from .retained_rows import read_head, read_retained
from .table_sets import API_KEYS, BANNED, DASHBOARD_USERS, LOGINS, RETAINED, RULES

MAX_ROWS = 2_000_000
"""Of one table."""
_MAX_WRONG = 1_000
"""Wrong rows of one table after which it is given up."""
_BATCH = 500
_BAN_BATCH = 200
_LOGIN_BATCH = 5_000
_MANY_RULES = 2_000
_MANY_BYTES = 1 << 20

T = TypeVar("T")


class _Rows(Generic[T]):
    """Read the rows of a table in threads; what cannot be read is among the problems."""

    def __init__(self, reader: TableReader, read: Callable[[bytes], T], problems: Problems, batch: int) -> None:
        self.name = reader.name
        self._reader = reader
        self._read = read
        self._problems = problems
        self._batch = batch
        self._row = 0
        self._most_wrong = problems.count + _MAX_WRONG

    async def next(self) -> list[T]:
        """Give some more of them, none at the end; raises BackupUnacceptable."""
        while True:
            found, ended = await asyncio.to_thread(self._next)
            if found or ended:
                return found

    def where(self) -> str:
        """Name the row that was read last."""
        return f"{self.name}: row {self._row}"

    def _next(self) -> tuple[list[T], bool]:
        found: list[T] = []
        for _ in in_slices(range(self._batch)):
            line = self._reader.line()
            if line is None:
                return found, True
            self._row += 1
            if self._row > MAX_ROWS or self._problems.count > self._most_wrong:
                raise BackupUnacceptable(f"{self.where()}: there are too many rows, or too many that are wrong.")
            try:
                found.append(self._read(line))
            except Invalid as error:
                self._problems.add(self.where(), error.message)
        return found, False


async def import_tables(call: Call[Any, Any], archive: ImportArchive, problems: Problems) -> None:
    """Take over the tables of an archive; raises OSError."""
    readers = archive.readers()
    try:
        while (reader := await asyncio.to_thread(next, readers, None)) is not None:
            if reader.name in _TABLES:
                await _TABLES[reader.name](call, reader, problems)
    except BackupUnacceptable as error:
        problems.add("tables", error.message)


async def _in_parts(
    where: str, items: Sequence[T], write: Callable[[Sequence[T]], Awaitable[object]], problems: Problems
) -> None:
    """Write items together or, where that is refused, in ever smaller parts, so that all go that can."""
    try:
        await write(items)
    except StoreError as error:
        known = from_store(error)
        if known is None or isinstance(error, Overloaded):
            raise
        if len(items) == 1:
            problems.add(where, known.message)
            return
        middle = len(items) // 2
        await _in_parts(where, items[:middle], write, problems)
        await _in_parts(where, items[middle:], write, problems)


async def _import_bans(call: Call[Any, Any], reader: TableReader, problems: Problems) -> None:
    rows = _Rows(reader, lambda line: portable_rows.read_ban(read_row(line)), problems, _BAN_BATCH)

    async def write(bans: Sequence[Ban]) -> None:
        await call.state.directory.bans.put(bans, **call.origin)

    while bans := await rows.next():
        await _in_parts(reader.name, bans, write, problems)


async def _import_logins(call: Call[Any, Any], reader: TableReader, problems: Problems) -> None:
    directory = call.state.directory
    rows = _Rows(reader, lambda line: portable_rows.read_login(read_row(line)), problems, _LOGIN_BATCH)

    async def write(logins: Sequence[NewLogin]) -> None:
        await directory.import_logins(logins, overwrite=True, **call.origin)

    while logins := await rows.next():
        for number, new in enumerate(logins, 1):
            known = directory.login(new.login_type, new.login) if new.login_type in ("username", "clientid") else None
            if known is not None and not directory.is_plain(known):
                problems.add(reader.name, f"{new.login[:100]!r} is the name of an organization's login, and is left")
            if number % _BATCH == 0:
                await asyncio.sleep(0)
        await _in_parts(reader.name, logins, write, problems)


async def _import_rules(call: Call[Any, Any], reader: TableReader, problems: Problems) -> None:
    """Take over lists of rules as wholes; from a row on that cannot be read, none."""
    rows = _Rows(reader, _read_rule, problems, _BATCH)
    lists: list[tuple[Subject, list[Rule]]] = []
    count = 0
    while found := await rows.next():
        for row in found:
            if isinstance(row, Invalid):  # it may be one of the last list
                problems.add(reader.name, f"a row cannot be read, and rules from there on are left out: {row.message}")
                await _put_rules(call, lists[:-1], problems)
                return
            subject, rule = row
            if not lists or lists[-1][0] != subject:
                if len(lists) >= _BATCH or count >= _MANY_RULES:
                    await _put_rules(call, lists, problems)
                    lists, count = [], 0
                lists.append((subject, []))
            if rule is not None and len(lists[-1][1]) <= MAX_RULES:
                lists[-1][1].append(rule)
                count += 1
    await _put_rules(call, lists, problems)


def _read_rule(line: bytes) -> tuple[Subject, Rule | None] | Invalid:
    try:
        return portable_rows.read_rule(read_row(line))
    except Invalid as error:
        return error


async def _put_rules(call: Call[Any, Any], lists: Sequence[tuple[Subject, list[Rule]]], problems: Problems) -> None:
    for subject_type in dict.fromkeys(kind for (kind, _), _ in lists):

        async def write(entries: Sequence[tuple[str, list[Rule]]], subject_type: str = subject_type) -> None:
            await call.state.directory.put_rules(subject_type, entries, **call.origin)

        entries = [(subject, rules) for (kind, subject), rules in lists if kind == subject_type]
        await _in_parts(f"{RULES}: {subject_type[:20]}", entries, write, problems)


async def _import_api_keys(call: Call[Any, Any], reader: TableReader, problems: Problems) -> None:
    directory = call.state.directory
    rows = _Rows(reader, lambda line: portable_rows.read_api_key(read_row(line)), problems, _BATCH)

    async def write(keys: Sequence[NewApiKey]) -> None:
        for new in keys:
            known = directory.api_keys()
            if len(known) >= MAX_API_KEYS and not any(
                new.name == key.name or new.api_key == key.api_key for key in known
            ):
                raise Invalid(f"There must not be more than {MAX_API_KEYS} API keys.")
            await directory.put_api_key(new, **call.origin)

    while keys := await rows.next():
        for key in keys:
            await _in_parts(f"{reader.name}: {key.name[:100]!r}", [key], write, problems)


async def _import_dashboard_users(call: Call[Any, Any], reader: TableReader, problems: Problems) -> None:
    users = call.state.directory.dashboard_users
    rows = _Rows(reader, lambda line: portable_rows.read_dashboard_user(read_row(line)), problems, _BATCH)

    async def write(news: Sequence[tuple[str, StoredSecret, str, str]]) -> None:
        for name, secret, role, description in news:
            if name == DEFAULT_USER and role != "administrator":
                raise Invalid(f"{DEFAULT_USER} is an administrator.")
            if not users.holds(name, secret, role, description):  # whose logins would end
                await users.put(name, secret, role, description, **call.origin)

    while news := await rows.next():
        for new in news:
            await _in_parts(f"{reader.name}: {new[0][:100]!r}", [new], write, problems)


async def _import_retained(call: Call[Any, Any], reader: TableReader, problems: Problems) -> None:
    """Take over retained messages without sending them to anybody, as if they had been published long ago."""
    broker = call.state.broker
    retention, settings = broker.retention, broker.settings
    if not retention.policy.enabled:
        problems.add(reader.name, "nothing is retained here: the retainer is switched off")
        return
    messages = _Messages(reader, problems, settings.max_topic_levels, settings.max_packet_size)
    now, refused, ends = time(), 0, perf_counter() + TURN
    while found := await messages.next():
        for message in found:
            if message.expired(now):
                continue
            if retention.has_room(message):
                retention.retain(message)
            else:
                refused += 1
            if perf_counter() >= ends:
                await asyncio.sleep(0)
                ends = perf_counter() + TURN
        if not await broker.written():
            problems.add(reader.name, "what was retained cannot be written for now")
            return
    if refused:
        problems.add(reader.name, f"{refused} messages are left out because of a limit of the retainer")


class _Messages:
    """Read retained messages in threads, a row of two parts at a time."""

    def __init__(self, reader: TableReader, problems: Problems, max_levels: int, max_size: int) -> None:
        self._reader = reader
        self._max_levels = max_levels
        self._max_size = max_size
        self._problems = problems
        self._row = 0
        self._most_wrong = problems.count + _MAX_WRONG

    async def next(self) -> list[Message]:
        """Give some more of them, none at the end; raises BackupUnacceptable."""
        while True:
            found, ended = await asyncio.to_thread(self._next)
            if found or ended:
                return found

    def _next(self) -> tuple[list[Message], bool]:
        found: list[Message] = []
        size = 0
        for _ in in_slices(range(_BATCH)):
            line = self._reader.line()
            if line is None:
                return found, True
            self._row += 1
            where = f"{self._reader.name}: row {self._row}"
            if self._row > MAX_ROWS or self._problems.count > self._most_wrong:
                raise BackupUnacceptable(f"{where}: there are too many rows, or too many that are wrong.")
            try:
                head = read_head(read_row(line))
            except Invalid as error:  # where the next one begins is not known
                raise BackupUnacceptable(f"{where}: {error.message}") from None
            if head.properties + head.payload > self._max_size:
                self._reader.skip(head.size)
                self._problems.add(where, "the message is larger than a packet may be here")
                continue
            data = self._reader.data(head.size)
            try:
                found.append(read_retained(head, data, self._max_levels))
            except Invalid as error:
                self._problems.add(where, error.message)
            size += head.size
            if size >= _MANY_BYTES:
                break
        return found, False


_TABLES: dict[str, Callable[[Call[Any, Any], TableReader, Problems], Awaitable[None]]] = {
    BANNED: _import_bans,
    LOGINS: _import_logins,
    RULES: _import_rules,
    RETAINED: _import_retained,
    API_KEYS: _import_api_keys,
    DASHBOARD_USERS: _import_dashboard_users,
}
