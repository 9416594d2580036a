"""Stores of sessions for the tests."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from wardenmq.store.file_names import SESSIONS_NAME
from wardenmq.store.sessions import connections

from .journals import TIME_LIMIT, Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that does not exist."""
    return tmp_path / SESSIONS_NAME


@pytest.fixture
async def journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Journal]:
    """Open a new store that is as patient as the tests are."""
    monkeypatch.setattr(connections, "_BUSY_TIMEOUT", TIME_LIMIT)
    opened = await Journal.open(path)
    yield opened
    await opened.close()


@pytest.fixture
def held_up(path: Path, journal: Journal) -> Iterator[sqlite3.Connection]:
    """Keep the file from being written, as long as the connection that this gives is in a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
