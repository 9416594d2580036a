"""What must hold across all ways to manage the broker: one name, one password, one decision, whoever wrote it.

Each test is a row of the model's table of cross-facade behaviours. E, D, P and H are the four APIs; what they do to the
directory is done here as they do it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import permutations
from pathlib import Path
from random import Random

import pytest
from wardenmq.store.access_replacement import AccessConfiguration
from wardenmq.store.acl.access import ClientAccess
from wardenmq.store.admission import Outcome
from wardenmq.store.credentials.stored_secrets import store_token
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists
from wardenmq.store.login_values import NewLogin
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Group, Login, Operation, Role, Rule

from .engine.conditions import until
from .engine.guarded import Guarded, guarding, secret_of
from .engine.wire import Client, connect
from .store.layered import acl, allow, deny
from .store.random_writes import FILTERS, TOPICS, RandomWriter
from .store.restarts import assert_refused, restarted
from .store.test_authentication import settle

REFUSED = 0x80


async def in_memory() -> Directory:
    directory = await Directory.open(":memory:")
    for tenant in ("acme", "other"):
        await directory.tenants.create(tenant)
    return directory


async def outcome(directory: Directory, username: str, password: str, client_id: str = "c") -> Outcome:
    return (await settle(directory.authenticate(client_id, username, password.encode()))).outcome


async def publisher(guarded: Guarded, name: str, tenant: str = "acme", **values: object) -> str:
    """Create a publisher as P does; return the prefix of its topics."""
    if guarded.directory.tenants.get(tenant) is None:
        await guarded.directory.tenants.create(tenant)
    fields = {"kind": "portal_publisher", "clientid": name, "clientid_mode": "reserved", "confined": True, **values}
    await guarded.principal(name, tenant=tenant, **fields)
    return f"{guarded.directory.tenants.required(tenant).id}/{name}"


async def key(guarded: Guarded, name: str) -> str:
    """Create a key as H does; return the prefix of the events that it may read."""
    directory = guarded.directory
    if directory.tenants.get("acme") is None:
        await directory.tenants.create("acme")
    await guarded.principal(name, tenant="acme", kind="haltian_key", id=name, confined=True, can_publish=False)
    integration = await directory.integrations.create("acme")
    await directory.integrations.link(integration.id, name)
    await directory.integrations.assign_role(name, "MqttIntegrator")
    return f"haltian-iot/events/{integration.id}/{name}"


async def refused(guarded: Guarded, name: str) -> int:
    client = await guarded.clients.open()
    return await client.refused(connect(name, username=name, password=secret_of(name).encode()))


async def watching(guarded: Guarded) -> Client:
    watcher = await guarded.connected("root", "watcher")
    assert await watcher.subscribe(("#", 0)) == [0]
    return watcher


# 1


MAKERS: dict[str, Callable[[Directory], Awaitable[object]]] = {
    "E or D": lambda d: d.create_login("username", "x", "one"),
    "P publisher": lambda d: d.create_login(
        "username", "x", "one", kind="portal_publisher", tenant="acme", clientid="x", clientid_mode="reserved"
    ),
    "P subscriber": lambda d: d.create_login("username", "x", "one", kind="portal_subscriber", tenant="other"),
    "H": lambda d: d.create_login(
        "username", "x", None, kind="haltian_key", tenant="acme", id="x", secret=store_token("one")
    ),
}


@pytest.mark.parametrize(("first", "second"), [*permutations(MAKERS, 2), ("E or D", "E or D")])
async def test_1_a_name_is_taken_for_all(first: str, second: str) -> None:
    directory = await in_memory()
    await MAKERS[first](directory)
    error = await assert_refused(directory, AlreadyExists, MAKERS[second](directory))
    assert "'x'" in error.message
    # A file that is imported leaves it alone too.
    kept = directory.login("username", "x")
    written, left = await directory.import_logins([NewLogin(login_type="username", login="x")])
    assert (written, left, directory.login("username", "x")) == ([], 1, kept)
    await directory.close()


async def test_1_client_ids_have_their_own_names_but_not_those_that_are_reserved() -> None:
    directory = await in_memory()
    await directory.create_login("username", "x", "by name")
    await directory.create_login("clientid", "x", "by client id")
    attempt = directory.create_login(
        "username", "y", "z", kind="portal_publisher", tenant="acme", clientid="x", clientid_mode="reserved"
    )
    await assert_refused(directory, AlreadyExists, attempt)
    await directory.close()


# 2


async def test_2_a_password_is_one_whoever_set_it() -> None:
    async with guarding() as guarded:
        directory = guarded.directory
        await directory.create_login("username", "alice", "made in E", facade="emqx")
        client = await guarded.clients.connected("c", username="alice", password=b"made in E")
        await directory.update_login("username", "alice", password="set in D", facade="bunkerm")
        await client.hung_up()
        stranger = await guarded.clients.open()
        assert await stranger.refused(connect("c", username="alice", password=b"made in E")) == 4
        await guarded.clients.connected("c", username="alice", password=b"set in D")


# 3 and 4


async def test_3_what_the_operator_switched_off_its_owner_cannot_switch_on() -> None:
    async with guarding() as guarded:
        await publisher(guarded, "pub-x")
        await publisher(guarded, "pub-y")
        client, other = await guarded.connected("pub-x"), await guarded.connected("pub-y")
        await guarded.directory.update_login("username", "pub-x", disabled=True, facade="bunkerm")
        await client.hung_up()
        assert await refused(guarded, "pub-x") == 5

        def shown() -> tuple[bool, bool]:
            login = guarded.directory.login("username", "pub-x")
            assert login is not None
            return login.disabled_at is not None, login.paused_at is not None

        assert shown() == (True, False)  # P shows `disabled`, not `paused`
        await guarded.directory.update_login("username", "pub-x", paused=False, facade="portal")
        assert await refused(guarded, "pub-x") == 5
        assert shown() == (True, False)
        await guarded.directory.update_login("username", "pub-x", disabled=False, facade="bunkerm")
        await guarded.connected("pub-x")
        await other.ping()


async def test_4_what_its_owner_paused_is_disabled_for_the_operator_who_may_switch_it_on() -> None:
    async with guarding() as guarded:
        await publisher(guarded, "pub-x")
        client = await guarded.connected("pub-x")
        await guarded.directory.update_login("username", "pub-x", paused=True, facade="portal")
        await client.hung_up()
        login = guarded.directory.login("username", "pub-x")
        assert login is not None
        assert (login.disabled, login.disabled_at) == (True, None)
        assert await refused(guarded, "pub-x") == 5
        await guarded.directory.update_login("username", "pub-x", disabled=False, facade="bunkerm")
        await guarded.connected("pub-x")


# 5


async def test_5_a_key_that_is_banned_is_out_until_the_end_of_the_ban() -> None:
    """By the clock of the store, which stands still here, however long an attempt takes."""
    now = time.time()
    async with guarding(clock=lambda: now) as guarded:
        for name in ("K", "L"):
            await key(guarded, name)
        client, other = await guarded.connected("K"), await guarded.connected("L")
        ends = round(now) + 3_600
        await guarded.directory.bans.create("username", "K", until=ends, facade="emqx")
        await client.hung_up()
        for moment in (now, now + 1_800, ends - 0.001):
            now = moment
            assert await refused(guarded, "K") == 5
            assert guarded.directory.bans.get("username", "K") is not None
        now = ends
        assert guarded.directory.bans.get("username", "K") is None
        await guarded.connected("K")
        await other.ping()


# 6, 7, 8


async def test_6_a_rule_of_the_operators_takes_a_topic_out_of_a_prefix() -> None:
    async with guarding() as guarded:
        own = await publisher(guarded, "pub-x")
        client, watcher = await guarded.connected("pub-x"), await watching(guarded)
        assert await client.subscribe((f"{own}/#", 1)) == [1]
        await client.publish(f"{own}/closed", b"before", 1)
        assert (await watcher.message()).payload == (await client.message()).payload == b"before"
        await guarded.directory.set_rules("username", "pub-x", [deny(f"{own}/closed")], facade="emqx")
        for topic in ("closed", "open"):
            await client.publish(f"{own}/{topic}", topic.encode(), 1)
        assert (await watcher.message()).payload == (await client.message()).payload == b"open"
        await watcher.nothing_came()
        # What others send there does not reach it either.
        await watcher.publish(f"{own}/closed", b"from another", 1)
        await client.nothing_came()
        assert await client.subscribe((f"{own}/closed", 0), (f"{own}/open", 0)) == [REFUSED, 0]


async def test_7_no_rule_for_all_and_no_default_leads_out_of_a_prefix() -> None:
    async with guarding() as guarded:
        own = await publisher(guarded, "pub-x")
        strange = await publisher(guarded, "pub-y")
        await guarded.directory.set_rules("all", "", [allow("#")], facade="emqx")
        operations: tuple[Operation, ...] = ("publish", "subscribe", "receive")
        await guarded.directory.set_default_access(dict.fromkeys(operations, True), facade="bunkerm")
        client, watcher = await guarded.connected("pub-x"), await watching(guarded)
        tenant = own.partition("/")[0]
        wanted = (f"{own}/#", "#", f"{tenant}/#", f"{strange}/x", "other", f"{tenant}/+/x")
        assert await client.subscribe(*((topic, 1) for topic in wanted)) == [1] + [REFUSED] * 5
        for topic in (f"{strange}/x", "other", tenant, f"{own}/x"):
            await client.publish(topic, topic.encode(), 1)
        assert (await watcher.message()).topic == f"{own}/x"
        await watcher.nothing_came()
        assert (await client.message()).topic == f"{own}/x"
        # Others get what the rule gives them.
        plain = await guarded.principal("plain")
        assert guarded.directory.access("c", "plain", plain).decide(PUBLISH, "other", 0, False)


async def test_8_a_role_gives_a_tenants_login_exactly_its_topics() -> None:
    async with guarding() as guarded:
        await publisher(guarded, "pub-x")
        tenant = guarded.directory.tenants.required("acme").id
        any_id = {"clientid": None, "clientid_mode": "any"}
        await publisher(guarded, "sub-x", kind="portal_subscriber", can_publish=False, **any_id)
        client = await guarded.connected("sub-x")
        filters = (("news/#", 0), ("news/x", 0), (f"{tenant}/#", 0), ("other", 0), ("#", 0))
        assert await client.subscribe(*filters) == [REFUSED, REFUSED, 0, REFUSED, REFUSED]
        roles = guarded.directory.roles
        await roles.create("reader", acls=[acl("subscribePattern", "news/#")], facade="bunkerm")
        await roles.grant("username", "sub-x", "reader", facade="bunkerm")
        assert await client.subscribe(*filters) == [0, 0, 0, REFUSED, REFUSED]
        watcher = await watching(guarded)
        for topic in ("news/x", f"{tenant}/x", "other"):
            await client.publish(topic, b"x", 1)
        await watcher.nothing_came()
        await roles.revoke("username", "sub-x", "reader", facade="bunkerm")
        assert await client.subscribe(*filters) == [REFUSED, REFUSED, 0, REFUSED, REFUSED]
        await watcher.publish("news/x", b"x", 1)
        assert (await watcher.message()).topic == "news/x"
        await client.nothing_came()


# 9


async def test_9_the_default_is_one() -> None:
    directory = await in_memory()
    assert directory.no_match == "deny"
    assert directory.default_access == {"publish": False, "receive": True, "subscribe": False, "unsubscribe": True}
    await directory.set_no_match("allow", facade="emqx")
    assert directory.default_access == {"publish": True, "receive": True, "subscribe": True, "unsubscribe": True}
    for operation in ("publish", "subscribe"):
        await directory.set_no_match("allow")
        await directory.set_default_access({operation: False}, facade="bunkerm")
        assert directory.no_match == "deny"  # it reads `allow` only where both are
        await directory.set_default_access({operation: True}, facade="bunkerm")
        assert directory.no_match == "allow"
    await directory.set_default_access({"receive": False, "unsubscribe": False}, facade="bunkerm")
    assert directory.no_match == "allow"
    await directory.set_no_match("deny", facade="emqx")
    assert directory.default_access == dict.fromkeys(("publish", "receive", "subscribe", "unsubscribe"), False)
    await directory.close()


async def test_9_a_default_that_is_changed_acts_on_live_sessions() -> None:
    async with guarding("alice") as guarded:
        alice, watcher = await guarded.connected("alice"), await watching(guarded)
        for write, allowed in (
            (guarded.directory.set_no_match("allow"), True),
            (guarded.directory.set_default_access({"publish": False}), False),
            (guarded.directory.set_default_access({"publish": True}), True),
            (guarded.directory.set_no_match("deny"), False),
        ):
            await write
            await alice.publish("t", b"x", 1)
            if allowed:
                await watcher.message()
            await watcher.nothing_came()


# 10


@pytest.mark.parametrize("disconnect", [True, False])
async def test_10_a_role_that_is_deleted_concerns_its_members_only(disconnect: bool) -> None:
    names = ("by role", "by group", "by another role")
    async with guarding(*names) as guarded:
        directory = guarded.directory
        acls = [acl("subscribePattern", "t/#"), acl("publishClientSend", "t/#"), acl("publishClientReceive", "t/#")]
        for role in ("deleted", "other"):
            await directory.roles.create(role, acls=acls)
        await directory.roles.grant("username", "by role", "deleted")
        await directory.groups.create("group", roles={"deleted": 0}, members={"by group": 0})
        await directory.roles.grant("username", "by another role", "other")
        clients = {name: await guarded.connected(name) for name in names}
        for client in clients.values():
            assert await client.subscribe(("t/x", 0)) == [0]
        await clients["by another role"].publish("t/y", b"x", 0)
        known = guarded.session("by another role").identity.policy
        assert isinstance(known, ClientAccess)
        await directory.roles.delete("deleted", disconnect=disconnect)
        for name in ("by role", "by group"):
            if disconnect:
                await clients[name].hung_up()
                clients[name] = await guarded.connected(name)
            assert await clients[name].subscribe(("t/x", 0)) == [REFUSED]
            await clients[name].publish("t/x", b"refused", 1)
        # Nothing was closed, removed or forgotten for the one whom it does not concern.
        await clients["by another role"].publish("t/x", b"x", 1)
        assert (await clients["by another role"].message()).payload == b"x"
        access = guarded.session("by another role").identity.policy
        assert isinstance(access, ClientAccess)
        assert access.generation > known.generation
        assert access._cache is known._cache
        for client in clients.values():
            await client.nothing_came()


# 11


CLIENTS = [
    ("c", "10.0.0.1"),
    ("d0", "192.0.2.1"),
]


def all_decisions(directory: Directory, held: dict[tuple[str, ...], ClientAccess] | None = None) -> dict[object, bool]:
    """Ask for everything that a client of each login, and some without, could want; through what each `held`."""
    who: list[tuple[str | None, str | None]] = [(None, None), ("stranger", None)]
    who += [(login.login, login.id) for kind in ("username", "clientid") for login in directory.logins(kind)]
    answers: dict[object, bool] = {}
    for client_id, peer_host in CLIENTS:
        for username, principal in who:
            known = (client_id, peer_host, str(username), str(principal))
            access = directory.access(
                client_id, username, principal, peer_host=peer_host, previous=None if held is None else held.get(known)
            )
            if held is not None:
                held[known] = access
            for operation, topics in ((PUBLISH, TOPICS), (RECEIVE, TOPICS), (SUBSCRIBE, FILTERS)):
                for topic in topics:
                    for qos, retain in ((0, False), (1, True)):
                        key = (known, operation, topic, qos, retain)
                        answers[key] = access.decide(operation, topic, qos, retain)
            answers[known, "checks delivery"] = access.checks_delivery
    return answers


@pytest.mark.parametrize("seed", range(8))
async def test_11_a_restart_changes_no_decision(seed: int, tmp_path: Path) -> None:
    """After any writes; and what sessions hold on to meanwhile is never out of date."""
    directory = await Directory.open(":memory:")
    await directory.tenants.create("t0")
    writer = RandomWriter(directory, seed)
    held: dict[tuple[str, ...], ClientAccess] = {}
    for _ in range(3):
        for _ in range(15):
            await writer.write()
            await writer.write()
            all_decisions(directory, held)
        again = await restarted(directory, tmp_path)
        expected = all_decisions(again)
        assert all_decisions(directory, held) == expected
        assert all_decisions(directory) == expected
        for login in directory.logins("username"):
            for client_id, peer_host in CLIENTS:
                verdicts = [
                    opened.authenticate_certified(login.login, client_id=client_id, peer_host=peer_host)
                    for opened in (directory, again)
                ]
                assert verdicts[0] == verdicts[1]
        await again.close()
    assert writer.done > 20
    assert writer.refused > 5
    await directory.close()


# 12


class Publisher:
    """Publish one message after the other and note which decision was to be expected of each."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.allowed = True
        self.writes = 0
        """Odd while one that concerns it is under way."""
        self.expected: dict[bytes, bool] = {}
        self._sent = 0

    async def run(self) -> None:
        while True:
            self._sent += 1
            payload = b"%s %d" % (self.name.encode(), self._sent)
            writes, allowed = self.writes, self.allowed
            await self.client.publish(f"t/{self.name}", payload, 1)
            # Decided somewhere between sending and acknowledgement; there was no write all that time.
            if writes % 2 == 0 and self.writes == writes:
                self.expected[payload] = allowed


