"""The plugins that amqtt packages, unchanged: each test runs on stock amqtt and on ours, with the same outcome."""

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqtt
import amqtt.broker
import pytest
from amqtt.client import MQTTClient
from amqtt.plugins.authentication import AnonymousAuthPlugin, FileAuthPlugin
from amqtt.plugins.logging_amqtt import EventLoggerPlugin, PacketLoggerPlugin
from amqtt.plugins.persistence import SQLitePlugin
from amqtt.plugins.sys.broker import BrokerSysPlugin
from amqtt.plugins.topic_checking import TopicAccessControlListPlugin, TopicTabooPlugin
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from ..engine.conditions import until
from ..engine.wire import CONNACK, connect
from .parties import BOTH, NAMES, OPEN, Party, running
from .plugins import path_of

Kind = type[amqtt.broker.Broker]
KINDS = pytest.mark.parametrize("kind", BOTH, ids=[NAMES[kind] for kind in BOTH])
# amqtt warns that psutil will be an extra, that its SQLite plugin has moved, that `acl` has another name
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    hasher = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=1024, parallelism=1),))
    lines = ["# a comment", "", *(f"{name}:{hasher.hash(f'{name} secret')}" for name in ("alice", "bob"))]
    file = tmp_path / "passwords"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


async def _admitted(party: Party, username: str | None, password: bytes | None) -> bool:
    client = await party.open()
    client.send(connect("c1", username=username, password=password))
    code = (await client.expect(CONNACK)).body[1]
    assert code in (0, 4, 5)
    return code == 0


@KINDS
async def test_file_auth(kind: Kind, passwords: Path) -> None:
    async with running(kind, {path_of(FileAuthPlugin): {"password_file": str(passwords)}}) as party:
        assert await _admitted(party, "alice", b"alice secret")
        assert await _admitted(party, "bob", b"bob secret")
        assert not await _admitted(party, "alice", b"bob secret")
        assert not await _admitted(party, "alice", None)
        assert not await _admitted(party, "mallory", b"alice secret")
        assert not await _admitted(party, None, None)


@KINDS
@pytest.mark.parametrize("allowed", [True, False])
async def test_anonymous_auth(kind: Kind, allowed: bool) -> None:
    """Without anonymous clients, a user name is enough."""
    async with running(kind, {path_of(AnonymousAuthPlugin): {"allow_anonymous": allowed}}) as party:
        assert await _admitted(party, None, None) is allowed
        assert await _admitted(party, "anybody", None)


@KINDS
async def test_two_authenticators(kind: Kind, passwords: Path) -> None:
    """All that have an opinion must agree: the password file has none on clients without a user name."""
    plugins = {path_of(AnonymousAuthPlugin): {}, path_of(FileAuthPlugin): {"password_file": str(passwords)}}
    async with running(kind, plugins) as party:
        assert await _admitted(party, None, None)
        assert await _admitted(party, "alice", b"alice secret")
        assert not await _admitted(party, "alice", b"wrong")


@KINDS
async def test_no_authenticator_admits_nobody(kind: Kind) -> None:
    async with running(kind, {}) as party:
        assert not await _admitted(party, "alice", b"secret")
        assert not await _admitted(party, None, None)


@KINDS
async def test_topic_acl(kind: Kind) -> None:
    rules: dict[str, Any] = {
        "acl": {"alice": ["own/#", "shared/+"], "anonymous": ["public"]},
        "publish_acl": {"alice": ["own/#"], "anonymous": ["public"]},
    }
    async with running(kind, {**OPEN, path_of(TopicAccessControlListPlugin): rules}) as party:
        alice = await party.connected("alice", username="alice")
        assert await alice.subscribe(("own/#", 1), ("shared/+", 1), ("other", 1), ("public", 1)) == [1, 1, 0x80, 0x80]
        await alice.publish("shared/x", b"denied", 1)
        await alice.publish("own/x", b"allowed", 1)
        assert (await alice.message()).payload == b"allowed"
        nobody = await party.connected("nobody")
        assert await nobody.subscribe(("public", 0), ("own/x", 0)) == [0, 0x80]
        mallory = await party.connected("mallory", username="mallory")
        assert await mallory.subscribe(("public", 0)) == [0x80]
        await mallory.publish("own/x", b"denied", 1)
        await alice.nothing_came()


