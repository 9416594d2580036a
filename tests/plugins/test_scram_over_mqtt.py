"""SCRAM-SHA-256 from CONNECT to CONNACK and again later, with a real broker and a real directory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from wardenmq.broker import rechecks
from wardenmq.broker.protocol.packets import SubscribeRequest
from wardenmq.broker.session import Session
from wardenmq.store.directory import Directory

from ..engine.brokers import Clients, running_broker
from ..engine.conditions import turn_by_turn
from ..engine.packets5 import AUTH, P, Packet5, Properties
from ..engine.wire import CONNACK, DISCONNECT, PING, PINGRESP
from ..engine.wire5 import Client5, auth, connect
from ..store.scram_client import ScramClient

METHOD = "SCRAM-SHA-256"
CONTINUE, RENEW = 0x18, 0x19


class Clients5(Clients):
    """Open clients that speak MQTT 5."""

    async def begin(self, scram: ScramClient, *, username: str | None = None) -> tuple[Client5, Packet5]:
        """Send a CONNECT with the first message; give the broker's answer."""
        client = await Client5.open(self.broker.addresses["default"])
        assert isinstance(client, Client5)
        self._stack.callback(client.abort)
        client.send(connect("one", username=username, properties=method(scram.first())))
        return client, await client.read()

    async def logged_in(self) -> Client5:
        scram = ScramClient("alice", "wonderland")
        client, challenge = await self.begin(scram)
        assert (await go_on(client, scram, challenge)).reason == 0
        return client


@pytest.fixture
async def clients(directory: Directory) -> AsyncIterator[Clients5]:
    plugins = {
        "wardenmq.plugins.credentials.CredentialAuthPlugin": {},
        "wardenmq.plugins.topic_acl.TopicAclPlugin": {},
    }
    async with running_broker(plugins, directory=directory) as broker, AsyncExitStack() as stack:
        yield Clients5(broker, stack)


def method(data: bytes | None = None) -> Properties:
    return [(P.AUTH_METHOD, METHOD), *([] if data is None else [(P.AUTH_DATA, data)])]


async def go_on(client: Client5, scram: ScramClient, challenge: Packet5) -> Packet5:
    """Answer a challenge; give what comes back."""
    assert (challenge.kind, challenge.reason, challenge.get(P.AUTH_METHOD)) == (AUTH, CONTINUE, METHOD)
    data = challenge.get(P.AUTH_DATA)
    assert isinstance(data, bytes)
    client.send(auth(CONTINUE, method(scram.final(data))))
    return await client.read()


def answer(got: Packet5) -> bytes | None:
    data = got.get(P.AUTH_DATA)
    assert data is None or isinstance(data, bytes)
    return data


@pytest.mark.parametrize("username", [None, "alice"])
async def test_a_client_gets_in_and_is_who_it_proved_to_be(clients: Clients5, username: str | None) -> None:
    scram = ScramClient("alice", "wonderland")
    client, challenge = await clients.begin(scram, username=username)
    connack = await go_on(client, scram, challenge)
    assert (connack.kind, connack.reason, connack.get(P.AUTH_METHOD)) == (CONNACK, 0, METHOD)
    assert scram.trusts(answer(connack))
    session = clients.broker.registry.get("one")
    assert session is not None
    assert session.username == "alice"
    # Rules for the name count: `u/${username}/#` is all that there is.
    assert await client.subscribe(("u/alice/#", 1), ("u/bob/#", 1)) == [1, 0x87]
    assert await client.publish("u/alice/x", b"x", 1) == 0
    assert (await client.message()).payload == b"x"


@pytest.mark.parametrize(
    ("name", "password", "reason"), [("alice", "guessed", 0x86), ("mallory", "wonderland", 0x86), ("bob", "b", 0x87)]
)
async def test_who_does_not_get_in(
    clients: Clients5, directory: Directory, name: str, password: str, reason: int
) -> None:
    await directory.create_login("username", "bob", "b")
    await directory.update_login("username", "bob", disabled=True)
    scram = ScramClient(name, password)
    client, challenge = await clients.begin(scram)
    connack = await go_on(client, scram, challenge)
    assert (connack.kind, connack.reason, answer(connack)) == (CONNACK, reason, None)
    await client.hung_up()
    assert clients.broker.registry.get("one") is None


