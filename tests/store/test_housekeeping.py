"""What the store does by itself: what is old goes, and one bad round is not the last one."""

import logging
import math

import pytest
from wardenmq.store import housekeeping
from wardenmq.store.directory import Directory
from wardenmq.store.errors import DatabaseUnavailable, Invalid

from .argon2_gate import Argon2Gate
from .conditions import until


@pytest.mark.parametrize(
    ("failure", "level"),
    [(DatabaseUnavailable("The disk is full."), logging.WARNING), (RuntimeError("a mistake"), logging.ERROR)],
)
async def test_a_round_that_fails_is_told_and_followed_by_another(
    gate: Argon2Gate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    level: int,
) -> None:
    monkeypatch.setattr(housekeeping, "_INTERVAL", 0.001)
    directory = await Directory.open(":memory:")
    purged: list[float] = []

    async def fail() -> int:
        if len(purged) < 2:
            purged.append(0)
            raise failure
        purged.append(1)
        return 0

    monkeypatch.setattr(directory.bans, "sweep", fail)
    try:
        await until(lambda: sum(purged) > 2)
    finally:
        await directory.close()
    told = [entry for entry in caplog.records if "could not be tidied up" in entry.message]
    assert [entry.levelno for entry in told] == [level, level]
    assert "full" in caplog.text or "a mistake" in caplog.text
    assert directory._housekeeping._task is not None
    assert directory._housekeeping._task.done()


@pytest.mark.parametrize(
    "bounds",
    [
        {"audit_retention_days": -1.0},
        {"audit_retention_days": math.nan},
        {"audit_retention_days": 1e12},
        {"audit_max_entries": -1},
    ],
)
async def test_bounds_that_cannot_be_are_refused_at_once(bounds: dict[str, float]) -> None:
    with pytest.raises(Invalid, match="must not be negative"):
        await Directory.open(":memory:", **bounds)  # type: ignore[arg-type]