async def test_12_no_decision_is_wrong_while_rules_are_written() -> None:
    names = [f"p{n}" for n in range(8)]
    async with guarding(*names) as guarded:
        for name in names:
            await guarded.directory.set_rules("username", name, [allow(f"t/{name}")])
        watcher = await watching(guarded)
        publishers = [Publisher(name, await guarded.connected(name)) for name in names]
        seen: set[bytes] = set()

        async def watch() -> None:
            while True:
                seen.add((await watcher.message()).payload)

        tasks = [asyncio.ensure_future(work) for work in (watch(), *(each.run() for each in publishers))]
        choose = Random(12)
        changing, unchanged = publishers[:4], publishers[4:]
        for number in range(300):
            if number % 10 == 0:  # one that concerns everybody, and changes nothing
                await guarded.directory.set_rules("all", "", [allow(f"x/{number}")])
                continue
            each = choose.choice(changing)
            each.writes += 1
            each.allowed = choose.random() < 0.5
            rules = [Rule(f"t/{each.name}", "allow" if each.allowed else "deny", "publish")]
            await guarded.directory.set_rules("username", each.name, rules)
            each.writes += 1
        await until(lambda: all(len(each.expected) > 20 for each in publishers))
        assert not any(task.done() for task in tasks)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        last = b"the last one"
        await guarded.directory.set_rules("username", "p0", [allow("t/p0")])
        fresh = await guarded.connected("p0", "fresh")
        await fresh.publish("t/p0", last, 1)
        await until(lambda: last in seen)
        tasks[0].cancel()
        for each in publishers:
            wrong = [payload for payload, allowed in each.expected.items() if (payload in seen) is not allowed]
            assert wrong == []
        assert all(set(each.expected.values()) == {True} for each in unchanged)
        assert {verdict for each in changing for verdict in each.expected.values()} == {True, False}


