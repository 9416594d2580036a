"""The sources of rules: their order, what is asked when, what is counted, what is there again after a restart."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from wardenmq.store.acl.access import ClientAccess
from wardenmq.store.acl.policy import Policy
from wardenmq.store.authenticators.token_rights import TokenRights
from wardenmq.store.configurations import Configurations
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, Invalid, NotFound, StoreError
from wardenmq.store.records import PUBLISH, SUBSCRIBE, Change, RoleAcl, Rule
from wardenmq.store.source_order import BuiltInSource, FileSource, Source
from wardenmq.store.sources import MAX_EXCLUDES, CacheSettings, SourceReport

ALLOW = Rule("t", "allow", "all")
DENY = Rule("t", "deny", "all")
FILE_ALLOWS = '{allow, all, all, ["t"]}.'
FILE_DENIES = '{deny, all, all, ["t"]}.'


@pytest_asyncio.fixture
async def directory() -> AsyncIterator[Directory]:
    opened = await Directory.open(":memory:")
    yield opened
    await opened.close()


def access(directory: Directory, username: str | None = "alice", **more: object) -> ClientAccess:
    principal = directory.principal_of("c", username)
    return directory.access("c", username, principal, **more)  # type: ignore[arg-type]


def may(directory: Directory, username: str | None = "alice", topic: str = "t") -> bool:
    return access(directory, username).decide(PUBLISH, topic, 0, False)


def types(directory: Directory) -> list[str]:
    return [source.type for source in directory.sources.all]


def reports(directory: Directory) -> dict[str, SourceReport]:
    return {report.type: report for report in directory.sources.report()}


async def test_at_first_the_file_says_nothing(directory: Directory) -> None:
    assert types(directory) == ["file", "built_in_database"]
    assert all(source.enabled for source in directory.sources.all)
    assert reports(directory)["file"].rules == 0
    await directory.set_rules("all", "", [ALLOW])
    assert may(directory)
    assert access(directory).explain(PUBLISH, "t", 0, False).decided_by == "all"


@pytest.mark.parametrize("kind", ["clientid", "username", "all"])
async def test_the_first_source_that_has_an_answer_decides(directory: Directory, kind: str) -> None:
    subject = {"clientid": "c", "username": "alice", "all": ""}[kind]
    await directory.set_rules(kind, subject, [ALLOW, Rule("mine", "allow", "all")])
    await directory.sources.update(FileSource(FILE_DENIES))
    assert not may(directory)
    assert access(directory).explain(PUBLISH, "t", 0, False).decided_by == "file"
    assert may(directory, topic="mine")
    await directory.sources.move("file", "rear")
    assert may(directory)
    assert access(directory).explain(PUBLISH, "t", 0, False).decided_by == kind
    await directory.sources.update(BuiltInSource(enabled=False))
    assert not may(directory)
    assert not may(directory, topic="mine")
    await directory.sources.update(FileSource(FILE_DENIES, enabled=False))
    await directory.sources.update(BuiltInSource())
    assert may(directory)


async def test_an_answer_that_is_remembered_goes_with_the_order(directory: Directory) -> None:
    await directory.set_rules("all", "", [ALLOW])
    before = access(directory)
    assert before.decide(PUBLISH, "t", 0, False)
    await directory.sources.update(FileSource(FILE_DENIES))
    after = access(directory, previous=before)
    assert after.standing is not before.standing
    assert not after.decide(PUBLISH, "t", 0, False)
    same = access(directory, previous=after)
    assert same.standing is after.standing


@pytest.mark.parametrize("built_in", ["there", "off", "gone"])
@pytest.mark.parametrize("file", ["before", "after"])
async def test_roles_are_no_source_and_stay(directory: Directory, built_in: str, file: str) -> None:
    await directory.roles.create("sender", acls=[RoleAcl("publishClientSend", "t", True)])
    await directory.create_login("username", "alice", "x", roles={"sender": 1})
    await directory.set_rules("all", "", [Rule("t", "deny", "all")])
    await directory.sources.update(FileSource(FILE_DENIES))
    if file == "after":
        await directory.sources.move("file", "after:built_in_database")
    if built_in == "off":
        await directory.sources.update(BuiltInSource(enabled=False))
    elif built_in == "gone":
        await directory.sources.delete("built_in_database")
    explained = access(directory).explain(PUBLISH, "t", 0, False)
    expected = "role" if file == "after" and built_in != "gone" else "file"
    assert explained.decided_by == expected
    await directory.sources.delete("file")
    assert access(directory).explain(PUBLISH, "t", 0, False).decided_by == "role"


async def test_a_confined_login_is_held_by_the_file_and_gets_nothing_from_it(directory: Directory) -> None:
    tenant = await directory.tenants.create("acme")
    await directory.create_login(
        "username",
        "dev",
        "x",
        tenant="acme",
        kind="portal_publisher",
        clientid="dev",
        clientid_mode="reserved",
        confined=True,
    )
    own = f"{tenant.id}/dev"

    def asked(topic: str) -> bool:
        return directory.access("dev", "dev", directory.principal_of("dev", "dev")).decide(PUBLISH, topic, 0, False)

    assert asked(f"{own}/a")
    await directory.sources.update(
        FileSource(
            f'{{allow, all, all, ["t", "{own}/b"]}}. {{deny, {{user, "dev"}}, publish, ["{own}/a", "{own}/b"]}}.'
        )
    )
    assert not asked("t")
    assert not asked(f"{own}/a")
    assert asked(f"{own}/b")  # the file lets it pass, and then its own rule allows it
    assert asked(f"{own}/c")


async def test_a_token_is_asked_before_all_sources(directory: Directory) -> None:
    await directory.sources.update(FileSource(FILE_DENIES))
    await directory.set_rules("all", "", [Rule("u", "allow", "all")])
    policy = Policy.of_rules([ALLOW])
    before = access(directory, rights=TokenRights(policy))
    assert before.decide(PUBLISH, "t", 0, False)
    assert before.explain(PUBLISH, "t", 0, False).decided_by == "token"
    assert before.decide(PUBLISH, "u", 0, False)
    final = access(directory, rights=TokenRights(policy, final=True))
    assert final.decide(PUBLISH, "t", 0, False)
    assert not final.decide(PUBLISH, "u", 0, False)
    assert final.explain(PUBLISH, "u", 0, False).decided_by == "confined"


async def test_who_has_a_token_is_not_anonymous(directory: Directory) -> None:
    await directory.roles.create("guest", acls=[RoleAcl("publishClientSend", "t", True)])
    await directory.groups.create("guests", roles={"guest": 1})
    await directory.groups.set_anonymous("guests")
    assert may(directory, None)
    assert not access(directory, None, rights=TokenRights()).decide(PUBLISH, "t", 0, False)


async def test_what_is_counted(directory: Directory) -> None:
    await directory.sources.update(FileSource('{deny, all, publish, ["no"]}. {allow, all, subscribe, ["yes"]}.'))
    await directory.set_rules("username", "alice", [Rule("mine", "allow", "all"), Rule("not/mine", "deny", "all")])
    asked = access(directory)
    for topic in ("no", "mine", "mine", "not/mine", "else"):
        asked.decide(PUBLISH, topic, 0, False)
    asked.decide(SUBSCRIBE, "yes", 0, False)
    asked.explain(PUBLISH, "no", 0, False)
    found = reports(directory)
    file, built_in = found["file"], found["built_in_database"]
    assert (file.allow, file.deny, file.nomatch, file.total) == (1, 1, 3, 5)
    # What was remembered is not counted again.
    assert (built_in.allow, built_in.deny, built_in.nomatch, built_in.total) == (1, 1, 1, 3)
    assert (file.rules, built_in.rules) == (2, 1)
    await directory.sources.move("built_in_database", "front")
    access(directory).decide(PUBLISH, "mine", 0, False)
    found = reports(directory)
    assert (found["file"].total, found["built_in_database"].allow) == (5, 2)
    await directory.sources.delete("file")
    await directory.sources.create(FileSource(FILE_ALLOWS))
    assert reports(directory)["file"].total == 0


async def test_sources_come_and_go(directory: Directory) -> None:
    sources = directory.sources
    with pytest.raises(AlreadyExists):
        await sources.create(FileSource(FILE_ALLOWS))
    await sources.delete("file")
    assert types(directory) == ["built_in_database"]
    for call in (
        sources.delete("file"),
        sources.update(FileSource("")),
        sources.move("file", "front"),
        sources.delete("nothing"),
    ):
        with pytest.raises(NotFound):
            await call
    await sources.reorder(["built_in_database"])
    await sources.move("built_in_database", "rear")
    await sources.create(FileSource(FILE_ALLOWS))
    assert types(directory) == ["file", "built_in_database"]
    assert may(directory)
    await sources.delete("built_in_database")
    await sources.delete("file")
    assert types(directory) == []
    assert not may(directory)


@pytest.mark.parametrize("position", ["", "middle", "before:", "before:file", "after:http", "front:", "before"])
async def test_positions_that_are_none(directory: Directory, position: str) -> None:
    with pytest.raises(Invalid):
        await directory.sources.move("file", position)
    assert types(directory) == ["file", "built_in_database"]


@pytest.mark.parametrize(
    "order", [[], ["file"], ["file", "file"], ["file", "built_in_database", "file"], ["file", "http"]]
)
async def test_orders_that_are_none(directory: Directory, order: list[str]) -> None:
    with pytest.raises(Invalid):
        await directory.sources.reorder(order)
    assert types(directory) == ["file", "built_in_database"]


@pytest.mark.parametrize(
    "source", [FileSource("{allow"), FileSource("%" * 2_000_000), BuiltInSource(0), BuiltInSource(10_001)]
)
async def test_sources_that_are_none(directory: Directory, source: Source) -> None:
    before = directory.sources.all
    with pytest.raises(Invalid):
        await directory.sources.update(source)
    assert directory.sources.all == before
    with pytest.raises(StoreError):
        await directory.sources.configure("allow", "ignore", CacheSettings(), [source])
    assert directory.no_match == "deny"


@pytest.mark.parametrize(
    ("deny_action", "cache"),
    [
        ("perhaps", CacheSettings()),
        ("ignore", CacheSettings(max_size=0)),
        ("ignore", CacheSettings(max_size=2_000_000)),
        ("ignore", CacheSettings(ttl=-1)),
        ("ignore", CacheSettings(ttl=1e12)),
        ("ignore", CacheSettings(excludes=("a/#/b",))),
        ("ignore", CacheSettings(excludes=("a",) * (MAX_EXCLUDES + 1))),
    ],
)
async def test_settings_that_are_none(directory: Directory, deny_action: str, cache: CacheSettings) -> None:
    with pytest.raises(Invalid):
        await directory.sources.configure("allow", deny_action, cache)
    assert (directory.no_match, directory.sources.deny_action) == ("deny", "ignore")


async def test_whom_a_write_concerns(directory: Directory) -> None:
    changes: list[Change] = []

    async def note(change: Change) -> None:
        changes.append(change)

    directory.on_change(note)
    await directory.sources.update(FileSource(FILE_ALLOWS))
    await directory.sources.configure("allow", "ignore", CacheSettings())
    await directory.sources.configure("allow", "ignore", CacheSettings(enabled=False))
    assert [change.everyone for change in changes] == [True] * 3
    changes.clear()
    await directory.sources.configure("allow", "disconnect", CacheSettings(enabled=False))
    assert changes == []


async def test_the_audit_names_what_was_done_and_not_the_rules(directory: Directory) -> None:
    await directory.sources.update(FileSource('{allow, {user, "secret"}, all, ["t"]}.', enabled=False), actor="op")
    (entry,) = await directory.audit.entries(action="authorization.*")
    assert (entry.action, entry.target, entry.actor) == ("authorization.source.update", "file", "op")
    assert entry.detail == {"sources": ["file (off)", "built_in_database"]}


async def test_all_of_it_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await directory.sources.update(FileSource(FILE_ALLOWS))
    await directory.sources.update(BuiltInSource(17, enabled=False))
    await directory.sources.move("file", "rear")
    cache = CacheSettings(enabled=False, max_size=7, ttl=90.0, ttl_text="1m30s", excludes=("a/#", "b"))
    await directory.sources.configure("allow", "disconnect", cache)
    await directory.close()
    directory = await Directory.open(path)
    try:
        assert directory.sources.all == (BuiltInSource(17, enabled=False), FileSource(FILE_ALLOWS))
        assert directory.sources.cache == cache
        assert (directory.sources.limits.enabled, directory.sources.limits.max_decisions) == (False, 7)
        assert (directory.sources.deny_action, directory.sources.no_match) == ("disconnect", "allow")
        assert access(directory).explain(PUBLISH, "t", 0, False).decided_by == "file"
    finally:
        await directory.close()


async def test_rules_that_can_no_longer_be_read_deny(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await directory.sources.update(FileSource(FILE_ALLOWS))
    await directory.set_rules("all", "", [Rule("#", "allow", "all")])
    configurations: Configurations = directory.configurations
    stored = configurations.get("authorization_sources")
    stored["sources"][0]["rules"] = "{allow"
    await configurations.put("authorization_sources", stored)
    await directory.close()
    directory = await Directory.open(path)
    try:
        assert not may(directory)
        assert not access(directory).decide(SUBSCRIBE, "$SYS/#", 0, False)
        assert "denies everything" in caplog.text
    finally:
        await directory.close()


@pytest.mark.parametrize("stored", [{}, {"deny_action": "ignore", "cache": {}, "sources": [{"type": "newer"}]}, []])
async def test_sources_of_another_release_deny_everything(tmp_path: Path, stored: Any) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await directory.set_rules("all", "", [Rule("t", "allow", "all")])
    await directory.configurations.put("authorization_sources", stored)
    await directory.close()
    directory = await Directory.open(path)
    try:
        client = access(directory)
        assert not any(client.decide(PUBLISH, topic, 0, False) for topic in ("t", "$SYS/x"))
        assert not any(client.decide(SUBSCRIBE, topic, 0, False) for topic in ("t", "#", "$SYS/#"))
    finally:
        await directory.close()
