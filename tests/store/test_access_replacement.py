"""Everything that dynamic security knows, replaced at once: what goes, what stays, and the same after a restart."""

import asyncio
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pytest
from wardenmq.store.access_replacement import AccessConfiguration
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.admission import Outcome
from wardenmq.store.credentials.stored_secrets import PLAIN, StoredSecret, store_token
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, Invalid, StoreError, UnknownReference
from wardenmq.store.login_batches import replace_users
from wardenmq.store.login_values import NewLogin
from wardenmq.store.records import MAX_PRIORITY, PUBLISH, Change, Group, Role, RoleAcl
from wardenmq.store.writer import Write

from .layered import acl, allow
from .restarts import assert_all_refused, decide, layers_of, record
from .test_authentication import settle

LATER = 4_102_444_800.0


def user(name: str, password: str | None = "x", **values: object) -> NewLogin:
    secret = None if password is None else StoredSecret(PLAIN, password.encode())
    return NewLogin(login_type="username", login=name, secret=secret, **values)  # type: ignore[arg-type]


def role(name: str, *acls: RoleAcl, **values: object) -> Role:
    return Role("", name, acls=acls, **values)  # type: ignore[arg-type]


def group(name: str, roles: Mapping[str, int], members: Mapping[str, int]) -> Group:
    return Group("", name, roles=roles, members=members)


SEND = acl("publishClientSend", "t")


@pytest.fixture
async def house(kept: Directory) -> Directory:
    """Have plain users with roles and groups, and beside them all that no such file knows."""
    for name in ("alice", "bob", "carol"):
        await kept.create_login("username", name, name)
    await kept.create_login("clientid", "device", "x", superuser=True)
    await kept.tenants.create("acme")
    await kept.create_login("username", "pub", "x", kind="portal_publisher", tenant="acme", confined=True)
    await kept.create_login("username", "theirs", "x", tenant="acme")
    await kept.create_login(
        "username", "key", None, kind="haltian_key", tenant="acme", secret=store_token("t"), id="K", confined=True
    )
    integration = await kept.integrations.create("acme")
    await kept.integrations.link(integration.id, "key")
    await kept.integrations.assign_role("key", "MqttIntegrator")
    for name in ("stays", "goes"):
        await kept.roles.create(name, text_name="old", acls=[acl("publishClientSend", name)])
        await kept.groups.create(f"group {name}", roles={name: 1}, members={"alice": 1, "bob": 2, "pub": 3})
        await kept.roles.grant("username", "pub", name, 7)
        await kept.roles.grant("clientid", "device", name, 8)
        await kept.roles.grant("username", "alice", name, 9)
    await kept.groups.set_anonymous("group goes")
    await kept.set_rules("username", "alice", [allow("rule/a")])
    await kept.set_rules("all", "", [allow("rule/all")])
    await kept.bans.create("username", "mallory")
    return kept


NEW = AccessConfiguration(
    users=[
        user("alice", "changed", label="A", disabled=False),
        user("dora", "d", clientid="c", clientid_mode="required"),
    ],
    roles=[role("stays", SEND, allow_wildcard_subs=False, text_name="new"), role("new", SEND)],
    groups=[
        group("group stays", {"new": MAX_PRIORITY + 1}, {"dora": 5}),  # without the role that it had
        group("group new", {"stays": 2}, {"alice": -MAX_PRIORITY - 1, "dora": 0}),
    ],
    user_roles={"alice": {"new": 3}, "dora": {"stays": 4, "new": MAX_PRIORITY + 1}},
    defaults={"publish": True, "receive": False},
    anonymous_group="group new",
)


async def outcome(directory: Directory, username: str | None, password: str, client_id: str = "c") -> Outcome:
    return (await settle(directory.authenticate(client_id, username, password.encode()))).outcome


def principal(directory: Directory, name: str, login_type: str = "username") -> str:
    login = directory.login(login_type, name)
    assert login is not None, name
    return login.id


