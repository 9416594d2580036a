"""Decisions that wait for somebody: what has changed when they are made counts, too."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
import pytest_asyncio
from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session as AmqttSession
from wardenmq.broker import incoming
from wardenmq.broker.access import Accept, AuthExchange, Challenge, ConnectRequest, Refuse
from wardenmq.broker.protocol.reason_codes import ReasonCode
from wardenmq.store.records import Rule

from ..spec.v5.serving import Clients5, serving5
from . import wire
from .conditions import turn_by_turn, until
from .guarded import PLUGINS, Guarded, guarding, secret_of
from .packets5 import AUTH, P
from .wire import PUBACK, PUBREC, SUBACK, Will, subscribe
from .wire5 import Client5, auth, publish
from .wire5 import connect as connect5

HERE = __name__


class Doorkeeper(BaseTopicPlugin):
    """Agree to everything, but as soon as the test has opened the door; what is open from the start is not counted."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.shut: set[Action] = set()
        self.waiting: list[tuple[Action | None, str]] = []
        self._opened = asyncio.Event()

    def open(self) -> None:
        self.shut.clear()
        self._opened.set()

    async def topic_filtering(
        self, *, session: AmqttSession | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        if action in self.shut:
            self.waiting.append((action, topic or ""))
            await self._opened.wait()
        return True


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[Guarded]:
    async with guarding("alice", "bob", plugins={**PLUGINS, f"{HERE}.Doorkeeper": {}}) as opened:
        for username in ("alice", "bob"):
            await opened.directory.set_rules("username", username, [Rule("t/#", "allow", "all")])
        yield opened


@pytest.fixture
def door(guarded: Guarded) -> Doorkeeper:
    return cast("Doorkeeper", guarded.clients.broker.plugins_manager.get_plugin("Doorkeeper"))


def _retained(guarded: Guarded) -> int:
    return len(guarded.clients.broker._engine.retained)


class TestPublishing:
    """A plugin of amqtt's kind is being asked about a message."""

    @pytest.mark.parametrize("action", [Action.PUBLISH, Action.RECEIVE])
    @pytest.mark.parametrize("qos", [0, 1, 2])
    async def test_a_rule_is_withdrawn_meanwhile(
        self, guarded: Guarded, door: Doorkeeper, qos: int, action: Action
    ) -> None:
        """[MQTT-3.3.5-2]: neither delivered nor retained, and answered as what is denied."""
        watcher = await guarded.connected("root")
        await watcher.subscribe(("t/#", 0))
        alice = await guarded.connected5("alice")
        await alice.publish("t/x", b"before", 0)  # so that there is something to remember
        assert (await watcher.message()).payload == b"before"
        door.shut.add(action)
        alice.send(publish("t/x", b"x", qos, 9 if qos else None, retain=True))
        await until(lambda: door.waiting == [(action, "t/x")])
        await guarded.directory.set_rules("username", "alice", [])
        door.open()
        if qos:
            assert (await alice.expect(PUBACK if qos == 1 else PUBREC)).reason == 0x87
        await alice.ping()
        await watcher.nothing_came()
        assert _retained(guarded) == 0
        await guarded.directory.set_rules("username", "alice", [Rule("t/#", "allow", "all")])
        await alice.publish("t/x", b"after", 1)
        assert (await watcher.message()).payload == b"after"

    async def test_the_login_goes_meanwhile(self, guarded: Guarded, door: Doorkeeper) -> None:
        watcher = await guarded.connected("root")
        await watcher.subscribe(("t/#", 0))
        alice = await guarded.connected("alice")
        door.shut.add(Action.PUBLISH)
        alice.send(wire.publish("t/x", b"x", retain=True))
        await until(lambda: bool(door.waiting))
        await guarded.directory.delete_login("username", "alice")
        door.open()
        await alice.hung_up()
        await watcher.nothing_came()
        assert _retained(guarded) == 0

    @pytest.mark.parametrize("shared", [False, True])
    @pytest.mark.parametrize("by_server", [False, True])
    @pytest.mark.parametrize("hides", [False, True])
    async def test_a_receiver_is_held_to_another_rule_meanwhile(
        self, guarded: Guarded, door: Doorkeeper, hides: bool, by_server: bool, shared: bool
    ) -> None:
        """Its subscription is withdrawn, or stays and the topic is hidden; another one's copy comes."""
        bob, alice = await guarded.connected("bob"), await guarded.connected("alice")
        await bob.subscribe(("$share/g/t/#" if shared else "t/#", 0))
        root = await guarded.connected("root")
        await root.subscribe(("t/#", 0))
        door.shut.add(Action.RECEIVE)
        if by_server:
            guarded.clients.broker.publish("t/x", b"x")
        else:
            alice.send(wire.publish("t/x", b"x"))
        await until(lambda: bool(door.waiting))
        rules = [Rule("t/x", "deny", "all"), Rule("t/#", "allow", "all")] if hides else []
        await guarded.directory.set_rules("username", "bob", rules)
        door.open()
        assert (await root.message()).payload == b"x"
        await bob.nothing_came()

    async def test_who_subscribes_meanwhile_is_not_sent_what_nobody_was_asked_about(
        self, guarded: Guarded, door: Doorkeeper
    ) -> None:
        root, bob = await guarded.connected("root"), await guarded.connected("bob")
        await root.subscribe(("t/x", 0))
        door.shut.add(Action.RECEIVE)
        guarded.clients.broker.publish("t/x", b"x")
        await until(lambda: bool(door.waiting))
        assert await bob.subscribe(("t/x", 0)) == [0]
        door.open()
        assert (await root.message()).payload == b"x"
        await bob.nothing_came()

    async def test_a_will_whose_rule_goes_meanwhile(self, guarded: Guarded, door: Doorkeeper) -> None:
        """[MQTT-3.1.2-8]."""
        watcher = await guarded.connected("root")
        await watcher.subscribe(("t/#", 0))
        door.shut.add(Action.PUBLISH)
        for username in ("alice", "bob"):
            (await guarded.connected(username, will=Will(f"t/{username}"))).abort()
        await until(lambda: len(door.waiting) == 2)
        await guarded.directory.set_rules("username", "alice", [])
        door.open()
        assert (await watcher.message()).topic == "t/bob"
        await watcher.nothing_came()
        assert guarded.clients.broker._engine.wills.denied == 1

    async def test_a_subscription_whose_rule_goes_meanwhile(self, guarded: Guarded, door: Doorkeeper) -> None:
        """[MQTT-3.9.3-2]: the one that is being asked about, and the one of the same packet that was granted before."""
        bob = await guarded.connected("bob")
        door.shut.add(Action.SUBSCRIBE)
        bob.send(subscribe(1, ("t/a", 0), ("t/b", 0)))
        await until(lambda: bool(door.waiting))
        await guarded.directory.set_rules("username", "bob", [Rule("t/a", "allow", "subscribe")])
        door.open()
        assert list((await bob.expect(SUBACK)).body[2:]) == [0, 0x80]
        assert list(guarded.session("bob").subscriptions) == ["t/a"]


async def test_a_long_run_stops_where_the_rule_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that owes so many deliveries that it is passed on in turns: the rest of it is decided anew."""
    monkeypatch.setattr(incoming, "_WORK", 1)
    async with guarding("alice") as guarded:
        await guarded.directory.set_rules("username", "alice", [Rule("t", "allow", "publish")])
        watcher = await guarded.connected5("root")
        await watcher.subscribe(("t", 0), properties=[(P.SUBSCRIPTION_ID, 7)])
        alice = await guarded.connected5("alice")
        engine = guarded.clients.broker._engine
        traffic = guarded.session("root").traffic
        alice.send(publish("t", b"x") * 3_000)
        await turn_by_turn(lambda: traffic.messages_sent_qos[0] > 0)
        rules = engine.router.generation
        await guarded.directory.set_rules("username", "alice", [])
        passed = traffic.messages_sent_qos[0]
        await alice.ping()
        assert engine.router.generation == rules  # nothing but this one client's decision was forgotten
        assert 0 < passed < 3_000
        assert traffic.messages_sent_qos[0] == passed


class Thinking(BaseAuthPlugin):
    """Offer the method `slow`, whose first word opens and whose second is thought about until the test says so."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.said = asyncio.Event()
        self.thinking = 0

    def exchange(self, request: ConnectRequest, method: str) -> AuthExchange | None:
        return _Thought(self) if method == "slow" else None

    def authenticate_connect(self, request: ConnectRequest) -> Accept | Refuse | None:
        return Accept()


class _Thought:
    def __init__(self, plugin: Thinking) -> None:
        self._plugin = plugin

    def respond(self, data: bytes | None) -> "Challenge | Accept | Refuse | asyncio.Future[Accept | Refuse]":
        if data is None:
            return Challenge(b"your name?")
        return asyncio.ensure_future(self._think(data.decode()))

    async def _think(self, name: str) -> Accept | Refuse:
        self._plugin.thinking += 1
        await self._plugin.said.wait()
        if name == "mallory":
            return Refuse(ReasonCode.NOT_AUTHORIZED, "a wrong answer")
        return Accept(principal=name, username=name, auth_data=b"welcome")


class Pondering(BaseAuthPlugin):
    """Have no opinion on a client, after a while."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.said = asyncio.Event()
        self.thinking = 0

    async def authenticate_connect(self, request: ConnectRequest) -> Accept | Refuse | None:
        self.thinking += 1
        await self.said.wait()
        return None


@pytest.mark.parametrize("before", [True, False])
async def test_a_login_that_goes_while_another_plugin_is_asked(before: bool) -> None:
    """[MQTT-3.2.2-5]: whatever order they are configured in, the credential store has the last word."""
    asked = [(f"{HERE}.Pondering", dict[str, object]()), *PLUGINS.items()]
    async with guarding("alice", "bob", plugins=dict(asked if before else asked[::-1])) as guarded:
        plugin = cast("Pondering", guarded.clients.broker.plugins_manager.get_plugin("Pondering"))
        alice = await guarded.clients.open()
        alice.send(wire.connect("c", username="alice", password=secret_of("alice").encode()))
        await until(lambda: plugin.thinking == 1)
        await guarded.directory.delete_login("username", "alice")
        plugin.said.set()
        assert (await alice.expect(wire.CONNACK)).body[1] == 4
        assert len(guarded.clients.broker.registry) == 0
        await (await guarded.connected("bob")).ping()


METHOD = [(P.AUTH_METHOD, "slow")]


class TestAuthenticating:
    """A method of MQTT 5 takes its time over an answer."""

    @pytest_asyncio.fixture
    async def clients(self) -> AsyncIterator[Clients5]:
        async with serving5(plugins={f"{HERE}.Thinking": {}}) as clients:
            yield clients

    def _plugin(self, clients: Clients5) -> Thinking:
        return cast("Thinking", clients.broker.plugins_manager.get_plugin("Thinking"))

    async def _begin(self, clients: Clients5, name: str) -> Client5:
        """Connect as far as the answer that is thought about."""
        client = await clients.open5()
        client.send(connect5("c", properties=METHOD))
        assert (await client.expect(AUTH)).reason == 0x18
        client.send(auth(0x18, [*METHOD, (P.AUTH_DATA, name.encode())]))
        await until(lambda: self._plugin(clients).thinking == 1)
        return client

    @pytest.mark.parametrize("name", ["alice", "mallory"])
    async def test_a_client_that_connects(self, clients: Clients5, name: str) -> None:
        """[MQTT-4.12.0-4]: let in or refused when the answer is there, and what it sent on top is read after that."""
        client = await self._begin(clients, name)
        assert len(clients.broker.registry) == 0
        self._plugin(clients).said.set()
        connack = await client.expect(2)
        if name == "mallory":
            assert connack.reason == 0x87
            await client.hung_up()
        else:
            assert (connack.reason, clients.session("c").username) == (0, "alice")
            await client.ping()

    async def test_a_client_that_goes_meanwhile(self, clients: Clients5) -> None:
        client = await self._begin(clients, "alice")
        client.abort()  # not noticed while the socket is not read
        self._plugin(clients).said.set()
        await until(lambda: clients.broker.live_connections == 0)
        assert len(clients.broker.registry) == 0

    @pytest.mark.parametrize("name", ["alice", "mallory"])
    async def test_a_client_that_is_in(self, clients: Clients5, name: str) -> None:
        """[MQTT-4.12.1-2]."""
        plugin = self._plugin(clients)
        client = await self._begin(clients, "alice")
        plugin.said.set()
        await client.expect(2)
        plugin.said.clear()
        client.send(auth(0x19, [*METHOD, (P.AUTH_DATA, name.encode())]))
        await until(lambda: plugin.thinking == 2)
        plugin.said.set()
        if name == "mallory":
            await client.disconnected(0x87)
        else:
            got = await client.expect(AUTH)
            assert (got.reason, got.get(P.AUTH_DATA)) == (0, b"welcome")
            await client.ping()

    async def test_a_client_that_is_closed_meanwhile(self, clients: Clients5) -> None:
        """[MQTT-4.12.1-2]: an answer that comes too late brings nobody back."""
        plugin = self._plugin(clients)
        client = await self._begin(clients, "alice")
        plugin.said.set()
        await client.expect(2)
        plugin.said.clear()
        client.send(auth(0x19, [*METHOD, (P.AUTH_DATA, b"alice")]))
        await until(lambda: plugin.thinking == 2)
        await clients.broker.kick("c")
        plugin.said.set()
        await client.disconnected(0x98)
        assert clients.broker._engine.counters.auth_success == 1
