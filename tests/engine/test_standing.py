"""Who stands as before is left alone; who does not is looked at again, in parts, before anything reaches the client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from wardenmq.broker import rechecks
from wardenmq.broker.access import RECEIVE, Identity
from wardenmq.broker.protocol.packets import SubscribeRequest
from wardenmq.broker.session import Session
from wardenmq.store.records import Change, RoleAcl, Rule

from .conditions import turn_by_turn, until
from .guarded import Guarded, guarding, secret_of
from .packets5 import P
from .wire import CONNACK, PING, PINGRESP, PUBLISH, Will, connect
from .wire5 import Will5

KEPT = [(P.SESSION_EXPIRY, 1000)]
OPEN = [Rule("t/#", "allow", "all")]
HIDING = [Rule("t/secret", "deny", "subscribe"), *OPEN]
FILTERS = [f"t/{number}" for number in range(300)]


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[Guarded]:
    async with guarding("alice", "bob") as opened:
        yield opened


def decisions(guarded: Guarded) -> int:
    """Count what the topic plugins were asked so far."""
    access = guarded.clients.broker._access
    return access.allowed + access.denied


def fill(guarded: Guarded, client_id: str, filters: list[str] = FILTERS) -> Session:
    """Subscribe a session to many filters."""
    session = guarded.session(client_id)
    for topic_filter in filters:
        guarded.clients.broker._engine.enter_subscription(session, SubscribeRequest(topic_filter, 1), 1)
    return session


async def away(guarded: Guarded, client_id: str, *, username: str = "alice") -> Session:
    """Leave a session with many subscriptions behind."""
    client = await guarded.connected(username, client_id, clean=False)
    session = fill(guarded, client_id)
    await client.disconnect()
    await until(lambda: not session.connected)
    return session


async def write_unseen(guarded: Guarded, rules: list[Rule]) -> None:
    """Write rules that stored sessions are not looked through for, as if they had been made for another address."""
    callbacks, guarded.directory._writer._callbacks = guarded.directory._writer._callbacks, []
    await guarded.directory.set_rules("username", "alice", rules)
    guarded.directory._writer._callbacks = callbacks


class TestStored:
    """Sessions without a connection are re-checked by what closes connections too."""

    async def test_the_will_of_one_who_was_a_superuser(self, guarded: Guarded) -> None:
        """[MQTT-3.1.2-8]: it waits for its delay, and is decided on as of then."""
        root = await guarded.connected("root")
        await root.subscribe(("#", 1))
        await guarded.principal("boss", superuser=True)
        will = Will5("secret", b"x", 1, properties=[(P.WILL_DELAY, 1)])
        boss = await guarded.connected5("boss", properties=KEPT, will=will)
        boss.abort()
        session = guarded.session("boss")
        await until(lambda: session.delayed_will is not None)
        await guarded.directory.update_login("username", "boss", superuser=False)
        assert not session.identity.superuser
        wills = guarded.clients.broker._engine.wills
        await until(lambda: wills.denied + wills.published == 1)
        assert wills.denied == 1
        await root.nothing_came()

    async def test_a_role_that_closes(self, guarded: Guarded) -> None:
        """What it allowed no more is gone from those that were stored and from those that were closed."""
        roles = guarded.directory.roles
        await roles.create("reader", acls=[RoleAcl("subscribePattern", "s/#", True)])
        await roles.grant("username", "bob", "reader")
        for client_id in ("stored", "live"):
            client = await guarded.connected("bob", client_id, clean=False)
            assert await client.subscribe(("s/#", 1)) == [1]
            if client_id == "stored":
                await client.disconnect()
        guarded.clients.broker.publish("s/x", b"x", 1)
        await roles.update("reader", acls=[RoleAcl("subscribePattern", "s/#", False)], disconnect=True)
        for client_id in ("stored", "live"):
            session = guarded.session(client_id)
            assert (session.connected, session.subscriptions, len(session.queue)) == (False, {}, 0)

    async def test_a_group_of_the_anonymous_that_closes(self) -> None:
        plugins: dict[str, dict[str, Any]] = {
            "wardenmq.plugins.credentials.CredentialAuthPlugin": {"allow_anonymous": True},
            "wardenmq.plugins.topic_acl.TopicAclPlugin": {},
        }
        async with guarding(plugins=plugins) as guarded:
            await guarded.directory.set_default_access({"subscribe": True, "receive": True})
            client = await guarded.connected(None, "nobody", clean=False)
            assert await client.subscribe(("s", 1)) == [1]
            await guarded.directory.roles.create("none", acls=[RoleAcl("subscribePattern", "#", False)])
            await guarded.directory.groups.create("guests", roles={"none": 0})
            await guarded.directory.groups.set_anonymous("guests", disconnect=True)
            assert not guarded.session("nobody").connected
            assert not guarded.session("nobody").subscriptions

    async def test_any_change_that_closes(self, guarded: Guarded) -> None:
        """Whoever says no more than whom to close has what they hold looked through too."""
        session = await away(guarded, "c")
        await write_unseen(guarded, [Rule("t/7", "allow", "subscribe")])
        principal = session.identity.principal
        assert principal is not None
        await guarded.clients.broker.apply_access_change(Change(close_principals=frozenset({principal})))
        assert set(session.subscriptions) == {"t/7"}


class TestFanOut:
    """A route to many is found without a question about each."""

    @pytest.mark.parametrize("rules", [OPEN, HIDING], ids=["open", "hiding"])
    async def test_a_write_about_somebody_else(self, guarded: Guarded, rules: list[Rule]) -> None:
        """Nobody's access is put together again for it, on new topics and after routes were forgotten."""
        await guarded.directory.set_rules("all", "", rules)
        clients = [await guarded.connected("alice", f"c{number}") for number in range(5)]
        for client in clients:
            await client.subscribe(("t/#", 0))
        router = guarded.clients.broker.router
        known = [guarded.session(f"c{number}").identity.policy for number in range(5)]
        assert None not in known
        for number in range(3):
            await guarded.directory.set_rules("username", "bob", [Rule("x", "deny", "all")] * number)
            assert len(router.route(f"t/{number}").targets) == 5
            router.invalidate()
            assert len(router.route(f"t/{number}").targets) == 5
        now = [guarded.session(f"c{number}").identity.policy for number in range(5)]
        assert all(policy is before for policy, before in zip(now, known, strict=True))

    async def test_routes_that_are_found_while_sessions_are_gone_through(
        self, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """None outlives the change, whichever of the subscribers it was found after or before."""
        monkeypatch.setattr(rechecks, "_TURN", 0.0)
        await guarded.directory.set_rules("all", "", OPEN)
        for number in range(5):
            client = await guarded.connected("alice", f"c{number}")
            await client.subscribe(("t/#", 0))
            await client.subscribe(("$share/g/t/#", 0))
        router = guarded.clients.broker.router
        for rules in (HIDING, OPEN, HIDING):
            writing = asyncio.create_task(guarded.directory.set_rules("all", "", rules))
            found: set[int] = set()
            while not writing.done():
                found.add(len(router.route("t/secret").targets))
                await asyncio.sleep(0)
            await writing
            assert len(found) > 2 or rules is OPEN  # or it was not asked in the middle
            route = router.route("t/secret")
            assert len(route.targets) == (0 if rules is HIDING else 5)
            assert route.permitted == (frozenset() if rules is HIDING else None)
            for number in range(5):
                session = guarded.session(f"c{number}")
                assert session.deliveries_checked is (rules is HIDING)
                assert router.may_receive(session, "t/secret", 0) is (rules is OPEN)

    async def test_a_new_session_is_known_from_the_beginning(self, guarded: Guarded) -> None:
        await guarded.directory.set_rules("username", "alice", HIDING)
        for clean in (True, False, False):
            alice = await guarded.connected("alice", "c", clean=clean)
            assert guarded.session("c").deliveries_checked
            await alice.subscribe(("t/#", 1))
            assert not guarded.clients.broker.router.route("t/secret").targets
            await alice.disconnect()

    async def test_what_came_for_a_client_before_it_came(self, guarded: Guarded) -> None:
        """It is queued whatever the rules for nobody say, and decided on when the client is there."""
        await guarded.directory.set_rules("username", "alice", HIDING)
        broker = guarded.clients.broker
        broker.subscribe_for("later", "t/#", 1)
        for topic in ("t/secret", "t/open"):
            broker.publish(topic, b"x", 1)
        later = await guarded.connected("alice", "later", clean=False)
        assert (await later.message()).topic == "t/open"
        await later.nothing_came()
        assert set(guarded.session("later").subscriptions) == {"t/#"}


class TestResumption:
    """A session that is taken up is looked through only if its client stands differently."""

    @pytest.mark.parametrize("written", [False, True])
    async def test_who_stands_as_before(self, guarded: Guarded, written: bool) -> None:
        await guarded.directory.set_rules("username", "alice", OPEN)
        session = await away(guarded, "c")
        if written:
            await guarded.directory.set_rules("username", "bob", OPEN)
        before, generation = decisions(guarded), guarded.clients.broker.router.generation
        alice = await guarded.connected("alice", "c", clean=False)
        assert guarded.session("c") is session
        assert decisions(guarded) == before
        assert guarded.clients.broker.router.generation == generation + 1
        guarded.clients.broker.publish("t/0", b"x", 1)
        assert (await alice.message()).payload == b"x"

    @pytest.mark.parametrize("parts", [False, True])
    async def test_who_stands_differently(self, guarded: Guarded, parts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """At once for a few, in parts for many: what is not allowed any more is neither kept nor sent."""
        if parts:
            monkeypatch.setattr(rechecks, "_TURN", 0.0)
        else:
            monkeypatch.setattr(rechecks, "_AT_ONCE", 1000)
        await guarded.directory.set_rules("username", "alice", OPEN)
        session = await away(guarded, "c")
        broker = guarded.clients.broker
        for topic in ("t/1", "t/2"):
            broker.publish(topic, b"before", 1)
        await write_unseen(guarded, [Rule("t/2", "allow", "all")])
        alice = await guarded.clients.open()
        alice.send(connect("c", clean=False, username="alice", password=secret_of("alice").encode()), PING)
        await turn_by_turn(lambda: session.connected)
        assert len(session.subscriptions) == (300 if parts else 1)
        for topic in ("t/1", "t/2"):
            broker.publish(topic, b"meanwhile", 1)
            broker.publish(topic, b"at most once", 0)
        got = [await alice.read() for _ in range(4)]
        kinds = [packet.kind for packet in got]
        assert kinds[0] == CONNACK
        assert {packet.topic for packet in got if packet.kind == PUBLISH} == {"t/2"}
        assert kinds.count(PINGRESP) + kinds.count(PUBLISH) == 3
        assert set(session.subscriptions) == {"t/2"}
        assert session.link is not None
        assert not session.link.congested

    @pytest.mark.parametrize("write", ["disabled", "deleted", "banned", "expired"])
    async def test_a_write_while_it_is_looked_through(
        self, guarded: Guarded, write: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who may not come in any more does not, whoever they were when they asked."""
        monkeypatch.setattr(rechecks, "_TURN", 0.0)
        monkeypatch.setattr(rechecks, "_STEP", 1)
        await guarded.directory.set_rules("username", "alice", OPEN)
        session = await away(guarded, "c")
        root = await guarded.connected("root")
        await root.subscribe(("t/will", 0))
        await write_unseen(guarded, [Rule("t/#", "allow", "publish")])
        alice = await guarded.clients.open()
        alice.send(
            connect("c", clean=False, username="alice", password=secret_of("alice").encode(), will=Will("t/will"))
        )
        turn, directory = guarded.rechecks._turn, guarded.directory
        writes: dict[str, Callable[[], Awaitable[object]]] = {
            "disabled": lambda: directory.update_login("username", "alice", disabled=True),
            "deleted": lambda: directory.delete_login("username", "alice"),
            "banned": lambda: directory.bans.create("username", "alice"),
            "expired": lambda: directory.update_login("username", "alice", expires_at=1.0),
        }
        async with turn:  # so that both wait for it, first the one and then the other
            await turn_by_turn(lambda: session.connected and len(turn._waiters or ()) == 1)
            writing = asyncio.ensure_future(writes[write]())
            await turn_by_turn(lambda: len(turn._waiters or ()) == 2)
        await writing
        assert not session.connected
        got = await alice.expect(CONNACK)
        assert got.body == b"\x00\x05"
        await alice.hung_up()
        await root.nothing_came()  # its will was that of a connection that never was
        assert guarded.clients.broker.registry.connected_count == 1

    async def test_a_client_that_goes_while_it_is_looked_through(
        self, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rechecks, "_TURN", 0.0)
        await guarded.directory.set_rules("username", "alice", OPEN)
        session = await away(guarded, "c")
        await write_unseen(guarded, [Rule("t/1", "allow", "all")])
        for _ in range(3):
            session.checked_by = None
            alice = await guarded.clients.open()
            alice.send(connect("c", clean=False, username="alice", password=secret_of("alice").encode()))
            await turn_by_turn(lambda: session.connected)
            alice.abort()
            await until(lambda: not session.connected)
            fill(guarded, "c")
        assert guarded.clients.broker.registry.connected_count == 0

    async def test_another_connection_while_it_is_looked_through(
        self, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """[MQTT-3.1.4-3]: the later one has the session, and its subscriptions are those that are allowed."""
        monkeypatch.setattr(rechecks, "_TURN", 0.0)
        monkeypatch.setattr(rechecks, "_STEP", 1)
        await guarded.directory.set_rules("username", "alice", OPEN)
        session = await away(guarded, "c")
        await write_unseen(guarded, [Rule("t/1", "allow", "all")])
        packet = connect("c", clean=False, username="alice", password=secret_of("alice").encode())
        first, second = await guarded.clients.open(), await guarded.clients.open()
        first.send(packet)
        await turn_by_turn(lambda: session.connected)
        second.send(packet)
        assert (await first.expect(CONNACK)).body == b"\x00\x03"
        assert (await second.expect(CONNACK)).body == b"\x01\x00"
        assert guarded.session("c") is session
        assert set(session.subscriptions) == {"t/1"}
        await second.ping()
        assert guarded.clients.broker.registry.connected_count == 1


class Undecided:
    """An authorizer that cannot tell whether it still decides alike."""

    def __init__(self) -> None:
        self.refused = ""

    def authorize(self, client: Identity, operation: int, topic: str, qos: int, retain: bool) -> bool | None:
        return topic != self.refused or operation == RECEIVE

    def checks_delivery(self, client: Identity) -> bool:
        return False


async def test_an_authorizer_that_cannot_tell_is_asked_when_a_client_has_proved_who_it_is() -> None:
    """And not when it only comes back: it would have said that something changed."""
    async with guarding("alice", plugins={"wardenmq.plugins.credentials.CredentialAuthPlugin": {}}) as guarded:
        plugin = Undecided()
        guarded.clients.broker._access.load([], [plugin])  # pyright: ignore[reportArgumentType]
        await away(guarded, "c")
        plugin.refused = "t/5"
        await guarded.connected("alice", "c", clean=False)
        session = guarded.session("c")
        assert len(session.subscriptions) == 300
        checks = guarded.rechecks.recheck(session, renewed=True)
        assert checks is not None
        await checks
        assert len(session.subscriptions) == 299
        assert guarded.rechecks.recheck(session) is None
