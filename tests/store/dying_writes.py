"""Every kind of write, by a process that kills itself at a chosen step of it; run by `test_killed_writes.py`.

Run as `python -m tests.store.dying_writes PART FOLDER`, it makes a database with something of everything in FOLDER,
and then, for each write of the part and each step of that write, forks a process that opens a copy of it and begins
the write. Each process prints a line as it dies, or as the write has been answered. All processes use the same clock
and the same random numbers, so that the same write makes the same rows.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiosqlite
from wardenmq.store.access_replacement import AccessConfiguration
from wardenmq.store.api_keys import NewApiKey
from wardenmq.store.authenticators.settings import DATABASE_ID, DatabaseSettings, JwtSettings, SharedSecret
from wardenmq.store.credentials import passwords
from wardenmq.store.credentials.scram import MIN_ITERATIONS
from wardenmq.store.credentials.stored_secrets import StoredSecret
from wardenmq.store.directory import Directory
from wardenmq.store.housekeeping import Housekeeping
from wardenmq.store.login_values import NewLogin
from wardenmq.store.records import Ban, Change, Group, Role, RoleAcl, Rule
from wardenmq.store.source_order import BuiltInSource, FileSource
from wardenmq.store.sources import CacheSettings
from wardenmq.store.writer import Write, Writer

from .argon2_gate import Argon2Gate
from .conditions import until

BASE = "base.db"
"""What each write begins with."""
FILE = "wardenmq.db"
VIEW = "memory.txt"
"""What was in memory at the end of a write that nothing cut short."""
ONE_SOURCE = "one source"
"""The part that begins without a file source."""
NOW = 1_700_000_000.0
LATER = NOW + 100

ALLOW = Rule("a/${clientid}/#", "allow", "publish")
DENY = Rule("eq a/b", "deny", "all", qos=(1, 2))
SEND = RoleAcl("publishClientSend", "a/#", True)
RECEIVE = RoleAcl("publishClientReceive", "b/#", False, 5)
# Of the unsalted SHA-256 of `password`, as an import brings it.
_FAST = StoredSecret("sha256", bytes.fromhex("5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"))

_TOKENS = JwtSettings(keys=SharedSecret(secret="secret"))

Do = Callable[[Directory], Awaitable[Any]]


async def fill(directory: Directory) -> None:
    """Make something of everything."""
    tenant = await directory.tenants.create("acme")
    await directory.roles.create("sensor", acls=[SEND])
    await directory.roles.create("reader", acls=[RECEIVE], allow_wildcard_subs=False)
    await directory.groups.create("plant", roles={"reader": 1})
    await directory.create_login("username", "alice", "password", roles={"sensor": 3}, groups={"plant": 2})
    await directory.create_login("clientid", "dev-1", "password")
    await directory.create_login("username", "fast", None, secret=_FAST)
    await directory.create_login("username", "key", None, tenant=tenant.name, kind="haltian_key", confined=True)
    await directory.create_login("username", "key-2", None, tenant=tenant.name, kind="haltian_key", confined=True)
    await directory.set_rules("username", "alice", [ALLOW, DENY])
    await directory.set_rules("clientid", "dev-1", [DENY])
    await directory.set_rules("all", "", [ALLOW])
    await directory.create_api_key("script")
    await directory.create_dashboard_user("admin", "password")
    await directory.dashboard_users.create("reader", "password", "viewer")
    integration = await directory.integrations.create("acme", description="first")
    await directory.integrations.create("acme", description="second")
    await directory.integrations.link(integration.id, "key")
    await directory.integrations.assign_role("key", "MqttIntegrator")
    await directory.bans.create("clientid", "evil")
    await directory.bans.create("peerhost_net", "10.0.0.0/8", until=NOW + 10)
    await directory.bans.create("clientid_re", "^bot", until=NOW + 20)


def integration(directory: Directory, description: str) -> str:
    """Return the id of an integration."""
    return next(known.id for known in directory.integrations.of_tenant("acme") if known.description == description)


async def keep_secret(directory: Directory) -> None:
    """Log in with a fast hash, so that the password is hashed anew behind it."""
    verdict = directory.authenticate("c", "fast", b"password")
    if isinstance(verdict, Awaitable):
        verdict = await verdict
    assert verdict.outcome.name == "ACCEPTED"
    await until(lambda: not directory._derivation._deriving)


_NEW_ACCESS = AccessConfiguration(
    users=[NewLogin(login_type="username", login="alice", secret=_FAST), NewLogin(login_type="username", login="bob")],
    roles=[Role("", "sensor", acls=(RECEIVE,)), Role("", "other")],
    groups=[Group("", "plant", roles={"other": 1}, members={"bob": 2}), Group("", "new")],
    user_roles={"alice": {"other": 4}},
    defaults={"publish": True},
    anonymous_group="plant",
)

# By part, and in it by the attribute of the directory and the method. More than one of a method gets a suffix.
WRITES: Mapping[str, Mapping[str, Do]] = {
    "logins": {
        "create_login": lambda d: d.create_login(
            "username", "bob", "secret", True, roles={"sensor": 1}, groups={"plant": 1}, label="x"
        ),
        "create_login clientid": lambda d: d.create_login("clientid", "dev-2", None, confined=True),
        "update_login": lambda d: d.update_login(
            "username", "alice", password="new", superuser=True, disabled=True, expires_at=LATER + 60, clientid="a",
            clientid_mode="required",
        ),
        "update_login paused": lambda d: d.update_login("clientid", "dev-1", paused=True),
        "delete_login": lambda d: d.delete_login("username", "alice"),
        "import_logins": lambda d: d.import_logins(
            [
                NewLogin(login_type="username", login="alice", secret=_FAST),
                *(NewLogin(login_type="username", login=f"new {number}", secret=_FAST) for number in range(3)),
            ],
            overwrite=True,
        ),
        "keep_secret": keep_secret,
    },
    "rules": {
        "replace_access": lambda d: d.replace_access(_NEW_ACCESS),
        "set_rules": lambda d: d.set_rules("username", "alice", [DENY, ALLOW, ALLOW]),
        "create_rules": lambda d: d.create_rules("clientid", [("dev-2", [ALLOW]), ("dev-3", []), ("dev-4", [DENY])]),
        "put_rules": lambda d: d.put_rules("clientid", [("dev-1", [ALLOW]), ("dev-5", [DENY])]),
        "add_rule": lambda d: d.add_rule("username", "alice", DENY, first=True),
        "delete_rules": lambda d: d.delete_rules("username", "alice"),
        "delete_all_rules": lambda d: d.delete_all_rules(),
        "set_no_match": lambda d: d.set_no_match("allow"),
        "set_default_access": lambda d: d.set_default_access({"receive": False, "subscribe": True}),
    },
    "sources": {
        "sources.update": lambda d: d.sources.update(BuiltInSource(7, enabled=False)),
        "sources.delete": lambda d: d.sources.delete("built_in_database"),
        "sources.move": lambda d: d.sources.move("file", "after:built_in_database"),
        "sources.reorder": lambda d: d.sources.reorder(["built_in_database", "file"]),
        "sources.configure": lambda d: d.sources.configure("allow", "disconnect", CacheSettings(max_size=3)),
    },
    ONE_SOURCE: {
        "sources.create": lambda d: d.sources.create(FileSource('{allow, all, publish, ["a"]}.')),
    },
    "keys": {
        "create_api_key": lambda d: d.create_api_key("second", expires_at=LATER + 60),
        "update_api_key": lambda d: d.update_api_key("script", enabled=False, role="viewer"),
        "delete_api_key": lambda d: d.delete_api_key("script"),
        "create_dashboard_user": lambda d: d.create_dashboard_user("second", "password"),
        "dashboard_users.create": lambda d: d.dashboard_users.create("second", "password", "viewer", description="x"),
        "dashboard_users.put": lambda d: d.dashboard_users.put("admin", _FAST, "administrator", "restored"),
        "dashboard_users.update": lambda d: d.dashboard_users.update("admin", description="first"),
        "dashboard_users.set_password": lambda d: d.dashboard_users.set_password("admin", "another"),
        "dashboard_users.delete": lambda d: d.dashboard_users.delete("reader"),
        "put_api_key": lambda d: d.put_api_key(NewApiKey("script", "chosen", "secret", "viewer")),
        "set_bunkerm_key": lambda d: d.set_bunkerm_key("chosen"),
        "create_bunkerm_key": lambda d: d.create_bunkerm_key(),
        "create_operator_token": lambda d: d.create_operator_token(),
    },
    "authenticators": {
        "authenticators.create": lambda d: d.authenticators.create(_TOKENS),
        "authenticators.update": lambda d: d.authenticators.update(DATABASE_ID, DatabaseSettings(enable=False)),
        "authenticators.delete": lambda d: d.authenticators.delete(DATABASE_ID),
        "authenticators.move": lambda d: d.authenticators.move(DATABASE_ID, "front"),
        "authenticators.reorder": lambda d: d.authenticators.reorder([DATABASE_ID]),
        "authenticators.replace": lambda d: d.authenticators.replace([_TOKENS, DatabaseSettings()]),
    },
    "tenants": {
        "tenants.create": lambda d: d.tenants.create("globex", display_name="Globex"),
        "tenants.update": lambda d: d.tenants.update("acme", enabled=False),
        "tenants.delete": lambda d: d.tenants.delete("acme"),
        "integrations.create": lambda d: d.integrations.create("acme"),
        "integrations.update": lambda d: d.integrations.update(integration(d, "first"), state="inactive"),
        "integrations.delete": lambda d: d.integrations.delete(integration(d, "first")),
        "integrations.link": lambda d: d.integrations.link(integration(d, "second"), "key-2"),
        "integrations.unlink": lambda d: d.integrations.unlink(integration(d, "first"), "key"),
        "integrations.assign_role": lambda d: d.integrations.assign_role("key-2", "MqttIntegrator"),
        "integrations.unassign_role": lambda d: d.integrations.unassign_role("key", "MqttIntegrator"),
    },
    "roles": {
        "roles.create": lambda d: d.roles.create("writer", acls=[SEND, RECEIVE]),
        "roles.update": lambda d: d.roles.update("sensor", text_name="S", acls=[RECEIVE], allow_wildcard_subs=False),
        "roles.add_acl": lambda d: d.roles.add_acl("sensor", RECEIVE, disconnect=True),
        "roles.remove_acl": lambda d: d.roles.remove_acl("sensor", SEND.acltype, SEND.topic),
        "roles.delete": lambda d: d.roles.delete("reader"),
        "roles.grant": lambda d: d.roles.grant("clientid", "dev-1", "reader", 7),
        "roles.revoke": lambda d: d.roles.revoke("username", "alice", "sensor", disconnect=True),
    },
    "groups": {
        "groups.create": lambda d: d.groups.create("second", roles={"sensor": 1}, members={"alice": 1, "fast": 2}),
        "groups.update": lambda d: d.groups.update("plant", text_name="P", roles={"sensor": 9}, members={"fast": 1}),
        "groups.delete": lambda d: d.groups.delete("plant"),
        "groups.add_member": lambda d: d.groups.add_member("plant", "fast"),
        "groups.remove_member": lambda d: d.groups.remove_member("plant", "alice"),
        "groups.add_role": lambda d: d.groups.add_role("plant", "sensor", 4),
        "groups.remove_role": lambda d: d.groups.remove_role("plant", "reader"),
        "groups.set_anonymous": lambda d: d.groups.set_anonymous("plant"),
    },
    "bans": {
        "bans.create": lambda d: d.bans.create("username", "mallory", until=LATER + 60),
        "bans.create anew": lambda d: d.bans.create("peerhost_net", "10.0.0.0/8"),
        "bans.create expression": lambda d: d.bans.create("username_re", "^guest"),
        "bans.put": lambda d: d.bans.put([Ban("clientid", "evil", reason="again"), Ban("username", "mallory")]),
        "bans.delete": lambda d: d.bans.delete("clientid", "evil"),
        "bans.delete_all": lambda d: d.bans.delete_all(),
        "bans.sweep": lambda d: d.bans.sweep(),
        "audit.purge": lambda d: d.audit.purge(0, 3),
    },
}  # fmt: skip


class Steps:
    """Count the steps of a write, and die at one of them; 0 for at none."""

    def __init__(self, write: str, fatal: int) -> None:
        self._write = write
        self._fatal = fatal
        self._count = 0

    def reach(self, step: str) -> None:
        """Say that a step is behind, and die if it was the one."""
        self._count += 1
        if self._count == self._fatal:
            self.tell(step)
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(self, step: str) -> None:
        """Print how far the write came, past any buffer that would die too."""
        os.write(1, f"{json.dumps([self._write, self._fatal, step])}\n".encode())


class Dying:
    """Stand in front of a connection and count what is done through it."""

    def __init__(self, connection: aiosqlite.Connection, steps: Steps) -> None:
        self._connection = connection
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, sql: str) -> aiosqlite.Cursor:
        before, after = {
            "BEGIN IMMEDIATE": ("validated", "begun"),
            "COMMIT": ("before the commit", "committed"),
        }[sql]
        self._steps.reach(before)
        cursor = await self._connection.execute(sql)
        self._steps.reach(after)
        return cursor

    async def executemany(self, sql: str, rows: Iterable[Any]) -> aiosqlite.Cursor:
        cursor = await self._connection.executemany(sql, rows)
        self._steps.reach("statement")
        return cursor


async def open_directory(path: Path, now: float) -> Directory:
    """Open a directory that does nothing by itself and whose hashes cost nothing."""
    return await Directory.open(path, clock=lambda: now, scram_iterations=MIN_ITERATIONS)


def prepare_process(seed: int) -> None:
    """Make the process repeatable and its hashes cheap."""
    numbers = random.Random(seed)
    os.urandom = random._urandom = numbers.randbytes  # type: ignore[attr-defined,method-assign]
    passwords._passlib_argon2 = Argon2Gate()  # type: ignore[attr-defined]
    Housekeeping.start = lambda self: None  # type: ignore[method-assign]


async def make_base(path: Path, part: str) -> None:
    """Make the database that each write begins with."""
    directory = await open_directory(path, NOW)
    await fill(directory)
    if part == ONE_SOURCE:
        await directory.sources.delete("file")
    await directory.close()


async def carry_out(path: Path, do: Do, steps: Steps) -> None:
    """Write, and die on the way."""
    write = Writer.write

    def counted(prepared: Write[Any]) -> Write[Any]:
        def apply() -> None:
            prepared.apply()
            steps.reach("in memory")

        return replace(prepared, apply=apply)

    async def write_counted(self: Writer, prepare: Callable[[int], Write[Any]], *args: str, **origin: str) -> Any:
        return await write(self, lambda at: counted(prepare(at)), *args, **origin)

    async def before_effects(change: Change) -> None:
        steps.reach("before the effects")

    directory = await open_directory(path, LATER)
    Writer.write = write_counted  # type: ignore[method-assign,assignment]
    directory._database._connection = Dying(directory._database._connection, steps)  # type: ignore[assignment]
    directory.on_change(before_effects)
    await do(directory)
    steps.reach("answered")
    path.with_name(VIEW).write_text(view(directory))
    await directory.close()
    steps.tell("ended")


def view(directory: Directory) -> str:
    """Show all that the directory has in memory of what it keeps, secrets and order included."""
    logins = [*directory.logins("username"), *directory.logins("clientid")]
    shown: list[object] = []
    for login in logins:
        stored = directory._logins.by_id(login.id)
        assert stored is directory._logins.find(login.login_type, login.login)
        secret = None if stored is None else stored.secret
        shown += [login, secret and (secret.algo, secret.secret_hash, secret.salt, secret.params)]
        shown += [directory.roles.of_login(login.id), directory.groups.of_login(login.id)]
        shown += [directory.integrations.links_of(login.id), sorted(directory.integrations.roles_of(login.id))]
    for kind in ("username", "clientid", "all"):
        shown += [(kind, subject, directory.rules(kind, subject)) for subject in directory.rule_subjects(kind)]
    for tenant in directory.tenants.all():
        shown += [tenant, *directory.integrations.of_tenant(tenant.name)]
    shown += [*directory.roles.all(), *directory.groups.all(), directory.groups.anonymous, *directory.bans.all()]
    shown += [sorted(directory.default_access.items()), *directory.api_keys(), *directory.authenticators.all()]
    shown.append(directory.sources._state)
    shown += [
        sorted(directory._operators._tokens.items()),
        [replace(user, revision=0) for user in directory.dashboard_users.all()],
    ]
    return "\n".join(map(repr, shown))


def run_forked(work: Coroutine[Any, Any, None], seed: int) -> int:
    """Run in a process of its own, which has no threads but those that it starts; return how it ended."""
    child = os.fork()
    if child:
        work.close()
        return os.waitpid(child, 0)[1]
    status = 1
    try:
        prepare_process(seed)
        asyncio.run(work)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main(part: str, folder: Path) -> None:
    """Carry out the part's writes, to their ends and to each of their steps."""
    base = folder / BASE
    if run_forked(make_base(base, part), seed=1):
        raise SystemExit("the database could not be made")
    for name, do in WRITES[part].items():
        for fatal in range(100):
            path = folder / name / f"{fatal}" / FILE
            path.parent.mkdir(parents=True)
            shutil.copy(base, path)
            status = run_forked(carry_out(path, do, Steps(name, fatal)), seed=2)
            if fatal and status == 0:
                break  # there is no such step: the write came to its end
            if status != (0 if fatal == 0 else signal.SIGKILL):
                raise SystemExit(f"step {fatal} of {name} ended with status {status}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
