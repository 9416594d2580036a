"""Groups: who is in them, what they give, the one of anonymous clients; refusals, effects, and after a restart."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from threading import current_thread, main_thread

import pytest
from wardenmq.store import groups as groups_module
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.database import Statement
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, InUse, Invalid, NotFound, StoreError, UnknownReference
from wardenmq.store.login_values import NewLogin
from wardenmq.store.memberships import Memberships
from wardenmq.store.records import MAX_PRIORITY, PUBLISH, Change

from .layered import acl
from .restarts import assert_all_refused, assert_refused, decide, layers_of, record

Attempt = Callable[[Directory], Awaitable[object]]


@pytest.fixture
async def house(kept: Directory) -> Directory:
    """Have three users, a device, two roles that allow to publish their own name, and a group with alice and `one`."""
    for name in ("alice", "bob", "carol"):
        await kept.create_login("username", name, "x")
    await kept.create_login("clientid", "device", "x")
    for name in ("one", "two"):
        await kept.roles.create(name, acls=[acl("publishClientSend", name)])
    await kept.groups.create("staff", text_name="Staff", roles={"one": 5}, members={"alice": 7})
    return kept


def ids(directory: Directory, *names: str) -> frozenset[str]:
    """Return the principals of these user names."""
    found = [directory.login("username", name) for name in names]
    return frozenset(login.id for login in found if login is not None)


def may(directory: Directory, username: str | None, topic: str) -> bool:
    """Tell whether a user, or an anonymous client, may publish."""
    login = None if username is None else directory.login("username", username)
    principal = None if login is None else login.id
    return decide(directory, ClientFacts("c", username), principal, PUBLISH, topic)


async def test_a_group_is_what_was_written(house: Directory) -> None:
    group = await house.groups.create(
        "grüppe",
        text_name="n",
        text_description="d",
        roles={"two": MAX_PRIORITY + 1, "one": -1},
        members={"carol": 0, "bob": -MAX_PRIORITY - 1},
    )
    assert (group.name, group.text_name, group.text_description) == ("grüppe", "n", "d")
    assert [*group.roles.items()] == [("two", MAX_PRIORITY), ("one", -1)]
    assert [*group.members.items()] == [("bob", -MAX_PRIORITY), ("carol", 0)]
    assert house.groups.get("grüppe") == group
    assert house.groups.get("Grüppe") is None
    await house.groups.create("Zoo")
    assert [found.name for found in house.groups.all()] == ["Zoo", "grüppe", "staff"]


@pytest.mark.parametrize(
    "change",
    [
        {"text_name": "new"},
        {"text_description": "new"},
        {"text_name": ""},
        {"roles": {"two": 1}},
        {"roles": {}},
        {"members": {"bob": 1, "alice": 2}},
        {"members": {}},
        {"roles": {"one": 1, "two": 2}, "members": {"carol": 3}},
    ],
)
async def test_an_update_changes_what_is_given_and_nothing_else(house: Directory, change: dict[str, object]) -> None:
    before = house.groups.get("staff")
    after = await house.groups.update("staff", **change)  # type: ignore[arg-type]
    for name in ("id", "name", "text_name", "text_description", "roles", "members", "created_at"):
        assert getattr(after, name) == change.get(name, getattr(before, name)), name
    assert house.groups.get("staff") == after


async def test_members_have_what_the_group_has(house: Directory) -> None:
    assert [may(house, name, "one") for name in ("alice", "bob")] == [True, False]
    await house.groups.add_member("staff", "bob")
    assert may(house, "bob", "one")
    await house.groups.add_role("staff", "two")
    assert may(house, "alice", "two")
    assert may(house, "bob", "two")
    await house.groups.remove_role("staff", "one")
    assert not may(house, "alice", "one")
    await house.groups.remove_member("staff", "alice")
    assert [may(house, name, "two") for name in ("alice", "bob")] == [False, True]
    await house.groups.delete("staff")
    assert not may(house, "bob", "two")
    # A new group of the same name has nobody in it.
    await house.groups.create("staff", roles={"two": 1})
    assert not may(house, "bob", "two")


async def test_who_is_deleted_leaves_all_groups_and_who_comes_anew_is_in_none(house: Directory) -> None:
    await house.groups.create("other", members={"alice": 1, "bob": 2})
    await house.delete_login("username", "alice")
    members = {group.name: dict(group.members) for group in house.groups.all()}
    assert members == {"staff": {}, "other": {"bob": 2}}
    again = await house.create_login("username", "alice", "x")
    assert house.groups.of_login(again.id) == {}
    assert not may(house, "alice", "one")


async def test_a_role_that_is_deleted_leaves_all_groups(house: Directory) -> None:
    await house.groups.add_role("staff", "two", 3)
    await house.roles.delete("one")
    group = house.groups.get("staff")
    assert group is not None
    assert dict(group.roles) == {"two": 3}


async def test_groups_are_asked_by_priority_then_by_name(house: Directory) -> None:
    for name, priority in (("b", 9), ("a", 9), ("c", -1)):
        await house.groups.create(name, members={"alice": priority})
    (alice,) = ids(house, "alice")
    assert [*house.groups.of_login(alice).items()] == [("a", 9), ("b", 9), ("staff", 7), ("c", -1)]
    await house.groups.add_member("c", "alice", 10)  # again: only the priority is another
    await house.groups.add_member("b", "alice", MAX_PRIORITY + 1)
    await house.groups.add_member("a", "alice")
    assert [*house.groups.of_login(alice).items()] == [("b", MAX_PRIORITY), ("c", 10), ("staff", 7), ("a", -1)]
    await house.groups.add_role("staff", "two", 6)
    group = house.groups.get("staff")
    assert group is not None
    assert [*group.roles.items()] == [("two", 6), ("one", 5)]
    await house.groups.add_role("staff", "two", -MAX_PRIORITY - 9)
    group = house.groups.get("staff")
    assert group is not None
    assert [*group.roles.items()] == [("one", 5), ("two", -MAX_PRIORITY)]


async def test_a_user_comes_with_its_groups_or_not_at_all(house: Directory) -> None:
    login = await house.create_login("username", "dora", "x", roles={"two": 1}, groups={"staff": MAX_PRIORITY + 1})
    assert house.groups.of_login(login.id) == {"staff": MAX_PRIORITY}
    assert house.roles.of_login(login.id) == {"two": 1}
    assert may(house, "dora", "one")
    (entry,) = await house.audit.entries(limit=1)
    assert (entry.detail["roles"], entry.detail["groups"]) == ({"two": 1}, {"staff": MAX_PRIORITY + 1})
    error = await assert_refused(
        house, UnknownReference, house.create_login("username", "emil", "x", groups={"staff": 1, "nosuch": 1})
    )
    assert isinstance(error, UnknownReference)
    assert (error.kind, error.name) == ("group", "nosuch")
    attempt = house.create_login("clientid", "device 2", "x", groups={"staff": 1})
    await assert_refused(house, Invalid, attempt)


async def test_anonymous_clients_have_what_their_group_has(house: Directory) -> None:
    assert house.groups.anonymous is None
    assert not may(house, None, "one")
    await house.groups.set_anonymous("staff")
    assert house.groups.anonymous == "staff"
    assert may(house, None, "one")
    # It is about who has no name, not about those who have one and no group.
    assert not may(house, "bob", "one")
    assert not may(house, "nobody of this name", "one")
    await assert_refused(house, InUse, house.groups.delete("staff"))
    await house.groups.create("guests", roles={"two": 1})
    await house.groups.set_anonymous("guests")
    assert [may(house, None, topic) for topic in ("one", "two")] == [False, True]
    await house.groups.delete("staff")
    await house.groups.set_anonymous(None)
    assert house.groups.anonymous is None
    assert not may(house, None, "two")
    await house.groups.set_anonymous(None)
    await house.groups.delete("guests")


async def test_the_group_of_anonymous_clients_stays_it(house: Directory) -> None:
    await house.groups.set_anonymous("staff")  # and is read back by the fixture
    await house.groups.update("staff", text_name="x", members={})
    assert house.groups.anonymous == "staff"


@pytest.mark.parametrize("disconnect", [False, True])
async def test_exactly_those_in_it_are_told(house: Directory, disconnect: bool) -> None:
    changes = record(house)

    def told(*names: str, anonymous: bool = False) -> Change:
        concerned = ids(house, *names)
        if disconnect:  # stored sessions have no connection to close, and are checked again
            return Change(
                close_principals=concerned, close_anonymous=anonymous, principals=concerned, anonymous=anonymous
            )
        return Change(principals=concerned, anonymous=anonymous)

    await house.groups.update("staff", text_name="x", disconnect=disconnect)
    await house.groups.create("empty", roles={"one": 1})
    await house.groups.add_role("empty", "two", disconnect=disconnect)
    assert changes == []
    await house.groups.add_member("staff", "bob", disconnect=disconnect)
    await house.groups.remove_member("staff", "bob", disconnect=disconnect)
    assert changes == [told("bob")] * 2
    changes.clear()
    await house.groups.add_role("staff", "two", disconnect=disconnect)
    await house.groups.remove_role("staff", "two", disconnect=disconnect)
    await house.groups.update("staff", roles={"two": 1}, disconnect=disconnect)
    assert changes == [told("alice")] * 3
    changes.clear()
    # Those who were in it and those who are in it now.
    await house.groups.update("staff", members={"bob": 1, "carol": 1}, disconnect=disconnect)
    assert changes == [told("alice", "bob", "carol")]
    changes.clear()
    await house.groups.set_anonymous("staff", disconnect=disconnect)
    await house.groups.add_role("staff", "one", disconnect=disconnect)
    await house.groups.set_anonymous(None, disconnect=disconnect)
    assert changes == [told(anonymous=True), told("bob", "carol", anonymous=True), told(anonymous=True)]
    changes.clear()
    await house.groups.delete("staff", disconnect=disconnect)
    assert changes == [told("bob", "carol")]


async def test_new_members_are_told_of_a_new_group(house: Directory) -> None:
    changes = record(house)
    await house.groups.create("new", roles={"two": 1}, members={"bob": 1})
    assert changes == [Change(principals=ids(house, "bob"))]


REFUSED: dict[str, tuple[type[StoreError], Attempt]] = {
    "create empty": (Invalid, lambda d: d.groups.create("")),
    "create control": (Invalid, lambda d: d.groups.create("a\nb")),
    "create long": (Invalid, lambda d: d.groups.create("x" * 1_001)),
    "create again": (AlreadyExists, lambda d: d.groups.create("staff")),
    "create text": (Invalid, lambda d: d.groups.create("g", text_name="\x7f")),
    "create long text": (Invalid, lambda d: d.groups.create("g", text_description="x" * 10_001)),
    "create role": (UnknownReference, lambda d: d.groups.create("g", roles={"one": 1, "nosuch": 1})),
    "create member": (UnknownReference, lambda d: d.groups.create("g", members={"bob": 1, "nobody": 1})),
    "create device": (UnknownReference, lambda d: d.groups.create("g", members={"device": 1})),
    "update unknown": (NotFound, lambda d: d.groups.update("nosuch", text_name="x")),
    "update text": (Invalid, lambda d: d.groups.update("staff", text_name="x" * 10_001)),
    "update role": (UnknownReference, lambda d: d.groups.update("staff", members={}, roles={"nosuch": 1})),
    "update member": (UnknownReference, lambda d: d.groups.update("staff", roles={}, members={"nobody": 1})),
    "delete unknown": (NotFound, lambda d: d.groups.delete("Staff")),
    "join no group": (NotFound, lambda d: d.groups.add_member("nosuch", "bob")),
    "join nobody": (UnknownReference, lambda d: d.groups.add_member("staff", "nobody")),
    "join device": (UnknownReference, lambda d: d.groups.add_member("staff", "device")),
    "leave no group": (NotFound, lambda d: d.groups.remove_member("nosuch", "alice")),
    "leave nobody": (UnknownReference, lambda d: d.groups.remove_member("staff", "nobody" * 10_000)),
    "leave outside": (NotFound, lambda d: d.groups.remove_member("staff", "bob")),
    "grant no group": (NotFound, lambda d: d.groups.add_role("nosuch", "one")),
    "grant no role": (UnknownReference, lambda d: d.groups.add_role("staff", "nosuch")),
    "revoke no group": (NotFound, lambda d: d.groups.remove_role("nosuch", "one")),
    "revoke no role": (UnknownReference, lambda d: d.groups.remove_role("staff", "nosuch")),
    "revoke not held": (NotFound, lambda d: d.groups.remove_role("staff", "two")),
    "anonymous": (UnknownReference, lambda d: d.groups.set_anonymous("nosuch")),
}


async def test_what_is_refused_changes_nothing(house: Directory) -> None:
    attempts = {what: (error, partial(attempt, house)) for what, (error, attempt) in REFUSED.items()}
    await assert_all_refused(house, attempts)


async def test_groups_are_bounded(house: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups_module, "MAX_GROUPS", 2)
    await house.groups.create("second")
    await assert_refused(house, Invalid, house.groups.create("third"))


async def test_each_write_is_in_the_audit_log(house: Directory) -> None:
    begun, before = await house.audit.count(), house.groups.anonymous
    await house.groups.create("g", roles={"one": 1}, members={"bob": 1}, actor="root", facade="cli")
    await house.groups.update("g", text_name="x", actor="root", facade="cli")
    await house.groups.add_member("g", "alice", 3, actor="root", facade="cli")
    await house.groups.remove_member("g", "alice", actor="root", facade="cli")
    await house.groups.add_role("g", "two", 4, actor="root", facade="cli")
    await house.groups.remove_role("g", "two", actor="root", facade="cli")
    await house.groups.set_anonymous("g", actor="root", facade="cli")
    await house.groups.set_anonymous(None, actor="root", facade="cli")
    await house.groups.delete("g", actor="root", facade="cli")
    entries = [*reversed(await house.audit.entries())][begun:]
    assert {(entry.actor, entry.facade) for entry in entries} == {("root", "cli")}
    assert [(entry.action, entry.target, dict(entry.detail)) for entry in entries] == [
        ("group.create", "g", {"roles": {"one": 1}, "members": 1, "named": ["bob"]}),
        ("group.update", "g", {"changed": ["text_name"], "from": {"text_name": ""}, "to": {"text_name": "x"}}),
        ("group.add_member", "g", {"member": "alice", "priority": 3}),
        ("group.remove_member", "g", {"member": "alice"}),
        ("group.add_role", "g", {"roles": {"two": 4}}),
        ("group.remove_role", "g", {"role": "two"}),
        ("group.set_anonymous", "g", {"from": before, "to": "g"}),
        ("group.set_anonymous", "", {"from": "g", "to": None}),
        ("group.delete", "g", {}),
    ]


async def test_a_group_that_does_not_exist_is_nobodys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A setting has no foreign key: a file that was mended by hand may name a group that is gone."""
    directory = await Directory.open(tmp_path / "w.db")
    await directory._database.transact([Statement("INSERT INTO setting VALUES ('anonymous_group', 'gone')", [()])])
    await directory.close()
    directory = await Directory.open(tmp_path / "w.db")
    try:
        assert directory.groups.anonymous is None
        assert layers_of(directory, "c", None, None) == []
        assert "group of anonymous clients does not exist" in caplog.text
        await directory.groups.create("g")
        await directory.groups.set_anonymous("g")
        assert directory.groups.anonymous == "g"
    finally:
        await directory.close()