async def test_what_was_written_is_there_and_nothing_else_of_its_kind(house: Directory) -> None:
    assert await house.replace_access(NEW) == 0
    plain = [
        login.login
        for login in house.logins("username")
        if login.kind == "mqtt_client" and login.tenant == house.tenants.required("default").id
    ]
    assert plain == ["alice", "dora"]
    assert [found.name for found in house.roles.all()] == ["new", "stays"]
    stays = house.roles.get("stays")
    assert stays is not None
    assert (stays.acls, stays.allow_wildcard_subs, stays.text_name) == ((SEND,), False, "new")
    assert [found.name for found in house.groups.all()] == ["group new", "group stays"]
    dora, alice = (principal(house, name) for name in ("dora", "alice"))
    assert [*house.roles.of_login(alice).items()] == [("new", 3)]
    assert [*house.roles.of_login(dora).items()] == [("new", MAX_PRIORITY), ("stays", 4)]
    assert [*house.groups.of_login(alice).items()] == [("group new", -MAX_PRIORITY)]
    assert [*house.groups.of_login(dora).items()] == [("group stays", 5), ("group new", 0)]
    found = house.groups.get("group stays")
    assert found is not None
    assert found.roles == {"new": MAX_PRIORITY}
    assert house.groups.anonymous == "group new"
    assert house.default_access == {"publish": True, "receive": False, "subscribe": False, "unsubscribe": True}
    login = house.login("username", "dora")
    assert login is not None
    assert (login.clientid, login.clientid_mode) == ("c", "required")
    # It is in force at once.
    assert await outcome(house, "alice", "changed") is Outcome.ACCEPTED
    assert await outcome(house, "alice", "alice") is Outcome.WRONG
    assert await outcome(house, "dora", "d") is Outcome.ACCEPTED
    assert await outcome(house, "bob", "bob") is Outcome.WRONG
    assert decide(house, ClientFacts("c", "dora"), dora, PUBLISH, "t")
    assert layers_of(house, "x", None, None) == [("group", "group new/stays"), ("all", "")]


async def test_what_no_such_file_knows_stays(house: Directory) -> None:
    before = {name: house.login("username", name) for name in ("pub", "theirs", "key")}
    device = house.login("clientid", "device")
    await house.update_login("username", "alice", superuser=True, expires_at=LATER)
    alice = house.login("username", "alice")
    assert alice is not None
    await house.replace_access(NEW)
    assert {name: house.login("username", name) for name in before} == before
    assert house.login("clientid", "device") == device
    after = house.login("username", "alice")
    assert after is not None
    # The same login as before, with what only this program knows of it.
    assert (after.id, after.created_at, after.superuser, after.expires_at) == (alice.id, alice.created_at, True, LATER)
    assert after.label == "A"
    # Of their roles and groups those that are still there.
    assert house.roles.of_login(principal(house, "pub")) == {"stays": 7}
    assert house.roles.of_login(principal(house, "device", "clientid")) == {"stays": 8}
    assert house.groups.of_login(principal(house, "pub")) == {"group stays": 3}
    assert house.integrations.readable("K") != ()
    assert house.rules("username", "alice") == (allow("rule/a"),)
    assert house.rules("all") == (allow("rule/all"),)
    assert [ban.who for ban in house.bans.all()] == ["mallory"]
    assert await outcome(house, "pub", "x") is Outcome.ACCEPTED
    assert await outcome(house, "key", "t") is Outcome.ACCEPTED


async def test_roles_and_groups_that_stay_are_the_same_ones(house: Directory) -> None:
    role_before, group_before = house.roles.get("stays"), house.groups.get("group stays")
    await house.replace_access(NEW)
    role_after, group_after = house.roles.get("stays"), house.groups.get("group stays")
    assert role_before is not None
    assert group_before is not None
    assert role_after is not None
    assert group_after is not None
    assert (role_after.id, role_after.created_at) == (role_before.id, role_before.created_at)
    assert (group_after.id, group_after.created_at) == (group_before.id, group_before.created_at)
    # A new one is as old as it is.
    new = house.roles.get("new")
    assert new is not None
    assert new.created_at > role_before.created_at


async def test_sessions_are_closed_that_would_not_be_let_in_and_the_others_checked(house: Directory) -> None:
    await house.create_login("username", "same", None)
    ended = frozenset(principal(house, name) for name in ("bob", "carol"))
    changes = record(house)
    alice, same = principal(house, "alice"), principal(house, "same")
    await house.replace_access(replace(NEW, users=[*NEW.users, user("same", None)]))
    one = frozenset({alice})
    assert changes == [Change(end_principals=ended, close_principals=one, principals=one, everyone=True)]
    changes.clear()
    for change, closes, required in (
        ({"label": "x"}, False, {}),
        ({"disabled": True}, True, {}),
        ({"clientid": "c"}, False, {}),
        ({"clientid": "c", "clientid_mode": "required"}, False, {same: "c"}),
        ({}, False, {}),
    ):
        await house.replace_access(AccessConfiguration(users=[user("same", None, **change)]))
        assert (changes[-1].close_principals == {same}) is closes, change
        assert changes[-1].required_client_ids == required, change