# 13


async def test_13_a_client_id_belongs_to_one_organization() -> None:
    directory = await in_memory()

    def create(login: str, tenant: str, **values: object) -> Awaitable[Login]:
        fields = {"kind": "portal_publisher", "clientid": "pub-x", "clientid_mode": "reserved", **values}
        return directory.create_login("username", login, "x", tenant=tenant, confined=True, **fields)  # type: ignore[arg-type]

    await create("pub-x", "acme")
    error = await assert_refused(directory, AlreadyExists, create("pub-x", "other"))
    assert "acme" not in error.message  # whose it is is nobody's business
    await assert_refused(directory, AlreadyExists, create("another name", "other"))
    await assert_refused(directory, AlreadyExists, directory.create_login("clientid", "pub-x", "x"))
    await directory.create_login("username", "plain", "x")
    assert await outcome(directory, "plain", "x", "pub-x") is Outcome.CLIENT_ID
    # A fleet's client id cannot be the login of somebody, whose topics it would get in its own organization.
    await create("fleet", "other", clientid=None, clientid_mode="per_connection")
    assert await outcome(directory, "fleet", "x", "pub-x") is Outcome.CLIENT_ID
    assert await outcome(directory, "fleet", "x", "truck-1") is Outcome.ACCEPTED
    await directory.delete_login("username", "pub-x")
    await create("pub-x", "other")
    await directory.close()


