"""The credential plugin's other ways in: SCRAM exchanges and client certificates."""

from collections.abc import AsyncIterator
from inspect import isawaitable

import pytest
from amqtt.plugins.authentication import AnonymousAuthPlugin
from amqtt.plugins.base import BaseAuthPlugin
from wardenmq.broker.access import Accept, AuthExchange, Challenge, ConnectRequest, EnhancedAuthenticator, Refuse
from wardenmq.broker.access_control import AccessControl
from wardenmq.broker.protocol.reason_codes import ReasonCode
from wardenmq.plugins.credentials import CredentialAuthPlugin
from wardenmq.store.directory import Directory

from ..store.scram_client import ScramClient
from .contexts import DirectoryContext, request

UNTIL = 4_102_444_800.0


def plugin(directory: Directory, *, certificate_login: bool = True) -> CredentialAuthPlugin:
    config = CredentialAuthPlugin.Config(certificate_login=certificate_login)
    return CredentialAuthPlugin(DirectoryContext(directory, config))


def connect(
    username: str | None = None, password: bytes | None = None, *, certified: str | None = None
) -> ConnectRequest:
    return request("c", username, password)._replace(protocol_version=5, certificate_name=certified)


def begin(directory: Directory, asked: ConnectRequest | None = None) -> AuthExchange:
    exchange = plugin(directory).exchange(asked or connect(), "SCRAM-SHA-256")
    assert exchange is not None
    return exchange


def log_in(directory: Directory, client: ScramClient, asked: ConnectRequest | None = None) -> Accept | Refuse:
    """Run one exchange to its end."""
    exchange = begin(directory, asked)
    challenge = exchange.respond(client.first())
    if not isinstance(challenge, Challenge):
        return challenge
    decision = exchange.respond(client.final(challenge.data))
    assert not isinstance(decision, Challenge)
    return decision


async def ask(asked: CredentialAuthPlugin, by: ConnectRequest) -> Accept | Refuse:
    decision = asked.authenticate_connect(by)
    return await decision if isawaitable(decision) else decision


# SCRAM


async def test_the_engine_is_offered_one_method(directory: Directory) -> None:
    asked = plugin(directory)
    assert isinstance(asked, EnhancedAuthenticator)
    assert asked.exchange(connect(), "SCRAM-SHA-256") is not None
    for method in ("", "scram-sha-256", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "PLAIN"):
        assert asked.exchange(connect(), method) is None


async def test_a_right_proof_is_accepted_like_a_right_password(directory: Directory) -> None:
    login = await directory.update_login("username", "alice", superuser=True, expires_at=UNTIL)
    for asked in (connect(), connect("alice"), connect(certified="alice"), connect("alice", b"ignored")):
        client = ScramClient("alice", "wonderland")
        decision = log_in(directory, client, asked)
        assert isinstance(decision, Accept)
        assert client.trusts(decision.auth_data)
        assert decision == Accept(
            login.id, superuser=True, confined=False, valid_until=UNTIL, auth_data=decision.auth_data, username="alice"
        )
        plain = await ask(plugin(directory), connect("alice", b"wonderland"))
        assert plain == decision._replace(auth_data=None, username=None)


@pytest.mark.parametrize(
    ("name", "password", "presented", "reason"),
    [
        ("alice", "guessed", None, ReasonCode.BAD_USER_NAME_OR_PASSWORD),
        ("mallory", "wonderland", None, ReasonCode.BAD_USER_NAME_OR_PASSWORD),
        ("alice", "wonderland", "bob", ReasonCode.BAD_USER_NAME_OR_PASSWORD),
        ("alice", "wonderland", "", ReasonCode.BAD_USER_NAME_OR_PASSWORD),
        ("bob", "builder", None, ReasonCode.NOT_AUTHORIZED),
        ("bob", "guessed", None, ReasonCode.BAD_USER_NAME_OR_PASSWORD),
    ],
)
async def test_refusals_have_their_code(
    directory: Directory, name: str, password: str, presented: str | None, reason: ReasonCode
) -> None:
    await directory.create_login("username", "bob", "builder")
    await directory.update_login("username", "bob", disabled=True)
    refusal = log_in(directory, ScramClient(name, password), connect(presented))
    assert isinstance(refusal, Refuse)
    assert refusal.reason is reason
    assert refusal.log
    assert password not in refusal.log


