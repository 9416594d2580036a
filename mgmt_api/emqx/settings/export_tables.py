"""The tables of a backup, written row by row: the event loop makes a few rows at a time, a thread writes them."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from ....store import portable_rows
from ....store.directory import Directory
from ....store.login_index import StoredLogin
from ....store.portable_rows import write_row
from ....store.records import Ban
from ...backup_files import create_private
from ...encoding import TURN
from ...state import ApiState
from .retained_rows import OWN, retained_row
from .table_sets import API_KEYS, BANNED, DASHBOARD_USERS, LOGINS, RETAINED, RULES

_AT_ONCE = 1 << 20
"""Bytes that are given to the thread."""

Parts = Sequence[bytes]
Rows = Callable[[ApiState, float], Iterator[Parts]]
"""Give the rows of a table, each as parts that add up to it; empty where one is left out. The second is the time."""


def _bans(state: ApiState, now: float) -> Iterator[Parts]:
    bans: Iterable[Ban] = state.directory.bans.stored()
    for ban in bans:
        yield [] if ban.until is not None and ban.until <= now else [write_row(portable_rows.ban_row(ban))]


def _logins(state: ApiState, now: float) -> Iterator[Parts]:
    directory: Directory = state.directory
    stored: Iterable[StoredLogin] = directory.stored_logins()
    for each in stored:
        yield [write_row(portable_rows.login_row(each))] if directory.is_plain(each.login) else []


def _rules(state: ApiState, now: float) -> Iterator[Parts]:
    for subject_type in ("username", "clientid", "all"):
        for subject, rules in state.directory.stored_rules(subject_type):
            for row in portable_rows.rule_rows((subject_type, subject), rules):
                yield [write_row(row)]


def _retained(state: ApiState, now: float) -> Iterator[Parts]:
    messages = state.broker.retention.messages
    for topic in messages.topics():
        message = None if topic.startswith(OWN) else messages.get(topic)
        yield [] if message is None or message.expired(now) else retained_row(message)


def _api_keys(state: ApiState, now: float) -> Iterator[Parts]:
    for key, secret in state.directory.stored_api_keys():
        yield [write_row(portable_rows.api_key_row(key, secret))]


def _dashboard_users(state: ApiState, now: float) -> Iterator[Parts]:
    for user in state.directory.dashboard_users.stored():
        yield [write_row(portable_rows.dashboard_user_row(user))]


ROWS: dict[str, Rows] = {
    BANNED: _bans,
    LOGINS: _logins,
    RULES: _rules,
    RETAINED: _retained,
    API_KEYS: _api_keys,
    DASHBOARD_USERS: _dashboard_users,
}


async def write_table(state: ApiState, name: str, path: Path, now: float) -> None:
    """Write the rows of a table to a new file; raises OSError."""
    file: Any = await asyncio.to_thread(create_private, path)
    try:
        waiting: list[bytes] = []
        size, ends = 0, perf_counter() + TURN
        for parts in ROWS[name](state, now):
            waiting.extend(parts)
            size += sum(map(len, parts))
            if size >= _AT_ONCE:
                await asyncio.to_thread(file.writelines, waiting)
                waiting, size = [], 0
            elif perf_counter() >= ends:
                await asyncio.sleep(0)
            else:
                continue
            ends = perf_counter() + TURN
        await asyncio.to_thread(file.writelines, waiting)
    finally:
        await asyncio.to_thread(file.close)
