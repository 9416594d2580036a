"""A change of access acts on the sessions that it concerns before its answer, and leaves all others as they are."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
import pytest_asyncio
from wardenmq.broker import rechecks
from wardenmq.broker.settings import MqttSettings
from wardenmq.store.directory import Directory
from wardenmq.store.records import Change, RoleAcl, Rule

from .conditions import turn_by_turn, until
from .guarded import Guarded, guarding, secret_of
from .packets5 import P
from .wire import PING, PINGRESP, Client, Will, publish
from .wire5 import Client5
from .wire5 import publish as publish5

LONG = "t/" + "x" * 600
"""A topic that no connection remembers anything of."""


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[Guarded]:
    async with guarding("alice", "bob") as opened:
        yield opened


# Kinds of writes by which alice may publish `t/#` or not, whatever client id she uses


async def _role_acl(directory: Directory, allowed: bool) -> None:
    if directory.roles.get("device") is None:
        await directory.roles.create("device")
        await directory.roles.grant("username", "alice", "device")
    await directory.roles.update("device", acls=[RoleAcl("publishClientSend", "t/#", allowed)])


async def _role(directory: Directory, allowed: bool) -> None:
    if directory.roles.get("device") is None:
        await directory.roles.create("device", acls=[RoleAcl("publishClientSend", "t/#", True)])
    if allowed:
        await directory.roles.grant("username", "alice", "device")
    elif "device" in directory.roles.of_login(directory.login("username", "alice").id):  # pyright: ignore
        await directory.roles.revoke("username", "alice", "device")


async def _membership(directory: Directory, allowed: bool) -> None:
    if directory.groups.get("devices") is None:
        await directory.roles.create("device", acls=[RoleAcl("publishClientSend", "t/#", True)])
        await directory.groups.create("devices", roles={"device": 0})
    if allowed:
        await directory.groups.add_member("devices", "alice")
    elif "alice" in directory.groups.get("devices").members:  # pyright: ignore[reportOptionalMemberAccess]
        await directory.groups.remove_member("devices", "alice")


async def _username_rule(directory: Directory, allowed: bool) -> None:
    await directory.set_rules("username", "alice", [Rule("t/#", "allow" if allowed else "deny", "publish")])


async def _client_id_rule(directory: Directory, allowed: bool) -> None:
    await directory.set_rules("clientid", "c", [Rule("t/#", "allow" if allowed else "deny", "publish")])


async def _rule_for_all(directory: Directory, allowed: bool) -> None:
    await directory.set_rules("all", "", [Rule("t/#", "allow" if allowed else "deny", "publish")])


async def _default(directory: Directory, allowed: bool) -> None:
    await directory.set_default_access({"publish": allowed})


Kind = Callable[[Directory, bool], Awaitable[None]]
OF_ONE: list[Kind] = [_role_acl, _role, _membership, _username_rule, _client_id_rule]
OF_ALL: list[Kind] = [_rule_for_all, _default]


def _name(kind: Kind) -> str:
    return kind.__name__.strip("_")


async def _burst3(client: Client, topic: str, word: bytes) -> None:
    """Publish a run at QoS 0, then at QoS 1, retained, and at QoS 2."""
    client.send(*(publish(topic, b"%s%d" % (word, number)) for number in range(5)), PING)
    await client.expect(PINGRESP)
    await client.publish(topic, word + b"5", 1)
    await client.publish(topic, word + b"6", 0, retain=True)
    await client.publish(topic, word + b"7", 2)


async def _burst5(client: Client5, topic: str, word: bytes) -> None:
    """Do the same in MQTT 5, the last of the run by an alias; refusals are told for QoS 1 and 2."""
    client.send(
        *(publish5(topic, b"%s%d" % (word, number)) for number in range(4)),
        publish5(topic, word + b"4", properties=[(P.TOPIC_ALIAS, 1)]),
        PING,
    )
    await client.expect(PINGRESP)
    expected = 0x87 if word == b"no" else 0
    assert await client.publish(topic, word + b"5", 1) == expected
    await client.publish(topic, word + b"6", 0, retain=True)
    assert await client.publish(topic, word + b"7", 2) == expected


async def _publish_for_ever(client: Client, qos: int) -> None:
    """Publish one message after the other, at QoS 0 in runs."""
    while True:
        if qos:
            await client.publish("t/x", b"x", qos)
        else:
            client.send(*([publish("t/x", b"x")] * 20 if not isinstance(client, Client5) else [publish5("t/x")] * 20))
            await client.ping()


async def _take_for_ever(client: Client) -> None:
    while True:
        await client.message()


class TestPublishing:
    """What a connection remembers of what its client may publish."""

    @pytest.mark.parametrize("version", [3, 5])
    @pytest.mark.parametrize("kind", [*OF_ONE, *OF_ALL], ids=_name)
    async def test_no_decision_outlives_the_change(self, guarded: Guarded, kind: Kind, version: int) -> None:
        """[MQTT-3.3.5-2]: a run of QoS 0, an alias, QoS 1 and 2, retained, short topics and long, both ways."""
        await kind(guarded.directory, False)
        watcher = await guarded.connected("root", "watcher")
        await watcher.subscribe(("t/#", 1))
        alice = await (guarded.connected if version == 3 else guarded.connected5)("alice", "c")
        retained = guarded.clients.broker._engine.retained
        for allowed in (False, True, False, True, False):
            retained.clear()
            await kind(guarded.directory, allowed)
            for topic in ("t", "t/x", LONG):
                word = b"go" if allowed else b"no"
                if isinstance(alice, Client5):
                    await _burst5(alice, topic, word)
                else:
                    await _burst3(alice, topic, word)
                if allowed:
                    assert await watcher.messages(8) == [b"go%d" % number for number in range(8)]
                await watcher.nothing_came()
                assert (retained.get(topic) is not None) is allowed

    @pytest.mark.parametrize("kind", [_role_acl, _username_rule, _rule_for_all], ids=_name)
    async def test_publishers_that_never_stop(self, guarded: Guarded, kind: Kind) -> None:
        """From the answer to the write on nothing passes, and from the next one on everything."""
        await kind(guarded.directory, True)
        watcher = await guarded.connected("root", "watcher")
        await watcher.subscribe(("t/#", 1))
        publishers = [
            await (guarded.connected if number < 3 else guarded.connected5)("alice", f"c{number}")
            for number in range(6)
        ]
        tasks = [asyncio.create_task(_publish_for_ever(client, n % 3)) for n, client in enumerate(publishers)]
        tasks.append(asyncio.create_task(_take_for_ever(watcher)))
        sent = guarded.session("watcher").traffic.messages_sent_qos
        refused = [guarded.session(f"c{number}").traffic for number in range(6)]
        for _ in range(15):
            await kind(guarded.directory, False)
            passed, before = sum(sent), [traffic.publish_dropped for traffic in refused]
            await until(lambda b=before: all(t.publish_dropped > n for t, n in zip(refused, b, strict=True)))
            assert sum(sent) == passed
            await kind(guarded.directory, True)
            before = [traffic.publish_dropped for traffic in refused]
            await until(lambda n=passed: sum(sent) > n + 20)
            assert [traffic.publish_dropped for traffic in refused] == before
        for task in tasks:
            assert not task.done()
            task.cancel()

    @pytest.mark.parametrize("kind", OF_ONE, ids=_name)
    async def test_what_others_remember_stays(self, guarded: Guarded, kind: Kind) -> None:
        """The very same objects, for a write about one user, one client id, one role or group."""
        await guarded.directory.set_rules("username", "bob", [Rule("t/#", "allow", "publish")])
        await kind(guarded.directory, True)
        watcher = await guarded.connected("root", "watcher")
        await watcher.subscribe(("t/#", 0))
        alice, bob = await guarded.connected("alice", "c"), await guarded.connected("bob")
        for client in (alice, bob):
            for qos in range(3):
                await client.publish("t/x", b"1", qos)
        remembered, routes = guarded.decisions("bob"), guarded.clients.broker.router.generation
        assert len(remembered) == len(guarded.decisions("c")) == 3
        for allowed in (False, True):
            await kind(guarded.directory, allowed)
            assert guarded.decisions("c") == {}
            assert guarded.decisions("bob") == remembered
            for qos in range(3):
                await bob.publish("t/x", b"2", qos)
        assert all(known is remembered[key] for key, known in guarded.decisions("bob").items())
        assert guarded.clients.broker.router.generation == routes

    async def test_a_write_that_changes_nobodys_access_drops_nothing(self, guarded: Guarded) -> None:
        await guarded.directory.set_rules("username", "alice", [Rule("t", "allow", "publish")])
        alice = await guarded.connected("alice")
        await alice.publish("t", b"1")
        remembered = guarded.decisions("alice")
        await guarded.directory.create_api_key("key")
        await guarded.directory.roles.create("role that nobody has")
        await guarded.principal("carol")
        assert guarded.decisions("alice") == remembered

    async def test_a_superuser_is_one_as_long_as_the_store_says_so(self, guarded: Guarded) -> None:
        """A change that only re-checks takes the privilege with it; nothing is asked of plugins that know none."""
        root = await guarded.connected("root")
        await root.publish("t", b"1")
        assert guarded.session("root").identity.superuser
        principal = guarded.session("root").identity.principal
        stored = guarded.directory._logins.by_id(principal)  # pyright: ignore
        object.__setattr__(stored.login, "superuser", False)  # pyright: ignore[reportOptionalMemberAccess]
        await guarded.clients.broker.apply_access_change(Change(principals=frozenset({principal})))  # pyright: ignore
        assert await root.subscribe(("t", 0)) == [0x80]
        await root.publish("t", b"2", retain=True)
        assert len(guarded.clients.broker._engine.retained) == 0


class TestReceiving:
    """What the router remembers of who may receive what, and what sessions hold."""

    HIDING = (Rule("t/secret", "deny", "subscribe"), Rule("t/#", "allow", "subscribe"))
    OPEN = (Rule("t/#", "allow", "subscribe"),)

    @pytest.mark.parametrize("shared", [False, True])
    @pytest.mark.parametrize("qos", [0, 1])
    async def test_hidden_topics(self, guarded: Guarded, qos: int, shared: bool) -> None:
        """[MQTT-3.3.5-2]: a rule that hides, or hides no more, single deliveries of a subscription that stays."""
        await guarded.directory.set_rules("username", "bob", self.OPEN)
        root, bob = await guarded.connected("root"), await guarded.connected("bob")
        assert await bob.subscribe(("$share/g/t/#" if shared else "t/#", qos)) == [qos]
        for hidden in (False, True, False, True, False):
            await guarded.directory.set_rules("username", "bob", self.HIDING if hidden else self.OPEN)
            for number in range(2):  # found, then remembered
                root.send(*(publish(topic, b"%d" % number) for topic in ("t/secret", "t/open") for _ in range(3)))
                await root.publish("t/secret", b"%d" % number, 1)
                await root.publish("t/open", b"%d" % number, 1)
                got = [(await bob.message()).topic for _ in range(4 if hidden else 8)]
                assert got.count("t/open") == 4, got
                await bob.nothing_came()

    async def test_routes_stay_where_nobodys_deliveries_are_checked(self, guarded: Guarded) -> None:
        """Neither before nor after; and go where somebody's are."""
        router = guarded.clients.broker.router
        await guarded.directory.set_rules("username", "bob", self.OPEN)
        bob = await guarded.connected("bob")
        await bob.subscribe(("t/#", 0))
        kept, generation = router.route("t/open"), router.generation
        await guarded.directory.set_rules("username", "bob", [*self.OPEN, Rule("u", "allow", "publish")])
        assert (router.route("t/open"), router.generation) == (kept, generation)
        for rules in (self.HIDING, self.HIDING[::-1], self.OPEN):
            generation = router.generation
            await guarded.directory.set_rules("username", "bob", rules)
            assert router.generation > generation
            assert len(router.route("t/secret").targets) == (0 if rules is self.HIDING else 1)
        generation = router.generation
        await guarded.directory.set_rules("username", "bob", self.OPEN)
        assert router.generation == generation

    async def test_a_route_found_while_the_change_is_on_its_way(self, guarded: Guarded) -> None:
        """The store decides by the new rules already, the engine has not been told: then it is, and finds out."""
        router = guarded.clients.broker.router
        await guarded.directory.set_rules("username", "bob", self.HIDING)
        bob = await guarded.connected("bob")
        await bob.subscribe(("t/#", 0))
        assert not router.route("t/secret").targets
        found: list[int] = []

        async def look(_: Change) -> None:
            found.append(len(router.route("t/open").targets))

        guarded.directory._writer._callbacks.insert(0, look)
        await guarded.directory.set_rules("username", "bob", self.OPEN)
        assert found == [1]
        assert len(router.route("t/secret").targets) == 1

    async def test_a_member_that_may_receive_no_more_is_passed_over(self, guarded: Guarded) -> None:
        """[MQTT-4.8.2-4]: and what waited for it goes to the others."""
        for username in ("alice", "bob"):
            await guarded.directory.set_rules("username", username, [Rule("t/#", "allow", "subscribe")])
        root, alice = await guarded.connected("root"), await guarded.connected("alice")
        bob = await guarded.connected("bob", clean=False)
        for client in (alice, bob):
            assert await client.subscribe(("$share/g/t/#", 1)) == [1]
        for number in range(4):
            await root.publish("t/x", b"%d" % number, 1)
        assert len(await alice.messages(2)) == len(await bob.messages(2)) == 2
        await guarded.directory.set_rules("username", "bob", self.HIDING)
        for number in range(4):
            await root.publish("t/secret", b"%d" % number, 1)
        assert await alice.messages(4) == [b"0", b"1", b"2", b"3"]
        await guarded.directory.delete_rules("username", "bob")
        for number in range(4):
            await root.publish("t/x", b"%d" % number, 1)
        assert await alice.messages(4) == [b"0", b"1", b"2", b"3"]
        await bob.nothing_came()
        assert not guarded.session("bob").subscriptions

    async def test_a_replay_stops_where_the_rule_says_so(self, guarded: Guarded) -> None:
        """[MQTT-3.3.1-6]: retained messages that had not left for the subscriber stay where they are."""
        root = await guarded.connected("root")
        for number in range(100):
            await root.publish(f"t/{number}", b"x", 1, retain=True)
        await guarded.directory.set_rules("username", "bob", self.OPEN)
        slow = await guarded.connected5("bob", properties=[(P.RECEIVE_MAXIMUM, 5)])
        assert await slow.subscribe(("t/+", 1)) == [1]
        session = guarded.session("bob")
        assert session.replays or session.queue
        await guarded.directory.set_rules("username", "bob", [Rule("t/7", "allow", "subscribe")])
        assert not session.replays
        assert not session.queue
        assert len(session.in_flight) == 5

    async def test_publishers_go_on_when_what_they_waited_for_is_taken_out(self) -> None:
        """A consumer whose queue was full is not behind any more when the queue is emptied for it."""
        async with guarding("bob", settings=MqttSettings(max_inflight=1, max_mqueue_len=10)) as guarded:
            await guarded.directory.set_rules("username", "bob", self.OPEN)
            bob, root = await guarded.connected("bob"), await guarded.connected("root")
            await bob.subscribe(("t/#", 1))
            pace, session = guarded.clients.broker._engine.pace, guarded.session("bob")
            root.send(*(publish("t/x", b"%d" % number, 1, number) for number in range(1, 9)))
            await until(lambda: session.queue_filling)
            assert not pace.nobody_behind
            await guarded.directory.set_rules("username", "bob", [])
            assert not session.queue
            assert pace.nobody_behind

    async def test_a_delayed_will_is_decided_when_it_is_said(self, guarded: Guarded) -> None:
        """[MQTT-3.1.2-8]: of a login that is there, one whose rule is gone, and a superuser that is none any more."""
        await guarded.directory.set_rules("username", "alice", [Rule("will/#", "allow", "publish")])
        await guarded.directory.set_rules("username", "bob", [Rule("will/#", "allow", "publish")])
        await guarded.principal("admin", superuser=True)
        watcher = await guarded.connected("root")
        await watcher.subscribe(("will/#", 0))
        await guarded.principal("boss", superuser=True)
        for username in ("alice", "bob", "admin", "boss"):
            await guarded.connected(username, f"{username}'s", will=Will(f"will/{username}", b"gone", 0))
        await guarded.directory.set_rules("username", "bob", [])
        await guarded.directory.update_login("username", "admin", superuser=False)
        await guarded.directory.delete_login("username", "bob")
        await guarded.directory.delete_login("username", "boss")
        await guarded.directory.update_login("username", "alice", disabled=True)
        assert (await watcher.message()).topic == "will/alice"
        await watcher.nothing_came()
        assert guarded.clients.broker._engine.wills.denied == 3


