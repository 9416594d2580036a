"""Nothing half-written: a process that is killed at any step of any write leaves all of it or nothing of it."""

import inspect
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from wardenmq.store.audit import Audit
from wardenmq.store.authenticators.chain import Authenticators
from wardenmq.store.bans import Bans
from wardenmq.store.dashboard_users import DashboardUsers
from wardenmq.store.directory import Directory
from wardenmq.store.groups import Groups
from wardenmq.store.integrations import Integrations
from wardenmq.store.roles import Roles
from wardenmq.store.sources import Sources
from wardenmq.store.tenants import Tenants

from .argon2_gate import Argon2Gate
from .dying_writes import BASE, FILE, LATER, VIEW, WRITES, open_directory, view

ROOT = Path(__file__).parent.parent.parent
TIME_LIMIT = 120
PARTS = {
    "tenants": Tenants,
    "integrations": Integrations,
    "roles": Roles,
    "groups": Groups,
    "bans": Bans,
    "audit": Audit,
    "dashboard_users": DashboardUsers,
    "authenticators": Authenticators,
    "sources": Sources,
}
READ = {"note", "open", "close", "load", "entries", "count", "check", "hash_password", "hash_imported"}

OLD = ["validated", "begun", "statement", "before the commit"]
NEW = ["committed", "in memory", "before the effects", "answered", "ended"]
"""The steps of a write in their order; statements come as often as it takes."""
NOT_ALWAYS = {"in memory", "before the effects"}
"""Steps that some writes do not have: the audit log is not in memory, and some writes concern no session."""
WITHOUT_AUDIT = {"keep_secret", "bans.sweep", "audit.purge"}
"""Writes that only keep what follows from what is there."""

Tables = dict[str, list[tuple[object, ...]]]


def contents(path: Path) -> Tables:
    """Read all tables, as the next process finds them."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def coroutine_names(owner: type) -> Iterator[str]:
    for name, value in vars(owner).items():
        if inspect.iscoroutinefunction(inspect.unwrap(getattr(value, "__func__", value))) and not name.startswith("_"):
            yield name


def test_every_kind_of_write_is_among_them() -> None:
    known = {name.partition(" ")[0] for writes in WRITES.values() for name in writes}
    public = {*coroutine_names(Directory)} - READ
    for prefix, owner in PARTS.items():
        public |= {f"{prefix}.{name}" for name in coroutine_names(owner) if name not in READ}
    assert known == public | {"keep_secret"}


def carry_out(part: str, folder: Path) -> dict[str, list[str]]:
    """Have all writes of a part carried out and killed; return, by write, which process reached which step.

    The first of each is not killed, the others at one step after the other until there was none left.
    """
    command = [sys.executable, "-m", "tests.store.dying_writes", part, str(folder)]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIME_LIMIT)
    assert completed.returncode == 0, completed.stderr
    reached: dict[str, list[str]] = {name: [] for name in WRITES[part]}
    for line in completed.stdout.splitlines():
        name, number, step = json.loads(line)
        assert number == len(reached[name])
        reached[name].append(step)
    return reached


@pytest.mark.parametrize("part", WRITES)
async def test_a_killed_write_is_whole_or_is_not(part: str, tmp_path: Path, gate: Argon2Gate) -> None:
    reached = carry_out(part, tmp_path)
    before = contents(tmp_path / BASE)
    assert [table for table in before if not before[table]] == ["tenant_addon"]
    for name, (whole, *steps) in reached.items():
        assert whole == "ended"
        assert list(dict.fromkeys(steps)) == [step for step in OLD + NEW if step in steps]
        assert {*OLD, *NEW} - {*steps} <= NOT_ALWAYS

        after = contents(tmp_path / name / "0" / FILE)
        assert after != before
        if name not in WITHOUT_AUDIT:
            assert after["audit_log"][:-1] == before["audit_log"]
            assert {table for table in after if after[table] != before[table]} > {"audit_log"}
        for number, step in enumerate(steps, 1):
            found = contents(tmp_path / name / f"{number}" / FILE)
            assert found == (before if step in OLD else after), f"{name}, killed when {step}"

        # The next process has in memory what the first one had.
        again = await open_directory(tmp_path / name / f"{steps.index('committed') + 1}" / FILE, LATER)
        in_memory = view(again)
        await again.close()
        assert in_memory == (tmp_path / name / "0" / VIEW).read_text(), name
