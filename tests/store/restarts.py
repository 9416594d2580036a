"""What a directory knows, to be compared: with what it knows after a restart, or after a write that was refused."""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.directory import Directory
from wardenmq.store.errors import StoreError
from wardenmq.store.records import Change

from .conditions import until

Facts = dict[str, object]
_MAX_MESSAGE = 600
BY_SQLITE = "A record of this name"
"""How it begins where nobody had looked before SQLite did."""
_ORPHANS = "SELECT * FROM acl_rule WHERE subject_type = 'role' AND subject NOT IN (SELECT id FROM role)"
_numbers = count()


def facts(directory: Directory) -> Facts:
    """Give all that a directory holds in memory, in its order, indexes and what is hidden from its users included."""
    logins = [login for kind in ("username", "clientid") for login in directory.logins(kind)]
    tenants = directory.tenants.all()
    memberships = directory._memberships
    return {
        "tenants": [*tenants],
        "logins": logins,
        "secrets": {login.id: _secret(directory, login.id) for login in logins},
        "by id": {login.id: directory.login_by_id(login.id) for login in logins},
        "known": {*directory._logins._index.by_id} ^ {login.id for login in logins},
        "reserved": dict(directory._logins._index.reserved),
        "rules": [
            (kind, name, directory.rules(kind, name))
            for kind in ("username", "clientid", "all")
            for name in directory.rule_subjects(kind)
        ],
        "defaults": dict(directory.default_access),
        "sources": directory.sources._state,
        "roles": [*directory.roles.all()],
        "policies of no role": {*directory.roles._policies} - {role.id for role in directory.roles.all()},
        "groups": [*directory.groups.all()],
        "anonymous": directory.groups.anonymous,
        "roles of": {login.id: [*directory.roles.of_login(login.id).items()] for login in logins},
        "groups of": {login.id: [*directory.groups.of_login(login.id).items()] for login in logins},
        "relations": [
            (relation._right, relation._left)
            for relation in (memberships.roles, memberships.members, memberships.group_roles)
        ],
        "integrations": {tenant.name: [*directory.integrations.of_tenant(tenant.name)] for tenant in tenants},
        "known integrations": {*directory.integrations._by_id},
        "links": {key: links for key, held in directory.integrations._links.items() if (links := [*held])},
        "organization roles": {key: {*held} for key, held in directory.integrations._roles.items() if held},
        "bans": [*directory.bans.all()],
        "API keys": [*directory.api_keys()],
        "tokens": dict(directory._operators._tokens),
        "dashboard users": {
            stored.user.name: (stored.user.id, stored.user.role, stored.user.description, stored.secret)
            for stored in directory.dashboard_users.stored()
        },
        "layers": {login.id: layers_of(directory, "c", login.login, login.id) for login in logins},
        "anonymous layers": layers_of(directory, "c", None, None),
    }


def layers_of(
    directory: Directory, client_id: str, username: str | None, principal: str | None
) -> list[tuple[str, str]]:
    """Name the layers of a client in the order in which they are asked."""
    return [(layer.kind, layer.name) for layer in directory.access(client_id, username, principal).layers]


def _secret(directory: Directory, principal: str) -> object:
    stored = directory._logins.by_id(principal)
    if stored is None or stored.secret is None:
        return None
    secret = stored.secret
    return secret.algo, secret.secret_hash, secret.salt, dict(secret.parameters), secret.scram


async def rows(directory: Directory) -> dict[str, list[tuple[object, ...]]]:
    """Give all that the database holds."""
    database = directory._database
    names = await database.read("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return {name: await database.read(f"SELECT * FROM {name} ORDER BY 1, 2") for (name,) in names}


async def restarted(directory: Directory, folder: Path) -> Directory:
    """Open what a directory has committed as another one, once nothing is under way; the caller closes it."""
    await until(lambda: not directory._derivation._deriving and not directory._writer._pending)
    copy = folder / f"restarted-{next(_numbers)}.db"
    # Between transactions: to copy in the midst of one, such as the housekeeping's, would wait for ever.
    async with directory._database._transaction:
        with closing(sqlite3.connect(copy)) as target:
            await directory._database._connection.backup(target)
    return await Directory.open(copy, clock=directory._clock)


async def assert_kept(directory: Directory, folder: Path) -> None:
    """Assert that a restart would change nothing."""
    again = await restarted(directory, folder)
    try:
        known = facts(directory)
        for part, read_back in facts(again).items():
            assert read_back == known[part], part
        assert await directory._database.read(_ORPHANS) == []
    finally:
        await again.close()


async def assert_refused(directory: Directory, error: type[StoreError], attempt: Awaitable[object]) -> StoreError:
    """Assert that a write is refused with exactly this error, in a sentence, and changes neither memory nor file."""
    before = facts(directory), await rows(directory), directory.generation
    with pytest.raises(StoreError) as caught:
        await attempt
    assert type(caught.value) is error
    assert caught.value.message.endswith(".")
    assert not caught.value.message.startswith(BY_SQLITE)
    assert len(caught.value.message) < _MAX_MESSAGE
    assert caught.value.message.isprintable()
    assert (facts(directory), await rows(directory), directory.generation) == before
    return caught.value


async def assert_all_refused(
    directory: Directory, attempts: Mapping[str, tuple[type[StoreError], Callable[[], Awaitable[object]]]]
) -> None:
    """Assert of one attempt after the other that it is refused, and that nobody was told of anything."""
    changes = record(directory)
    for what, (error, attempt) in attempts.items():
        try:
            await assert_refused(directory, error, attempt())
            assert changes == []
        except BaseException as failure:
            failure.add_note(f"attempt: {what}")
            raise


def record(directory: Directory) -> list[Change]:
    """Keep what the sessions are told of each write from now on."""
    changes: list[Change] = []

    async def append(change: Change) -> None:
        changes.append(change)

    directory.on_change(append)
    return changes


def decide(directory: Directory, client: ClientFacts, principal: str | None, operation: int, topic: str) -> bool:
    """Ask for one decision at QoS 0."""
    access = directory.access(client.client_id, client.username, principal, peer_host=client.peer_host)
    return access.decide(operation, topic, 0, False)