class Party(NamedTuple):
    """Sessions of alice, live and stored, and of others."""

    guarded: Guarded
    clients: dict[str, Client | Client5]

    def connected(self) -> set[str]:
        """Name the clients that have a connection, as the broker sees it."""
        return {session.client_id for session in self.guarded.clients.broker.registry if session.connected}

    def stored(self) -> set[str]:
        return {session.client_id for session in self.guarded.clients.broker.registry if not session.connected}

    async def alive(self) -> set[str]:
        """Name the clients that are answered."""
        alive: set[str] = set()
        for client_id, client in self.clients.items():
            try:
                await client.ping()
                alive.add(client_id)
            except (OSError, EOFError, AssertionError):
                client.close()
        return alive


@pytest_asyncio.fixture
async def party() -> AsyncIterator[Party]:
    """`alice` has three sessions, one of them stored; `bob` two; two are nobody's, one of them with a user name."""
    plugins = {
        "wardenmq.plugins.credentials.CredentialAuthPlugin": {"allow_anonymous": True},
        "wardenmq.plugins.topic_acl.TopicAclPlugin": {},
    }
    async with guarding("alice", "bob", plugins=plugins) as guarded:
        await guarded.directory.set_rules("all", "", [Rule("#", "allow", "all")])
        clients: dict[str, Client | Client5] = {}
        for username, client_id in (("alice", "a3"), ("alice", "stored"), ("bob", "b3"), (None, "n3")):
            clients[client_id] = await guarded.connected(username, client_id, clean=False)
            await clients[client_id].subscribe(("t", 1))
        for username, client_id in (("alice", "a5"), ("bob", "b5"), (None, "n5")):
            clients[client_id] = await guarded.connected5(username, client_id)
        stored = clients.pop("stored")
        await stored.disconnect()
        guarded.clients.broker.publish("t", b"kept", 1)
        for client_id in ("a3", "b3", "n3"):
            await clients[client_id].message()
        yield Party(guarded, clients)