async def test_the_name_in_connect_must_agree(clients: Clients5) -> None:
    client, connack = await clients.begin(ScramClient("alice", "wonderland"), username="bob")
    assert (connack.kind, connack.reason) == (CONNACK, 0x86)
    await client.hung_up()


async def test_a_client_authenticates_again(clients: Clients5) -> None:
    client = await clients.logged_in()
    for _ in range(2):
        scram = ScramClient("alice", "wonderland")
        client.send(auth(RENEW, method(scram.first())))
        done = await go_on(client, scram, await client.expect(AUTH))
        assert (done.kind, done.reason) == (AUTH, 0)
        assert scram.trusts(answer(done))
    await client.ping()


@pytest.mark.parametrize(("name", "password"), [("alice", "guessed"), ("bob", "b"), ("mallory", "x")])
async def test_a_client_that_fails_to_authenticate_again_is_disconnected(
    clients: Clients5, directory: Directory, name: str, password: str
) -> None:
    await directory.create_login("username", "bob", "b")
    client = await clients.logged_in()
    scram = ScramClient(name, password)
    client.send(auth(RENEW, method(scram.first())))
    ended = await go_on(client, scram, await client.expect(AUTH))
    assert (ended.kind, ended.reason) == (DISCONNECT, 0x87)
    await client.hung_up()


async def _renewing(clients: Clients5, *, subscriptions: int = 300) -> tuple[Client5, Session, Callable[[], bytes]]:
    """Give a client with many subscriptions that has begun to authenticate again, and how to build its last word."""
    client = await clients.logged_in()
    session = clients.broker.registry.get("one")
    assert session is not None
    for number in range(subscriptions):
        request = SubscribeRequest(f"u/alice/{number}" if number else "u/bob", 0)
        clients.broker._engine.enter_subscription(session, request, 0)
    scram = ScramClient("alice", "wonderland")
    client.send(auth(RENEW, method(scram.first())))
    challenge = await client.expect(AUTH)
    data = challenge.get(P.AUTH_DATA)
    assert isinstance(data, bytes)
    return client, session, lambda: auth(CONTINUE, method(scram.final(data)))


async def test_nothing_is_asked_about_a_client_that_stands_as_before(clients: Clients5) -> None:
    """However many subscriptions it has, and without forgetting anybody's routes."""
    client, session, last_word = await _renewing(clients)
    access, router = clients.broker._access, clients.broker.router
    before = access.allowed, access.denied, router.generation
    client.send(last_word())
    assert (await client.expect(AUTH)).reason == 0
    assert (access.allowed, access.denied, router.generation) == before
    assert len(session.subscriptions) == 300


async def test_a_client_with_many_subscriptions_is_looked_at_in_parts(
    clients: Clients5, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have their turn meanwhile; what the client sent after its last word waits for the answer to that."""
    monkeypatch.setattr(rechecks, "_TURN", 0.0)
    client, session, last_word = await _renewing(clients)
    session.decided_by = session.checked_by = None
    async with clients.broker._engine.rechecks._turn:
        client.send(last_word(), PING)
        _, challenge = await clients.begin(ScramClient("alice", "wonderland"))
        assert challenge.kind == AUTH
        assert len(session.subscriptions) == 300
    assert [(await client.read()).kind for _ in range(2)] == [AUTH, PINGRESP]
    assert len(session.subscriptions) == 299
    assert "u/bob" not in session.subscriptions


async def test_a_write_while_a_client_is_looked_at_again(
    clients: Clients5, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told of the write, and not that all is well."""
    monkeypatch.setattr(rechecks, "_TURN", 0.0)
    monkeypatch.setattr(rechecks, "_STEP", 1)
    client, session, last_word = await _renewing(clients)
    session.decided_by = session.checked_by = None
    turn = clients.broker._engine.rechecks._turn
    async with turn:
        client.send(last_word())
        await turn_by_turn(lambda: len(turn._waiters or ()) == 1)
        writing = asyncio.ensure_future(directory.update_login("username", "alice", disabled=True))
        await turn_by_turn(lambda: len(turn._waiters or ()) == 2)
    await writing
    got = await client.read()
    assert (got.kind, got.reason) == (DISCONNECT, 0x87)
    await client.hung_up()
