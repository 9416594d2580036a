"""The audit log: what a query finds, pages without gaps, and an end to old entries that holds up nobody."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from wardenmq.store import audit as audit_module
from wardenmq.store.audit import MAX_LIMIT, Audit
from wardenmq.store.database import MEMORY, Database, Statement
from wardenmq.store.errors import Invalid
from wardenmq.store.records import AuditEntry
from wardenmq.store.writer import Write, Writer

NOW = 1_700_000_000.0
DAY = 86_400.0
_INSERT = "INSERT INTO audit_log (at, actor, facade, action, target, detail) VALUES (?, ?, ?, ?, ?, ?)"

# Oldest first; the clock was set back before the last.
ENTRIES = [
    (NOW - 3 * DAY, "key", "emqx", "login.create", "username:alice", {"superuser": False}),
    (NOW - 2 * DAY, "key", "emqx", "login.update", "username:alice", {"changed": ["password"]}),
    (NOW - 1 * DAY, "root", "cli", "rules.set", "username:100%_sure", {"rules": 2}),
    (NOW - 0.5, "root", "cli", "rules.delete", "username:100 are sure", {}),
    (NOW, "", "", "default_access.set", "no_match", {"no_match": "allow"}),
    (NOW - 2.5 * DAY, "Key", "emqx", "login_create", "USERNAME:back\\slash", {}),
]


async def fill(database: Database, entries: list[tuple[float, str, str, str, str, dict[str, object]]]) -> None:
    rows = [(round(entry[0] * 1_000_000), *entry[1:5], json.dumps(entry[5])) for entry in entries]
    await database.transact([Statement(_INSERT, rows)])


@pytest.fixture(params=["memory", "file"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(MEMORY if request.param == "memory" else tmp_path / "the database?.db")
    yield opened
    await opened.close()


@pytest.fixture
async def audit(database: Database) -> Audit:
    await fill(database, ENTRIES)  # type: ignore[arg-type]
    return Audit(database, lambda: NOW)


async def test_entries_are_whole_and_the_newest_come_first(audit: Audit) -> None:
    assert await audit.entries() == [
        AuditEntry(number, *ENTRIES[number - 1])  # type: ignore[arg-type]
        for number in (6, 5, 4, 3, 2, 1)
    ]
    assert await audit.count() == 6


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"actor": "key"}, [2, 1]),
        ({"actor": "ke"}, []),
        ({"actor": ""}, [5]),
        ({"facade": "cli"}, [4, 3]),
        ({"facade": "cl%"}, []),
        ({"action": "login.create"}, [1]),
        ({"action": "login.*"}, [2, 1]),
        ({"action": "login*"}, [6, 2, 1]),
        ({"action": "login_*"}, [6]),  # the underscore stands for itself
        ({"action": "login.%"}, []),
        ({"action": "*"}, [6, 5, 4, 3, 2, 1]),
        ({"action": "*.set"}, []),  # an asterisk in front is one
        ({"target": "alice"}, [2, 1]),
        ({"target": "ALICE"}, [2, 1]),
        ({"target": "username:"}, [6, 4, 3, 2, 1]),
        ({"target": "100%_"}, [3]),
        ({"target": "100%sure"}, []),
        ({"target": "%"}, [3]),
        ({"target": "_"}, [5, 3]),
        ({"target": "k\\s"}, [6]),
        ({"target": "\\"}, [6]),
        ({"target": "' OR 1=1 --"}, []),
        ({"target": ""}, [6, 5, 4, 3, 2, 1]),
        ({"since": NOW - 2 * DAY}, [5, 4, 3, 2]),
        ({"since": NOW}, [5]),
        ({"since": NOW + 0.000001}, []),
        ({"until": NOW - 2 * DAY}, [6, 1]),
        ({"since": NOW - 2.5 * DAY, "until": NOW}, [6, 4, 3, 2]),
        ({"since": NOW, "until": NOW}, []),
        ({"before_id": 3}, [2, 1]),
        ({"before_id": 0}, []),
        ({"before_id": 2**63 - 1}, [6, 5, 4, 3, 2, 1]),
        ({"limit": 2}, [6, 5]),
        ({"since": NOW - DAY, "actor": "root", "facade": "cli", "action": "rules.*", "target": "sure"}, [4, 3]),
        ({"since": NOW - DAY, "until": NOW - 1, "actor": "root", "facade": "cli", "before_id": 4}, [3]),
    ],
)
async def test_a_query_finds_what_fits_all_of_it(audit: Audit, filters: dict[str, object], ids: list[int]) -> None:
    assert [entry.id for entry in await audit.entries(**filters)] == ids  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "filters",
    [
        *[{"limit": 0}, {"limit": -1}, {"limit": MAX_LIMIT + 1}],
        *[{"before_id": -1}, {"before_id": 2**63}],
        *[{"since": -1.0}, {"since": float("nan")}, {"since": 10**400}, {"until": float("inf")}, {"until": 1e300}],
        *[{"actor": "a" * 1_001}, {"facade": "\x1b"}, {"action": "\ud800"}, {"target": "\0"}, {"target": "%" * 1_001}],
    ],
)
async def test_what_cannot_be_asked_is_refused(audit: Audit, filters: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        await audit.entries(**filters)  # type: ignore[arg-type]


async def test_pages_have_no_gap_while_entries_come(database: Database) -> None:
    audit = Audit(database, lambda: NOW)
    await fill(database, [(NOW, "", "", "a", f"{number}", {}) for number in range(25)])
    seen: list[str] = []
    before: int | None = None
    while page := await audit.entries(before_id=before, limit=10):
        seen += [entry.target for entry in page]
        before = page[-1].id
        await fill(database, [(NOW, "", "", "a", "later", {}) for _ in range(3)])
    assert seen == [f"{number}" for number in reversed(range(25))]


async def test_a_write_that_is_not_committed_is_not_shown(database: Database) -> None:
    audit = Audit(database, lambda: NOW)
    writer = Writer(database, lambda: NOW, lambda: None)
    write = Write(
        "a", "b", [Statement("INSERT INTO setting (key, value) VALUES (?, ?)", [("k", "v")])], lambda: None, None
    )
    broken = Write("c", "d", [Statement("INSERT INTO nowhere VALUES (?)", [(1,)])], lambda: None, None)
    outcomes = await asyncio.gather(
        writer.write(lambda at: write),
        *(audit.entries() for _ in range(5)),
        writer.write(lambda at: broken),
        *(audit.entries() for _ in range(5)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[6], Exception)
    shown = [outcome for outcome in outcomes if isinstance(outcome, list)]
    assert len(shown) == 10
    assert {entry.action for entries in shown for entry in entries} <= {"a"}
    assert [entry.action for entry in await audit.entries()] == ["a"]


async def test_old_entries_go_by_age(audit: Audit) -> None:
    assert await audit.purge(2, 0) == 1  # what is just as old as that stays
    assert [entry.id for entry in await audit.entries()] == [6, 5, 4, 3, 2]
    assert await audit.purge(2, 0) == 0
    assert await audit.purge(0.25, 0) == 2
    # The newest entry stays though the clock that dated it was slow.
    assert [entry.id for entry in await audit.entries()] == [6, 5, 4]


@pytest.mark.parametrize(
    ("most", "left"), [(4, [6, 5, 4, 3]), (1, [6]), (6, [6, 5, 4, 3, 2, 1]), (1_000, [6, 5, 4, 3, 2, 1])]
)
async def test_old_entries_go_by_count(audit: Audit, most: int, left: list[int]) -> None:
    assert await audit.purge(0, most) == 6 - len(left)
    assert [entry.id for entry in await audit.entries()] == left


async def test_zero_is_for_ever(audit: Audit) -> None:
    assert await audit.purge(0, 0) == 0
    assert await audit.count() == 6
    assert await audit.purge(2.75, 2) == 4  # both hold


async def test_the_newest_entry_always_stays(database: Database) -> None:
    """An empty log would make an old database look new, and its ids begin anew."""
    audit = Audit(database, lambda: NOW + 1_000 * DAY)
    assert await audit.purge(1, 1) == 0
    await fill(database, ENTRIES[:5])  # type: ignore[arg-type]
    assert await audit.purge(1, 1) == 4
    await fill(database, ENTRIES[:1])  # type: ignore[arg-type]
    assert [entry.id for entry in await audit.entries()] == [6, 5]


@pytest.mark.parametrize(("days", "most"), [(-1, 0), (float("nan"), 0), (float("inf"), 0), (0, -1), (0, 2**63)])
async def test_a_retention_that_cannot_be_is_refused(audit: Audit, days: float, most: int) -> None:
    with pytest.raises(Invalid):
        await audit.purge(days, most)
    assert await audit.count() == 6


async def test_writes_get_their_turn_while_entries_go(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "_PURGED_AT_ONCE", 10)
    audit = Audit(database, lambda: NOW)
    await fill(database, [(1.0, "", "", "a", "t", {}) for _ in range(1_000)])
    writer = Writer(database, lambda: NOW, lambda: None)
    left: list[int] = []

    async def write() -> None:
        for number in range(20):
            insert = Statement("INSERT INTO setting (key, value) VALUES (?, ?)", [(f"{number}", "")])
            await writer.write(lambda at, insert=insert: Write("b", "t", [insert], lambda: None, None))
            left.append((await database.read("SELECT count(*) FROM audit_log WHERE action = 'a'"))[0][0])

    purged, _ = await asyncio.gather(audit.purge(1, 0), write())
    assert purged == 1_000
    # Between any two writes a few slices at the most were deleted.
    assert [before - after for before, after in zip([1_000, *left], left, strict=False)] < [50] * 20
    assert left[-1] > 0
    assert [entry.action for entry in await audit.entries()] == ["b"] * 20


async def test_a_purge_that_fails_leaves_its_slice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "_PURGED_AT_ONCE", 2)
    audit = Audit(database, lambda: NOW)
    await fill(database, [(float(number), "", "", "a", f"{number}", {}) for number in range(1, 10)])
    stop = "CREATE TRIGGER stop BEFORE DELETE ON audit_log WHEN old.id = 6 BEGIN SELECT RAISE(ABORT, 'stop'); END"
    await database.transact([Statement(stop, [()])])
    with pytest.raises(Exception, match="stop"):
        await audit.purge(1, 0)
    assert [entry.id for entry in await audit.entries()] == [9, 8, 7, 6, 5]
    await fill(database, [(NOW, "", "", "b", "", {})])  # the connection is fit for use
    assert await audit.count() == 6
