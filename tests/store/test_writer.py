"""Writes: commit, memory, callbacks, in this order and one at a time; failures leave everything as it was."""

import asyncio
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path

import pytest
from wardenmq.store.database import Statement
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, DatabaseUnavailable, Invalid
from wardenmq.store.records import PUBLISH, Change, Rule
from wardenmq.store.writer import Write

from .argon2_gate import Argon2Gate
from .test_authentication import settle

ALLOW = (Rule("a/#", "allow", "all"),)
DENY = (Rule("a/#", "deny", "all"),)

_BREAK = "CREATE TRIGGER full BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'disk is full'); END"


def execute(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


async def test_a_failed_write_changes_nothing(tmp_path: Path, gate: Argon2Gate) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    login = await directory.create_login("username", "alice", "old")
    await directory.set_rules("username", "alice", ALLOW)
    key, secret = await directory.create_api_key("key")
    told: list[Change] = []

    async def record(change: Change) -> None:
        told.append(change)

    directory.on_change(record)
    generation = directory.generation
    tables = ("principal", "credential", "acl_rule", "acl_subject", "default_access", "audit_log")
    before = [execute(path, f"SELECT * FROM {table}") for table in tables]
    execute(path, _BREAK)

    for write in (
        lambda: directory.create_login("username", "bob", "x"),
        lambda: directory.update_login("username", "alice", password="new", superuser=True),
        lambda: directory.delete_login("username", "alice"),
        lambda: directory.set_rules("username", "alice", DENY),
        directory.delete_all_rules,
        lambda: directory.set_no_match("allow"),
        lambda: directory.delete_api_key("key"),
        directory.create_operator_token,
    ):
        with pytest.raises(DatabaseUnavailable, match="disk is full"):
            await write()

    assert directory.generation == generation
    assert told == []
    assert directory.logins("username") == [login]
    assert directory.rules("username", "alice") == ALLOW
    assert directory.no_match == "deny"
    assert directory.verify_api_key(key.api_key, secret) == key
    assert (await settle(directory.authenticate("c", "alice", b"old"))).outcome.name == "ACCEPTED"
    assert (await settle(directory.authenticate("c", "alice", b"new"))).outcome.name == "WRONG"
    assert [execute(path, f"SELECT * FROM {table}") for table in tables] == before

    execute(path, "DROP TRIGGER full")
    await directory.set_rules("username", "alice", DENY)  # the connection is fit for use
    assert directory.rules("username", "alice") == DENY
    await directory.close()


async def test_two_writers_take_turns(directory: Directory) -> None:
    outcomes = await asyncio.gather(
        *(directory.create_login("username", "alice", f"{number}") for number in range(5)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AlreadyExists"] * 4 + ["Login"]
    assert len(directory.logins("username")) == 1

    lists = [tuple(Rule(f"{name}/{number}", "allow", "all") for number in range(50)) for name in "abcdefgh"]
    await asyncio.gather(*(directory.set_rules("username", "alice", rules) for rules in lists))
    assert directory.rules("username", "alice") in lists


async def test_callbacks_see_the_new_state_and_are_waited_for(directory: Directory) -> None:
    seen: list[tuple[bool, int]] = []

    async def look(change: Change) -> None:
        await asyncio.sleep(0)
        seen.append((directory.access("c", "alice").decide(PUBLISH, "a/b", 0, False), directory.generation))

    directory.on_change(look)
    await directory.set_rules("username", "alice", ALLOW)
    assert seen == [(True, 1)]
    await directory.set_rules("username", "alice", DENY)
    assert seen == [(True, 1), (False, 2)]


async def test_a_callback_may_write(directory: Directory) -> None:
    async def tidy(change: Change) -> None:
        if "alice" in change.usernames and directory.rules("all") is None:
            await directory.set_rules("all", "", DENY)

    directory.on_change(tidy)
    async with asyncio.timeout(30):
        await directory.set_rules("username", "alice", ALLOW)
    assert directory.rules("all") == DENY


async def test_all_callbacks_are_told_before_the_first_failure_is_raised(directory: Directory) -> None:
    told: list[str] = []

    async def fail(change: Change) -> None:
        raise ConnectionError("no broker")

    async def record(change: Change) -> None:
        told.append("told")

    directory.on_change(fail)
    directory.on_change(record)
    with pytest.raises(ConnectionError):
        await directory.set_rules("all", "", ALLOW)
    assert told == ["told"]
    assert directory.rules("all") == ALLOW


async def test_a_cancelled_caller_leaves_file_and_memory_agreed(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    for turns in range(12):
        write = asyncio.ensure_future(directory.set_rules("username", f"user {turns}", ALLOW))
        for _ in range(turns):
            await asyncio.sleep(0)
        write.cancel()
        await asyncio.gather(write, return_exceptions=True)
    await directory.set_rules("all", "", ALLOW)  # takes its turn after all of them
    in_memory = directory.rule_subjects("username")
    await directory.close()
    again = await Directory.open(path)
    assert again.rule_subjects("username") == in_memory
    assert in_memory  # some had begun before they were cancelled
    await again.close()


async def test_closing_waits_for_writes(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    write = asyncio.ensure_future(directory.set_rules("username", "alice", ALLOW))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await directory.close()
    await write
    again = await Directory.open(path)
    assert again.rules("username", "alice") == ALLOW
    await again.close()


async def test_every_write_is_audited(tmp_path: Path, gate: Argon2Gate) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path, clock=lambda: 1_700_000_000.000001)
    await directory.create_login("username", "alice", "secret", actor="key", facade="emqx")
    await directory.update_login("username", "alice", password="other", actor="key", facade="emqx")
    await directory.set_rules("username", "alice", ALLOW, actor="root", facade="cli")
    await directory.set_no_match("allow")
    with pytest.raises(AlreadyExists):
        await directory.create_login("username", "alice", "secret")
    await directory.close()
    rows = execute(path, "SELECT at, actor, facade, action, target, detail FROM audit_log ORDER BY id")
    assert [(*row[:5], json.loads(str(row[5]))) for row in rows] == [
        (
            1_700_000_000_000_001,
            "key",
            "emqx",
            "login.create",
            "username:alice",
            {"kind": "mqtt_client", "superuser": False},
        ),
        (1_700_000_000_000_001, "key", "emqx", "login.update", "username:alice", {"changed": ["password"]}),
        (1_700_000_000_000_001, "root", "cli", "rules.set", "username:alice", {"subjects": 1, "rules": 1}),
        (
            1_700_000_000_000_001,
            "",
            "",
            "default_access.set",
            "publish, subscribe",
            {"from": {"publish": False, "subscribe": False}, "to": {"publish": True, "subscribe": True}},
        ),
    ]


def test_no_hash_is_in_a_repr() -> None:
    statement = Statement("SELECT ?", [(b"s3cr3t",)])
    assert "s3cr3t" not in repr(statement)
    assert "s3cr3t" not in repr(Write("a", "t", [statement], lambda: None, "s3cr3t"))


async def test_what_takes_long_is_prepared_beside_the_loop_and_alone(directory: Directory) -> None:
    """The loop has its turn meanwhile, and no other write does."""
    loop = asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), threading.Event()
    prepared: list[str] = []

    def slow(at: int) -> Write[str]:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(30)
        prepared.append("slow")
        return Write("a", "slow", [], lambda: prepared.append("applied"), "done")

    def quick(at: int) -> Write[None]:
        prepared.append("quick")
        return Write("a", "quick", [], lambda: None, None)

    first = asyncio.ensure_future(directory._writer.write(slow, in_thread=True))
    await begun.wait()
    second = asyncio.ensure_future(directory._writer.write(quick))
    await asyncio.sleep(0)
    assert prepared == []
    go_on.set()
    assert await first == "done"
    await second
    assert prepared == ["slow", "applied", "quick"]


async def test_what_is_refused_in_a_thread_is_refused(directory: Directory) -> None:
    def refuse(at: int) -> Write[None]:
        raise Invalid("No.")

    generation = directory.generation
    with pytest.raises(Invalid, match="No"):
        await directory._writer.write(refuse, in_thread=True)
    assert directory.generation == generation


@pytest.mark.parametrize("value", ["\ud800", 2**63])
async def test_what_sqlite_cannot_keep_changes_nothing(directory: Directory, value: object) -> None:
    statements = [
        Statement("INSERT INTO setting (key, value) VALUES ('a', '')", [()]),
        Statement("INSERT INTO setting (key, value) VALUES ('b', ?)", [(value,)]),
    ]
    with pytest.raises(Invalid):
        await directory._database.transact(statements)
    assert await directory._database.read("SELECT * FROM setting WHERE key IN ('a', 'b')") == []


async def test_no_secret_is_kept_logged_or_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    directory = await Directory.open(tmp_path / "wardenmq.db")
    secrets = ["hunter2-first", "hunter2-second", "hunter2-dashboard", "hunter2-supplied"]
    shown: list[object] = [await directory.create_login("username", "alice", secrets[0])]
    shown.append(await directory.update_login("username", "alice", password=secrets[1]))
    shown.append(await settle(directory.authenticate("c", "alice", secrets[1].encode())))
    await directory.create_dashboard_user("admin", secrets[2])
    supplied_key, _ = await directory.create_api_key("supplied", secret=secrets[3])
    generated_key, generated = await directory.create_api_key("generated")
    shown += [supplied_key, generated_key]
    secrets += [generated, await directory.create_bunkerm_key(), await directory.create_operator_token()]
    stored = directory._logins.find("username", "alice")
    assert stored is not None
    assert stored.secret is not None
    shown.append(stored)
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    await directory.close()
    files += b"".join(file.read_bytes() for file in tmp_path.iterdir())

    assert stored.secret.secret_hash in files  # so what is searched is what was written
    assert "executing" in caplog.text  # and aiosqlite did log its calls
    for secret in secrets:
        assert secret.encode() not in files
        assert secret not in caplog.text
        assert secret not in repr(shown)
    assert stored.secret.secret_hash.decode() not in caplog.text + repr(shown)


_WRITE_FOREVER = """
import asyncio, itertools, sys
from wardenmq.store.directory import Directory
from wardenmq.store.records import Rule

async def write() -> None:
    directory = await Directory.open(sys.argv[1])
    for number in itertools.count():
        await directory.set_rules("username", f"{number:06}", [Rule(f"t/{n}", "allow", "all") for n in range(20)])
        print(number, flush=True)

asyncio.run(write())
"""


async def test_a_killed_process_loses_nothing_it_had_answered(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITE_FOREVER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while (line := await process.stdout.readline()) and int(line) < 40:
            pass
        os.kill(process.pid, signal.SIGKILL)
        answered = [int(line), *map(int, (await process.stdout.read()).split())][-1]
        await process.wait()

    directory = await Directory.open(path)
    subjects = directory.rule_subjects("username")
    assert subjects == [f"{number:06}" for number in range(len(subjects))]
    assert len(subjects) in (answered + 1, answered + 2)  # one more may have been committed but not answered
    lists = [directory.rules("username", subject) for subject in subjects]
    assert all(rules is not None and len(rules) == 20 for rules in lists)  # each whole
    await directory.close()
