"""Roles: created, changed, given and taken; what is refused, who is told, and the same after a restart."""

import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest
from wardenmq.store import roles as roles_module
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.acl.policy import Policy
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, Invalid, NotFound, StoreError, UnknownReference
from wardenmq.store.records import MAX_PRIORITY, PUBLISH, SUBSCRIBE, AclType, Change, Role, RoleAcl
from wardenmq.store.role_acls import MAX_ACLS

from .layered import acl
from .restarts import assert_all_refused, assert_refused, decide, record

SEND = acl("publishClientSend", "sensors/%u/#")
ALICE = ClientFacts("c", "alice")
Attempt = Callable[[Directory], Awaitable[object]]


@pytest.fixture
async def house(kept: Directory) -> Directory:
    """Give alice the role `sensor` herself, bob through the group `staff`, and carol none."""
    for name in ("alice", "bob", "carol"):
        await kept.create_login("username", name, "x")
    await kept.roles.create("sensor", acls=[SEND])
    await kept.groups.create("staff", roles={"sensor": 1}, members={"bob": 1})
    await kept.roles.grant("username", "alice", "sensor")
    return kept


def ids(directory: Directory, *names: str) -> frozenset[str]:
    """Return the principals of these user names."""
    found = [directory.login("username", name) for name in names]
    return frozenset(login.id for login in found if login is not None)


async def test_a_role_is_what_was_written(kept: Directory) -> None:
    acls = [
        acl("subscribePattern", "a/#", False, -5),
        acl("publishClientSend", "same", True, 7),
        acl("publishClientReceive", "%c/é", True, MAX_PRIORITY + 1),
        acl("subscribeLiteral", "#", False, 7),
        acl("unsubscribeLiteral", "+", True, -MAX_PRIORITY - 1),
        acl("unsubscribePattern", "x/+/y", True, 7),
    ]
    role = await kept.roles.create(
        "sensör", text_name="Sensors", text_description="all of them", allow_wildcard_subs=False, acls=acls
    )
    assert (role.name, role.text_name, role.text_description) == ("sensör", "Sensors", "all of them")
    assert not role.allow_wildcard_subs
    order = [(found.topic, found.priority) for found in role.acls]
    # By priority, those of one priority as they came; beyond the bounds is at the bounds.
    assert order == [("%c/é", MAX_PRIORITY), ("same", 7), ("#", 7), ("x/+/y", 7), ("a/#", -5), ("+", -MAX_PRIORITY)]
    assert kept.roles.get("sensör") == role
    assert kept.roles.get("Sensör") is None
    assert role.created_at > 1_600_000_000


async def test_roles_come_by_name(kept: Directory) -> None:
    for name in ("zoo", "Bar", "abc", "ä"):
        await kept.roles.create(name)
    assert [role.name for role in kept.roles.all()] == ["Bar", "abc", "zoo", "ä"]


@pytest.mark.parametrize(
    "change",
    [
        {"text_name": "new"},
        {"text_description": "new"},
        {"allow_wildcard_subs": False},
        {"acls": (acl("subscribePattern", "b"),)},
        {"acls": ()},
        {"text_name": "", "text_description": ""},
    ],
)
async def test_an_update_changes_what_is_given_and_nothing_else(kept: Directory, change: dict[str, object]) -> None:
    before = await kept.roles.create("r", text_name="n", text_description="d", acls=[SEND])
    after = await kept.roles.update("r", **change)  # type: ignore[arg-type]
    for name in ("id", "name", "text_name", "text_description", "allow_wildcard_subs", "acls", "created_at"):
        assert getattr(after, name) == change.get(name, getattr(before, name)), name
    assert kept.roles.get("r") == after


async def test_an_acl_goes_behind_those_of_its_priority(kept: Directory) -> None:
    await kept.roles.create(
        "r", acls=[acl("publishClientSend", topic, priority=n) for topic, n in (("a", 5), ("c", 0))]
    )
    await kept.roles.add_acl("r", acl("publishClientSend", "b", priority=5))
    role = await kept.roles.add_acl("r", acl("publishClientSend", "d"))
    assert [found.topic for found in role.acls] == ["a", "b", "c", "d"]
    # The same topic of another type is another ACL.
    role = await kept.roles.add_acl("r", acl("subscribeLiteral", "b", priority=1))
    assert [found.topic for found in role.acls] == ["a", "b", "b", "c", "d"]
    role = await kept.roles.remove_acl("r", "publishClientSend", "b")
    assert [(found.acltype, found.topic) for found in role.acls] == [
        ("publishClientSend", "a"),
        ("subscribeLiteral", "b"),
        ("publishClientSend", "c"),
        ("publishClientSend", "d"),
    ]