async def test_13_nobody_takes_over_the_session_of_another_organizations_client() -> None:
    async with guarding("plain") as guarded:
        await publisher(guarded, "pub-x", clientid=None, clientid_mode="any")
        await publisher(guarded, "pub-y", "other", clientid=None, clientid_mode="any")
        client = await guarded.connected("pub-x", "shared")
        for name in ("pub-y", "plain"):
            stranger = await guarded.clients.open()
            assert await stranger.refused(connect("shared", username=name, password=secret_of(name).encode())) in (2, 5)
        await client.ping()


# 14


async def test_14_all_sessions_are_seen_and_can_be_kicked() -> None:
    async with guarding("plain") as guarded:
        await publisher(guarded, "pub-x")
        await key(guarded, "K")
        names = ("plain", "pub-x", "K")
        clients = {name: await guarded.connected(name, clean=False) for name in names}
        broker = guarded.clients.broker
        assert {session.client_id: session.username for session in broker.registry} == {name: name for name in names}
        for number, name in enumerate(names, 1):
            assert await broker.kick(name)
            await clients[name].hung_up()
            assert {session.client_id for session in broker.registry} == {*names[number:]}
            assert not await broker.kick(name)
        # It is not a ban.
        for name in names:
            await guarded.connected(name)


# 15