@pytest.mark.parametrize("data", [b"", b"\xff", b"p=tls-exporter,,n=alice,r=abc", b"n,a=root,n=alice,r=abc"])
async def test_a_message_that_is_none_is_not_authorized(directory: Directory, data: bytes) -> None:
    refusal = begin(directory).respond(data)
    assert isinstance(refusal, Refuse)
    assert refusal.reason is ReasonCode.NOT_AUTHORIZED
    assert refusal.log.startswith("the SCRAM exchange failed: ")


async def test_neither_challenge_nor_acceptance_shows_its_data(directory: Directory) -> None:
    client = ScramClient("alice", "wonderland")
    exchange = begin(directory)
    challenge = exchange.respond(client.first())
    assert repr(challenge) == "Challenge()"
    assert isinstance(challenge, Challenge)
    decision = exchange.respond(client.final(challenge.data))
    assert isinstance(decision, Accept)
    assert decision.auth_data is not None
    assert decision.auth_data.decode() not in repr(decision)


async def test_a_directory_without_scram_offers_none() -> None:
    directory = await Directory.open(":memory:", scram_iterations=0)
    assert plugin(directory).exchange(connect(), "SCRAM-SHA-256") is None
    await directory.close()


@pytest.fixture
async def strict(directory: Directory) -> AsyncIterator[AnonymousAuthPlugin]:
    """Load one of amqtt's own plugins, which knows of no exchanges."""
    config = AnonymousAuthPlugin.Config(allow_anonymous=False)
    yield AnonymousAuthPlugin(DirectoryContext(directory, config))


async def test_no_exchange_passes_by_a_plugin_that_cannot_take_part(
    directory: Directory, strict: AnonymousAuthPlugin
) -> None:
    control = AccessControl()
    assert control.exchange(connect(), "SCRAM-SHA-256") is None
    control.load([plugin(directory)], [])
    assert control.exchange(connect(), "SCRAM-SHA-256") is not None
    assert control.exchange(connect(), "SCRAM-SHA-1") is None
    control.load([strict], [])
    assert control.exchange(connect(), "SCRAM-SHA-256") is None


class Vetoing(BaseAuthPlugin):
    """Take part in exchanges, of a method of its own, and let nobody in."""

    def exchange(self, request: ConnectRequest, method: str) -> AuthExchange | None:
        return None

    def authenticate_connect(self, request: ConnectRequest) -> Refuse:
        return Refuse(ReasonCode.NOT_AUTHORIZED, "nobody gets in")


@pytest.mark.parametrize("first", [True, False])
async def test_no_exchange_passes_by_a_second_plugin_that_knows_exchanges(directory: Directory, first: bool) -> None:
    """All that are loaded must agree to a client, and an exchange is one plugin's alone."""
    loaded: list[BaseAuthPlugin] = [plugin(directory)]
    loaded.insert(0 if first else 1, Vetoing(DirectoryContext(directory, Vetoing.Config())))
    control = AccessControl()
    control.load(loaded, [])
    assert control.exchange(connect(), "SCRAM-SHA-256") is None
    assert isinstance(await ask_all(control, connect("alice", b"wonderland")), Refuse)


async def ask_all(control: AccessControl, by: ConnectRequest) -> Accept | Refuse:
    decision = control.authenticate(by, None)
    return await decision if isawaitable(decision) else decision


# Certificates


@pytest.mark.parametrize("username", [None, "alice"])
async def test_a_certificate_is_as_good_as_a_password(directory: Directory, username: str | None) -> None:
    login = await directory.update_login("username", "alice", superuser=True, expires_at=UNTIL)
    decision = plugin(directory).authenticate_connect(connect(username, certified="alice"))
    assert decision == Accept(login.id, superuser=True, confined=False, valid_until=UNTIL, username="alice")


