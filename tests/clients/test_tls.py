"""Real clients on what only some listeners have: TLS as amqtt configures it, certificates both ways, a Unix socket."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
import pytest
import trustme
from paho.mqtt.enums import CallbackAPIVersion
from wardenmq.broker.broker import Broker
from wardenmq.store.directory import Directory
from wardenmq.store.records import Rule

from ..clocks import ignore_stalls
from ..engine.brokers import ANONYMOUS
from ..engine.conditions import until
from ..engine.test_rules import PLUGINS


def listener_keys(authority: trustme.CA, directory: Path) -> dict[str, Any]:
    """Issue a certificate for 127.0.0.1 and give the keys of a listener that has it."""
    key, chain = directory / "key.pem", directory / "chain.pem"
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    return {"bind": "127.0.0.1:0", "ssl": True, "certfile": str(chain), "keyfile": str(key)}


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def serving(listener: dict[str, Any], directory: Directory | None = None) -> AsyncIterator[Broker]:
    ignore_stalls()
    plugins = dict(ANONYMOUS) if directory is None else {name: dict(options) for name, options in PLUGINS.items()}
    broker = Broker({"listeners": {"default": listener}, "plugins": plugins}, directory=directory)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.shutdown()


async def assert_round_trip(client: aiomqtt.Client) -> None:
    await client.subscribe("a/#", qos=1)
    await client.publish("a/b", b"x" * 100_000, qos=1)
    message = await asyncio.wait_for(anext(aiter(client.messages)), 30)
    assert (str(message.topic), message.payload) == ("a/b", b"x" * 100_000)


async def test_a_client_publishes_to_itself_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    async with serving({"type": "tcp", **listener_keys(authority, tmp_path)}) as broker:
        host, port = broker.addresses["default"]
        async with aiomqtt.Client(host, port, identifier="c", tls_context=trusting(authority), timeout=30) as client:
            await assert_round_trip(client)
            session = broker.registry.get("c")
            assert session is not None
            assert session.listener == "ssl:default"


async def test_a_certificate_gives_the_client_its_user_name(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    own = {"cafile": str(tmp_path / "authority.pem"), "verify_client": "required", "certificate_username": "cn"}
    directory = await Directory.open(":memory:")
    await directory.create_login("username", "sensor-7", "a password that is not needed")
    await directory.set_rules("username", "sensor-7", [Rule("a/#", "allow", "all")])
    async with serving({**listener_keys(authority, tmp_path), **own}, directory) as broker:
        host, port = broker.addresses["default"]
        context = trusting(authority)
        authority.issue_cert("device.example", common_name="sensor-7").configure_cert(context)
        async with aiomqtt.Client(host, port, identifier="c", tls_context=context, timeout=30) as client:
            await assert_round_trip(client)
            session = broker.registry.get("c")
            assert session is not None
            assert session.username == "sensor-7"
        stranger = trusting(authority)
        authority.issue_cert("device.example", common_name="sensor-8").configure_cert(stranger)
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client(host, port, identifier="d", tls_context=stranger, timeout=30):
                pass
    await directory.close()


async def test_a_client_stays_while_the_certificate_is_exchanged(tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    async with serving(listener_keys(old, tmp_path)) as broker:
        host, port = broker.addresses["default"]
        async with aiomqtt.Client(host, port, identifier="old", tls_context=trusting(old), timeout=30) as first:
            listener_keys(new, tmp_path)
            assert broker.reload_certificates() == []
            async with aiomqtt.Client(host, port, identifier="new", tls_context=trusting(new), timeout=30) as second:
                await assert_round_trip(second)
            await assert_round_trip(first)


async def test_paho_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sock"
    async with serving({"bind": f"unix:{path}"}) as broker:
        received: list[bytes] = []
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="c", transport="unix")
        client.on_connect = lambda client, *_: client.subscribe("a", 1)
        client.on_subscribe = lambda client, *_: client.publish("a", b"x" * 100_000, 1)
        client.on_message = lambda client, userdata, message: received.append(message.payload)
        await asyncio.to_thread(client.connect, str(path))
        client.loop_start()
        try:
            await until(lambda: received == [b"x" * 100_000])
            session = broker.registry.get("c")
            assert session is not None
            assert session.peer_host == f"unix:{path}"
        finally:
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)