@KINDS
async def test_taboo(kind: Kind) -> None:
    async with running(kind, {**OPEN, path_of(TopicTabooPlugin): {}}) as party:
        client = await party.connected("c1")
        assert await client.subscribe(("prohibited", 1), ("top-secret", 1), ("#", 1)) == [0x80, 0x80, 1]
        await client.publish("data/classified", b"denied", 1)
        await client.publish("fine", b"allowed", 1)
        assert (await client.message()).payload == b"allowed"
        admin = await party.connected("c2", username="admin")
        assert await admin.subscribe(("prohibited", 1)) == [1]
        await admin.publish("prohibited", b"by the admin", 1)
        assert (await admin.message()).payload == b"by the admin"
        await client.nothing_came()


class _Memory(logging.Handler):
    """Keep what is logged, for nothing else may see DEBUG records of all loggers."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def memory() -> Iterator[_Memory]:
    handler = _Memory()
    loggers = [
        logging.getLogger(f"amqtt.broker.plugins.{kind.__name__}") for kind in (EventLoggerPlugin, PacketLoggerPlugin)
    ]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


@KINDS
async def test_event_logger(kind: Kind, memory: _Memory) -> None:
    async with running(kind, {**OPEN, path_of(EventLoggerPlugin): {}}) as party:
        client = await party.connected("c1")
        await client.subscribe(("t", 1))
        await client.publish("t", b"x", 1, retain=True)
        await client.message()
        await client.unsubscribe("t")
        await client.disconnect()
    fired = [line.removeprefix("### '").removesuffix("' EVENT FIRED ###") for line in memory.lines]
    assert sorted(line for line in fired if "packet" not in line) == sorted(
        f"on_broker_{name}"
        for name in (
            "pre_start",
            "post_start",
            "client_connected",
            "client_subscribed",
            "message_received",
            "message_broadcast",
            "retained_message",
            "client_unsubscribed",
            "pre_shutdown",
            "client_disconnected",
            "post_shutdown",
        )
    )
    assert fired.count("on_mqtt_packet_received") == 6
    assert fired.count("on_mqtt_packet_sent") == 5


@KINDS
async def test_packet_logger(kind: Kind, memory: _Memory) -> None:
    async with running(kind, {**OPEN, path_of(PacketLoggerPlugin): {}}) as party:
        client = await party.connected("c1")
        await client.publish("t", b"x", 2)
        await client.disconnect()
    assert [line.split("(ts=")[0] for line in memory.lines if "in--" in line] == [
        "<-in-- ConnectPacket",
        "c1 <-in-- PublishPacket",
        "c1 <-in-- PubrelPacket",
        "c1 <-in-- DisconnectPacket",
    ]
    assert [line.split("(ts=")[0] for line in memory.lines if "out->" in line] == [
        "c1 -out-> ConnackPacket",
        "c1 -out-> PubrecPacket",
        "c1 -out-> PubcompPacket",
    ]
    (publish,) = [line for line in memory.lines if "PublishPacket" in line]
    assert "PublishVariableHeader(topic=t, packet_id=1)" in publish
    assert "ts=None" not in publish


SYS_TOPICS = {
    "load/bytes/received",
    "load/bytes/sent",
    "messages/received",
    "messages/sent",
    "time",
    "uptime",
    "uptime/formatted",
    "clients/connected",
    "clients/disconnected",
    "clients/maximum",
    "clients/total",
    "messages/inflight",
    "messages/inflight/in",
    "messages/inflight/out",
    "messages/inflight/stored",
    "messages/publish/received",
    "messages/publish/sent",
    "messages/retained/count",
    "messages/subscriptions/count",
    "heap/size",
    "heap/maximum",
    "cpu/percent",
    "cpu/maximum",
}


async def _sys_values(kind: Kind) -> dict[str, bytes]:
    """Run a script that leaves something in each number, and give the values of one round of topics."""
    async with running(kind, {**OPEN, path_of(BrokerSysPlugin): {"sys_interval": 3_600}}) as party:
        absent = await party.connected("absent", clean=False, username="u")
        await absent.subscribe(("later", 1), ("later/+", 1))
        await absent.disconnect()
        busy = await party.connected("busy")
        reader = await party.connected("reader")
        await reader.subscribe(("$SYS/broker/#", 0))
        assert (await reader.message()).payload == f"aMQTT version {amqtt.__version__}".encode()
        await busy.publish("kept", b"1", 1, retain=True)
        await busy.publish("later", b"2", 1)
        await busy.ping()
        plugin = party.plugin(BrokerSysPlugin)
        await until(lambda: plugin._stats["clients_disconnected"] == 1 and plugin._stats["publish_received"] == 2)
        await until(lambda: plugin._stats["messages_sent"] == 9)
        plugin.broadcast_dollar_sys_topics()
        messages = [await reader.message() for _ in SYS_TOPICS]
        assert {message.qos for message in messages} == {0}
        plugin._sys_handle.cancel()  # type: ignore[union-attr]
        return {message.topic.removeprefix("$SYS/broker/"): message.payload for message in messages}


async def test_sys() -> None:
    """The same topics with the same values, except those of clock and process, which are of the same kind."""
    before = int(time.time())
    stock, ours = [await _sys_values(kind) for kind in BOTH]
    assert set(stock) == set(ours) == SYS_TOPICS
    for values in (stock, ours):
        assert before <= int(values.pop("time")) <= time.time()
        assert 0 <= int(values.pop("uptime")) <= time.time() - before + 1
        assert values.pop("uptime/formatted").endswith(b"+00:00")
        assert float(values.pop("heap/size")) > 1
        assert float(values.pop("heap/maximum")) > 1
        assert float(values.pop("cpu/percent")) >= 0
        assert float(values.pop("cpu/maximum")) >= 0
    assert ours == stock
    assert ours["messages/subscriptions/count"] == b"3"
    assert ours["messages/inflight/stored"] == b"3"


@KINDS
async def test_sys_at_its_interval(kind: Kind) -> None:
    """A subscriber gets the topics at the QoS that it asked for: amqtt's plugin names none."""
    async with running(kind, {**OPEN, path_of(BrokerSysPlugin): {"sys_interval": 1}}) as party:
        reader = await party.connected("reader")
        await reader.subscribe(("$SYS/broker/clients/connected", 1))
        got = await reader.message()
        assert (got.payload, got.qos, got.retain) == (b"1", 1, False)


