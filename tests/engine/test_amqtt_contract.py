"""What somebody relies on who ran amqtt's broker until yesterday."""

import amqtt.broker
import pytest
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import BrokerError
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from wardenmq.broker.broker import Broker

from .access_plugins import Recorder
from .brokers import ANONYMOUS, running_broker, serving
from .conditions import until
from .wire import Client, connect

RECORDER = f"{Recorder.__module__}.Recorder"


def _recorded(broker: Broker) -> list[tuple[str, object]]:
    plugin = broker.plugins_manager.get_plugin("Recorder")
    assert isinstance(plugin, Recorder)
    return plugin.events


async def test_is_an_amqtt_broker() -> None:
    assert issubclass(Broker, amqtt.broker.Broker)
    async with running_broker() as broker:
        assert isinstance(broker, amqtt.broker.Broker)


async def test_takes_amqtts_configuration_object() -> None:
    config = BrokerConfig(listeners={"default": ListenerConfig(bind="127.0.0.1:0")}, plugins=ANONYMOUS)
    broker = Broker(config)
    await broker.start()
    try:
        client = await Client.open(broker.addresses["default"])
        await client.connect("c1")
        await client.disconnect()
    finally:
        await broker.shutdown()


async def test_listeners_by_name() -> None:
    config = {
        "listeners": {
            "default": {"type": "tcp", "bind": "127.0.0.1:0"},
            "second": {"type": "tcp", "bind": "127.0.0.1:0"},
        },
        "plugins": ANONYMOUS,
    }
    broker = Broker(config)
    await broker.start()
    try:
        assert set(broker.addresses) == {"default", "second"}
        assert broker.addresses["default"] != broker.addresses["second"]
        client = await Client.open(broker.addresses["second"])
        await client.connect("c1")
        session = broker.registry.get("c1")
        assert session is not None and session.listener == "tcp:second"
        client.close()
    finally:
        await broker.shutdown()


async def test_two_brokers_in_one_process_share_nothing() -> None:
    async with serving() as one, serving() as other:
        publisher, subscriber = await one.pair(("t", 1))
        stranger = await other.connected("subscriber")
        await stranger.subscribe(("t", 1))
        await publisher.publish("t", b"x", 1, retain=True)
        await subscriber.message()
        await stranger.nothing_came()
        assert len(other.broker.registry) == 1


async def test_start_shutdown_and_start_again() -> None:
    """As amqtt: a second start is refused while running; after a shutdown it works again."""
    broker = Broker({"listeners": {"default": {"bind": "127.0.0.1:0"}}, "plugins": ANONYMOUS})
    await broker.start()
    with pytest.raises(BrokerError):
        await broker.start()
    client = await Client.open(broker.addresses["default"])
    await client.connect("c1", clean=False)
    await broker.shutdown()
    await client.hung_up()
    await broker.start()
    try:
        client = await Client.open(broker.addresses["default"])
        await client.connect("c2")
        await client.disconnect()
    finally:
        await broker.shutdown()


async def test_a_port_in_use_is_a_broker_error() -> None:
    async with running_broker() as broker:
        host, port = broker.addresses["default"]
        second = Broker({"listeners": {"default": {"bind": f"{host}:{port}"}}, "plugins": ANONYMOUS})
        with pytest.raises(BrokerError):
            await second.start()


async def test_events_reach_a_plugin() -> None:
    """Event names and arguments are amqtt's; the message carries topic, data and qos."""
    async with serving({**ANONYMOUS, RECORDER: {}}) as clients:
        events = _recorded(clients.broker)
        client = await clients.connected("c1", username="u", password=b"p")
        await client.subscribe(("t/#", 1))
        await client.publish("t/x", b"payload", 1)
        await client.publish("t/y", b"", 0)
        assert await client.messages(2) == [b"payload", b""]
        await client.unsubscribe("t/#")
        await client.disconnect()
        await until(lambda: ("disconnected", "c1") in events)
        assert events == [
            ("pre_start", None),
            ("connected", ("c1", "u")),
            ("subscribed", ("c1", "t/#", 1)),
            ("received", ("c1", "t/x", b"payload", 1)),
            ("received", ("c1", "t/y", b"", 0)),
            ("unsubscribed", ("c1", "t/#")),
            ("disconnected", "c1"),
        ]
    assert events[-1] == ("post_shutdown", None)


async def test_messages_are_still_delivered_while_somebody_listens() -> None:
    async with serving({**ANONYMOUS, RECORDER: {}}) as clients:
        publisher, subscriber = await clients.pair(("t", 2))
        for qos in (0, 1, 2):
            await publisher.publish("t", b"%d" % qos, qos)
        assert await subscriber.messages(3) == [b"0", b"1", b"2"]


async def test_amqtts_password_file(tmp_path) -> None:
    """`FileAuthPlugin` runs unchanged."""
    hasher = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=1024, parallelism=1),))
    (tmp_path / "passwords").write_text(f"alice:{hasher.hash('secret')}\n", encoding="utf-8")
    plugins = {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(tmp_path / "passwords")}}
    async with serving(plugins) as clients:
        await clients.connected("good", username="alice", password=b"secret")
        bad = connect("bad", username="alice", password=b"wrong")
        assert await (await clients.open()).refused(bad) in (4, 5)


async def test_amqtts_topic_taboo_plugin() -> None:
    """`TopicTabooPlugin` runs unchanged: a denied publish is dropped, a denied subscription refused."""
    async with serving({**ANONYMOUS, "amqtt.plugins.topic_checking.TopicTabooPlugin": {}}) as clients:
        client = await clients.connected("c1")
        assert await client.subscribe(("prohibited", 1), ("#", 1)) == [0x80, 1]
        await client.publish("prohibited", b"x", 1)
        await client.publish("fine", b"y", 1)
        assert (await client.message()).topic == "fine"
        await client.nothing_came()


async def test_internal_message_broadcast_and_retain() -> None:
    """`internal_message_broadcast` and `retain_message`, what a plugin's context calls."""
    async with serving() as clients:
        subscriber = await clients.connected("c1")
        await subscriber.subscribe(("$SYS/broker/#", 1), ("t", 1))
        await clients.broker.internal_message_broadcast("$SYS/broker/version", b"1", 0)
        await clients.broker.retain_message(None, "t", b"kept", 1)
        assert (await subscriber.message()).payload == b"1"
        late = await clients.connected("late")
        await late.subscribe(("t", 1))
        got = await late.message()
        assert (got.payload, got.retain, got.qos) == (b"kept", True, 1)