ALL = {"a3", "a5", "b3", "b5", "n3", "n5"}


class TestClosing:
    """Whose connections are closed, whose sessions end, and what they are told."""

    async def _closed(self, party: Party, closed: set[str], reason: int, stored: set[str]) -> None:
        """Assert that exactly these have been closed, before anything else happened."""
        assert party.connected() == ALL - closed
        assert party.stored() == stored
        for client_id in sorted(closed):
            client = party.clients.pop(client_id)
            if isinstance(client, Client5):
                await client.disconnected(reason)
            else:
                await client.hung_up()
        assert await party.alive() == ALL - closed

    async def test_a_login_that_is_deleted(self, party: Party) -> None:
        """Its stored session ends too, with what was queued; its name made anew finds nothing of it."""
        directory = party.guarded.directory
        await directory.delete_login("username", "alice")
        await self._closed(party, {"a3", "a5"}, 0x98, set())
        await party.guarded.principal("alice")
        for client_id in ("a3", "stored"):
            again = await party.guarded.clients.open()
            fields = {"clean": False, "username": "alice", "password": secret_of("alice").encode()}
            assert await again.connect(client_id, **fields) is False
            await again.nothing_came()

    async def test_a_login_that_is_switched_off(self, party: Party) -> None:
        """Its sessions are kept for when it is switched on again."""
        await party.guarded.directory.update_login("username", "alice", disabled=True)
        await self._closed(party, {"a3", "a5"}, 0x87, {"stored", "a3"})
        await party.guarded.directory.update_login("username", "alice", disabled=False)
        again = await party.guarded.connected("alice", "stored", clean=False)
        assert (await again.message()).payload == b"kept"

    async def test_a_client_id_that_is_required_or_reserved(self, party: Party) -> None:
        """Only those sessions are closed that would be refused as they are."""
        update = party.guarded.directory.update_login
        await update("username", "alice", clientid="a3", clientid_mode="required")
        await self._closed(party, {"a5"}, 0x87, {"stored"})
        await update("username", "alice", clientid_mode="reserved")
        await update("username", "alice", clientid_mode="any")
        assert await party.alive() == ALL - {"a5"}

    @pytest.mark.parametrize(
        ("who_type", "who", "closed"),
        [
            ("clientid", "a3", {"a3"}),
            ("clientid", "stored", set[str]()),
            ("username", "alice", {"a3", "a5"}),
            ("clientid_re", "^.5$", {"a5", "b5", "n5"}),
            ("username_re", "^b", {"b3", "b5"}),
            ("peerhost", "127.0.0.1", ALL),
            ("peerhost", "127.0.0.2", set[str]()),
            ("peerhost_net", "127.0.0.0/8", ALL),
        ],
    )
    async def test_bans(self, party: Party, who_type: str, who: str, closed: set[str]) -> None:
        await party.guarded.directory.bans.create(who_type, who)
        await self._closed(party, closed, 0x98, {"stored"} | closed & {"a3", "b3", "n3"})

    async def test_anonymous_clients(self, party: Party) -> None:
        """Those with neither principal nor user name, and no others."""
        await party.guarded.clients.broker.apply_access_change(Change(close_anonymous=True))
        await self._closed(party, {"n3", "n5"}, 0x87, {"stored", "n3"})

    async def test_a_group_of_the_anonymous_that_closes(self, party: Party) -> None:
        directory = party.guarded.directory
        await directory.groups.create("guests")
        await directory.groups.set_anonymous("guests", disconnect=True)
        await self._closed(party, {"n3", "n5"}, 0x87, {"stored", "n3"})

    async def test_a_role_that_closes(self, party: Party) -> None:
        directory = party.guarded.directory
        await directory.roles.create("device")
        await directory.roles.grant("username", "bob", "device")
        assert party.connected() == ALL
        await directory.roles.update("device", allow_wildcard_subs=False, disconnect=True)
        await self._closed(party, {"b3", "b5"}, 0x87, {"stored", "b3"})

    async def test_who_came_back_meanwhile_stays(self, party: Party) -> None:
        """A session that another connection took up while others were being closed was admitted as of now."""
        guarded = party.guarded
        await guarded.connected("alice", "b4", clean=False)
        alice = guarded.session("a3").identity.principal
        assert alice is not None
        steps = guarded.rechecks._effects(Change(close_principals=frozenset({alice})))
        next(steps)
        left = party.connected()
        waiting = ({"a3", "b4"} & left).pop()
        session = guarded.session(waiting)
        again = await guarded.connected("alice", waiting, clean=False)
        assert guarded.session(waiting) is session
        for _ in steps:
            pass
        assert party.connected() == left - {"a5"}
        await again.ping()