async def test_a_changed_role_decides_anew_at_once(house: Directory) -> None:
    alice, bob = (house.login("username", name) for name in ("alice", "bob"))
    assert alice is not None
    assert bob is not None

    def may(operation: int, topic: str) -> list[bool]:
        clients = ((ALICE, alice.id), (ClientFacts("c", "bob"), bob.id))
        return [decide(house, facts, principal, operation, topic) for facts, principal in clients]

    assert may(PUBLISH, "sensors/alice/x") == [True, False]
    assert may(PUBLISH, "sensors/bob/x") == [False, True]
    await house.roles.add_acl("sensor", acl("publishClientSend", "sensors/bob/#", False, 1))
    assert may(PUBLISH, "sensors/bob/x") == [False, False]
    await house.roles.remove_acl("sensor", "publishClientSend", "sensors/bob/#")
    assert may(PUBLISH, "sensors/bob/x") == [False, True]
    await house.roles.update("sensor", acls=[acl("subscribePattern", "#")])
    assert may(PUBLISH, "sensors/bob/x") == [False, False]
    assert may(SUBSCRIBE, "a/#") == [True, True]
    await house.roles.update("sensor", allow_wildcard_subs=False)
    assert may(SUBSCRIBE, "a/#") == [False, False]
    assert may(SUBSCRIBE, "a/b") == [True, True]
    await house.roles.delete("sensor")
    assert may(SUBSCRIBE, "a/b") == [False, False]
    # What is created under the name of one that is gone is nobody's.
    await house.roles.create("sensor", acls=[acl("subscribePattern", "#")])
    assert may(SUBSCRIBE, "a/b") == [False, False]


async def test_what_says_nothing_new_leaves_decisions_known(house: Directory) -> None:
    alice = house.login("username", "alice")
    assert alice is not None
    before = house.access("c", "alice", alice.id)
    await house.roles.update("sensor", text_name="only a text")
    await house.roles.create("other", acls=[SEND])
    await house.roles.grant("username", "carol", "other")
    after = house.access("c", "alice", alice.id)
    assert [layer.policy for layer in after.layers] == [layer.policy for layer in before.layers]
    await house.roles.add_acl("sensor", acl("publishClientSend", "x"))
    assert house.access("c", "alice", alice.id).layers[0].policy is not before.layers[0].policy


async def test_roles_are_asked_by_priority_then_by_name(kept: Directory) -> None:
    login = await kept.create_login("clientid", "device", "x")
    for name in ("b", "a", "c", "d"):
        await kept.roles.create(name)
    await kept.roles.grant("clientid", "device", "b", 3)
    await kept.roles.grant("clientid", "device", "a", 3)
    await kept.roles.grant("clientid", "device", "c")
    await kept.roles.grant("clientid", "device", "d", MAX_PRIORITY + 5)
    assert [*kept.roles.of_login(login.id).items()] == [("d", MAX_PRIORITY), ("a", 3), ("b", 3), ("c", -1)]
    await kept.roles.grant("clientid", "device", "c", 9)  # again: only the priority is another
    await kept.roles.grant("clientid", "device", "d", -MAX_PRIORITY - 5)
    await kept.roles.revoke("clientid", "device", "a")
    assert [*kept.roles.of_login(login.id).items()] == [("c", 9), ("b", 3), ("d", -MAX_PRIORITY)]
    await kept.delete_login("clientid", "device")
    assert kept.roles.of_login(login.id) == {}


async def test_a_login_comes_with_its_roles_or_not_at_all(kept: Directory) -> None:
    await kept.roles.create("r")
    login = await kept.create_login("username", "alice", "x", roles={"r": MAX_PRIORITY + 1})
    assert kept.roles.of_login(login.id) == {"r": MAX_PRIORITY}
    attempt = kept.create_login("username", "bob", "x", roles={"r": 1, "nosuch": 1})
    error = await assert_refused(kept, UnknownReference, attempt)
    assert isinstance(error, UnknownReference)
    assert (error.kind, error.name) == ("role", "nosuch")


