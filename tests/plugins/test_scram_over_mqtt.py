"""SCRAM-SHA-256 from CONNECT to CONNACK and again later, with a real broker and a real directory."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from wardenmq.store.directory import Directory

from ..engine.brokers import Clients, running_broker
from ..engine.packets5 import AUTH, P, Packet5, Properties
from ..engine.wire import CONNACK, DISCONNECT
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