async def test_who_is_in_a_group_is_looked_up_when_it_is_asked(
    house: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    by_id = house._logins.by_id

    def counted(principal: str) -> object:
        asked.append(principal)
        return by_id(principal)

    monkeypatch.setattr(house._logins, "by_id", counted)
    await house.groups.create("g", members={"bob": 2, "alice": 1})
    await house.groups.update("g", text_name="x")
    group = house.groups.get("g")
    assert group is not None
    assert len(group.members) == 2
    assert "bob" not in repr(group.members)
    assert asked == []
    await house.groups.remove_member("g", "bob")
    # As it was.
    assert [*group.members.items()] == [("alice", 1), ("bob", 2)]
    assert group.members == {"bob": 2, "alice": 1}
    assert group.members["bob"] == 2
    assert "carol" not in group.members
    await house.delete_login("username", "alice")
    left = house.groups.get("g")
    assert left is not None
    assert [*left.members] == []


async def test_members_are_given_in_no_order_and_without_those_who_are_gone(kept: Directory) -> None:
    await kept.groups.create("g")
    for name in ("zoe", "alice", "bob"):
        await kept.create_login("username", name, None)
        await kept.groups.add_member("g", name, len(name))
    members = kept.groups.members("g")
    await kept.delete_login("username", "bob")
    await kept.groups.remove_member("g", "zoe")
    assert sorted(members) == [("alice", 5), ("zoe", 3)]
    assert [*kept.groups.members("g")] == [("alice", 5)]
    with pytest.raises(NotFound):
        kept.groups.members("h")


async def test_a_big_group_is_deleted_in_a_thread(kept: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """And from those alone who are in it: what else they are in, and who else is in something, stays."""
    names = [f"user-{number}" for number in range(1_500)]
    await kept.import_logins(NewLogin(login_type="username", login=name) for name in (*names, "other"))
    await kept.groups.create("small", members={"user-1": 2, "other": 1})
    await kept.groups.create("big", members=dict.fromkeys(names, 0))
    threads: dict[str, bool] = {}
    without = Memberships.without_group

    def watched(self: Memberships, group: str) -> Callable[[], None]:
        threads[kept.groups._names[group]] = current_thread() is main_thread()
        return without(self, group)

    monkeypatch.setattr(Memberships, "without_group", watched)
    ids = {name: login.id for name in (*names, "other") if (login := kept.login("username", name)) is not None}
    await kept.groups.delete("big")
    assert {name: [*kept.groups.of_login(ids[name])] for name in ids} == {name: [] for name in names} | {
        "user-1": ["small"],
        "other": ["small"],
    }
    assert kept._memberships.members.rows() and kept._memberships.members.with_(ids["user-2"]) == frozenset()
    await kept.groups.delete("small")
    assert threads == {"big": False, "small": True}
    assert kept._memberships.members.rows() == []
    assert kept._memberships.members._left == {}
    await kept.groups.create("big", members={"user-2": 1})
    assert [*kept.groups.of_login(ids["user-2"])] == ["big"]
