"""Logins: every value that they have, what they may not be, many at a time, and the same after a restart."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from wardenmq.store.admission import Outcome
from wardenmq.store.audit_details import MAX_NAMES
from wardenmq.store.credentials.stored_secrets import MAX_SECRET_BYTES, PLAIN, StoredSecret, store_token
from wardenmq.store.directory import Directory
from wardenmq.store.errors import (
    AlreadyExists,
    CircularReference,
    Invalid,
    NotFound,
    StoreError,
    UnknownReference,
)
from wardenmq.store.login_values import NewLogin
from wardenmq.store.records import UNSET, Change

from .restarts import assert_all_refused, assert_refused, record
from .test_authentication import settle

Attempt = Callable[[Directory], Awaitable[object]]
LATER = 4_102_444_800.123456


@pytest.fixture
async def house(kept: Directory) -> Directory:
    """Have alice, a device, a login that reserves `taken`, one of an organization and a key."""
    await kept.create_login("username", "alice", "wonderland")
    await kept.create_login("clientid", "device", "firmware")
    await kept.create_login("username", "holder", "x", clientid="taken", clientid_mode="reserved")
    await kept.tenants.create("acme")
    await kept.create_login("username", "pub", "x", kind="portal_publisher", tenant="acme", confined=True)
    await kept.create_login(
        "username", "key", None, kind="haltian_key", tenant="acme", secret=store_token("token"), id="K", confined=True
    )
    return kept


async def outcome(directory: Directory, username: str, password: str) -> Outcome:
    return (await settle(directory.authenticate("c", username, password.encode()))).outcome


def plain(password: str) -> StoredSecret:
    return StoredSecret(PLAIN, password.encode())


async def test_a_login_has_all_that_it_was_created_with(kept: Directory) -> None:
    await kept.tenants.create("acme")
    values = {
        "kind": "portal_publisher",
        "confined": True,
        "can_publish": False,
        "can_subscribe": False,
        "clientid": "c-1",
        "clientid_mode": "reserved",
        "label": "Läbel",
        "description": "x" * 10_000,
        "expires_at": LATER,
        "secret_expires_at": LATER + 1,
        "id": "an id",
    }
    login = await kept.create_login("username", "pub-1", "x", tenant="acme", **values)  # type: ignore[arg-type]
    assert {name: getattr(login, name) for name in values} == values
    assert login.tenant == kept.tenants.required("acme").id
    assert login.parent is None
    assert login.disabled_at is None
    disabled = await kept.create_login("username", "off", "x", disabled=True)
    assert disabled.disabled_at == disabled.created_at
    assert kept.login("username", "pub-1") == kept.login_by_id("an id") == login


CHANGES: list[dict[str, object]] = [
    {"superuser": True},
    {"expires_at": LATER},
    {"expires_at": None},
    {"clientid": "new", "clientid_mode": "reserved"},
    {"clientid": "new"},
    {"clientid": None},
    {"label": "new"},
    {"label": ""},
    {"description": "new"},
    {},
]
FIELDS = [
    "id",
    "login",
    "superuser",
    "disabled_at",
    "paused_at",
    "expires_at",
    "created_at",
    "kind",
    "confined",
    "tenant",
    "clientid",
    "clientid_mode",
    "can_publish",
    "can_subscribe",
    "label",
    "description",
    "secret_expires_at",
    "parent",
]


@pytest.mark.parametrize("change", CHANGES)
async def test_an_update_changes_what_is_given_and_nothing_else(kept: Directory, change: dict[str, object]) -> None:
    before = await kept.create_login(
        "username",
        "alice",
        "x",
        clientid="c",
        label="l",
        description="d",
        expires_at=LATER - 5,
        secret_expires_at=LATER - 6,
    )
    after = await kept.update_login("username", "alice", **change)  # type: ignore[arg-type]
    for name in FIELDS:
        assert getattr(after, name) == change.get(name, getattr(before, name)), name
    assert kept.login("username", "alice") == after
    assert await outcome(kept, "alice", "x") is Outcome.ACCEPTED


CLOSED: list[dict[str, object]] = [
    {"superuser": True},
    {"password": "new"},
    {"clientid_mode": "per_connection"},
    {"paused": True},
    {"disabled": True},
    {"expires_at": 1.0},
]


@pytest.mark.parametrize("change", CLOSED)
async def test_sessions_are_closed_where_they_would_not_be_let_in_as_they_are(
    kept: Directory, change: dict[str, object]
) -> None:
    login = await kept.create_login("username", "alice", "x")
    changes = record(kept)
    await kept.update_login("username", "alice", **change)  # type: ignore[arg-type]
    one = frozenset({login.id})
    assert changes == [Change(close_principals=one, principals=one)]


@pytest.mark.parametrize(
    "change",
    [
        {"superuser": False, "clientid": None, "clientid_mode": "any", "paused": False, "disabled": False},
        {"label": "x", "description": "y"},
        {"clientid": "other"},
    ],
)
async def test_sessions_stay_that_would_be_let_in_as_they_are(kept: Directory, change: dict[str, object]) -> None:
    await kept.create_login("username", "alice", "x")
    changes = record(kept)
    await kept.update_login("username", "alice", **change)  # type: ignore[arg-type]
    assert changes == []


async def test_of_a_client_id_that_is_required_or_reserved_only_those_are_closed_that_are_refused(
    kept: Directory,
) -> None:
    login = await kept.create_login("username", "alice", "x", clientid="c")
    changes = record(kept)
    for values in (
        {"clientid_mode": "required"},
        {"clientid": "d"},
        {"clientid_mode": "reserved"},
        {"clientid": "e"},
        {"clientid_mode": "required", "expires_at": LATER},
        {"clientid_mode": "any"},
    ):
        await kept.update_login("username", "alice", **values)  # type: ignore[arg-type]
    assert changes == [
        Change(required_client_ids={login.id: "c"}),
        Change(required_client_ids={login.id: "d"}),
        Change(reserved_client_ids={"d": login.id}),
        Change(reserved_client_ids={"e": login.id}),
        Change(required_client_ids={login.id: "e"}, valid_until={login.id: LATER}),
    ]


async def test_who_is_connected_under_a_client_id_that_becomes_reserved_is_closed(kept: Directory) -> None:
    """Or whoever was there first would keep the rightful client out for as long as it likes."""
    changes = record(kept)
    await kept.create_login("clientid", "device", "x")
    await kept.create_login("username", "holder", "x", clientid="one", clientid_mode="reserved")
    await kept.create_login("username", "other", "x", clientid="free", clientid_mode="required")
    assert changes == [Change(banned_client_ids=frozenset({name})) for name in ("device", "one")]
    changes.clear()
    # Those that are imported anew; who is replaced is closed itself.
    news = [
        new("sensor", login_type="clientid"),
        new("fresh", clientid="three", clientid_mode="reserved"),
        new("plain"),
    ]
    await kept.import_logins([*news, new("other", "y", clientid="free")], overwrite=True)
    other = kept.login("username", "other")
    assert other is not None
    one = frozenset({other.id})
    assert changes == [Change(close_principals=one, principals=one, banned_client_ids=frozenset({"sensor", "three"}))]


@pytest.mark.parametrize("name", ["a/b", "+", "#", "$SYS", " ", "ü" * 32_767])
async def test_a_plain_login_may_be_called_as_mqtt_allows(kept: Directory, name: str) -> None:
    for kind in ("username", "clientid"):
        login = await kept.create_login(kind, name, "x")
        assert kept.login(kind, name) == login


async def test_a_client_id_that_is_required_is_not_taken_by_it(house: Directory) -> None:
    values = {"clientid": "taken", "clientid_mode": "required"}
    await house.import_logins([new(name, **values) for name in ("one", "two")])
    await house.create_login("username", "three", "x", **values)  # type: ignore[arg-type]
    await house.update_login("username", "alice", **values)  # type: ignore[arg-type]
    holder = house.login("username", "holder")
    assert holder is not None
    assert house._logins.owner_of("taken") == holder.id


async def test_a_client_ids_login_can_be_changed_in_all_but_its_client_id(kept: Directory) -> None:
    await kept.create_login("clientid", "device", "x")
    login = await kept.update_login("clientid", "device", label="new", disabled=True, clientid="device")
    assert (login.label, login.disabled, login.clientid, login.clientid_mode) == ("new", True, "device", "reserved")


async def test_of_two_who_create_the_same_name_one_is_told_so(kept: Directory) -> None:
    """Both found it free before they hashed; what counts is what is there when they write."""
    attempts = (kept.create_login("username", "alice", password) for password in ("one", "two"))
    first, second = await asyncio.gather(*attempts, return_exceptions=True)
    lost = first if isinstance(first, AlreadyExists) else second
    assert isinstance(lost, AlreadyExists)
    assert "'alice'" in lost.message
    assert [await outcome(kept, "alice", password) for password in ("one", "two")].count(Outcome.ACCEPTED) == 1


@pytest.mark.parametrize("switch", ["can_publish", "can_subscribe"])
async def test_a_plain_login_has_no_switches(kept: Directory, switch: str) -> None:
    """Rules and roles say what it may do; a switch that did nothing would be taken for one."""
    with pytest.raises(Invalid):
        await kept.create_login("username", "alice", "x", **{switch: False})  # type: ignore[arg-type]
    before = await kept.create_login("username", "alice", "x")
    with pytest.raises(Invalid):
        await kept.update_login("username", "alice", **{switch: False})  # type: ignore[arg-type]
    assert kept.login("username", "alice") == before


async def test_flags_are_told_to_be_checked_again(kept: Directory) -> None:
    login = await kept.create_login("username", "alice", "x", kind="portal_publisher")
    changes = record(kept)
    await kept.update_login("username", "alice", can_publish=False, expires_at=LATER)
    assert changes == [Change(principals=frozenset({login.id}), valid_until={login.id: LATER})]


async def test_a_password_can_be_given_as_what_was_made_of_it(kept: Directory) -> None:
    await kept.create_login("username", "alice", None, secret=plain("one"))
    assert await outcome(kept, "alice", "one") is Outcome.ACCEPTED
    await kept.update_login("username", "alice", secret=plain("two"))
    assert await outcome(kept, "alice", "one") is Outcome.WRONG
    assert await outcome(kept, "alice", "two") is Outcome.ACCEPTED
    # It was hashed: neither memory nor file holds it as it came.
    stored = kept._logins.find("username", "alice")
    assert stored is not None
    assert stored.secret is not None
    assert stored.secret.algo == "argon2id"
    assert await kept._database.read("SELECT count(*) FROM credential WHERE instr(secret_hash, 'two')") == [(0,)]


async def test_a_key_is_renewed_with_a_token_only(house: Directory) -> None:
    await house.update_login("username", "key", secret=store_token("renewed"), secret_expires_at=LATER, public_id="jti")
    login = house.login("username", "key")
    assert login is not None
    assert login.valid_until == LATER
    assert await outcome(house, "key", "token") is Outcome.WRONG
    assert await house._database.read("SELECT public_id FROM credential WHERE kind = 'jwt'") == [("jti",)]


async def test_children_go_with_their_parent(house: Directory) -> None:
    fleet = await house.create_login("username", "fleet", "x", tenant="acme")
    truck = await house.create_login("username", "truck", "x", tenant="acme", parent=fleet.id)
    trailer = await house.create_login("clientid", "trailer", "x", tenant="acme", parent=truck.id)
    bike = await house.create_login("username", "bike", "x", tenant="acme", parent=fleet.id)
    other = await house.create_login("username", "other", "x", tenant="acme")
    await house.update_login("username", "bike", parent=None)
    await house.update_login("username", "other", parent=truck.id)
    changes = record(house)
    await house.delete_login("username", "fleet")
    assert changes == [Change(end_principals=frozenset({fleet.id, truck.id, trailer.id, other.id}))]
    assert [house.login_by_id(login.id) for login in (fleet, truck, trailer, other)] == [None] * 4
    assert house.login_by_id(bike.id) is not None
    # A tenant that goes takes parents and children in whatever order.
    await house.create_login("username", "child", "x", tenant="acme", parent=bike.id)
    await house.tenants.delete("acme")
    assert house.login("username", "child") is None


REFUSED: dict[str, tuple[type[StoreError], Attempt]] = {
    "create type": (Invalid, lambda d: d.create_login("email", "new", "x")),
    "create empty": (Invalid, lambda d: d.create_login("username", "", "x")),
    "create control": (Invalid, lambda d: d.create_login("clientid", "a\x1b[31m", "x")),
    "create long": (Invalid, lambda d: d.create_login("username", "ü" * 32_768, "x")),
    "create again": (AlreadyExists, lambda d: d.create_login("username", "alice", "x")),
    "create one of an organization": (AlreadyExists, lambda d: d.create_login("username", "pub", "x")),
    "create one of a key": (AlreadyExists, lambda d: d.create_login("username", "key", "x")),
    "create kind": (Invalid, lambda d: d.create_login("username", "new", "x", kind="human")),
    "create mode": (Invalid, lambda d: d.create_login("username", "new", "x", clientid="c", clientid_mode="some")),
    "create reserved nothing": (Invalid, lambda d: d.create_login("username", "new", "x", clientid_mode="reserved")),
    "create required nothing": (Invalid, lambda d: d.create_login("username", "new", "x", clientid_mode="required")),
    "create client id": (Invalid, lambda d: d.create_login("username", "new", "x", clientid="a\0")),
    "create empty client id": (Invalid, lambda d: d.create_login("username", "new", "x", clientid="")),
    "create reserved twice": (
        AlreadyExists,
        lambda d: d.create_login("username", "new", "x", clientid="taken", clientid_mode="reserved"),
    ),
    "create reserved device": (
        AlreadyExists,
        lambda d: d.create_login("username", "new", "x", clientid="device", clientid_mode="reserved"),
    ),
    "create device reserved": (AlreadyExists, lambda d: d.create_login("clientid", "taken", "x")),
    "create device with another client id": (Invalid, lambda d: d.create_login("clientid", "new", "x", clientid="c")),
    "create label": (Invalid, lambda d: d.create_login("username", "new", "x", label="a\n")),
    "create long label": (Invalid, lambda d: d.create_login("username", "new", "x", label="x" * 1_001)),
    "create description": (Invalid, lambda d: d.create_login("username", "new", "x", description="x" * 10_001)),
    "create password": (Invalid, lambda d: d.create_login("username", "new", "")),
    "create long password": (Invalid, lambda d: d.create_login("username", "new", "x" * (MAX_SECRET_BYTES + 1))),
    "create surrogate password": (Invalid, lambda d: d.create_login("username", "new", "\ud800")),
    "create orphan": (UnknownReference, lambda d: d.create_login("username", "new", "x", parent="nobody")),
    "create child of strangers": (UnknownReference, lambda d: d.create_login("username", "new", "x", parent="K")),
    "create end": (Invalid, lambda d: d.create_login("username", "new", "x", expires_at=1e300)),
    "create endless": (Invalid, lambda d: d.create_login("username", "new", "x", expires_at=math.inf)),
    "create no end": (Invalid, lambda d: d.create_login("username", "new", "x", secret_expires_at=math.nan)),
    "create past": (Invalid, lambda d: d.create_login("username", "new", "x", expires_at=-1.0)),
    "update type": (Invalid, lambda d: d.update_login("Username", "alice", superuser=True)),
    "update unknown": (NotFound, lambda d: d.update_login("clientid", "alice", superuser=True)),
    "update mode": (Invalid, lambda d: d.update_login("username", "alice", superuser=True, clientid_mode="")),
    "update reserved": (
        AlreadyExists,
        lambda d: d.update_login("username", "alice", clientid="taken", clientid_mode="reserved"),
    ),
    "update reserved nothing": (Invalid, lambda d: d.update_login("username", "holder", clientid=None)),
    "update device": (Invalid, lambda d: d.update_login("clientid", "device", clientid="other")),
    "update device mode": (Invalid, lambda d: d.update_login("clientid", "device", clientid_mode="any")),
    "update label": (Invalid, lambda d: d.update_login("username", "alice", disabled=True, label="\ud800")),
    "update end": (Invalid, lambda d: d.update_login("username", "alice", expires_at=1e12)),
    "update password": (Invalid, lambda d: d.update_login("username", "alice", password="")),
    "update key's password": (Invalid, lambda d: d.update_login("username", "key", password="chosen")),
    "update key's secret": (Invalid, lambda d: d.update_login("username", "key", secret=plain("chosen"))),
    "update parent": (UnknownReference, lambda d: d.update_login("username", "alice", parent="nobody")),
    "update own parent": (
        CircularReference,
        lambda d: d.update_login("username", "key", parent="K"),
    ),
    "delete type": (Invalid, lambda d: d.delete_login("", "alice")),
    "delete unknown": (NotFound, lambda d: d.delete_login("username", "device")),
}


async def test_what_is_refused_changes_nothing(house: Directory) -> None:
    attempts = {what: (error, partial(attempt, house)) for what, (error, attempt) in REFUSED.items()}
    await assert_all_refused(house, attempts)


async def test_parents_do_not_go_in_circles(kept: Directory) -> None:
    one = await kept.create_login("username", "one", "x")
    two = await kept.create_login("username", "two", "x", parent=one.id)
    three = await kept.create_login("username", "three", "x", parent=two.id)
    for parent in (two, three):
        await assert_refused(kept, CircularReference, kept.update_login("username", "one", parent=parent.id))
    await kept.update_login("username", "three", parent=one.id)


def new(name: str, password: str | None = "x", login_type: str = "username", **values: object) -> NewLogin:
    given = {"secret": None if password is None else plain(password), **values}
    return NewLogin(login_type=login_type, login=name, **given)  # type: ignore[arg-type]


async def test_many_come_in_one_write(house: Directory) -> None:
    generation = house.generation
    before = house.login("username", "alice")
    news = [new("bob", "b"), new("alice", "changed"), new("pub"), new("sensor", "s", "clientid", superuser=True)]
    written, left = await house.import_logins(news, actor="root", facade="cli")
    assert [login.login for login in written] == ["bob", "sensor"]
    assert left == 2
    assert house.generation == generation + 1
    assert house.login("username", "alice") == before
    assert await outcome(house, "bob", "b") is Outcome.ACCEPTED
    assert await outcome(house, "alice", "wonderland") is Outcome.ACCEPTED
    assert house._logins.owner_of("sensor") is not None
    (entry,) = await house.audit.entries(limit=1)
    assert (entry.action, entry.actor, dict(entry.detail)) == (
        "login.import",
        "root",
        {
            "written": 2,
            "replaced": 0,
            "left": 2,
            "superusers": ["clientid:sensor"],
            "replaced logins": [],
            "new logins": ["username:bob", "clientid:sensor"],
        },
    )


async def test_those_that_are_replaced_keep_what_they_have_beside_it(house: Directory) -> None:
    alice = house.login("username", "alice")
    assert alice is not None
    await house.roles.create("role")
    await house.roles.grant("username", "alice", "role")
    await house.update_login("username", "alice", disabled=True, clientid="own", clientid_mode="reserved")
    changes = record(house)
    news = [new("alice", "changed", superuser=True, label="l", secret_expires_at=LATER), new("pub", "y"), new("bob")]
    written, left = await house.import_logins(news, overwrite=True)
    assert [login.login for login in written] == ["alice", "bob"]
    assert left == 1  # the organization's
    one = frozenset({alice.id})
    assert changes == [Change(close_principals=one, principals=one)]
    after = house.login("username", "alice")
    assert after is not None
    assert (after.id, after.created_at) == (alice.id, alice.created_at)
    assert (after.superuser, after.label, after.disabled, after.valid_until) == (True, "l", False, LATER)
    assert house.roles.of_login(alice.id) == {"role": -1}
    assert house._logins.owner_of("own") is None
    assert await outcome(house, "alice", "wonderland") is Outcome.WRONG
    assert await outcome(house, "alice", "changed") is Outcome.ACCEPTED
    assert [login.login for login in house.logins("username")] == ["alice", "holder", "pub", "key", "bob"]


async def test_who_comes_without_password_keeps_the_one_that_it_has(house: Directory) -> None:
    """With its end: an import must not make a password valid for ever that was not."""
    await house.update_login("username", "alice", password="dated", secret_expires_at=LATER)
    await house.import_logins([new("alice", None, label="new"), new("bob", None)], overwrite=True)
    assert await outcome(house, "alice", "dated") is Outcome.ACCEPTED
    assert await outcome(house, "bob", "dated") is Outcome.WRONG
    alice = house.login("username", "alice")
    assert alice is not None
    assert (alice.label, alice.valid_until) == ("new", LATER)


async def test_a_plain_login_of_an_organization_is_left_to_it(house: Directory) -> None:
    await house.create_login("username", "theirs", "x", tenant="acme")
    written, left = await house.import_logins([new("theirs", "y")], overwrite=True)
    assert (written, left) == ([], 1)
    assert await outcome(house, "theirs", "x") is Outcome.ACCEPTED


MANY_REFUSED: dict[str, tuple[type[StoreError], list[NewLogin]]] = {
    "type": (Invalid, [new("bob"), new("x", login_type="email")]),
    "name": (Invalid, [new("bob"), new("a\0")]),
    "kind": (Invalid, [new("bob"), new("carol", kind="human")]),
    "client id": (Invalid, [new("bob"), new("carol", clientid="", clientid_mode="required")]),
    "reserved": (AlreadyExists, [new("bob"), new("taken", login_type="clientid")]),
    "reserved twice": (
        AlreadyExists,
        [new(name, clientid="c", clientid_mode="reserved") for name in ("bob", "carol")],
    ),
    "orphan": (UnknownReference, [new("bob"), new("carol", parent="nobody")]),
    "id": (AlreadyExists, [new("bob"), new("carol", id="K")]),
    "end": (Invalid, [new("bob"), new("carol", expires_at=math.nan)]),
}


async def test_of_many_with_a_bad_one_none_is_written(house: Directory) -> None:
    def importing(news: list[NewLogin]) -> Callable[[], Awaitable[object]]:
        return lambda: house.import_logins(news, overwrite=True)

    await assert_all_refused(house, {what: (error, importing(news)) for what, (error, news) in MANY_REFUSED.items()})


async def test_those_that_are_replaced_by_what_they_are_are_left_alone(house: Directory) -> None:
    token, carols = store_token("bob's"), store_token("carol's")
    await house.import_logins([new("bob", secret=token, label="l"), new("carol", secret=carols)])
    changes = record(house)
    generation = house.generation
    same = new("bob", secret=token, label="l")
    assert house.has_login(same)
    assert not house.has_login(new("bob", secret=store_token("other"), label="l"))
    assert not house.has_login(new("pub", None)) and not house.has_login(new("nobody", None))
    assert not house.has_login(new("bob", secret=token, clientid_mode="reserved"))  # which is not valid
    tied = new("carol", secret=carols, clientid="c", clientid_mode="required")
    news = [new("bob", secret=token), same, tied]
    written, left = await house.import_logins(news, overwrite=True)
    assert ([login.login for login in written], left) == (["carol"], 1)
    assert changes == [Change(required_client_ids={written[0].id: "c"})]
    bob = house.login("username", "bob")
    assert bob is not None
    assert (bob.label, house.generation) == ("l", generation + 1)


async def test_the_last_of_one_name_counts(kept: Directory) -> None:
    written, left = await kept.import_logins([new("bob", "1"), new("bob", "2"), new("d", "1", "clientid")])
    assert ([login.login for login in written], left) == (["bob", "d"], 0)
    assert await outcome(kept, "bob", "1") is Outcome.WRONG
    assert await outcome(kept, "bob", "2") is Outcome.ACCEPTED


async def test_those_that_are_replaced_stay_tied_as_they_were(house: Directory) -> None:
    """No file knows of these, and none may loosen them."""
    holder = house.login("username", "holder")
    assert holder is not None
    await house.create_login("username", "tied", "x", confined=True, parent=holder.id)
    before = await house.update_login("username", "tied", paused=True)
    await house.import_logins([new("tied", "y")], overwrite=True)
    assert house.login("username", "tied") == before
    await assert_refused(house, Invalid, house.import_logins([new("tied", superuser=True)], overwrite=True))


async def test_a_superuser_is_not_confined(house: Directory) -> None:
    """It would be exempt from the very rules that it is confined to."""
    attempts: dict[str, tuple[type[StoreError], Attempt]] = {
        "create": (Invalid, lambda d: d.create_login("username", "new", "x", True, confined=True)),
        "update": (Invalid, lambda d: d.update_login("username", "pub", superuser=True)),
        "import": (Invalid, lambda d: d.import_logins([new("new", superuser=True, confined=True)])),
    }
    await assert_all_refused(
        house, {what: (error, partial(attempt, house)) for what, (error, attempt) in attempts.items()}
    )


async def test_a_login_without_secret_has_no_end_of_one(kept: Directory) -> None:
    login = await kept.create_login("username", "alice", None, secret_expires_at=LATER)
    assert login.valid_until is None


@pytest.mark.parametrize("many", [5, 250])
async def test_many_are_the_same_however_many_they_are(kept: Directory, many: int) -> None:
    """Many are prepared in a thread and put in as a whole."""
    holder = await kept.create_login("username", "holder", "x", clientid="c-0", clientid_mode="reserved")
    await kept.create_login("username", "u-0", "x", parent=holder.id)
    swapped = [new("holder", None, clientid="c-1", clientid_mode="reserved")]
    news = [*swapped, *(new(f"u-{number}", None, label="l") for number in range(many)), new("d", None, "clientid")]
    written, left = await kept.import_logins(news, overwrite=True)
    assert (len(written), left) == (many + 2, 0)
    assert [login.login for login in kept.logins("username")] == ["holder", *(f"u-{n}" for n in range(many))]
    assert {client: kept._logins.owner_of(client) is not None for client in ("c-0", "c-1", "d")} == {
        "c-0": False,
        "c-1": True,
        "d": True,
    }
    await kept.delete_login("username", "holder")
    assert kept.login("username", "u-0") is None


async def test_an_import_names_superusers_first_and_not_everybody(house: Directory) -> None:
    news = [new(f"u-{number}", None) for number in range(300)]
    await house.import_logins([*news, new("root", None, superuser=True), new("alice", None, label="l")], overwrite=True)
    (entry,) = await house.audit.entries(limit=1)
    detail = dict(entry.detail)
    assert detail["superusers"] == ["username:root"]
    assert detail["replaced logins"] == ["username:alice"]
    assert detail["new logins"] == [f"username:u-{number}" for number in range(MAX_NAMES)]


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"superuser": True}, {"superuser": False}, {"superuser": True}),
        ({"clientid": "n", "clientid_mode": "required"}, {"clientid": None, "clientid_mode": "any"}, None),
        ({"expires_at": LATER}, {"expires_at": None}, {"expires_at": LATER}),
        ({"description": "x" * 10_000}, {"description": ""}, {"description": "x" * 200 + "..."}),
    ],
)
async def test_the_audit_log_says_what_a_value_was_and_is(
    house: Directory, change: dict[str, object], before: dict[str, object], after: dict[str, object] | None
) -> None:
    await house.update_login("username", "alice", **change)  # type: ignore[arg-type]
    (entry,) = await house.audit.entries(limit=1)
    assert dict(entry.detail) == {"changed": [*before], "from": before, "to": after or change}


@pytest.mark.parametrize("switch", ["disabled", "paused"])
async def test_the_audit_log_says_who_was_switched_off_since_when(house: Directory, switch: str) -> None:
    login = await house.update_login("username", "alice", **{switch: True})  # type: ignore[arg-type]
    await house.update_login("username", "alice", **{switch: False})  # type: ignore[arg-type]
    field = f"{switch}_at"
    since = getattr(login, field)
    on, off = [dict(entry.detail) for entry in await house.audit.entries(limit=2)]
    assert off == {"changed": [field], "from": {field: None}, "to": {field: since}}
    assert on == {"changed": [field], "from": {field: since}, "to": {field: None}}


async def test_who_goes_with_a_login_is_named(house: Directory) -> None:
    alice = house.login("username", "alice")
    assert alice is not None
    for kind, name in (("clientid", "d"), ("username", "d"), ("username", "b"), ("clientid", "c"), ("username", "a")):
        await house.create_login(kind, name, "x", parent=alice.id)
    await house.delete_login("username", "alice")
    (entry,) = await house.audit.entries(limit=1)
    children = ["username:a", "username:b", "clientid:c", "clientid:d", "username:d"]
    assert dict(entry.detail) == {"superuser": False, "with it": children}


async def test_what_the_file_cannot_keep_is_refused(house: Directory) -> None:
    secret = store_token("another")
    attempts: dict[str, tuple[type[StoreError], Attempt]] = {
        "create": (Invalid, lambda d: d.create_login("username", "q", None, secret=secret, public_id="\ud800")),
        "update": (Invalid, lambda d: d.update_login("username", "alice", secret=secret, public_id="\ud800")),
        "actor": (Invalid, lambda d: d.delete_login("username", "alice", actor="\ud800")),
        "facade": (Invalid, lambda d: d.delete_login("username", "alice", facade="\ud800")),
        "long actor": (Invalid, lambda d: d.delete_login("username", "alice", actor="x" * 65_536)),
    }
    await assert_all_refused(
        house, {what: (error, partial(attempt, house)) for what, (error, attempt) in attempts.items()}
    )


async def test_nothing_to_write_is_written_as_well(kept: Directory) -> None:
    assert await kept.import_logins([]) == ([], 0)


async def test_the_audit_log_says_what_and_never_which_secret(house: Directory) -> None:
    begun = await house.audit.count()
    await house.create_login("username", "new", "s3cr3t", superuser=True, actor="root", facade="cli")
    await house.update_login("username", "new", password="0ther", label="x", clientid=UNSET, actor="root", facade="cli")
    await house.delete_login("username", "new", actor="root", facade="cli")
    entries = [*reversed(await house.audit.entries())][begun:]
    assert {(entry.actor, entry.facade, entry.target) for entry in entries} == {("root", "cli", "username:new")}
    assert [(entry.action, dict(entry.detail)) for entry in entries] == [
        ("login.create", {"kind": "mqtt_client", "superuser": True}),
        ("login.update", {"changed": ["label", "password"], "from": {"label": ""}, "to": {"label": "x"}}),
        ("login.delete", {"superuser": True, "with it": []}),
    ]