@pytest.mark.parametrize("disconnect", [False, True])
async def test_exactly_the_holders_are_told(house: Directory, disconnect: bool) -> None:
    changes = record(house)

    def told(*names: str, anonymous: bool = False) -> Change:
        if disconnect:
            one = ids(house, *names)
            return Change(close_principals=one, close_anonymous=anonymous, principals=one, anonymous=anonymous)
        return Change(principals=ids(house, *names), anonymous=anonymous)

    both = told("alice", "bob")
    await house.roles.add_acl("sensor", acl("publishClientSend", "x"), disconnect=disconnect)
    await house.roles.remove_acl("sensor", "publishClientSend", "x", disconnect=disconnect)
    await house.roles.update("sensor", allow_wildcard_subs=False, disconnect=disconnect)
    await house.roles.update("sensor", acls=[], disconnect=disconnect)
    assert changes == [both] * 4
    changes.clear()
    # A text decides nothing, nor does a role that nobody has.
    await house.roles.update("sensor", text_name="x", acls=[], disconnect=disconnect)
    await house.roles.create("other", acls=[SEND])
    await house.roles.update("other", acls=[], disconnect=disconnect)
    assert changes == []
    await house.roles.grant("username", "carol", "other", disconnect=disconnect)
    await house.roles.delete("other", disconnect=disconnect)
    assert changes == [told("carol")] * 2
    changes.clear()
    await house.groups.set_anonymous("staff")
    changes.clear()
    await house.roles.delete("sensor", disconnect=disconnect)
    assert changes == [told("alice", "bob", anonymous=True)]
    changes.clear()
    await house.roles.create("again")
    await house.roles.grant("username", "alice", "again", disconnect=disconnect)
    await house.roles.revoke("username", "alice", "again", disconnect=disconnect)
    assert changes == [told("alice")] * 2


TOPICS = ["", "a/#/b", "a+", "+a/b", "#a", "a\0b", "ü" * 32_768, "\ud800", "a/${clientid}x"]
REFUSED: dict[str, tuple[type[StoreError], Attempt]] = {
    "create empty": (Invalid, lambda d: d.roles.create("")),
    "create control": (Invalid, lambda d: d.roles.create("a\x1bb")),
    "create surrogate": (Invalid, lambda d: d.roles.create("a\ud800")),
    "create long": (Invalid, lambda d: d.roles.create("x" * 1_001)),
    "create again": (AlreadyExists, lambda d: d.roles.create("sensor", acls=[acl("publishClientSend", "y")])),
    "create text": (Invalid, lambda d: d.roles.create("r", text_name="a\0")),
    "create long text": (Invalid, lambda d: d.roles.create("r", text_description="x" * 10_001)),
    "create type": (Invalid, lambda d: d.roles.create("r", acls=[RoleAcl("publish", "t", True)])),  # type: ignore[arg-type]
    "create twice": (
        AlreadyExists,
        lambda d: d.roles.create("r", acls=[SEND, acl("publishClientSend", SEND.topic, False)]),
    ),
    "create many": (
        Invalid,
        lambda d: d.roles.create("r", acls=[acl("publishClientSend", f"t/{n}") for n in range(MAX_ACLS + 1)]),
    ),
    "update unknown": (NotFound, lambda d: d.roles.update("nosuch", text_name="x")),
    "update unknown of great length": (NotFound, lambda d: d.roles.update("x" * 60_000, text_name="x")),
    "update text": (Invalid, lambda d: d.roles.update("sensor", text_name="x" * 10_001)),
    "update control": (Invalid, lambda d: d.roles.update("sensor", acls=[], text_description="a\nb\x07")),
    "update type": (Invalid, lambda d: d.roles.update("sensor", acls=[SEND, RoleAcl("", "t", True)])),  # type: ignore[arg-type]
    "update twice": (AlreadyExists, lambda d: d.roles.update("sensor", acls=[SEND, SEND])),
    "add unknown": (NotFound, lambda d: d.roles.add_acl("nosuch", SEND)),
    "add again": (AlreadyExists, lambda d: d.roles.add_acl("sensor", acl("publishClientSend", SEND.topic, False, 9))),
    "add type": (Invalid, lambda d: d.roles.add_acl("sensor", RoleAcl("subscribe", "t", True))),  # type: ignore[arg-type]
    "remove unknown": (NotFound, lambda d: d.roles.remove_acl("nosuch", "publishClientSend", "t")),
    "remove other type": (NotFound, lambda d: d.roles.remove_acl("sensor", "subscribePattern", SEND.topic)),
    "remove no type": (NotFound, lambda d: d.roles.remove_acl("sensor", "x" * 60_000, SEND.topic)),
    "remove other topic": (NotFound, lambda d: d.roles.remove_acl("sensor", "publishClientSend", "sensors/#")),
    "delete unknown": (NotFound, lambda d: d.roles.delete("Sensor")),
    "grant no login": (NotFound, lambda d: d.roles.grant("username", "nobody", "sensor")),
    "grant no type": (Invalid, lambda d: d.roles.grant("email", "alice", "sensor")),
    "grant other type": (NotFound, lambda d: d.roles.grant("clientid", "alice", "sensor")),
    "grant no role": (UnknownReference, lambda d: d.roles.grant("username", "alice", "nosuch")),
    "revoke no login": (NotFound, lambda d: d.roles.revoke("username", "nobody", "sensor")),
    "revoke no role": (UnknownReference, lambda d: d.roles.revoke("username", "alice", "nosuch")),
    "revoke not held": (NotFound, lambda d: d.roles.revoke("username", "carol", "sensor")),
    "revoke through a group": (NotFound, lambda d: d.roles.revoke("username", "bob", "sensor")),
}


