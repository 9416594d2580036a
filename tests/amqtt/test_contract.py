"""What somebody relies on who ran amqtt's broker until yesterday: construction, lifecycle, configuration."""

import amqtt.broker
import pytest
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import BrokerError, PluginImportError, PluginLoadError
from transitions import MachineError
from wardenmq.broker.broker import Broker

from ..engine.brokers import running_broker, serving
from ..engine.conditions import until
from ..engine.wire import Client
from .parties import OPEN, running
from .plugins import EventRecorder, path_of


async def test_is_an_amqtt_broker() -> None:
    assert issubclass(Broker, amqtt.broker.Broker)
    async with running_broker() as broker:
        assert isinstance(broker, amqtt.broker.Broker)
        assert broker.transitions.is_started()
        assert broker.listeners_config["default"].bind == "127.0.0.1:0"
        assert broker.config.listeners is broker.listeners_config


async def test_takes_amqtts_configuration_object() -> None:
    config = BrokerConfig(listeners={"default": ListenerConfig(bind="127.0.0.1:0")}, plugins=OPEN)
    broker = Broker(config)
    await broker.start()
    try:
        client = await Client.open(broker.addresses["default"])
        await client.connect("c1")
        await client.disconnect()
    finally:
        await broker.shutdown()


async def test_takes_plugins_as_a_list() -> None:
    """As YAML files have them: names, and names with options."""
    plugins = [*({name: options} for name, options in OPEN.items()), path_of(EventRecorder)]
    broker = Broker({"listeners": {"default": {"bind": "127.0.0.1:0"}}, "plugins": plugins})
    assert isinstance(broker.plugins_manager.get_plugin("EventRecorder"), EventRecorder)


async def test_the_configuration_is_not_changed() -> None:
    """amqtt rewrites the caller's dictionary."""
    config = {"listeners": {"default": {"bind": "127.0.0.1:0"}}, "topic-check": None, "plugins": OPEN}
    Broker(config)
    assert set(config) == {"listeners", "topic-check", "plugins"}


async def test_a_plugin_that_is_none() -> None:
    with pytest.raises(PluginImportError):
        Broker({"plugins": {"no.such.Plugin": {}}})
    with pytest.raises(PluginLoadError):
        Broker({"plugins": {"collections.OrderedDict": {}}})


async def test_listeners_by_name() -> None:
    config = {
        "listeners": {
            "default": {"type": "tcp", "bind": "127.0.0.1:0"},
            "second": {"type": "tcp", "bind": "127.0.0.1:0"},
        },
        "plugins": OPEN,
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
    """As amqtt: a second start is refused while running; after a shutdown it works again, with events too."""
    plugins = {**OPEN, path_of(EventRecorder): {}}
    broker = Broker({"listeners": {"default": {"bind": "127.0.0.1:0"}}, "plugins": plugins})
    with pytest.raises(MachineError):
        await broker.shutdown()
    await broker.start()
    with pytest.raises(BrokerError):
        await broker.start()
    client = await Client.open(broker.addresses["default"])
    await client.connect("c1", clean=False)
    await broker.shutdown()
    await client.hung_up()
    recorder = broker.plugins_manager.get_plugin("EventRecorder")
    assert isinstance(recorder, EventRecorder)
    first = ["pre_start", "post_start", "connected", "pre_shutdown", "disconnected", "post_shutdown"]
    assert [event[0] for event in recorder.events] == first
    recorder.events.clear()
    await broker.start()
    try:
        client = await Client.open(broker.addresses["default"])
        await client.connect("c2")
        await client.disconnect()
        await until(lambda: recorder.events[-1][0] == "disconnected")
    finally:
        await broker.shutdown()
    assert len(broker.sessions) == 0


async def test_a_port_in_use_is_a_broker_error() -> None:
    async with running_broker() as broker:
        host, port = broker.addresses["default"]
        second = Broker({"listeners": {"default": {"bind": f"{host}:{port}"}}, "plugins": OPEN})
        with pytest.raises(BrokerError):
            await second.start()


async def test_messages_are_still_delivered_while_somebody_listens() -> None:
    async with running(Broker, {**OPEN, path_of(EventRecorder): {}}) as party:
        subscriber = await party.connected("subscriber")
        await subscriber.subscribe(("t", 2))
        publisher = await party.connected("publisher")
        for qos in (0, 1, 2):
            await publisher.publish("t", b"%d" % qos, qos)
        assert await subscriber.messages(3) == [b"0", b"1", b"2"]
