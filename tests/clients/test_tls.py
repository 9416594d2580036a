"""TLS as amqtt configures it: certificate and key of the listener, checked by a real client."""

import ssl
from pathlib import Path

import aiomqtt
import trustme
from wardenmq.broker.broker import Broker

from ..engine.brokers import ANONYMOUS


async def test_a_client_publishes_to_itself_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    listener = {"type": "tcp", "bind": "127.0.0.1:0", "ssl": True, "certfile": str(chain), "keyfile": str(key)}
    broker = Broker({"listeners": {"default": listener}, "plugins": dict(ANONYMOUS)})
    await broker.start()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    try:
        host, port = broker.addresses["default"]
        async with aiomqtt.Client(host, port, identifier="c", tls_context=trusting) as client:
            await client.subscribe("a/#", qos=1)
            await client.publish("a/b", b"x" * 100_000, qos=1)
            message = await anext(aiter(client.messages))
            assert (str(message.topic), message.payload) == ("a/b", b"x" * 100_000)
            session = broker.registry.get("c")
            assert session is not None
            assert session.listener == "ssl:default"
    finally:
        await broker.shutdown()
