"""A directory with a user and some rules."""

from collections.abc import AsyncIterator

import pytest
from wardenmq.store.directory import Directory
from wardenmq.store.records import Rule


@pytest.fixture
async def directory() -> AsyncIterator[Directory]:
    opened = await Directory.open(":memory:", password_wait_limit=1)
    await opened.create_login("username", "alice", "wonderland")
    await opened.set_rules("username", "alice", [Rule("u/${username}/#", "allow", "all")])
    yield opened
    await opened.close()