async def test_what_is_refused_changes_nothing(house: Directory) -> None:
    attempts = {what: (error, partial(attempt, house)) for what, (error, attempt) in REFUSED.items()}
    await assert_all_refused(house, attempts)


@pytest.mark.parametrize("acltype", ["publishClientSend", "subscribePattern", "unsubscribePattern"])
async def test_bad_topics_are_refused(house: Directory, acltype: str) -> None:
    for topic in TOPICS:
        bad = RoleAcl(acltype, topic, True)  # type: ignore[arg-type]
        await assert_refused(house, Invalid, house.roles.create("r", acls=[SEND, bad]))
        await assert_refused(house, Invalid, house.roles.update("sensor", acls=[bad]))
        await assert_refused(house, Invalid, house.roles.add_acl("sensor", bad))


async def test_roles_are_bounded(house: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles_module, "MAX_ROLES", 2)
    await house.roles.create("second")
    await assert_refused(house, Invalid, house.roles.create("third"))
    await house.roles.delete("second")
    await house.roles.create("third")


async def test_an_acl_more_than_a_role_may_have_is_refused(house: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardenmq.store.role_acls.MAX_ACLS", 2)
    await house.roles.add_acl("sensor", acl("subscribePattern", "a"))
    await assert_refused(house, Invalid, house.roles.add_acl("sensor", acl("subscribePattern", "b")))


async def test_each_write_is_in_the_audit_log(kept: Directory) -> None:
    origin = {"actor": "root", "facade": "cli"}
    await kept.create_login("username", "alice", "x")
    await kept.roles.create("r", acls=[SEND], **origin)  # type: ignore[arg-type]
    await kept.roles.update("r", text_name="x", **origin)  # type: ignore[arg-type]
    await kept.roles.add_acl("r", acl("subscribePattern", "a"), **origin)  # type: ignore[arg-type]
    await kept.roles.remove_acl("r", "subscribePattern", "a", **origin)  # type: ignore[arg-type]
    await kept.roles.grant("username", "alice", "r", 3, **origin)  # type: ignore[arg-type]
    await kept.roles.revoke("username", "alice", "r", **origin)  # type: ignore[arg-type]
    await kept.roles.delete("r", **origin)  # type: ignore[arg-type]
    entries = [*reversed(await kept.audit.entries())][1:]
    added = {"acltype": "subscribePattern", "topic": "a", "allow": True, "priority": 0}
    assert {(entry.actor, entry.facade) for entry in entries} == {("root", "cli")}
    assert [(entry.action, entry.target, dict(entry.detail)) for entry in entries] == [
        ("role.create", "r", {"acls": 1, "allow_wildcard_subs": True}),
        (
            "role.update",
            "r",
            {"changed": ["text_name"], "from": {"text_name": ""}, "to": {"text_name": "x"}, "acls": 1},
        ),
        ("role.add_acl", "r", {"acl": added, "acls": 2}),
        ("role.remove_acl", "r", {"acl": added, "acls": 1}),
        ("role.grant", "username:alice", {"roles": {"r": 3}}),
        ("role.revoke", "username:alice", {"role": "r"}),
        ("role.delete", "r", {}),
    ]


BIG = 250
"""ACLs of a role that is checked and compiled in a thread."""


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note of each role that is compiled whether that was on the event loop."""
    loop = threading.get_ident()
    on_loop: list[bool] = []
    original = Policy.of_role

    def of_role(role: Role) -> Policy:
        on_loop.append(threading.get_ident() == loop)
        return original(role)

    monkeypatch.setattr(Policy, "of_role", of_role)
    return on_loop


def many_acls() -> list[RoleAcl]:
    return [acl("publishClientSend", f"big/{number}", priority=number % 5) for number in range(BIG)]


async def test_a_big_role_is_compiled_beside_the_loop_and_before_it_holds(
    kept: Directory, compiled: list[bool]
) -> None:
    await kept.create_login("username", "alice", "x")
    login = kept.login("username", "alice")
    assert login is not None
    await kept.roles.create("big", acls=many_acls())
    await kept.roles.grant("username", "alice", "big")
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: kept.roles.add_acl("big", acl("publishClientSend", "one more")),
        lambda: kept.roles.remove_acl("big", "publishClientSend", "one more"),
        lambda: kept.roles.update("big", allow_wildcard_subs=False),
        lambda: kept.roles.update("big", acls=many_acls()[1:]),
    ]
    assert decide(kept, ClientFacts("c", "alice"), login.id, PUBLISH, "big/1")
    assert compiled == [False]
    for done, write in enumerate(writes):
        await write()
        assert decide(kept, ClientFacts("c", "alice"), login.id, PUBLISH, "one more") is (done == 0)
        assert compiled == [False] * (done + 2)
    await kept.roles.update("big", text_name="only a text")
    assert decide(kept, ClientFacts("c", "alice"), login.id, PUBLISH, "big/1")
    assert len(compiled) == len(writes) + 1


async def test_a_big_role_is_compiled_at_start(tmp_path: Path, compiled: list[bool]) -> None:
    directory = await Directory.open(tmp_path / "w.db")
    await directory.roles.create("big", acls=many_acls())
    await directory.close()
    before = len(compiled)
    directory = await Directory.open(tmp_path / "w.db")
    try:
        assert len(compiled) == before + 1
        assert directory.roles.policy("big") is not None
        assert len(compiled) == before + 1
    finally:
        await directory.close()


async def test_one_acl_more_or_less_is_one_row(kept: Directory) -> None:
    await kept.roles.create("big", acls=many_acls())

    async def ids() -> dict[int, str]:
        return dict(await kept._database.read("SELECT id, topic FROM acl_rule"))

    before = await ids()
    await kept.roles.add_acl("big", acl("subscribePattern", "new", priority=2))
    added = await ids()
    assert added.items() - before.items() == {(max(added), "new")}
    await kept.roles.remove_acl("big", "publishClientSend", "big/7")
    assert {topic for _, topic in added.items() - (await ids()).items()} == {"big/7"}


@pytest.mark.parametrize("seed", range(5))
async def test_acls_are_asked_by_priority_and_age_also_after_a_restart(kept: Directory, seed: int) -> None:
    """The fixture compares with what is read back, in its order; this with what the order is to be."""
    random = Random(seed)
    await kept.roles.create("r", acls=[acl("publishClientSend", "first", priority=1)])
    in_age = [("first", 1)]
    for number in range(60):
        if random.random() < 0.3 and len(in_age) > 1:
            topic, _ = in_age.pop(random.randrange(len(in_age)))
            await kept.roles.remove_acl("r", "publishClientSend", topic)
            continue
        topic, priority = f"t/{number}", random.choice([-MAX_PRIORITY - 5, -1, 0, 1, 2])
        await kept.roles.add_acl("r", acl("publishClientSend", topic, priority=priority))
        in_age.append((topic, priority))
    role = kept.roles.get("r")
    assert role is not None
    wanted = sorted(in_age, key=lambda item: -max(item[1], -MAX_PRIORITY))
    assert [found.topic for found in role.acls] == [topic for topic, _ in wanted]


@pytest.mark.parametrize("acltype", ["subscribePattern", "subscribeLiteral", "publishClientReceive"])
async def test_an_acl_of_a_shared_subscription_is_refused(directory: Directory, acltype: AclType) -> None:
    """A subscription is decided on without its share name, so that a deny of it would silently do nothing."""
    for topic in ("$share/g/t", "$share/#", "$queue/t"):
        with pytest.raises(Invalid, match="shared subscription"):
            await directory.roles.create("r", acls=[RoleAcl(acltype, topic, False)])