async def test_who_comes_without_password_has_none(house: Directory) -> None:
    await house.replace_access(AccessConfiguration(users=[user("alice", None)]))
    assert await outcome(house, "alice", "alice") is Outcome.WRONG
    assert await house._database.read(
        "SELECT count(*) FROM credential c JOIN principal p ON p.id = c.principal_id WHERE p.login = 'alice'"
    ) == [(0,)]


async def test_users_come_and_go_in_any_mixture(house: Directory) -> None:
    """New ones before and behind those that stay, with and without password."""
    users = [user("a new one", "n"), user("carol", "c"), user("without", None), user("alice", None), user("z", "z")]
    await house.replace_access(AccessConfiguration(users=users))
    for name, password in (("a new one", "n"), ("carol", "c"), ("z", "z")):
        assert await outcome(house, name, password) is Outcome.ACCEPTED, name
    for name in ("without", "alice", "bob"):
        assert await outcome(house, name, name) is Outcome.WRONG


async def test_names_of_other_logins_are_left_to_them(house: Directory) -> None:
    new = AccessConfiguration(
        users=[user("pub", "stolen"), user("theirs", "stolen"), user("alice", "alice")],
        roles=[role("r", SEND)],
        groups=[group("g", {"r": 1}, {"pub": 1, "alice": 1})],
        user_roles={"pub": {"r": 1}, "alice": {"r": 1}},
    )
    assert await house.replace_access(new) == 2
    assert await outcome(house, "pub", "x") is Outcome.ACCEPTED
    assert await outcome(house, "pub", "stolen") is Outcome.WRONG
    assert await outcome(house, "theirs", "x") is Outcome.ACCEPTED
    # What the file would have given them it does not, either.
    assert house.roles.of_login(principal(house, "pub")) == {}
    assert house.groups.of_login(principal(house, "pub")) == {}
    assert house.groups.of_login(principal(house, "alice")) == {"g": 1}


async def test_nothing_is_a_configuration_too(house: Directory) -> None:
    await house.replace_access(AccessConfiguration())
    assert [login.login for login in house.logins("username")] == ["pub", "theirs", "key"]
    assert (house.roles.all(), house.groups.all(), house.groups.anonymous) == ([], [], None)
    assert not house.default_access["publish"]  # as it was
    assert layers_of(house, "c", None, None) == [("all", "")]
    assert house.roles.of_login(principal(house, "pub")) == {}


async def test_the_same_again_changes_nothing_but_hashes(house: Directory) -> None:
    await house.replace_access(NEW)

    def shown() -> list[object]:
        logins = [replace(login) for login in house.logins("username")]
        return [logins, [*house.roles.all()], [*house.groups.all()], house.default_access, house.groups.anonymous]

    before = shown()
    await house.replace_access(NEW)
    assert shown() == before


async def test_who_had_a_child_takes_it_along_unless_it_stays_by_itself(house: Directory) -> None:
    """As the foreign key does in the file."""
    bob, alice = principal(house, "bob"), principal(house, "alice")
    await house.update_login("username", "alice", parent=bob)
    for name, parent in (("child", bob), ("alice's", alice)):
        await house.create_login("username", name, "x", parent=parent, kind="portal_publisher")
    await house.create_login("username", "grandchild", "x", parent=principal(house, "child"), kind="portal_publisher")
    ended = frozenset(principal(house, name) for name in ("bob", "carol", "child", "grandchild"))
    changes = record(house)
    await house.replace_access(NEW)
    assert changes[0].end_principals == ended
    assert house.login("username", "child") is None
    login = house.login("username", "alice")
    assert login is not None
    assert (login.id, login.parent) == (alice, None)
    left = house.login("username", "alice's")
    assert left is not None
    assert left.parent == alice
    # Whose parent stays, stays its child.
    await house.create_login("username", "carol", "x", parent=alice)
    await house.replace_access(replace(NEW, users=[*NEW.users, user("carol")]))
    carol = house.login("username", "carol")
    assert carol is not None
    assert carol.parent == alice