@KINDS
async def test_amqtts_own_defaults(kind: Kind) -> None:
    """Without a `plugins` section amqtt loads its loggers, `$SYS` and anonymous access."""
    broker = kind({"listeners": {"default": {"bind": "127.0.0.1:0"}}})
    await broker.start()
    try:
        assert [type(plugin) for plugin in broker.plugins_manager.plugins] == [
            EventLoggerPlugin,
            PacketLoggerPlugin,
            AnonymousAuthPlugin,
            BrokerSysPlugin,
        ]
    finally:
        await broker.shutdown()


@KINDS
async def test_entry_points(kind: Kind) -> None:
    """Configured the old way, by an `auth` section, amqtt loads all its plugins and asks the topic plugins nothing."""
    config = {
        "listeners": {"default": {"bind": "127.0.0.1:0"}},
        "auth": {"allow-anonymous": True, "plugins": ["auth_anonymous"]},
        "sys_interval": 0,
    }
    broker = kind(config)
    await broker.start()
    try:
        assert {"FileAuthPlugin", "TopicTabooPlugin"} <= {type(p).__name__ for p in broker.plugins_manager.plugins}
        async with asyncio.timeout(30):
            party = Party(broker, None)  # type: ignore[arg-type]
            client = MQTTClient(config={"auto_reconnect": False, "plugins": {}})
            host, port = party.address
            await client.connect(f"mqtt://{host}:{port}/")
            assert await client.subscribe([("prohibited", 1)]) == [1]
            await client.publish("prohibited", b"x", 1)
            message = await client.deliver_message()
            assert message is not None and bytes(message.data) == b"x"
            await client.disconnect()
    finally:
        await broker.shutdown()


@KINDS
async def test_the_plugin_that_only_says_where_it_has_moved(kind: Kind) -> None:
    async with running(kind, {**OPEN, path_of(SQLitePlugin): {}}) as party:
        await party.connected("c1")