async def test_15_replacing_the_plain_users_leaves_the_others_connected() -> None:
    async with guarding("goes", "stays") as guarded:
        own, events = await publisher(guarded, "pub-x"), await key(guarded, "K")
        await guarded.directory.roles.create("role", acls=[acl("publishClientSend", "more")])
        await guarded.directory.roles.grant("username", "pub-x", "role")
        portal, reader = await guarded.connected("pub-x"), await guarded.connected("K")
        gone, kept = await guarded.connected("goes", clean=False), await guarded.connected("stays")
        watcher = await guarded.connected("root", "watcher")
        assert await reader.subscribe((f"{events}/#", 1)) == [1]
        secret = store_token(secret_of("stays"))
        root = NewLogin(login_type="username", login="root", secret=store_token(secret_of("root")), superuser=True)
        new = AccessConfiguration(
            users=[NewLogin(login_type="username", login="stays", secret=secret), root],
            roles=[Role("", "role", acls=(acl("publishClientSend", "more"), acl("publishClientSend", "new")))],
            groups=[Group("", "group", roles={"role": 1}, members={"stays": 1})],
        )
        assert await guarded.directory.replace_access(new, facade="bunkerm") == 0
        await gone.hung_up()
        await until(lambda: guarded.clients.broker.registry.get("goes") is None)
        assert await refused(guarded, "goes") == 4
        for client in (portal, reader, kept, watcher):
            await client.ping()
        assert await watcher.subscribe(("#", 0)) == [0]
        for client, topic, reaches in (
            (portal, f"{own}/x", True),
            (portal, "more", True),
            (portal, "new", True),
            (portal, "other", False),
            (kept, "new", True),
            (kept, f"{own}/x", False),
        ):
            await client.publish(topic, b"x", 1)
            if reaches:
                assert (await watcher.message()).topic == topic
            await watcher.nothing_came()
        await watcher.publish(f"{events}/x", b"x", 1)
        assert (await reader.message()).topic == f"{events}/x"
        # And they get in again.
        for name in ("pub-x", "K", "stays"):
            await guarded.connected(name, name)
