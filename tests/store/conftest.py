"""Directories for the tests of the store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from wardenmq.store.credentials import passwords
from wardenmq.store.directory import Directory

from .argon2_gate import Argon2Gate
from .restarts import assert_kept


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Argon2Gate]:
    """Replace argon2; what waits at the gate is let go at the end."""
    stand_in = Argon2Gate()
    monkeypatch.setattr(passwords, "_passlib_argon2", stand_in)
    yield stand_in
    stand_in.open.set()


@pytest.fixture
async def directory(gate: Argon2Gate) -> AsyncIterator[Directory]:
    """Open a directory in memory whose hashes cost nothing."""
    opened = await Directory.open(":memory:")
    yield opened
    gate.open.set()
    await opened.close()


@pytest.fixture
async def kept(directory: Directory, tmp_path: Path) -> AsyncIterator[Directory]:
    """Give a directory that at the end of the test must know the same after a restart."""
    yield directory
    await assert_kept(directory, tmp_path)