async def test_a_role_that_is_given_back_under_its_name_is_another(house: Directory) -> None:
    await house.replace_access(AccessConfiguration())
    await house.roles.create("stays", acls=[SEND])
    assert house.roles.of_login(principal(house, "pub")) == {}


REFUSED: dict[str, tuple[type[StoreError], AccessConfiguration]] = {
    "user twice": (AlreadyExists, AccessConfiguration(users=[user("a"), user("a")])),
    "user name": (Invalid, AccessConfiguration(users=[user("a"), user("b\0")])),
    "user empty": (Invalid, AccessConfiguration(users=[user("")])),
    "user label": (Invalid, AccessConfiguration(users=[user("a", label="x" * 1_001)])),
    "user mode": (Invalid, AccessConfiguration(users=[user("a", clientid="c", clientid_mode="x")])),
    "user end": (Invalid, AccessConfiguration(users=[user("a", expires_at=math.inf)])),
    "user reserves the device": (
        AlreadyExists,
        AccessConfiguration(users=[user("a", clientid="device", clientid_mode="reserved")]),
    ),
    "users reserve the same": (
        AlreadyExists,
        AccessConfiguration(users=[user(name, clientid="c", clientid_mode="reserved") for name in "ab"]),
    ),
    "role twice": (AlreadyExists, AccessConfiguration(roles=[role("r"), role("r")])),
    "role name": (Invalid, AccessConfiguration(roles=[role("")])),
    "role control": (Invalid, AccessConfiguration(roles=[role("a\x7f")])),
    "role text": (Invalid, AccessConfiguration(roles=[role("r", text_name="x" * 10_001)])),
    "ACL twice": (AlreadyExists, AccessConfiguration(roles=[role("r", SEND, replace(SEND, allow=False))])),
    "ACL topic": (Invalid, AccessConfiguration(roles=[role("r", acl("subscribePattern", "a/#/b"))])),
    "ACL type": (Invalid, AccessConfiguration(roles=[role("r", RoleAcl("all", "a", True))])),  # type: ignore[arg-type]
    "group twice": (AlreadyExists, AccessConfiguration(groups=[group("g", {}, {}), group("g", {}, {})])),
    "group name": (Invalid, AccessConfiguration(groups=[group("a\n", {}, {})])),
    "group role": (UnknownReference, AccessConfiguration(groups=[group("g", {"stays": 1}, {})])),
    "group member": (UnknownReference, AccessConfiguration(groups=[group("g", {}, {"alice": 1})])),
    "user role": (UnknownReference, AccessConfiguration(users=[user("a")], user_roles={"a": {"stays": 1}})),
    "role of nobody": (UnknownReference, AccessConfiguration(roles=[role("r")], user_roles={"alice": {"r": 1}})),
    "anonymous group": (UnknownReference, AccessConfiguration(anonymous_group="group stays")),
    "default": (Invalid, AccessConfiguration(defaults={"publish": True, "unpublish": True})),
}


async def test_what_is_refused_changes_nothing(house: Directory) -> None:
    attempts = {what: (error, partial(house.replace_access, new)) for what, (error, new) in REFUSED.items()}
    await assert_all_refused(house, attempts)


async def test_it_is_one_write_in_the_audit_log(house: Directory) -> None:
    generation, begun = house.generation, await house.audit.count()
    await house.replace_access(NEW, actor="root", facade="bunkerm")
    assert house.generation == generation + 1
    (entry,) = await house.audit.entries(limit=await house.audit.count() - begun)
    assert (entry.actor, entry.facade, entry.action) == ("root", "bunkerm", "access.replace")
    assert dict(entry.detail) == {
        "users": 2,
        "superusers": [],
        "new users": ["username:dora"],
        "removed users": ["username:bob", "username:carol"],
        "left": 0,
        "roles": 2,
        "groups": 2,
        "role names": ["stays", "new"],
        "group names": ["group stays", "group new"],
        "anonymous group": "group new",
        "defaults": {
            "from": {"publish": False, "receive": True},
            "to": {"publish": True, "receive": False},
        },
    }


