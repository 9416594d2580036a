"""A broker with every kind of door, on free ports, that a test's clients meet at."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from wardenmq.broker.broker import Broker
from wardenmq.broker.settings import MqttSettings

from ..clocks import ignore_stalls
from ..engine.brokers import ANONYMOUS

LISTENERS = {"tcp": "default", "ws": "ws", "tls": "tls", "wss": "wss"}
"""Transport to the listener's name."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of a certificate for 127.0.0.1 and localhost, and of the authority that signed it."""

    authority: Path
    chain: Path
    key: Path

    @classmethod
    def issue(cls, directory: Path) -> "Certificates":
        issued = cls(directory / "authority.pem", directory / "chain.pem", directory / "key.pem")
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(issued.authority)
        certificate.private_key_pem.write_to_path(issued.key)
        certificate.cert_chain_pems[0].write_to_path(issued.chain)
        return issued


@dataclass(frozen=True, slots=True)
class Place:
    broker: Broker
    certificates: Certificates

    def address(self, transport: str) -> tuple[str, int]:
        return self.broker.addresses[LISTENERS[transport]]

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificates.authority)


@asynccontextmanager
async def open_place(
    certificates: Certificates,
    plugins: Mapping[str, Mapping[str, Any]] | None = None,
    settings: MqttSettings | None = None,
    directory: object | None = None,
) -> AsyncIterator[Place]:
    """Run a broker; anonymous clients are let in unless `plugins` says otherwise."""
    bind: dict[str, Any] = {"bind": "127.0.0.1:0"}
    tls = {"ssl": True, "certfile": str(certificates.chain), "keyfile": str(certificates.key)}
    config = {
        "listeners": {
            "default": {"type": "tcp", **bind},
            "ws": {"type": "ws", **bind},
            "tls": {"type": "tcp", **bind, **tls},
            "wss": {"type": "ws", **bind, **tls},
        },
        "plugins": {name: dict(options) for name, options in (ANONYMOUS if plugins is None else plugins).items()},
    }
    ignore_stalls()
    broker = Broker(config, settings=settings, directory=directory)
    await broker.start()
    try:
        yield Place(broker, certificates)
    finally:
        await broker.shutdown()
