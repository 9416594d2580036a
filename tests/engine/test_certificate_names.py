"""A user name that a client certificate proves binds every plugin, and a session of its own."""

import pytest
from wardenmq.broker.listeners.bound_listener import BoundListener
from wardenmq.broker.listeners.listener import Listener

from .brokers import Clients, serving
from .wire import connect


@pytest.fixture
def proved(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Let all connections come with a certificate of this name; TLS itself is tested with the listeners."""
    name: dict[str, str | None] = {"name": "device1"}
    for listener in (Listener, BoundListener):
        monkeypatch.setattr(listener, "certificate_name", lambda *_: name["name"])
    return name


async def _session_of(clients: Clients, **fields: object) -> bool:
    client = await clients.open()
    present = await client.connect("shared-id", clean=False, **fields)
    client.abort()
    return present


async def test_a_certificate_that_names_nobody_lets_nobody_in(proved: dict[str, str | None]) -> None:
    proved["name"] = ""
    async with serving() as clients:
        for fields in ({}, {"username": "device1", "password": b"x"}):
            assert await (await clients.open()).refused(connect("c", **fields)) == 4  # type: ignore[arg-type]


async def test_another_user_name_is_refused(proved: dict[str, str | None]) -> None:
    async with serving() as clients:
        assert await (await clients.open()).refused(connect("c", username="admin", password=b"x")) == 4
        client = await clients.connected("c", username="device1")
        session = clients.broker.registry.get("c")
        assert session is not None
        assert session.username == "device1"
        await client.ping()


@pytest.mark.filterwarnings("ignore:The .acl. option is deprecated:DeprecationWarning")
async def test_amqtts_plugins_see_the_proved_name(proved: dict[str, str | None]) -> None:
    rules = {
        "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
        "amqtt.plugins.topic_checking.TopicAccessControlListPlugin": {"acl": {"device1": ["mine/#"], "admin": ["#"]}},
    }
    async with serving(rules) as clients:
        client = await clients.connected("c")
        assert await client.subscribe(("mine/#", 0), ("others", 0)) == [0, 0x80]


async def test_a_presented_name_does_not_inherit_a_proved_ones_session(proved: dict[str, str | None]) -> None:
    async with serving() as clients:
        assert not await _session_of(clients)
        assert await _session_of(clients)
        proved["name"] = None
        assert not await _session_of(clients, username="device1")
        proved["name"] = "device1"
        assert not await _session_of(clients)