async def test_removed_superusers_are_named_first(house: Directory) -> None:
    await house.update_login("username", "carol", superuser=True)
    await house.replace_access(NEW)
    (entry,) = await house.audit.entries(limit=1)
    assert entry.detail["removed users"] == ["username:carol", "username:bob"]


async def test_who_stays_is_no_child_of_one_that_goes_with_another(house: Directory) -> None:
    """Its parent is not among the users at all, but goes with one of them; its own child stays with it."""
    device = await house.create_login("clientid", "gateway", "x", parent=principal(house, "bob"))
    await house.update_login("username", "alice", parent=device.id)
    await house.create_login("clientid", "alice's", "x", parent=principal(house, "alice"))
    await house.replace_access(NEW)
    assert house.login("clientid", "gateway") is None
    login = house.login("username", "alice")
    assert login is not None
    assert login.parent is None
    assert house.login("clientid", "alice's") is not None
    assert await house._database.read("SELECT parent_id FROM principal WHERE login = 'alice'") == [(None,)]


async def test_who_stays_is_tied_as_before(house: Directory) -> None:
    values = {"confined": True, "secret_expires_at": LATER}
    await house.create_login("username", "tied", "x", clientid="own", clientid_mode="reserved", **values)  # type: ignore[arg-type]
    before = await house.update_login("username", "tied", paused=True)
    await house.replace_access(AccessConfiguration(users=[user("tied", "y")]))
    assert house.login("username", "tied") == before
    assert house._logins.owner_of("own") == before.id
    assert await outcome(house, "tied", "y") is Outcome.NOT_ALLOWED
    # The end of a password goes with it.
    await house.replace_access(AccessConfiguration(users=[user("tied", None, disabled=True)]))
    after = house.login("username", "tied")
    assert after is not None
    assert (after.secret_expires_at, after.paused_at) == (None, before.paused_at)
    assert after.disabled_at is not None
    await house.replace_access(AccessConfiguration(users=[user("tied", None, disabled=True)]))
    assert house.login("username", "tied") == after


async def test_what_was_compiled_for_others_stays(house: Directory) -> None:
    """Sessions know by it that their decisions still hold."""
    await house.replace_access(NEW)
    before = {name: house.roles.policy(name) for name in ("stays", "new")}
    await house.replace_access(replace(NEW, roles=[NEW.roles[0], role("new", SEND, acl("publishClientSend", "u"))]))
    assert house.roles.policy("stays") is before["stays"]
    assert house.roles.policy("new") is not before["new"]


async def test_the_loop_has_its_turn_while_a_lot_is_prepared(house: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those who connect meanwhile find all as it was."""
    loop = asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), threading.Event()
    prepare = house._replacement.prepare

    def waiting(new: AccessConfiguration, at: int) -> Write[int]:
        write = prepare(new, at)
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(30)
        return write

    monkeypatch.setattr(house._replacement, "prepare", waiting)
    bob = principal(house, "bob")
    users = [user(f"u-{number}", None) for number in range(1_200)]
    replacing = asyncio.ensure_future(house.replace_access(replace(NEW, users=[*NEW.users, *users])))
    await begun.wait()
    assert await outcome(house, "bob", "bob") is Outcome.ACCEPTED
    assert house.login("username", "u-7") is None
    assert house.groups.of_login(bob) == {"group goes": 2, "group stays": 2}
    go_on.set()
    await replacing
    assert await outcome(house, "bob", "bob") is Outcome.WRONG
    assert house.login("username", "u-7") is not None


async def test_the_time_that_it_takes_grows_with_what_there_is(directory: Directory) -> None:
    """Compared are two sizes: were each user looked for among all, four times as many took sixteen times as long."""
    tenant = directory.tenants.required("default").id

    def spent(many: int) -> float:
        users = [user(f"u-{number}", None) for number in range(many)]
        put = replace_users(directory._logins, users, tenant, 1)
        put.apply()
        # All of them change and half of them go, which is what was quadratic.
        changed = [user(new.login, None, disabled=True) for new in users[: many // 2]]
        begun = time.thread_time()
        replace_users(directory._logins, changed, tenant, 1)
        return time.thread_time() - begun

    few = min(spent(2_000) for _ in range(3))
    many = min(spent(8_000) for _ in range(3))
    assert many < 9 * few