class TestTurns:
    """Large changes, and many at a time, leave others their turn."""

    async def test_every_session_is_a_turn_of_its_own_if_need_be(
        self, party: Party, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rechecks, "_TURN", 0.0)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await asyncio.gather(
            *(party.guarded.clients.broker.apply_access_change(Change(everyone=True)) for _ in range(3))
        )
        counting.cancel()
        assert turns >= 3 * len(ALL)
        assert await party.alive() == ALL

    async def test_others_are_served_while_a_large_session_is_checked(
        self, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Subscriptions and what is queued are looked at in parts; what comes meanwhile is neither lost nor leaked."""
        monkeypatch.setattr(rechecks, "_TURN", 0.0)
        monkeypatch.setattr(rechecks, "_STEP", 10)
        names = [f"t/{number}" for number in range(200)]
        await guarded.directory.set_rules("username", "bob", [Rule("t/#", "allow", "subscribe")])
        bob = await guarded.connected("bob", clean=False)
        assert await bob.subscribe(*((name, 1) for name in names)) == [1] * 200
        await bob.disconnect()
        broker = guarded.clients.broker
        for name in names:
            broker.publish(name, b"before", 1)
        session = guarded.session("bob")
        kept = {f"t/{number}" for number in range(0, 200, 3)}
        rules = [Rule(name, "allow", "subscribe") for name in sorted(kept)]
        writing = asyncio.create_task(guarded.directory.set_rules("username", "bob", rules))
        await turn_by_turn(lambda: len(session.subscriptions) < 200)
        assert len(session.subscriptions) > len(kept)
        for name in names:  # some of these go to subscriptions that are about to be removed
            broker.publish(name, b"meanwhile", 1)
        assert not writing.done()
        await writing
        assert set(session.subscriptions) == kept
        waiting = [(entry.message.topic, entry.message.payload) for entry in session.queue if entry.message]
        assert {topic for topic, _ in waiting} == kept
        assert sorted(waiting) == sorted((name, word) for name in kept for word in (b"before", b"meanwhile"))
        assert session.queued_bytes == sum(len(topic) + len(payload) + 64 for topic, payload in waiting)


class TestOwners:
    """Which sessions a change is about."""

    async def test_anonymous_sessions_have_no_rules_of_their_own(self, party: Party) -> None:
        """A change of what the anonymous may do leaves the sessions of users alone, and the other way round."""
        router, directory = party.guarded.clients.broker.router, party.guarded.directory
        await directory.roles.create("guest", acls=[RoleAcl("subscribePattern", "#", False)])
        await directory.groups.create("guests", roles={"guest": 0})
        assert len(router.subscribers("t")) == 4
        await directory.groups.set_anonymous("guests")
        assert {session.client_id for session in router.subscribers("t")} == {"a3", "b3", "stored"}
        await directory.groups.add_member("guests", "alice")
        assert {session.client_id for session in router.subscribers("t")} == {"b3"}

    async def test_a_session_that_no_client_has_taken_up_is_nobodys(self, party: Party) -> None:
        """What the server subscribed it to is decided on when its client comes."""
        broker, directory = party.guarded.clients.broker, party.guarded.directory
        broker.subscribe_for("later", "news", 1)
        broker.publish("news", b"1", 1)
        await directory.set_rules("all", "", [Rule("#", "allow", "publish")])
        await directory.set_rules("clientid", "later", [Rule("#", "allow", "publish")])
        await directory.set_rules("username", "alice", [Rule("news", "allow", "subscribe")])
        later = await party.guarded.connected("alice", "later", clean=False)
        assert (await later.message()).payload == b"1"
        broker.subscribe_for("nobody", "news", 1)
        broker.publish("news", b"2", 1)
        await directory.set_rules("all", "", [])
        await directory.groups.create("guests")
        await directory.groups.set_anonymous("guests")
        nobody = await party.guarded.connected(None, "nobody", clean=False)
        await nobody.nothing_came()
        assert not party.guarded.session("nobody").subscriptions

    async def test_a_broker_that_is_down_is_told_nothing(self) -> None:
        async with guarding() as guarded:
            directory = guarded.directory
            assert len(directory._writer._callbacks) == 1
            broker = guarded.clients.broker
            await broker.shutdown()
            assert directory._writer._callbacks == []
            await broker.start()
            assert len(directory._writer._callbacks) == 1
            await guarded.principal("alice")
            alice = await guarded.connected("alice")
            await directory.delete_login("username", "alice")
            await alice.hung_up()