@pytest.mark.parametrize("username", [None, "alice"])
async def test_a_password_beside_a_certificate_must_be_right(directory: Directory, username: str | None) -> None:
    login = await directory.update_login("username", "alice", superuser=True)
    asked = plugin(directory)
    for _ in range(2):  # hashed, then remembered
        decision = await ask(asked, connect(username, b"wonderland", certified="alice"))
        assert decision == Accept(login.id, superuser=True, username="alice")
    await directory.create_login("clientid", "c", "firmware")
    for password in (b"wrong", b"", b"firmware"):
        refusal = await ask(asked, connect(username, password, certified="alice"))
        assert isinstance(refusal, Refuse)
        assert refusal.reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD


@pytest.mark.parametrize("certificate_login", [True, False])
async def test_a_certificate_that_names_nobody_admits_nobody(directory: Directory, certificate_login: bool) -> None:
    """An empty name is a door's word for it: one that lets in only whom a certificate names."""
    asked = plugin(directory, certificate_login=certificate_login)
    for by in (connect(certified=""), connect("alice", b"wonderland", certified=""), connect("", b"x", certified="")):
        assert isinstance(await ask(asked, by), Refuse)
    assert isinstance(log_in(directory, ScramClient("alice", "wonderland"), connect("alice", certified="")), Refuse)


async def test_a_certificate_admits_its_own_name_only(directory: Directory) -> None:
    await directory.create_login("clientid", "c", "firmware")
    await directory.create_login("username", "bob", "builder")
    asked = CredentialAuthPlugin(
        DirectoryContext(directory, CredentialAuthPlugin.Config(allow_anonymous=True, certificate_login=True))
    )
    for by in (
        connect(certified="mallory"),
        connect(certified=""),
        connect("mallory", certified="mallory"),
        connect("mallory", b"firmware", certified="mallory"),
        connect("bob", b"builder", certified="alice"),
        connect("", certified="alice"),
    ):
        decision = await ask(asked, by)
        assert isinstance(decision, Refuse)
        assert decision.reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    for by in (connect("bob", certified="alice"), connect(certified="bob")):
        refusal = log_in(directory, ScramClient("alice", "wonderland"), by)
        assert isinstance(refusal, Refuse)
        assert refusal.reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD


async def test_a_certificate_of_a_disabled_login_is_not_authorized(directory: Directory) -> None:
    await directory.update_login("username", "alice", disabled=True)
    decision = await ask(plugin(directory), connect(certified="alice"))
    assert isinstance(decision, Refuse)
    assert decision.reason is ReasonCode.NOT_AUTHORIZED


async def test_a_certificate_and_the_password_where_both_are_asked_for(directory: Directory) -> None:
    login = await directory.create_login("username", "bob", "builder")
    asked = plugin(directory, certificate_login=False)
    for username in (None, "bob"):
        for _ in range(2):  # hashed, then remembered
            decision = await ask(asked, connect(username, b"builder", certified="bob"))
            assert decision == Accept(login.id, username="bob")
    await directory.create_login("clientid", "c", "firmware")
    for by in (
        connect(certified="bob"),
        connect("bob", b"wrong", certified="bob"),
        connect("alice", b"wonderland", certified="bob"),
        connect("mallory", b"firmware", certified="mallory"),
    ):
        assert isinstance(await ask(asked, by), Refuse)


@pytest.mark.parametrize("password", [None, b"wonderland"])
async def test_a_certificate_does_not_give_anothers_client_id(directory: Directory, password: bytes | None) -> None:
    """Nor one that is banned, nor an address that is."""
    asked, by = plugin(directory), connect("alice", password, certified="alice")
    assert isinstance(await ask(asked, by), Accept)
    await directory.create_login("clientid", "c", "firmware")
    taken = await ask(asked, by)
    assert isinstance(taken, Refuse)
    assert taken.reason is ReasonCode.NOT_AUTHORIZED
    await directory.delete_login("clientid", "c")
    for who_type, who in (("clientid", "c"), ("peerhost", by.peer_host), ("username", "alice")):
        await directory.bans.create(who_type, who)
        banned = await ask(asked, by)
        assert isinstance(banned, Refuse)
        assert banned.reason is ReasonCode.BANNED
        await directory.bans.delete(who_type, who)
        assert isinstance(await ask(asked, by), Accept)
