"""The credential plugin: the engine's question, amqtt's question, and their answers."""

import asyncio
import logging
from inspect import isawaitable

import pytest
from amqtt.session import Session
from wardenmq.broker.access import Accept, ConnectAuthenticator, Refuse
from wardenmq.broker.protocol.reason_codes import ReasonCode, connack_return_code
from wardenmq.plugins.credentials import CredentialAuthPlugin
from wardenmq.store.directory import Directory

from .contexts import DirectoryContext, request


def plugin(directory: Directory, *, allow_anonymous: bool = False) -> CredentialAuthPlugin:
    config = CredentialAuthPlugin.Config(allow_anonymous=allow_anonymous)
    return CredentialAuthPlugin(DirectoryContext(directory, config))


async def ask(
    asked: CredentialAuthPlugin, client_id: str, username: str | None, password: bytes | None
) -> Accept | Refuse:
    decision = asked.authenticate_connect(request(client_id, username, password))
    return await decision if isawaitable(decision) else decision


async def test_the_engine_asks_it_directly(directory: Directory) -> None:
    assert isinstance(plugin(directory), ConnectAuthenticator)


async def test_a_right_password_is_accepted_and_then_at_once(directory: Directory) -> None:
    login = await directory.update_login("username", "alice", superuser=True, expires_at=4_102_444_800.0)
    asked = plugin(directory)
    expected = Accept(login.id, superuser=True, confined=False, valid_until=4_102_444_800.0)
    first = asked.authenticate_connect(request("c", "alice", b"wonderland"))
    assert isawaitable(first)
    assert await first == expected
    assert asked.authenticate_connect(request("c", "alice", b"wonderland")) == expected


@pytest.mark.parametrize(
    ("username", "password", "reason", "return_code"),
    [
        ("alice", b"wrong", ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4),
        ("alice", None, ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4),
        ("mallory", b"wonderland", ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4),
        (None, None, ReasonCode.NOT_AUTHORIZED, 5),
    ],
)
async def test_refusals_have_their_code(
    directory: Directory, username: str | None, password: bytes | None, reason: ReasonCode, return_code: int
) -> None:
    refusal = await ask(plugin(directory), "c", username, password)
    assert isinstance(refusal, Refuse)
    assert refusal.reason is reason
    assert connack_return_code(refusal.reason) == return_code
    assert refusal.log
    assert "wonderland" not in repr(refusal)


async def test_a_disabled_login_is_not_authorized_but_only_with_the_right_password(directory: Directory) -> None:
    await directory.update_login("username", "alice", disabled=True)
    right, wrong = [await ask(plugin(directory), "c", "alice", password) for password in (b"wonderland", b"wrong")]
    assert isinstance(right, Refuse)
    assert isinstance(wrong, Refuse)
    assert (right.reason, wrong.reason) == (ReasonCode.NOT_AUTHORIZED, ReasonCode.BAD_USER_NAME_OR_PASSWORD)


async def test_anonymous_clients_are_admitted_where_that_is_configured(directory: Directory) -> None:
    await directory.create_login("clientid", "device", "firmware")
    asked = plugin(directory, allow_anonymous=True)
    assert asked.authenticate_connect(request("c", None, None)) == Accept()
    for client_id, username in (("device", None), ("c", "mallory")):
        assert isinstance(await ask(asked, client_id, username, b"guess"), Refuse)


async def test_too_many_checks_are_server_unavailable(directory: Directory) -> None:
    asked = plugin(directory)
    answers = await asyncio.gather(*(ask(asked, "c", f"user {number}", b"guess") for number in range(5)))
    reasons = [answer.reason for answer in answers if isinstance(answer, Refuse)]
    # Two threads and one client that may wait.
    assert reasons == [ReasonCode.BAD_USER_NAME_OR_PASSWORD] * 3 + [ReasonCode.SERVER_UNAVAILABLE] * 2


@pytest.mark.parametrize(
    ("client_id", "username", "password", "expected", "anonymous"),
    [
        ("c", "alice", "wonderland", True, False),
        ("c", "alice", "wrong", False, False),
        ("c", "mallory", "wonderland", False, False),
        ("c", "alice", None, False, False),
        (None, None, None, True, True),
    ],
)
async def test_a_plain_amqtt_broker_is_answered_too(
    directory: Directory,
    caplog: pytest.LogCaptureFixture,
    client_id: str | None,
    username: str | None,
    password: str | None,
    expected: bool,
    anonymous: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    session = Session()
    session.client_id, session.username, session.password = client_id, username, password
    assert await plugin(directory, allow_anonymous=True).authenticate(session=session) is expected
    assert session.is_anonymous is anonymous
    assert ("refused" in caplog.text) is not expected
    assert "wonderland" not in caplog.text


def test_without_a_store_it_does_not_start() -> None:
    with pytest.raises(ValueError, match="CredentialAuthPlugin needs a credential store"):
        CredentialAuthPlugin(DirectoryContext(None, CredentialAuthPlugin.Config()))
